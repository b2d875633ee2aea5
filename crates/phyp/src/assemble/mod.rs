//! From the hypervisor's leavings to a dump.

mod extent;
pub(crate) mod image;
mod opal;
mod plan;
mod reassembled;
mod vmcoreinfo;

use crate::crashinfo::{self, CrashInfo};
use crate::hpte::HpteArea;
use crate::kdms::{KernelDump, Section, SectionKind};
use crate::notes::{self, private_note};
use crate::region::{Reading, ReleaseRegion};
use crate::regsave::{CpuState, SaveArea};
use crate::saved::cpus;
use crate::{Error, Findings, report};
use image::Image;
use plan::{Lost, Plan};
use reassembled::Reassembled;
use vmcore::{
    Arch, ByteOrder, Dump, Machine, MemoryMap, Note, Notes, PageSize, PhysAddr, PhysicalMemory, Range,
    RangeSet, Source, VirtAddr, VirtSegment, VmcoreInfo, WordSize,
};

/// What the second boot shows of the first, besides memory itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leavings {
    /// The device-tree property `ibm,kernel-dump`.
    pub kernel_dump: Option<Vec<u8>>,
    /// The text of `release_region`.
    pub release_region: Option<String>,
    /// Where the machine has memory, from its device tree.
    pub memory_map: Option<RangeSet<PhysAddr>>,
    /// The kernel is one of phyp-dump, whether or not it shows a `release_region`.
    pub phyp_dump: bool,
    /// The start of what a fadump kernel keeps back from its second boot, as debugfs' `fadump_region` prints it
    /// (`Memory above ... is reserved`): below it, memory is used.
    pub reserved_above: Option<PhysAddr>,
    /// On OPAL: what the firmware answers a kernel that asks for its metadata.
    pub opal: Option<OpalAnswers>,
}

/// OPAL's answers to `opal_mpipl_query_tag`. Only the kernel can ask, so these come from the program that stored them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpalAnswers {
    /// The kernel's metadata (`OPAL_MPIPL_TAG_KERNEL`).
    pub kernel: Vec<u8>,
    /// The metadata of the CPU data (`OPAL_MPIPL_TAG_CPU`).
    pub cpu: Option<Vec<u8>>,
    /// The first address past boot memory (`OPAL_MPIPL_TAG_BOOT_MEM`).
    pub boot_memory_top: Option<PhysAddr>,
}

/// What the user knows better.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How the pairs of `release_region` are read.
    pub reading: Reading,
    /// Where the machine has memory; goes before the device tree.
    pub memory_map: Option<RangeSet<PhysAddr>>,
    /// The first address that the second boot has not used; goes before what the generation's rules give.
    pub boot_memory_end: Option<PhysAddr>,
    /// The page size; goes before what VMCOREINFO says.
    pub page_size: Option<PageSize>,
}

const MIB: u64 = 1 << 20;
/// Where ppc64 kernels map all memory (`PAGE_OFFSET`).
const PAGE_OFFSET: u64 = 0xc000_0000_0000_0000;
/// The largest save area that is read, in bytes: 2048 CPUs with 512 registers each, more than any machine has. It is
/// kept in notes, and with it in the memory of a kernel booted in 256 MB.
const MAX_AREA: u64 = 16 * MIB;
/// The same for page-table entries: those of 1 GiB in pages of 4 KiB have 6 MiB.
const MAX_HPTES: u64 = 8 * MIB;

/// Puts a dump together from what the hypervisor left.
///
/// `memory` is the machine's memory as it is now, in the second boot: a raw image or any dump of it. The answer has the
/// crashed system's memory, its registers as notes, and the raw save areas as private notes; the findings say what is
/// odd and what is lost. The crashed kernel's byte order is that of its crash-info header, else of its VMCOREINFO note,
/// else of the mode its CPUs ran in.
///
/// # Errors
///
/// When neither the device tree nor `release_region` nor the options say where the copies lie, when what they say
/// cannot be read at all, or when the image cannot be read.
pub fn assemble(
    leavings: &Leavings,
    memory: Box<dyn PhysicalMemory>,
    options: &Options,
) -> Result<(Dump, Findings), Error> {
    let mut work = Work::new(leavings, memory, options)?;
    work.read_sections(leavings)?;
    let states = work.read_cpus()?;
    work.read_hptes();
    let crash = work.read_crash_info(&states)?;
    work.set_boot_end(crash.is_some());
    let info = vmcoreinfo::find(&work.image, &work.plan, crash.as_ref(), &mut work.findings)?;
    let order = work.byte_order(crash.as_ref(), info.as_ref().map(|i| i.order), &states);
    let page = work.page_size(info.as_ref().map(|i| &i.note));
    work.set_area_end(crash.as_ref(), page);
    let notes = work.notes(&states, crash.as_ref(), info.map(|i| i.note), order);
    work.finish(page, order, notes)
}

