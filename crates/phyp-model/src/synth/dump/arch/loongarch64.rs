//! loongarch64 (`arch/loongarch/include/asm/pgtable.h`, `pgtable-bits.h`, `addrspace.h`).
//!
//! RAM and image are seen through a window that needs no tables, 0x9000…. Entries that name tables hold addresses of that
//! window, and where there is no table, the address of one that says so.

use super::{Basis, Mmu, Space, image};
use crate::bytes::ByteOrder;
use crate::synth::dump::generation::Generation;
use crate::synth::dump::tables::{Entries, Level};

/// The cached window.
const WINDOW: u64 = 0x9000_0000_0000_0000;

struct Table {
    levels: Vec<Level>,
    /// Address of the table that stands for none, for the level below each.
    invalid: Vec<u64>,
    /// Bits that an empty last entry has: PAGE_GLOBAL in newer kernels.
    empty: u64,
}

impl Entries for Table {
    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn order(&self) -> ByteOrder {
        ByteOrder::Little
    }

    fn table(&self, _level: usize, physical: u64) -> u64 {
        WINDOW + physical
    }

    fn leaf(&self, level: usize, physical: u64) -> Option<u64> {
        // Valid, dirty, cached, global, present, writable, modified.
        let flags = 0x3d3;
        match self.levels.len() - 1 - level {
            0 => Some(physical | flags),
            // Huge, where a page has global; global further up.
            1 => Some(physical | flags | 1 << 12),
            _ => None,
        }
    }

    fn blank(&self, level: usize) -> u64 {
        self.invalid.get(level).copied().unwrap_or(self.empty)
    }
}

pub(super) fn space(basis: Basis) -> Space {
    let Mmu::Loong { levels: count } = basis.mmu else { unreachable!("loongarch64 only") };
    let page = basis.page_size.trailing_zeros();
    let step = page - 3;
    let levels: Vec<Level> =
        (0..count).map(|level| Level { shift: page + step * (count - 1 - level), bits: step }).collect();
    let image_at = 0x20_0000;
    let invalid = (0..u64::from(count) - 1)
        .map(|level| WINDOW + image_at + image::INVALID + level * 0x1_0000)
        .collect();
    let empty = if basis.generation >= Generation::V6_12 { 0x40 } else { 0 };
    let base = 0u64.wrapping_sub(1 << 47);
    let reach = (page + step * count).min(47);
    let pmd = 1u64 << (page + step);
    let vmemmap_size = 64u64 << (48 - page);
    let vmalloc_end = base.wrapping_add((1u64 << reach) - pmd - vmemmap_size);
    let vmemmap = vmalloc_end.wrapping_add(pmd) & !(pmd - 1);
    Space {
        linear: WINDOW,
        image_at,
        image: WINDOW,
        vmemmap,
        vmalloc: base + 0x200_0000,
        section_bits: 29,
        physmem_bits: 48,
        entries: Some(Box::new(Table { levels, invalid, empty })),
        maps_all: false,
        vmemmap_entry: if count > 2 { pmd } else { basis.page_size },
        image_segment: false,
        lines: Vec::new(),
    }
}

/// Fills the tables that stand for none, in the image.
pub(crate) fn invalid_tables(basis: Basis) -> Vec<(u64, u64)> {
    let Mmu::Loong { levels: count } = basis.mmu else { return Vec::new() };
    // The table for the level below `level` names the one below that.
    (0..u64::from(count).saturating_sub(2))
        .map(|level| {
            let at = image::INVALID + level * 0x1_0000;
            (at, WINDOW + 0x20_0000 + at + 0x1_0000)
        })
        .collect()
}
