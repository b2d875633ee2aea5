//! s390x (`arch/s390/include/asm/pgtable.h`, `boot/startup.c`, `include/asm/os_info.h`).
//!
//! Until 6.9 addresses of RAM and of the image are physical ones; since 6.10 both begin somewhere. Tables have 2048
//! entries, the last level's 256; an empty entry says what it is, and that it is invalid.

use super::{Basis, Mmu, Space, image};
use crate::bytes::ByteOrder;
use crate::synth::dump::generation::Generation;
use crate::synth::dump::tables::{Entries, Level};

struct Table {
    levels: Vec<Level>,
}

impl Table {
    /// `_REGION_ENTRY_TYPE_*` of a level, by the shift of its index.
    fn kind(shift: u32) -> u64 {
        match shift {
            53 => 0xc,
            42 => 0x8,
            31 => 0x4,
            _ => 0,
        }
    }
}

impl Entries for Table {
    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn order(&self) -> ByteOrder {
        ByteOrder::Big
    }

    fn table(&self, level: usize, physical: u64) -> u64 {
        match self.levels[level].shift {
            // A segment names a page table, which has no length.
            20 => physical,
            shift => physical | Self::kind(shift) | 0x3,
        }
    }

    fn leaf(&self, level: usize, physical: u64) -> Option<u64> {
        match self.levels[level].shift {
            // Large, young, dirty, readable, writable by software.
            31 => Some(physical | 0x4 | 0x400 | 0x3003),
            20 => Some(physical | 0x400 | 0x3003),
            // Present, read, write, young, dirty.
            12 => Some(physical | 0x3d),
            _ => None,
        }
    }

    fn blank(&self, level: usize) -> u64 {
        match self.levels[level].shift {
            12 => 0x400,
            shift => Self::kind(shift) | 0x20,
        }
    }
}

/// Where the image is, virtually and physically, since 6.10 (`__kaslr_offset`, `__kaslr_offset_phys`).
pub(crate) const KASLR: (u64, u64) = (0x3ff_e000_0000, 0x200_0000);

pub(super) fn space(basis: Basis) -> Space {
    let Mmu::S390 { four, identity } = basis.mmu else { unreachable!("s390x only") };
    let generation = basis.generation;
    let uncoupled = generation >= Generation::V6_10;
    let level = |shift, bits| Level { shift, bits };
    let mut levels = vec![level(31, 11), level(20, 11), level(12, 8)];
    if four {
        levels.insert(0, level(42, 11));
    }
    let (vmemmap, vmalloc, high) = if four {
        (0x001c_0000_0000_0000, 0x001e_0000_0000_0000, 0x001f_ffe0_0000_0000)
    } else {
        (0x0372_0000_0000, 0x0380_0000_0000, KASLR.0)
    };
    // Without KASLR the image is where it is linked, 1 MiB.
    let image_at = if uncoupled { KASLR.1 } else { 0x10_0000 };
    let address = if uncoupled { high } else { image_at };
    let symbol = |offset: u64| address + offset;
    let mut lines = vec![
        format!("SYMBOL(lowcore_ptr)={:x}", symbol(image::MISC + 0x200)),
        format!("SYMBOL(high_memory)={:x}", symbol(image::MISC + 0x208)),
        "LENGTH(lowcore_ptr)=64".to_owned(),
    ];
    if generation >= Generation::V5_10 {
        if generation >= Generation::V6_1 {
            lines.push(format!("SAMODE31={:x}", symbol(image::MISC + 0x1000)));
            lines.push(format!("EAMODE31={:x}", symbol(image::MISC + 0x2000)));
        } else {
            lines.push(format!("SDMA={:x}", symbol(image::MISC + 0x1000)));
            lines.push(format!("EDMA={:x}", symbol(image::MISC + 0x2000)));
        }
        if uncoupled {
            lines.push(format!("IDENTITYBASE={identity:x}"));
        }
        let offset = if uncoupled { address } else { 0 };
        lines.push(format!("KERNELOFFSET={offset:x}"));
        if uncoupled {
            lines.push(format!("KERNELOFFPHYS={:x}", KASLR.1));
        }
    }
    Space {
        linear: identity,
        image_at,
        image: address.wrapping_sub(image_at),
        vmemmap,
        vmalloc,
        section_bits: if generation >= Generation::V6_12 { 27 } else { 28 },
        physmem_bits: 46,
        entries: Some(Box::new(Table { levels })),
        maps_all: true,
        vmemmap_entry: 1 << 20,
        image_segment: uncoupled,
        lines,
    }
}
