//! What the parsers found odd, as sentences.

use crate::kdms::{self, KernelDump, Section};
use crate::{Findings, Severity, crashinfo, opal, regsave};

impl KernelDump {
    /// How a section is called in a report: its number, counted from 1, and its kind.
    pub fn section_name(&self, i: usize) -> String {
        let kind = self.sections.get(i).map_or_else(String::new, |s| format!(" ({})", s.kind));
        format!("section {}{kind}", i + 1)
    }

    /// A fault of this structure as a sentence, and how much it matters.
    pub fn explain(&self, fault: &kdms::Fault) -> (Severity, String) {
        use Severity::{Damage, Note, Warning};
        use kdms::Fault;
        let name = |i: usize| self.section_name(i);
        let section = |i: usize| self.sections[i];
        let error =
            |flag: u16| Section::ERRORS.iter().find(|(f, _)| *f == flag).map_or("", |(_, text)| *text);
        match *fault {
            Fault::Version(v) => (Warning, format!("ibm,kernel-dump has version {v}, read as version 1")),
            Fault::TooManySections(n) => (
                Warning,
                format!("ibm,kernel-dump claims {n} sections, 10 are allowed; the rest was not read"),
            ),
            Fault::MissingSections { claimed, found } => {
                (Damage, format!("ibm,kernel-dump claims {claimed} sections but contains {found}"))
            }
            Fault::MoreSections { claimed, found } => (
                Warning,
                format!("ibm,kernel-dump claims {claimed} sections but contains {found}; all were read"),
            ),
            Fault::FirstSectionOutside(at) => (
                Warning,
                format!(
                    "the first section of ibm,kernel-dump cannot be at {at:#x}; by its length it is at 0x28"
                ),
            ),
            Fault::NoSections => (Damage, "ibm,kernel-dump has no sections".into()),
            Fault::FirstSection(at) => {
                (Note, format!("the first section of ibm,kernel-dump is at {at:#x}, not at 0x28"))
            }
            Fault::StatusError => {
                (Warning, format!("the dump's status {:#06x} has the error bit", self.status.0))
            }
            Fault::NotPerformed(status) => (
                Warning,
                format!(
                    "the dump's status {:#06x} does not say that a dump was made in the previous boot",
                    status.0
                ),
            ),
            Fault::ReservedStatus(bits) => {
                (Note, format!("the dump's status has reserved bits, {bits:#06x}"))
            }
            Fault::NotRequested(i) => (Note, format!("{} was not asked for", name(i))),
            Fault::NotCopied(i) => (
                self.loss(i),
                format!("{}: nothing of {:#x} bytes was copied", name(i), section(i).requested),
            ),
            Fault::CopiedShort(i) => (
                self.loss(i),
                format!(
                    "{}: {:#x} of {:#x} bytes were copied",
                    name(i),
                    section(i).copied,
                    section(i).requested
                ),
            ),
            Fault::CopiedMore(i) => (
                Damage,
                format!(
                    "{}: {:#x} bytes were copied, {:#x} were requested; what follows is overwritten",
                    name(i),
                    section(i).copied,
                    section(i).requested
                ),
            ),
            Fault::ErrorFlag(i, flag) => {
                (self.loss(i), format!("{}: error flag {flag:#06x}, {}", name(i), error(flag)))
            }
            Fault::SwappedErrorFlag(i, flag) => (
                self.loss(i),
                format!(
                    "{}: error flag {flag:#06x}, {}, in the wrong byte order, as QEMU stores it on little-endian hosts",
                    name(i),
                    error(flag)
                ),
            ),
            Fault::ReservedError(i, bits) => {
                (Warning, format!("{}: reserved error flags {bits:#06x}", name(i)))
            }
            Fault::UnknownType(i, kind) => (Warning, format!("{}: type {kind:#x} is not specified", name(i))),
            Fault::OutsideMemory(i) => (
                Damage,
                format!("{}: the destination {:?} reaches past memory", name(i), section(i).target()),
            ),
            Fault::Overlap(i, k) => {
                (Damage, format!("{} and {} have overlapping destinations", name(i), name(k)))
            }
            Fault::OverSource(i, k) if i == k => {
                (Damage, format!("{}: the destination overlaps the source", name(i)))
            }
            Fault::OverSource(i, k) => {
                (Damage, format!("the destination of {} overlaps the source of {}", name(i), name(k)))
            }
        }
    }

    /// How much it matters when a section is not whole: no reader needs the page-table entries.
    fn loss(&self, i: usize) -> Severity {
        match self.sections[i].kind {
            kdms::SectionKind::Hpte => Severity::Warning,
            _ => Severity::Damage,
        }
    }
}