use opal::Opal;

/// What is gathered on the way.
struct Work<'a> {
    options: &'a Options,
    image: Image,
    plan: Plan,
    findings: Findings,
    region: Option<ReleaseRegion>,
    opal: Option<Opal>,
    phyp_dump: bool,
    reserved_above: Option<PhysAddr>,
    /// What becomes of the raw areas.
    private: Vec<Note>,
}

fn span(start: PhysAddr, len: u64) -> Range<PhysAddr> {
    Range::new(start, PhysAddr(start.0.saturating_add(len)))
}

fn section(kind: SectionKind, source: u64, destination: PhysAddr, requested: u64, copied: u64) -> Section {
    Section {
        request: Section::COPY,
        kind,
        errors: 0,
        source: PhysAddr(source),
        requested,
        copied,
        destination,
    }
}

impl<'a> Work<'a> {
    fn new(
        leavings: &Leavings,
        memory: Box<dyn PhysicalMemory>,
        options: &'a Options,
    ) -> Result<Self, Error> {
        let mut findings = Findings::default();
        let image = Image::new(memory);
        let there = image.memory().map().bytes().clone();
        let given = options.memory_map.as_ref().or(leavings.memory_map.as_ref()).filter(|m| !m.is_empty());
        let memory = given.cloned().unwrap_or_else(|| {
            findings.note("no device tree says where memory is; the image is taken for all of it");
            there.clone()
        });
        if memory.is_empty() {
            return Err(Error::Missing {
                what: "memory".into(),
                advice: "the memory image is empty, and nothing says where memory is".into(),
            });
        }
        let plan = Plan { memory, image: there, ..Plan::default() };
        Ok(Self {
            options,
            image,
            plan,
            findings,
            region: None,
            opal: None,
            phyp_dump: leavings.phyp_dump,
            reserved_above: leavings.reserved_above,
            private: Vec::new(),
        })
    }

    /// Learns what was copied where: from OPAL's metadata, the device tree, or `release_region`, in this order.
    fn read_sections(&mut self, leavings: &Leavings) -> Result<(), Error> {
        let region = leavings.release_region.as_deref().map(ReleaseRegion::parse);
        let tree = leavings.kernel_dump.as_deref().map(KernelDump::parse);
        if let Some(text) = &leavings.release_region {
            self.private.push(private_note(notes::RELEASE_REGION, text.clone().into_bytes()));
        }
        if let Some(bytes) = &leavings.kernel_dump {
            self.private.push(private_note(notes::KERNEL_DUMP, bytes.clone()));
        }
        let usable = matches!(&region, Some(Ok(r)) if !r.is_blank());
        match (&leavings.opal, tree) {
            (Some(answers), _) => self.read_opal(answers)?,
            (None, Some(Ok(dump))) => {
                for fault in dump.faults(Some(&self.plan.memory)) {
                    let (severity, text) = dump.explain(&fault);
                    self.findings.add(severity, text);
                }
                self.plan.sections = dump.sections;
            }
            (None, Some(Err(error))) if usable => {
                self.findings.damage(format!("{error}; release_region was used"));
            }
            (None, Some(Err(error))) => return Err(error),
            (None, None) if usable => {
                self.findings
                    .note("ibm,kernel-dump is missing; release_region alone says where the copies lie");
            }
            (None, None) => {
                if let Some(Err(error)) = region {
                    return Err(error);
                }
                return Err(Error::Missing {
                    what: "ibm,kernel-dump".into(),
                    advice: "without it, or a release_region that names addresses, nothing says where the copies lie"
                        .into(),
                });
            }
        }
        match region {
            Some(Ok(region)) => self.use_region(region),
            Some(Err(error)) => self.findings.warning(format!("{error}; it was not used")),
            None => (),
        }
        Ok(())
    }

