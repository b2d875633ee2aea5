//! What differs from architecture to architecture: address spaces, page tables, and what VMCOREINFO says of them.

mod arm64;
pub(crate) mod loongarch64;
mod name;
mod ppc64;
mod riscv64;
pub(crate) mod s390x;
mod x86_64;

use crate::bytes::ByteOrder;
use crate::synth::dump::generation::Generation;
use crate::synth::dump::tables::Entries;
pub use name::Arch;

/// The machine's way to translate addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mmu {
    /// POWER's radix tree. With 4 KiB pages the top table, 64 KiB, is larger than a page.
    Radix,
    /// POWER's hashed page table, of which a dump holds nothing: vmemmap is found through `vmemmap_list`.
    Hash {
        /// The size of a vmemmap page as a power of two: 12, 16 or 24.
        vmemmap_shift: u32,
    },
    /// x86_64.
    X86 {
        /// Five levels instead of four.
        five: bool,
        /// Text, linear map and vmemmap are where chance put them.
        kaslr: bool,
        /// The bit that marks an entry's memory as encrypted (SME).
        sme: Option<u32>,
    },
    /// arm64.
    Arm {
        /// VA_BITS that the kernel was built with.
        built: u32,
        /// Those that the processor has: fewer where the kernel was built for 52 and had to make do.
        actual: u32,
        /// Bits of a physical address: 48 or 52.
        pa: u32,
        /// Image and linear map are where chance put them.
        kaslr: bool,
    },
    /// s390x.
    S390 {
        /// Region-second table on top, instead of a region-third one.
        four: bool,
        /// Where the identity mapping begins; other than 0 since 6.10 only.
        identity: u64,
    },
    /// riscv64.
    Sv {
        /// 39, 48 or 57.
        bits: u32,
    },
    /// loongarch64.
    Loong {
        /// Levels of the page table: 2 to 4.
        levels: u32,
    },
}

impl Mmu {
    /// The architecture that has it.
    pub fn arch(self) -> Arch {
        match self {
            Self::Radix | Self::Hash { .. } => Arch::Ppc64,
            Self::X86 { .. } => Arch::X86_64,
            Self::Arm { .. } => Arch::Arm64,
            Self::S390 { .. } => Arch::S390x,
            Self::Sv { .. } => Arch::Riscv64,
            Self::Loong { .. } => Arch::LoongArch64,
        }
    }
}

/// What an address space is planned from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Basis {
    pub(crate) mmu: Mmu,
    pub(crate) generation: Generation,
    pub(crate) page_size: u64,
    pub(crate) order: ByteOrder,
    /// First byte of RAM.
    pub(crate) ram_start: u64,
    /// Bytes of a `struct page`.
    pub(crate) struct_page: u64,
    /// More than one node.
    pub(crate) numa: bool,
}

/// An address space.
pub(crate) struct Space {
    /// The linear map's address of physical address 0, wrapping.
    pub(crate) linear: u64,
    /// Physical address of the kernel image.
    pub(crate) image_at: u64,
    /// What to add to a physical address of the image, wrapping.
    pub(crate) image: u64,
    /// Address of frame 0's `struct page` in the virtual array, wrapping.
    pub(crate) vmemmap: u64,
    /// Some address of vmalloc.
    pub(crate) vmalloc: u64,
    pub(crate) section_bits: u32,
    pub(crate) physmem_bits: u32,
    /// Page tables; a hashed page table leaves none.
    pub(crate) entries: Option<Box<dyn Entries>>,
    /// Whether linear map and image are in the page tables.
    pub(crate) maps_all: bool,
    /// The largest entry that maps vmemmap.
    pub(crate) vmemmap_entry: u64,
    /// Whether the image has a PT_LOAD of its own.
    pub(crate) image_segment: bool,
    /// The architecture's own lines of VMCOREINFO.
    pub(crate) lines: Vec<String>,
}

/// Offsets in the kernel image.
pub(crate) mod image {
    /// The top page table, up to 64 KiB.
    pub(crate) const SWAPPER: u64 = 0x10_0000;
    /// Tables that stand for no table, up to three of 64 KiB.
    pub(crate) const INVALID: u64 = 0x11_0000;
    /// The VMCOREINFO note.
    pub(crate) const NOTE: u64 = 0x14_0000;
    /// `init_uts_ns`.
    pub(crate) const UTS: u64 = 0x15_0000;
    /// Small variables.
    pub(crate) const MISC: u64 = 0x16_0000;
    /// `node_data`.
    pub(crate) const NODE_DATA: u64 = 0x17_0000;
    /// `contig_page_data`.
    pub(crate) const CONTIG: u64 = 0x18_0000;
    /// s390x: `os_info`.
    pub(crate) const OS_INFO: u64 = 0x19_0000;
    /// `mem_section`, where it is a static array.
    pub(crate) const ROOTS: u64 = 0x1a_0000;
    /// All of it.
    pub(crate) const SIZE: u64 = 0x20_0000;
}

/// Plans the address space.
pub(crate) fn space(basis: Basis) -> Space {
    match basis.mmu {
        Mmu::Radix | Mmu::Hash { .. } => ppc64::space(basis),
        Mmu::X86 { .. } => x86_64::space(basis),
        Mmu::Arm { .. } => arm64::space(basis),
        Mmu::S390 { .. } => s390x::space(basis),
        Mmu::Sv { .. } => riscv64::space(basis),
        Mmu::Loong { .. } => loongarch64::space(basis),
    }
}

/// Sizes of blocks, as orders.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    /// LENGTH(zone.free_area): the largest free block is one order below.
    pub(crate) free: u32,
    /// A transparent huge page.
    pub(crate) huge: u32,
    /// Huge pages of hugetlbfs, smallest first.
    pub(crate) hugetlb: Vec<u32>,
}

/// The sizes that an architecture has with these pages.
pub(crate) fn orders(mmu: Mmu, page_size: u64) -> Orders {
    let page = page_size.trailing_zeros();
    let (free, huge, hugetlb): (u32, u32, &[u32]) = match (mmu, page_size) {
        (Mmu::Hash { .. }, 0x1000) => (13, 24, &[24]),
        (Mmu::Hash { .. }, _) => (9, 24, &[24]),
        (Mmu::Radix, 0x1000) => (13, 21, &[21]),
        (Mmu::Radix, _) => (9, 21, &[21]),
        (Mmu::Arm { .. }, 0x1000) => (11, 21, &[16, 21, 25]),
        (Mmu::Arm { .. }, 0x4000) => (12, 25, &[21, 25]),
        (Mmu::Arm { .. }, _) => (14, 29, &[21, 29]),
        (Mmu::S390 { .. }, _) => (9, 20, &[20]),
        (Mmu::Loong { .. }, 0x1000) => (11, 21, &[21]),
        (Mmu::Loong { .. }, 0x4000) => (12, 25, &[25]),
        (Mmu::Loong { .. }, _) => (14, 29, &[29]),
        (Mmu::Sv { .. }, _) => (11, 21, &[16, 21]),
        (Mmu::X86 { .. }, _) => (11, 21, &[21]),
    };
    Orders { free, huge: huge - page, hugetlb: hugetlb.iter().map(|shift| shift - page).collect() }
}
