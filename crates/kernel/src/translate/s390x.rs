//! IBM Z, 64 bits: region, segment and page tables.
//!
//! Until 6.9 virtual addresses of the kernel's image and of memory are the physical ones. Since 6.10 memory is mapped from
//! an identity base on and the image elsewhere; VMCOREINFO says where, and so does `os_info`, which the lowcore at
//! absolute 0 points to. Dumps hold absolute memory: the prefix pages of the CPUs lie where they were allocated, and
//! virtual 0 is absolute 0, as for crash and makedumpfile.

use super::table::{Entry, Level, Step, Stop, step};
use super::{Mapping, missing, not_mapped};
use crate::Error;
use crate::physical::Physical;
use vmcore::{ByteOrder, PhysAddr, Range, VirtAddr, VirtSegment, VmcoreInfo};

/// `lowcore.os_info`, an absolute address.
const LOWCORE_OS_INFO: u64 = 0xe18;
/// `OS_INFO_MAGIC`: OSINFOSZ.
const MAGIC: u64 = 0x4f53_494e_464f_535a;
/// `struct os_info` up to its entries, and one packed `struct os_info_entry`.
const OS_INFO_HEAD: usize = 32;
const OS_INFO_ENTRY: usize = 20;
const OS_INFO_LEN: usize = OS_INFO_HEAD + 13 * OS_INFO_ENTRY;
/// Entries of `os_info` that are values.
const IDENTITY_BASE: usize = 4;
const KASLR_OFFSET: usize = 5;
const KASLR_OFF_PHYS: usize = 6;
const IMAGE_START: usize = 10;
const IMAGE_END: usize = 11;
const IMAGE_PHYS: usize = 12;
/// No image is larger.
const IMAGE_SIZE: u64 = 1 << 30;

/// `_REGION_ENTRY_INVALID` and `_SEGMENT_ENTRY_INVALID`.
const INVALID: u64 = 0x20;
/// `_PAGE_INVALID`.
const PAGE_INVALID: u64 = 0x400;
/// `_REGION3_ENTRY_LARGE` and `_SEGMENT_ENTRY_LARGE`.
const LARGE: u64 = 0x400;

/// The levels, that of segments first; the kernel's table type, 0 to 3, says which is the root.
const LEVELS: [Level; 4] = [
    Level { name: "segment", shift: 20, bits: 11 },
    Level { name: "region-third", shift: 31, bits: 11 },
    Level { name: "region-second", shift: 42, bits: 11 },
    Level { name: "region-first", shift: 53, bits: 11 },
];
const PAGES: Level = Level { name: "page", shift: 12, bits: 8 };
/// A region table's length and offset count 512 entries.
const UNIT: u64 = 512;

/// How the image and memory are mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Layout {
    /// The virtual address of absolute 0.
    identity: u64,
    /// What virtual addresses of the image are further than physical ones.
    image: u64,
}

/// The translator of an s390x kernel.
pub(super) struct S390x {
    root: PhysAddr,
    /// The table type of the root.
    top: usize,
    layout: Layout,
    /// The image, where `os_info` tells it.
    image: Option<VirtSegment>,
}

/// A number that the kernel printed as `%lx`.
fn hex(info: &VmcoreInfo, key: &str) -> Option<u64> {
    u64::from_str_radix(info.get(key)?.trim_start_matches("0x"), 16).ok()
}

/// The values of `os_info`; `None` where there is none.
fn os_info(physical: &Physical<'_>) -> Result<Option<[u64; 13]>, Error> {
    let mut bytes = [0; OS_INFO_LEN];
    let read = physical.entry(PhysAddr(LOWCORE_OS_INFO), ByteOrder::Big, "lowcore.os_info").and_then(|at| {
        if at == 0 || at & 0xfff != 0 {
            return Ok(false);
        }
        physical.read(PhysAddr(at), &mut bytes, "os_info").map(|()| true)
    });
    match read {
        Err(Error::Read(error)) => return Err(Error::Read(error)),
        Ok(true) if ByteOrder::Big.u64(&bytes) == MAGIC => {}
        _ => return Ok(None),
    }
    let mut values = [0; 13];
    for (value, entry) in values.iter_mut().zip(bytes[OS_INFO_HEAD..].chunks_exact(OS_INFO_ENTRY)) {
        *value = ByteOrder::Big.u64(entry);
    }
    Ok(Some(values))
}