    fn use_region(&mut self, region: ReleaseRegion) {
        if self.plan.sections.is_empty() && !region.is_blank() {
            let pairs = [
                (SectionKind::CpuState, region.cpu()),
                (SectionKind::Hpte, region.hpte()),
                (SectionKind::RealMode, region.low_memory()),
            ];
            self.plan.sections = pairs
                .iter()
                .filter_map(|&(kind, pair)| {
                    let range = pair?.range(self.options.reading);
                    Some(section(kind, 0, range.start, range.len(), range.len()))
                })
                .collect();
        } else if !region.is_blank() {
            let pairs = [
                (SectionKind::CpuState, region.cpu()),
                (SectionKind::Hpte, region.hpte()),
                (SectionKind::RealMode, region.low_memory()),
            ];
            for (kind, pair) in pairs {
                let section = self.plan.sections.iter().find(|s| s.kind == kind && s.is_requested());
                if let (Some(section), Some(pair)) = (section, pair)
                    && section.destination != pair.address
                {
                    self.findings.warning(format!(
                        "release_region says that the {kind} lies at {}, ibm,kernel-dump {}; the device tree is believed",
                        pair.address, section.destination
                    ));
                }
            }
        }
        let scratch = self.plan.reserved().iter().next().map(|r| r.start);
        for finding in &region.findings(self.options.reading, scratch, PageSize::K4.bytes()) {
            self.findings.add(finding.severity, &finding.text);
        }
        self.region = Some(region);
    }

    /// The registers that the firmware saved. Whatever is wrong with them, there is a dump.
    fn read_cpus(&mut self) -> Result<Vec<CpuState>, Error> {
        if self.opal.is_some() {
            return self.read_opal_cpus();
        }
        let Some(bytes) = self.read_area(SectionKind::CpuState) else { return Ok(Vec::new()) };
        let parsed = SaveArea::parse(&bytes);
        self.private.push(private_note(notes::CPU_STATE, bytes));
        match parsed {
            Ok(area) => {
                report::save_area(&area, &mut self.findings);
                Ok(area.into_ascending())
            }
            Err(error) => {
                self.findings.damage(format!("{error}: the firmware's registers are lost"));
                Ok(Vec::new())
            }
        }
    }

    fn read_hptes(&mut self) {
        if let Some(bytes) = self.read_area(SectionKind::Hpte) {
            match HpteArea::parse(&bytes) {
                Ok(area) => area.report(&mut self.findings),
                Err(error) => self.findings.warning(error.to_string()),
            }
            self.private.push(private_note(notes::HPTE, bytes));
        }
    }

    /// The bytes that the firmware copied for the first section of a kind.
    fn read_area(&mut self, kind: SectionKind) -> Option<Vec<u8>> {
        let section = *self.plan.sections.iter().find(|s| s.kind == kind && s.is_requested())?;
        let filled = section.filled();
        if filled.is_empty() {
            return None;
        }
        let most = if kind == SectionKind::Hpte { MAX_HPTES } else { MAX_AREA };
        let range = self.image.prefix(filled.start, filled.len().min(most));
        if range.len() < filled.len() {
            self.findings.damage(format!(
                "of {:#x} bytes of {kind} at {}, {:#x} were read",
                filled.len(),
                filled.start,
                range.len()
            ));
        }
        match self.image.copy("a save area", range) {
            Ok(bytes) => Some(bytes).filter(|b| !b.is_empty()),
            Err(error) => {
                self.findings.damage(format!("{kind}: {error}"));
                None
            }
        }
    }

