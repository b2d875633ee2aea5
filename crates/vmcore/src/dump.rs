//! A dump, whatever it was read from.

use crate::repaged::{Nothing, Repaged};
use crate::{
    Arch, Machine, Note, Notes, PageSize, Pfn, PhysAddr, PhysicalMemory, Range, RangeSet, VirtAddr,
    VmcoreInfo,
};

/// Where virtual memory is known to lie: one PT_LOAD of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtSegment {
    /// The first virtual address.
    pub virt: VirtAddr,
    /// The physical memory it stands for.
    pub phys: Range<PhysAddr>,
}

/// The six strings of `uname`, as the crashed kernel held them in `init_uts_ns`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Utsname {
    /// `Linux`.
    pub sysname: String,
    /// The host's name.
    pub nodename: String,
    /// The kernel's release.
    pub release: String,
    /// Build number and date.
    pub version: String,
    /// The machine as `uname -m` spells it.
    pub machine: String,
    /// The NIS domain.
    pub domainname: String,
}

/// Who says how large the kernel's pages are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageSizeBy {
    /// The input, or the architecture, which has no other size.
    #[default]
    Input,
    /// Nobody: the smallest size was taken until something says it.
    Nobody,
    /// The user, who comes before the input.
    User,
}

/// What kind of input a dump was read from, and what that input says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The format for people: `ELF64 core`, `kdump-compressed v6 (zstd)`.
    pub format: String,
    /// How its pages are compressed, by the name of the method, the last of several; `None` when they are not.
    pub compression: Option<&'static str>,
    /// The dump level that was applied before, as far as the input says so.
    pub dump_level: Option<crate::DumpLevel>,
    /// The input's writer marked it as cut short, or it ends before its own tables say, or it is damaged in a way that
    /// [`Source::problems`] describes.
    pub incomplete: bool,
    /// What the input's header says of the system, when it has a place for that.
    pub utsname: Option<Utsname>,
    /// Where the kernel's link address 0 lies in physical memory, when the input has a place for that; the bits of a
    /// signed number.
    pub phys_base: Option<u64>,
    /// The text of earlier filters about what they erased inside of pages (makedumpfile's eraseinfo), empty if none did.
    pub erase_info: Vec<u8>,
    /// Memory that the boot after the crash has written over, though the input has something in its place. The pages are
    /// lost; those that were not the kernel's own are not missed.
    pub destroyed: RangeSet<Pfn>,
    /// What shows that the input is not what its writer wrote, besides pages that cannot be read: one sentence per entry.
    pub problems: Vec<String>,
    /// Who says how large the kernel's pages are.
    pub page_size_by: PageSizeBy,
    /// Nothing says where the machine has memory: all of the input was taken for it, with the holes between.
    pub map_assumed: bool,
    /// What was wrong with the input and was tolerated, one sentence per entry.
    pub remarks: Vec<String>,
}

/// Physical memory, notes and the machine they came from.
///
/// Nothing downstream of a `Dump` knows which format it was read from.
pub struct Dump {
    /// The machine that crashed.
    pub machine: Machine,
    /// Its memory.
    pub memory: Box<dyn PhysicalMemory>,
    /// Its notes, with every byte as the input had it.
    pub notes: Notes,
    /// The text of its VMCOREINFO note.
    pub vmcoreinfo: Option<VmcoreInfo>,
    /// The virtual addresses that the input gives for parts of memory.
    pub virt: Vec<VirtSegment>,
    /// `e_flags` of the ELF header, which on POWER names the ABI; 0 elsewhere.
    pub elf_flags: u32,
    /// Where all this came from.
    pub source: Source,
}

impl Dump {
    /// The page size of the crashed kernel.
    pub fn page_size(&self) -> PageSize {
        self.memory.map().page_size()
    }

    /// Counts memory in pages of another size, which is that of the kernel; the input may have had frames of another.
    pub fn set_page_size(&mut self, size: PageSize) {
        let before = self.page_size();
        if size == before {
            return;
        }
        // A page is destroyed if part of it is.
        let pages = |r: Range<Pfn>| {
            let last = before.addr(r.end).0.saturating_sub(1);
            Range::new(size.pfn(before.addr(r.start)), Pfn(size.pfn(PhysAddr(last)).0 + 1))
        };
        self.source.destroyed = self.source.destroyed.iter().map(pages).collect();
        if !self.memory.set_page_size(size) {
            let map = self.memory.map().clone();
            let inner = std::mem::replace(&mut self.memory, Box::new(Nothing(map)));
            self.memory = Box::new(Repaged::new(inner, size));
        }
    }

    /// The number of CPUs whose registers the notes hold.
    pub fn cpus(&self) -> usize {
        self.notes.prstatus().count()
    }

    /// The VMCOREINFO note among `notes`.
    pub fn find_vmcoreinfo(notes: &Notes) -> Option<VmcoreInfo> {
        notes.find("VMCOREINFO").map(|Note { desc, .. }| VmcoreInfo::parse(desc))
    }

    /// The page size to assume when neither VMCOREINFO nor a header gives one: only architectures whose Linux
    /// has a single page size have an answer, and those of [`Arch::Other`] whose kernels mostly have one.
    pub fn only_page_size(arch: Arch) -> Option<PageSize> {
        let single = matches!(arch, Arch::X86_64 | Arch::I386 | Arch::Arm | Arch::S390x | Arch::Riscv64);
        match arch {
            // Alpha and 64-bit SPARC have 8 KiB, the 68000 of most kernels 4 KiB.
            Arch::Other(0x9026 | 43) => PageSize::new(8192),
            Arch::Other(4) => Some(PageSize::K4),
            _ => single.then_some(PageSize::K4),
        }
    }
}