impl S390x {
    pub(super) fn open(info: &VmcoreInfo, physical: &Physical<'_>) -> Result<Self, Error> {
        let symbol = info
            .symbol("swapper_pg_dir")
            .ok_or_else(|| missing("SYMBOL(swapper_pg_dir)", "address translation"))?;
        let os_info = os_info(physical)?.filter(|values| values[KASLR_OFFSET] != 0);
        let layout = match (hex(info, "KERNELOFFPHYS"), os_info) {
            (Some(phys), _) => Layout {
                identity: hex(info, "IDENTITYBASE").unwrap_or(0),
                image: hex(info, "KERNELOFFSET").unwrap_or(0).wrapping_sub(phys),
            },
            (None, Some(values)) => Layout {
                identity: values[IDENTITY_BASE],
                image: values[KASLR_OFFSET].wrapping_sub(values[KASLR_OFF_PHYS]),
            },
            // KERNELOFFSET alone, of 5.2 to 6.9, moves both addresses.
            (None, None) => Layout::default(),
        };
        let root = PhysAddr(symbol.0.wrapping_sub(layout.image) & !0xfff);
        // Every entry of a region table tells its type, used or not.
        let first = physical.entry(root, ByteOrder::Big, "swapper_pg_dir")?;
        let image = os_info.and_then(|values| {
            let len = values[IMAGE_END].checked_sub(values[IMAGE_START]).filter(|&len| len <= IMAGE_SIZE)?;
            let phys = values[IMAGE_PHYS];
            let end = phys.checked_add(len).filter(|_| len > 0 && phys != 0)?;
            Some(VirtSegment {
                virt: VirtAddr(values[IMAGE_START]),
                phys: Range::new(PhysAddr(phys), PhysAddr(end)),
            })
        });
        Ok(Self { root, top: (first >> 2 & 3) as usize, layout, image })
    }

    pub(super) fn walk(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Stop> {
        let levels = &LEVELS[..=self.top];
        let span = LEVELS[self.top].shift + LEVELS[self.top].bits;
        if span < 64 && addr.0 >> span != 0 {
            let why = format!("it has more than the {span} bits that the kernel's tables are for");
            return Err(Stop { error: not_mapped(addr, why), len: addr.0.wrapping_neg() });
        }
        let order = ByteOrder::Big;
        let mut table = (self.root.0, 0..4 * UNIT);
        for (kind, level) in levels.iter().enumerate().rev() {
            let decode = |entry: u64, _| match entry {
                _ if entry & INVALID != 0 || entry >> 2 & 3 != kind as u64 => Entry::Nothing,
                _ if kind < 2 && entry & LARGE != 0 => Entry::Memory(entry),
                _ if kind == 0 => Entry::Table(entry & !0x7ff),
                _ => Entry::Table(entry & !0xfff),
            };
            match step(physical, order, table, level, addr, decode)? {
                Step::Mapped(mapping) => return Ok(mapping),
                Step::Down(entry, next) if kind > 0 => {
                    table = (next, (entry >> 6 & 3) * UNIT..((entry & 3) + 1) * UNIT);
                }
                Step::Down(_, next) => table = (next, 0..1 << PAGES.bits),
            }
        }
        let decode = |entry: u64, _| match entry & PAGE_INVALID {
            0 => Entry::Memory(entry & !0xfff),
            _ => Entry::Nothing,
        };
        match step(physical, order, table, &PAGES, addr, decode)? {
            Step::Mapped(mapping) => Ok(mapping),
            Step::Down(..) => Err(Stop { error: not_mapped(addr, "its page table has no end"), len: 1 }),
        }
    }

    /// The image and memory, by how they are mapped, where a dump lacks the tables.
    pub(super) fn computed(&self, physical: &Physical<'_>, addr: VirtAddr) -> Option<Mapping> {
        let Layout { identity, image } = self.layout;
        [addr.0.wrapping_sub(identity), addr.0.wrapping_sub(image)]
            .into_iter()
            .find(|&phys| physical.exists(PhysAddr(phys)))
            .map(|phys| Mapping { phys: PhysAddr(phys), len: (1 << 12) - (addr.0 & 0xfff) })
    }

    /// What virtual addresses of memory are further than physical ones.
    pub(super) fn identity(&self) -> u64 {
        self.layout.identity
    }

    /// The image as `os_info` describes it.
    pub(super) fn image(&self) -> Option<VirtSegment> {
        self.image
    }
}
