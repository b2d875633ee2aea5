//! IBM Z, 64 bits: region, segment and page tables.
//!
//! Until 6.9 virtual addresses of the kernel's image and of memory are the physical ones. Since 6.10 memory is mapped from
//! an identity base on and the image elsewhere; VMCOREINFO says where, and so does `os_info`, which the lowcore at
//! absolute 0 points to. Dumps hold absolute memory: the prefix pages of the CPUs lie where they were allocated, and
//! virtual 0 is absolute 0, as for crash and makedumpfile.

use super::table::{Entry, Level, Stop, Tree};
use super::tables::{TableVisitor, visit};
use super::{Mapping, missing, not_mapped};
use crate::Error;
use crate::address::physical::Physical;
use std::ops::Range;
use vmcore::{ByteOrder, PhysAddr, VirtAddr, VirtSegment, VmcoreInfo};

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

/// The levels. The kernel's table type, 3 to 0, says which of the first four is the root.
const LEVELS: [Level; 5] = [
    Level { name: "region-first", shift: 53, bits: 11 },
    Level { name: "region-second", shift: 42, bits: 11 },
    Level { name: "region-third", shift: 31, bits: 11 },
    Level { name: "segment", shift: 20, bits: 11 },
    Level { name: "page", shift: 12, bits: 8 },
];
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

/// The kernel's tables.
struct Tables {
    root: PhysAddr,
    levels: &'static [Level],
}

impl Tables {
    /// The type of tables of the level `depth`, `None` for those of pages.
    fn kind(&self, depth: usize) -> Option<u64> {
        (self.levels.len() as u64).checked_sub(depth as u64 + 2)
    }
}

impl Tree for Tables {
    fn root(&self) -> PhysAddr {
        self.root
    }

    fn levels(&self) -> &[Level] {
        self.levels
    }

    fn order(&self) -> ByteOrder {
        ByteOrder::Big
    }

    fn decode(&self, entry: u64, _index: u64, depth: usize) -> Entry {
        match self.kind(depth) {
            None if entry & PAGE_INVALID != 0 => Entry::Nothing,
            None => Entry::Memory(entry & !0xfff),
            Some(kind) if entry & INVALID != 0 || entry >> 2 & 3 != kind => Entry::Nothing,
            Some(0 | 1) if entry & LARGE != 0 => Entry::Memory(entry & !0xfff),
            Some(0) => Entry::Table(entry & !0x7ff),
            Some(_) => Entry::Table(entry & !0xfff),
        }
    }

    fn named(&self, entry: u64, depth: usize) -> Range<u64> {
        match self.kind(depth) {
            Some(0) => 0..1 << 8,
            _ => (entry >> 6 & 3) * UNIT..((entry & 3) + 1) * UNIT,
        }
    }
}

/// The translator of an s390x kernel.
pub(super) struct S390x {
    tables: Tables,
    layout: Layout,
    /// The image, where `os_info` gives it.
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
        // Every entry of a region table has its type, used or not.
        let first = physical.entry(root, ByteOrder::Big, "swapper_pg_dir")?;
        let image = os_info.and_then(|values| {
            let len = values[IMAGE_END].checked_sub(values[IMAGE_START]).filter(|&len| len <= IMAGE_SIZE)?;
            let phys = values[IMAGE_PHYS];
            let end = phys.checked_add(len).filter(|_| len > 0 && phys != 0)?;
            Some(VirtSegment {
                virt: VirtAddr(values[IMAGE_START]),
                phys: vmcore::Range::new(PhysAddr(phys), PhysAddr(end)),
            })
        });
        let levels = &LEVELS[3 - (first >> 2 & 3) as usize..];
        Ok(Self { tables: Tables { root, levels }, layout, image })
    }

    pub(super) fn walk(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Stop> {
        let span = self.tables.va_bits();
        if span < 64 && addr.0 >> span != 0 {
            let why = format!("it has more than the {span} bits that the kernel's tables are for");
            return Err(Stop { error: not_mapped(addr, why), len: addr.0.wrapping_neg() });
        }
        self.tables.walk(physical, addr)
    }

    /// The image and memory, by how they are mapped, where a dump lacks the tables.
    pub(super) fn computed(&self, physical: &Physical<'_>, addr: VirtAddr) -> Option<Mapping> {
        let Layout { identity, image } = self.layout;
        // The lowcore and code for 31 bits are where they are in either layout.
        let low = (addr.0 < 1 << 31).then_some(addr.0);
        [Some(addr.0.wrapping_sub(identity)), Some(addr.0.wrapping_sub(image)), low]
            .into_iter()
            .flatten()
            .find(|&phys| physical.exists(PhysAddr(phys)))
            .map(|phys| Mapping { phys: PhysAddr(phys), len: (1 << 12) - (addr.0 & 0xfff) })
    }

    pub(super) fn visit(&self, physical: &Physical<'_>, visitor: &mut dyn TableVisitor) -> Result<(), Error> {
        visit(&self.tables, physical, 0, visitor)
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
