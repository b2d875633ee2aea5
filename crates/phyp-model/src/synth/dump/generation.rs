//! What differs from release to release of Linux: where `struct page` keeps what, and how a page is marked.
//!
//! Sources: `include/linux/mm_types.h` and `page-flags.h` of each release, and `kernel/kexec.c`, `crash_core.c` and
//! `vmcore_info.c` for what VMCOREINFO exports of it.

use crate::synth::dump::arch::Arch;

/// Releases of Linux between which something changed that a filter must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generation {
    /// Free pages have a flag that VMCOREINFO does not export; nor does it export what marks slab and compound pages.
    V2_6_32,
    /// `struct page` rearranged for SLUB; free pages have the map count -128, still not exported.
    V3_2,
    /// Free, slab and broken pages are exported (3.9).
    V3_10,
    /// Heads of compound pages and hugetlb are exported (3.17).
    V3_19,
    /// `compound_head`; order and destructor as numbers of 32 bits.
    V4_4,
    /// PG_waiters; PG_swapcache shares its bit.
    V4_14,
    /// `struct page` rearranged, page types (4.18), offline pages exported (4.20), PG_workingset; order and destructor as
    /// bytes.
    V5_10,
    /// `struct slab`, names of `uname` at the beginning of `uts_namespace`.
    V6_1,
    /// Order and destructor in `struct folio`; slab writes where `mapping` is (6.2).
    V6_3,
    /// Order in the second page's flags, hugetlb as one of them; flags reordered.
    V6_6,
    /// Hugetlb is a page type.
    V6_9,
    /// Slab is a page type.
    V6_10,
    /// Page types as bits at the top.
    V6_11,
    /// Page types as a number in the top byte.
    V6_12,
    /// Pages that the kernel has not accepted from its host are exported; PG_dropbehind.
    V6_16,
    /// `compound_info`: a mask, where the head's address was.
    V7_1,
}

/// Types of pages that are where the map count is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Buddy,
    Offline,
    Table,
    Hugetlb,
    Slab,
    Zsmalloc,
    Unaccepted,
    LargeKmalloc,
}

/// Byte offsets in `struct page`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) refcount: usize,
    pub(crate) mapcount: usize,
    pub(crate) mapping: usize,
    pub(crate) private: usize,
    pub(crate) index: usize,
    pub(crate) lru: usize,
}

/// Where the second page of a compound page keeps order and destructor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compound {
    /// `lru.prev` and `lru.next`, a function's address.
    List,
    /// Numbers of 32 bits after `compound_head`.
    Words,
    /// Bytes after `compound_head`.
    Bytes,
    /// The low byte of the flags, which has no destructor.
    Flags,
}

impl Generation {
    /// All of them, oldest first.
    pub const ALL: [Self; 16] = [
        Self::V2_6_32,
        Self::V3_2,
        Self::V3_10,
        Self::V3_19,
        Self::V4_4,
        Self::V4_14,
        Self::V5_10,
        Self::V6_1,
        Self::V6_3,
        Self::V6_6,
        Self::V6_9,
        Self::V6_10,
        Self::V6_11,
        Self::V6_12,
        Self::V6_16,
        Self::V7_1,
    ];

