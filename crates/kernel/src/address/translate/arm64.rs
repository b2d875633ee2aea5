//! 64-bit Arm: pages of 4, 16 and 64 KiB, addresses of 36 to 52 bits, tables of 2 to 5 levels.
//!
//! The virtual address space was turned around in 5.4: before, the image, modules and vmalloc were in the lower half of
//! the kernel's addresses and the direct map in the upper one. A walk need not know which it is.

use super::table::{Entries, Entry, Level, PageTable, Stop, Tree, levels, page_sized};
use super::tables::{TableVisitor, visit};
use super::{Mapping, missing, not_mapped};
use crate::Error;
use crate::address::physical::Physical;
use crate::address::translate::segments::Segments;
use vmcore::{ByteOrder, PageSize, PhysAddr, VirtAddr, VmcoreInfo};

const PURPOSE: &str = "address translation";
/// How far from `_stext` an address of the image can be.
const IMAGE_SIZE: u64 = 1 << 30;

/// Where an entry keeps the bits of an address (`PTE_ADDR_LOW`, `PTE_ADDR_HIGH` of the kernel's `pgtable-hwdef.h`).
#[derive(Debug)]
struct Arm64Entries {
    low: u64,
    high: u64,
    high_shift: u32,
    /// The largest block: base-two logarithm of its size.
    block: u32,
}

impl Arm64Entries {
    /// The entries for pages of size `page` and addresses that really have `va_bits` bits.
    ///
    /// Whether physical addresses have 52 bits is not told. With 64 KiB pages it does not matter: the places of their
    /// upper bits are zero otherwise. With smaller pages the kernel has 52 bits in both or in neither.
    fn new(page: PageSize, va_bits: u32) -> Self {
        let bits = |from: u32, to: u32| (u64::MAX << from) & (u64::MAX >> (63 - to));
        let each = page.shift() - 3;
        let wide = va_bits == 52;
        let (top, high, high_shift) = match page {
            PageSize::K64 => (47, bits(12, 15), 36),
            _ if wide => (49, bits(8, 9), 42),
            _ => (47, 0, 0),
        };
        // Blocks are of the second level from below, with 4 KiB pages of the third as well, and one more where
        // addresses have 52 bits (FEAT_LPA, FEAT_LPA2).
        let levels = if page == PageSize::K4 { 2 } else { 1 } + u32::from(wide);
        Self { low: bits(page.shift(), top), high, high_shift, block: page.shift() + levels * each }
    }
}

impl Entries for Arm64Entries {
    fn decode(&self, entry: u64, _index: u64, level: &Level, last: bool) -> Entry {
        let address = entry & self.low | (entry & self.high) << self.high_shift;
        match (entry & 3, last) {
            (3, true) => Entry::Memory(address),
            (3, false) => Entry::Table(address),
            (1, false) if level.shift <= self.block => Entry::Memory(address),
            _ => Entry::Nothing,
        }
    }
}

/// The translator of an arm64 kernel.
pub(super) struct Arm64 {
    table: PageTable<Arm64Entries>,
    /// `VA_BITS` of the configuration and the bits that the hardware has.
    configured: u32,
    actual: u32,
    /// `PHYS_OFFSET`, which is negative where the direct map begins before memory does.
    phys_offset: Option<u64>,
    /// `kimage_voffset`: from a physical address of the image to its virtual one.
    image: Option<u64>,
    text: Option<u64>,
}