/// Adds the faults of the register save area.
pub(crate) fn save_area(area: &regsave::SaveArea, out: &mut Findings) {
    use regsave::Fault;
    let mut unknown = 0;
    for fault in &area.faults {
        match fault {
            Fault::Version(v) => out.warning(format!("the register save area has version {v}, read as version 0")),
            Fault::Offset(at) => {
                out.note(format!("the number of CPUs is at {at:#x} of the register save area, not at 0x1c or 0x10"));
            }
            Fault::Count { claimed, found } => {
                out.warning(format!("the register save area claims {claimed} CPUs but contains {found}"));
            }
            Fault::NoStart(at) => out.damage(format!(
                "registers at {at:#x} of the register save area belong to no CPU: a start mark is missing"
            )),
            Fault::NoEnd(cpu) => out.warning(format!("the registers of CPU {cpu} have no end mark")),
            Fault::EndOfOther { started, ended } => {
                out.warning(format!("the registers of CPU {started} end with the mark of CPU {ended}"));
            }
            Fault::DuplicateCpu(cpu) => {
                out.warning(format!("CPU {cpu} appears twice in the register save area; the first is used"));
            }
            Fault::HugeCpu(cpu) => {
                out.damage(format!("the register save area has a CPU {cpu:#x}, which no Linux kernel can have; it is left out"));
            }
            Fault::UnknownRegister(..) => unknown += 1,
            Fault::DuplicateRegister(cpu, id) => {
                out.warning(format!("register {id} of CPU {cpu} was saved twice; the first value is used"));
            }
            Fault::DirtyUpperHalf(cpu, id) => out.note(format!(
                "register {id} of CPU {cpu} has four bytes, and something in its reserved half, which is ignored"
            )),
            Fault::OutOfOrder(cpu, class) => {
                out.note(format!("the {class}s of CPU {cpu} are not ascending and uninterrupted"));
            }
            Fault::Truncated(at) => {
                out.damage(format!("the register save area ends inside the entry at {at:#x}"));
            }
        }
    }
    if unknown > 0 {
        out.note(format!("{unknown} registers of the save area have unknown names; they are kept raw"));
    }
}

/// Adds the faults of the crash-info header; on OPAL the crashing CPU is not one of the mask's numbers.
pub(crate) fn crash_info(info: &crashinfo::CrashInfo, opal: bool, out: &mut Findings) {
    use crashinfo::Fault;
    for fault in &info.faults {
        match fault {
            Fault::Version(v) => {
                out.warning(format!("the crash-info header has version {v}, read as version 1"));
            }
            Fault::RegsSize(n) => {
                out.damage(format!("the crash-info header gives pt_regs an impossible size of {n} bytes"));
            }
            Fault::MaskSize(n) => {
                out.warning(format!(
                    "the crash-info header gives its CPU mask an impossible size of {n} bytes"
                ));
            }
            Fault::CrashingCpuOffline(_) if opal => (),
            Fault::CrashingCpuOffline(cpu) => {
                out.warning(format!("CPU {cpu} crashed and is not in the crash-info header's mask"));
            }
            Fault::GuessedRegsSize(n) => out.warning(format!(
                "the crash-info header does not say how long pt_regs is; {n} bytes fit best"
            )),
            Fault::ElfHeader(at) => out.warning(format!(
                "the crash-info header names {at} as the ELF core header's address, which does not follow it"
            )),
        }
    }
    if info.crashing_cpu.is_none() {
        out.note("the kernel names no CPU that crashed: the hypervisor ended the partition");
    }
}

/// Adds the faults of OPAL's CPU data.
pub(crate) fn cpu_data(data: &opal::CpuData, out: &mut Findings) {
    use opal::Fault;
    let mut unknown = 0;
    for fault in &data.faults {
        match fault {
            Fault::Ragged(n) => {
                out.warning(format!(
                    "OPAL's CPU data is not a whole number of threads; {n} bytes are left over"
                ));
            }
            Fault::HeaderFromFirst(pir) => {
                out.note(format!(
                    "thread {pir:#x} of OPAL's CPU data was read by the header of the first thread"
                ));
            }
            Fault::Truncated(pir) => {
                out.damage(format!(
                    "the registers of thread {pir:#x} reach past its part of OPAL's CPU data"
                ));
            }
            Fault::UnknownRegister(..) => unknown += 1,
            Fault::DuplicatePir(pir) => {
                out.warning(format!("thread {pir:#x} appears twice in OPAL's CPU data; the first is used"));
            }
        }
    }
    if unknown > 0 {
        out.note(format!("{unknown} registers of OPAL's CPU data have unknown numbers; they are kept raw"));
    }
}
