//! The parts of the work that are different on OPAL.

use super::{MAX_AREA, OpalAnswers, Work, section, span};
use crate::kdms::SectionKind;
use crate::notes::{self, private_note};
use crate::opal::{CpuData, KernelMetadata, Metadata};
use crate::regsave::CpuState;
use crate::{Error, report};
use vmcore::{PageSize, PhysAddr, Range};

/// What OPAL answered.
pub(super) struct Opal {
    pub(super) kernel: KernelMetadata,
    cpu: Option<Metadata>,
    pub(super) boot_memory_top: Option<PhysAddr>,
}

impl Work<'_> {
    /// Takes the kernel's metadata for the list of what was copied.
    pub(super) fn read_opal(&mut self, answers: &OpalAnswers) -> Result<(), Error> {
        let kernel = KernelMetadata::parse(&answers.kernel)?;
        self.private.push(private_note(notes::OPAL_KERNEL, answers.kernel.clone()));
        for region in kernel.missing() {
            self.findings.damage(format!(
                "OPAL had not accepted the boot memory at {:?}; it was never copied",
                span(region.source, region.size)
            ));
        }
        if kernel.regions.len() < kernel.listed.into() {
            self.findings.damage(format!(
                "OPAL's kernel metadata claims {} regions but contains {}",
                kernel.listed,
                kernel.regions.len()
            ));
        }
        let copied = kernel.copied().len();
        for (i, region) in kernel.regions.iter().enumerate() {
            let filled = if i < copied { region.size } else { 0 };
            let boot =
                section(SectionKind::RealMode, region.source.0, region.destination, region.size, filled);
            self.plan.sections.push(boot);
        }
        let cpu = match answers.cpu.as_deref().map(Metadata::parse) {
            Some(Ok(metadata)) => Some(metadata),
            Some(Err(error)) => {
                self.findings.damage(error.to_string());
                None
            }
            None => None,
        };
        self.opal = Some(Opal { kernel, cpu, boot_memory_top: answers.boot_memory_top });
        Ok(())
    }

    /// The registers of all threads that were active.
    pub(super) fn read_opal_cpus(&mut self) -> Result<Vec<CpuState>, Error> {
        let Some(metadata) = self.opal.as_ref().and_then(|o| o.cpu.clone()) else {
            self.findings.damage("nothing says where OPAL left the registers of the CPUs");
            return Ok(Vec::new());
        };
        if metadata.version != 1 || metadata.cpu_data_version != 1 {
            self.findings.warning(format!(
                "OPAL's metadata has version {}, its CPU data version {}; both were read as version 1",
                metadata.version, metadata.cpu_data_version
            ));
        }
        // As the private note has it: a thread's size, and the data after it, which may be long and is here once.
        const BEFORE: usize = 4;
        let mut desc = metadata.thread_size.to_be_bytes().to_vec();
        for region in &metadata.regions {
            let room = (MAX_AREA + BEFORE as u64).saturating_sub(desc.len() as u64);
            match self.image.copy("OPAL's CPU data", span(region.destination, region.size.min(room))) {
                Ok(data) => desc.extend(data),
                Err(Error::Read(error)) => return Err(error.into()),
                Err(error) => self.findings.damage(error.to_string()),
            }
        }
        let cpus = match CpuData::parse(&desc[BEFORE..], metadata.thread_size) {
            Ok(data) => {
                report::cpu_data(&data, &mut self.findings);
                let mut cpus = data.cpus;
                cpus.sort_by_key(|c| c.cpu);
                cpus
            }
            Err(error) => {
                self.findings.damage(format!("{error}: the firmware's registers are lost"));
                Vec::new()
            }
        };
        self.private.push(private_note(notes::OPAL_CPU_DATA, desc));
        Ok(cpus)
    }

    /// Adds to the dump area what it has on OPAL besides: the kernel's metadata in whole pages after the crash-info
    /// header (`opal_fadump_get_metadata_size`), and the CPU data, where that lies in memory of the partition.
    pub(super) fn add_opal_area(&mut self, page: PageSize) {
        let Some(opal) = &self.opal else { return };
        let length = page.frames(KernelMetadata::LEN as u64) * page.bytes();
        let end = self.plan.after.iter().map(|r| r.end).max().unwrap_or(opal.kernel.crash_info);
        let cpu = opal.cpu.iter().flat_map(|m| m.regions.iter().map(|r| r.copy()));
        let parts: Vec<Range<PhysAddr>> = std::iter::once(span(end, length)).chain(cpu).collect();
        self.plan.after.extend(parts);
    }
}