    fn read_crash_info(&mut self, states: &[CpuState]) -> Result<Option<CrashInfo>, Error> {
        let Some(at) = self.crash_info_at() else { return Ok(None) };
        let bytes = match self
            .image
            .copy("the crash-info header", self.image.prefix(at, crashinfo::MAX_LEN as u64))
        {
            Ok(bytes) => bytes,
            Err(Error::NotInImage { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let saved: Vec<u32> = states.iter().map(|s| s.cpu).collect();
        match CrashInfo::parse(&bytes, at, &saved) {
            Ok(info) => {
                report::crash_info(&info, self.opal.is_some(), &mut self.findings);
                self.plan.after.push(span(at, info.len));
                let raw = bytes[..bytes.len().min(info.len as usize)].to_vec();
                self.private.push(private_note(notes::CRASH_INFO, raw));
                Ok(Some(info))
            }
            Err(_) if self.looks_like_phyp() => {
                self.findings.note(
                    "there is no crash-info header, as kernels before 3.4 write none: which CPU crashed is not known",
                );
                Ok(None)
            }
            Err(error) => {
                self.findings.damage(format!(
                    "at {at}: {error}; which CPU crashed, its registers and where VMCOREINFO lies are not known"
                ));
                Ok(None)
            }
        }
    }

    fn byte_order(
        &mut self,
        crash: Option<&CrashInfo>,
        note: Option<ByteOrder>,
        states: &[CpuState],
    ) -> ByteOrder {
        if let (Some(crash), Some(note)) = (crash, note)
            && crash.order != note
        {
            self.findings.warning(format!(
                "the crash-info header is {:?}-endian, VMCOREINFO {note:?}-endian; the header counts",
                crash.order
            ));
        }
        if let Some(order) = crash.map(|c| c.order).or(note) {
            return order;
        }
        // MSR: the highest bit is 64-bit mode, where firmware called by the kernel does not run; the lowest is
        // little-endian mode.
        let modes = || states.iter().filter_map(|s| s.get("MSR")).filter(|msr| msr >> 63 != 0);
        let little = modes().filter(|msr| msr & 1 != 0).count();
        let order = if little * 2 > modes().count() { ByteOrder::Little } else { ByteOrder::Big };
        self.findings.warning(format!(
            "neither a crash-info header nor VMCOREINFO gives the kernel's byte order; by the CPUs' mode it is {order:?}"
        ));
        order
    }

    fn page_size(&mut self, info: Option<&Note>) -> PageSize {
        if let Some(given) = self.options.page_size {
            return given;
        }
        if let Some(size) = info.and_then(|n| VmcoreInfo::parse(&n.desc).page_size()) {
            return size;
        }
        let size = PageSize::K4;
        self.findings.warning(format!("VMCOREINFO does not give the page size; pages of {size} are assumed"));
        size
    }

    fn notes(
        &mut self,
        states: &[CpuState],
        crash: Option<&CrashInfo>,
        info: Option<Note>,
        order: ByteOrder,
    ) -> Notes {
        let saved: Vec<&CpuState> = states.iter().collect();
        let cpus = cpus::combine(&saved, crash, self.opal.is_some(), &mut self.findings);
        let crashed = info.as_ref().is_none_or(|n| VmcoreInfo::parse(&n.desc).crash_time().is_some());
        let mut notes = notes::cpu_notes(&cpus, order, !crashed);
        info.into_iter().chain(self.private.drain(..)).for_each(|note| notes.push(note, order));
        notes
    }

    fn finish(mut self, page: PageSize, order: ByteOrder, notes: Notes) -> Result<(Dump, Findings), Error> {
        let (segments, lost) = self.plan.segments();
        self.report_lost(&lost);
        let map = MemoryMap::new(page, segments.iter().map(|s| s.range).collect());
        // The linear mapping of every ppc64 kernel, as /proc/vmcore gives it.
        let linear = |phys: Range<PhysAddr>| VirtSegment { virt: VirtAddr(PAGE_OFFSET | phys.start.0), phys };
        let virt = map.bytes().iter().map(linear).collect();
        let machine = Machine { arch: Arch::Ppc64, order, word: WordSize::Bits64 };
        let format = match (&self.opal, &self.region) {
            (Some(_), _) => "memory after an OPAL MPIPL",
            (None, Some(_)) => "memory after a hypervisor-assisted dump (phyp-dump)",
            (None, None) => "memory after a firmware-assisted dump",
        };
        let source = Source {
            format: format.into(),
            incomplete: self.findings.has_damage(),
            remarks: self.findings.iter().map(|f| format!("{}: {}", f.severity, f.text)).collect(),
            ..Source::default()
        };
        let dump = Dump {
            machine,
            memory: Box::new(Reassembled::new(self.image, map, segments)),
            vmcoreinfo: Dump::find_vmcoreinfo(&notes),
            notes,
            virt,
            // Little-endian kernels are ELFv2 always; nothing in memory says what a big-endian one is.
            elf_flags: if order == ByteOrder::Little { 2 } else { 0 },
            source,
        };
        Ok((dump, self.findings))
    }

    fn report_lost(&mut self, lost: &Lost) {
        let reasons = [
            (&lost.overwritten, "the second boot has used it, and it was not copied"),
            (&lost.copy_gone, "its copy is outside the memory image or was overwritten"),
            (&lost.overrun, "a section that was copied too long has overwritten it"),
            (&lost.not_in_image, "the memory image does not have it"),
        ];
        for (ranges, why) in reasons {
            for range in ranges.iter() {
                self.findings.damage(format!("memory {range:?} ({:#x} bytes) is lost: {why}", range.len()));
            }
        }
    }
}