impl Arm64 {
    pub(super) fn open(
        order: ByteOrder,
        info: &VmcoreInfo,
        segments: &Segments,
        physical: &Physical<'_>,
    ) -> Result<Self, Error> {
        let page = physical.page_size();
        let number = |name: &str| info.number(name).map(|n| n as u64);
        let bits = |bits: u64| u32::try_from(bits).ok().filter(|bits| (36..=52).contains(bits));
        let configured = number("VA_BITS").ok_or_else(|| missing("NUMBER(VA_BITS)", PURPOSE))?;
        // Told since 5.9, as are 52 bits that the hardware may lack since 5.4.
        let size = number("TCR_EL1_T1SZ").or_else(|| number("tcr_el1_t1sz"));
        let actual = size.map_or(configured, |size| 64u64.saturating_sub(size));
        // With 64 KiB pages a kernel for 52 bits keeps its tables for 52 bits on hardware that has 48, and tells the
        // hardware to start further inside; with smaller pages it leaves the root out.
        let walked = if page == PageSize::K64 { configured } else { actual };
        let unknown = || {
            Error::Unsupported(format!(
                "NUMBER(VA_BITS)={configured} and TCR_EL1_T1SZ={} with pages of {page}: arm64 kernels have addresses of \
                 36 to 52 bits and tables of 2 to 5 levels",
                size.map_or("(none)".to_owned(), |size| size.to_string())
            ))
        };
        let (Some(configured), Some(actual), Some(walked)) = (bits(configured), bits(actual), bits(walked))
        else {
            return Err(unknown());
        };
        let index_bits = page_sized(page, walked).ok_or_else(unknown)?;
        let root = info.symbol("swapper_pg_dir").ok_or_else(|| missing("SYMBOL(swapper_pg_dir)", PURPOSE))?;
        let image = number("kimage_voffset");
        let phys = match image {
            Some(offset) => PhysAddr(root.0.wrapping_sub(offset)),
            None => segments
                .translate(root)
                .map(|mapping| mapping.phys)
                .ok_or_else(|| missing("NUMBER(kimage_voffset)", PURPOSE))?,
        };
        let table = PageTable {
            root: phys,
            levels: levels(page, &index_bits),
            order,
            entries: Arm64Entries::new(page, walked),
        };
        let text = info.symbol("_stext").map(|text| text.0);
        Ok(Self { table, configured, actual, phys_offset: number("PHYS_OFFSET"), image, text })
    }

    pub(super) fn walk(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Stop> {
        // The hardware ignores the top byte, and KASAN keeps a tag there.
        let untagged = VirtAddr(((addr.0 << 8) as i64 >> 8) as u64);
        if untagged.0 >> self.table.va_bits() != u64::MAX >> self.table.va_bits() {
            return Err(Stop { error: not_mapped(addr, "it is not an address of the kernel"), len: 1 });
        }
        self.table.walk(physical, untagged)
    }

    /// Shows all of the kernel's page table.
    pub(super) fn visit(&self, physical: &Physical<'_>, visitor: &mut dyn TableVisitor) -> Result<(), Error> {
        visit(&self.table, physical, self.kernel_half(), visitor)
    }

    /// The image and the direct map, by their distance from memory, where a dump lacks the page tables.
    pub(super) fn computed(&self, physical: &Physical<'_>, addr: VirtAddr) -> Option<Mapping> {
        if let (Some(offset), Some(text)) = (self.image, self.text)
            && addr.0.abs_diff(text) < IMAGE_SIZE
        {
            return Some(Mapping { phys: PhysAddr(addr.0.wrapping_sub(offset)), len: 1 << 12 })
                .filter(|mapping| physical.exists(mapping.phys));
        }
        let at = |distance| PhysAddr(addr.0.wrapping_sub(distance));
        let distance = self.linear_distances().into_iter().flatten().find(|&d| physical.exists(at(d)))?;
        Some(Mapping { phys: at(distance), len: (1 << 12) - (addr.0 & 0xfff) })
    }

    /// What the direct map's virtual addresses may be further than the physical ones, the likeliest first: in the whole
    /// lower half (5.4 and later), there on hardware with fewer bits (5.4 to 5.10), in the upper half (before).
    pub(super) fn linear_distances(&self) -> [Option<u64>; 3] {
        let from = |bits: u32| self.phys_offset.map(|offset| (u64::MAX << bits).wrapping_sub(offset));
        let turned = self.text.is_none_or(|text| text >> (self.configured.min(48) - 1) & 1 != 0);
        let before = (!turned).then(|| from(self.configured - 1)).flatten();
        let since = |bits: u32| turned.then(|| from(bits)).flatten();
        // 5.4 to 5.8 do not say how many bits the hardware has.
        let fewer = if self.actual < self.configured { self.actual } else { self.configured.min(48) };
        [before.or(since(self.configured)), since(fewer), from(self.configured - 1)]
    }

    /// Where the kernel's addresses begin.
    pub(super) fn kernel_half(&self) -> u64 {
        u64::MAX << self.table.va_bits()
    }
}