    /// The release's number.
    pub fn release(self) -> &'static str {
        match self {
            Self::V2_6_32 => "2.6.32",
            Self::V3_2 => "3.2",
            Self::V3_10 => "3.10",
            Self::V3_19 => "3.19",
            Self::V4_4 => "4.4",
            Self::V4_14 => "4.14",
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_3 => "6.3",
            Self::V6_6 => "6.6",
            Self::V6_9 => "6.9",
            Self::V6_10 => "6.10",
            Self::V6_11 => "6.11",
            Self::V6_12 => "6.12",
            Self::V6_16 => "6.16",
            Self::V7_1 => "7.1",
        }
    }

    pub(crate) fn layout(self) -> Layout {
        if self < Self::V3_2 {
            Layout { refcount: 8, mapcount: 12, private: 16, mapping: 24, index: 32, lru: 40 }
        } else if self < Self::V5_10 {
            Layout { mapping: 8, index: 16, mapcount: 24, refcount: 28, lru: 32, private: 48 }
        } else {
            Layout { lru: 8, mapping: 24, index: 32, private: 40, mapcount: 48, refcount: 52 }
        }
    }

    /// Offset of `compound_head`; before 4.4 tails have a flag instead.
    pub(crate) fn head_pointer(self) -> Option<usize> {
        (self >= Self::V4_4).then_some(self.layout().lru)
    }

    pub(crate) fn compound(self) -> Compound {
        match self {
            _ if self < Self::V4_4 => Compound::List,
            Self::V4_4 | Self::V4_14 => Compound::Words,
            Self::V5_10 | Self::V6_1 | Self::V6_3 => Compound::Bytes,
            _ => Compound::Flags,
        }
    }

    /// The flags in the order of `enum pageflags`.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::V2_6_32 => &[
                "locked",
                "error",
                "referenced",
                "uptodate",
                "dirty",
                "lru",
                "active",
                "slab",
                "owner_priv_1",
                "arch_1",
                "reserved",
                "private",
                "private_2",
                "writeback",
                "head",
                "tail",
                "swapcache",
                "mappedtodisk",
                "reclaim",
                "buddy",
                "swapbacked",
                "unevictable",
                "mlocked",
                "uncached",
                "hwpoison",
            ],
            Self::V3_2 | Self::V3_10 | Self::V3_19 => &[
                "locked",
                "error",
                "referenced",
                "uptodate",
                "dirty",
                "lru",
                "active",
                "slab",
                "owner_priv_1",
                "arch_1",
                "reserved",
                "private",
                "private_2",
                "writeback",
                "head",
                "tail",
                "swapcache",
                "mappedtodisk",
                "reclaim",
                "swapbacked",
                "unevictable",
                "mlocked",
                "uncached",
                "hwpoison",
            ],
            Self::V4_4 => &[
                "locked",
                "error",
                "referenced",
                "uptodate",
                "dirty",
                "lru",
                "active",
                "slab",
                "owner_priv_1",
                "arch_1",
                "reserved",
                "private",
                "private_2",
                "writeback",
                "head",
                "swapcache",
                "mappedtodisk",
                "reclaim",
                "swapbacked",
                "unevictable",
                "mlocked",
                "uncached",
                "hwpoison",
            ],
            Self::V4_14 => &[
                "locked",
                "error",
                "referenced",
                "uptodate",
                "dirty",
                "lru",
                "active",
                "waiters",
                "slab",
                "owner_priv_1",
                "arch_1",
                "reserved",
                "private",
                "private_2",
                "writeback",
                "head",
                "mappedtodisk",
                "reclaim",
                "swapbacked",
                "unevictable",
                "mlocked",
                "uncached",
                "hwpoison",
            ],
            Self::V5_10 | Self::V6_1 | Self::V6_3 => &[
                "locked",
                "referenced",
                "uptodate",
                "dirty",
                "lru",
                "active",
                "workingset",
                "waiters",
                "error",
                "slab",
                "owner_priv_1",
                "arch_1",
                "reserved",
                "private",
                "private_2",
                "writeback",
                "head",
                "mappedtodisk",
                "reclaim",
                "swapbacked",
                "unevictable",
                "mlocked",
                "uncached",
                "hwpoison",
            ],
            Self::V6_6 | Self::V6_9 => &[
                "locked",
                "writeback",
                "referenced",
                "uptodate",
                "dirty",
                "lru",
                "head",
                "waiters",
                "active",
                "workingset",
                "error",
                "slab",
                "owner_priv_1",
                "arch_1",
                "reserved",
                "private",
                "private_2",
                "mappedtodisk",
                "reclaim",
                "swapbacked",
                "unevictable",
                "mlocked",
                "uncached",
                "hwpoison",
            ],
            Self::V6_10 | Self::V6_11 => &[
                "locked",
                "writeback",
                "referenced",
                "uptodate",
                "dirty",
                "lru",
                "head",
                "waiters",
                "active",
                "workingset",
                "error",
                "owner_priv_1",
                "arch_1",
                "reserved",
                "private",
                "private_2",
                "mappedtodisk",
                "reclaim",
                "swapbacked",
                "unevictable",
                "mlocked",
                "uncached",
                "hwpoison",
            ],
            Self::V6_12 => &[
                "locked",
                "writeback",
                "referenced",
                "uptodate",
                "dirty",
                "lru",
                "head",
                "waiters",
                "active",
                "workingset",
                "owner_priv_1",
                "owner_2",
                "arch_1",
                "reserved",
                "private",
                "private_2",
                "reclaim",
                "swapbacked",
                "unevictable",
                "mlocked",
                "hwpoison",
            ],
            Self::V6_16 | Self::V7_1 => &[
                "locked",
                "writeback",
                "referenced",
                "uptodate",
                "dirty",
                "lru",
                "head",
                "waiters",
                "active",
                "workingset",
                "owner_priv_1",
                "owner_2",
                "arch_1",
                "reserved",
                "private",
                "private_2",
                "reclaim",
                "swapbacked",
                "unevictable",
                "dropbehind",
                "mlocked",
                "hwpoison",
            ],
        }
    }

    /// The number of a flag, on the architecture: only x86 has PG_uncached.
    pub(crate) fn flag_number(self, arch: Arch, name: &str) -> Option<u32> {
        let has = |flag: &&&str| **flag != "uncached" || arch == Arch::X86_64;
        let find = |name: &str| self.flags().iter().filter(has).position(|flag| *flag == name);
        let at = match name {
            // Another name for PG_owner_priv_1 since 4.10.
            "swapcache" => find(name).or_else(|| find("owner_priv_1")),
            _ => find(name),
        };
        at.map(|at| at as u32)
    }

    /// The mask of a flag; 0 where the release has none of that name.
    pub(crate) fn flag(self, arch: Arch, name: &str) -> u64 {
        self.flag_number(arch, name).map_or(0, |number| 1 << number)
    }

    /// The word that a page of this type has in the place of its map count.
    pub(crate) fn type_word(self, kind: Type) -> Option<u32> {
        let cleared = |bit: u32| Some(!bit);
        match (self, kind) {
            (Self::V2_6_32, _) => None,
            (Self::V3_2 | Self::V3_10 | Self::V3_19 | Self::V4_4 | Self::V4_14, Type::Buddy) => {
                Some(0xffff_ff80)
            }
            // A balloon's page; VMCOREINFO does not say so.
            (Self::V3_19 | Self::V4_4 | Self::V4_14, Type::Offline) => Some(0xffff_ff00),
            (Self::V3_2 | Self::V3_10 | Self::V3_19 | Self::V4_4 | Self::V4_14, _) => None,
            (Self::V6_11, Type::Buddy) => cleared(0x4000_0000),
            (Self::V6_11, Type::Offline) => cleared(0x2000_0000),
            (Self::V6_11, Type::Table) => cleared(0x1000_0000),
            (Self::V6_11, Type::Hugetlb) => cleared(0x0400_0000),
            (Self::V6_11, Type::Slab) => cleared(0x0200_0000),
            (Self::V6_11, Type::Zsmalloc) => cleared(0x0100_0000),
            (Self::V6_12 | Self::V6_16 | Self::V7_1, _) => Some(match kind {
                Type::Buddy => 0xf000_0000,
                Type::Offline => 0xf100_0000,
                Type::Table => 0xf200_0000,
                Type::Hugetlb => 0xf400_0000,
                Type::Slab => 0xf500_0000,
                Type::Zsmalloc => 0xf600_0000,
                Type::Unaccepted => 0xf700_0000,
                Type::LargeKmalloc if self == Self::V6_12 => return None,
                Type::LargeKmalloc => 0xf800_0000,
            }),
            (_, Type::Buddy) => cleared(0x80),
            (_, Type::Offline) => cleared(0x100),
            (_, Type::Table) => cleared(0x200),
            (Self::V6_9 | Self::V6_10, Type::Hugetlb) => cleared(0x800),
            (Self::V6_10, Type::Slab) => cleared(0x1000),
            _ => None,
        }
    }

    /// Whether VMCOREINFO says which pages are heads and how large their compound is.
    pub(crate) fn tells_compounds(self) -> bool {
        self >= Self::V3_19
    }

    /// Whether it exports what marks broken pages, where the kernel has any.
    pub(crate) fn tells_hwpoison(self) -> bool {
        self >= Self::V3_10
    }

    /// Whether it exports what marks offline pages.
    pub(crate) fn tells_offline(self) -> bool {
        self >= Self::V5_10
    }

    /// Whether it exports what marks pages that were never accepted from the host.
    pub(crate) fn tells_unaccepted(self) -> bool {
        self >= Self::V6_16
    }

    /// Whether hugetlb gives the memory of most of its `struct page`s back (CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP): never
    /// on POWER, and on s390x until 6.17.
    pub(crate) fn shares_hugetlb_vmemmap(self, arch: Arch) -> bool {
        let possible = match arch {
            Arch::Ppc64 => false,
            Arch::S390x => self <= Self::V6_16,
            Arch::X86_64 | Arch::Arm64 | Arch::Riscv64 | Arch::LoongArch64 => true,
        };
        possible && self >= Self::V6_1
    }

    /// Whether tails hold a mask, as they do in such kernels since 7.1, and not their head's address.
    pub(crate) fn masks_tails(self, arch: Arch) -> bool {
        self >= Self::V7_1 && self.shares_hugetlb_vmemmap(arch)
    }
}
