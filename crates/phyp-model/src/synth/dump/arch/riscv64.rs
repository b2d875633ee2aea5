//! riscv64 (`arch/riscv/include/asm/pgtable.h`, `page.h`, `mm/init.c`).
//!
//! Until 6.4 RAM begins where the image was loaded, and what lies below is not known to Linux.

use super::{Basis, Mmu, Space, image};
use crate::bytes::ByteOrder;
use crate::synth::dump::generation::Generation;
use crate::synth::dump::tables::{Entries, Level};

/// `KERNEL_LINK_ADDR`.
const LINKED_AT: u64 = 0xffff_ffff_8000_0000;

struct Table {
    levels: Vec<Level>,
}

impl Entries for Table {
    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn order(&self) -> ByteOrder {
        ByteOrder::Little
    }

    fn table(&self, _level: usize, physical: u64) -> u64 {
        physical >> 12 << 10 | 1
    }

    fn leaf(&self, _level: usize, physical: u64) -> Option<u64> {
        // Dirty, accessed, global, writable, readable, valid, at any level.
        Some(physical >> 12 << 10 | 0xe7)
    }
}

pub(super) fn space(basis: Basis) -> Space {
    let Mmu::Sv { bits } = basis.mmu else { unreachable!("riscv64 only") };
    let generation = basis.generation;
    let shifts: &[u32] = match bits {
        39 => &[30, 21, 12],
        48 => &[39, 30, 21, 12],
        _ => &[48, 39, 30, 21, 12],
    };
    let levels = shifts.iter().map(|shift| Level { shift: *shift, bits: 9 }).collect();
    let modern = generation >= Generation::V6_6;
    let page_offset: u64 = match bits {
        39 if modern => 0xffff_ffd6_0000_0000,
        39 => 0xffff_ffd8_0000_0000,
        48 => 0xffff_af80_0000_0000,
        _ => 0xff60_0000_0000_0000,
    };
    let vmalloc_start = page_offset - (1 << (bits - 3));
    let vmemmap_size = 1u64 << (bits - 12 - 1 + 6);
    let vmemmap_start = vmalloc_start - vmemmap_size;
    let ram = basis.ram_start;
    let image_at = if modern { ram + 0x20_0000 } else { ram };
    let offset = if modern { 0x1240_0000 } else { 0 };
    let address = LINKED_AT + offset;
    let pa_offset = address.wrapping_sub(image_at);
    let mut lines = vec![format!("NUMBER(VA_BITS)={bits}"), format!("NUMBER(phys_ram_base)={ram}")];
    for (name, value) in [
        ("PAGE_OFFSET", page_offset),
        ("VMALLOC_START", vmalloc_start),
        ("VMALLOC_END", page_offset),
        ("VMEMMAP_START", vmemmap_start),
        ("VMEMMAP_END", vmalloc_start),
        ("MODULES_VADDR", (address + image::SIZE).wrapping_sub(2 << 30) & !0xfff),
        ("MODULES_END", address & !0xfff),
        ("KERNEL_LINK_ADDR", LINKED_AT),
    ] {
        // A line of every kernel since 6.9.
        if name != "VMALLOC_START" || generation < Generation::V6_9 {
            lines.push(format!("NUMBER({name})={value:#x}"));
        }
    }
    if modern {
        lines.push(format!("NUMBER(va_kernel_pa_offset)={pa_offset:#x}"));
    }
    if generation >= Generation::V6_16 {
        lines.push(format!("KERNELOFFSET={offset:x}"));
        let mode: u64 = match bits {
            39 => 8,
            48 => 9,
            _ => 10,
        };
        lines.push(format!("NUMBER(satp)={:#x}", mode << 60 | (image_at + image::SWAPPER) >> 12));
    }
    Space {
        linear: page_offset.wrapping_sub(ram),
        image_at,
        image: pa_offset,
        vmemmap: vmemmap_start.wrapping_sub((ram >> 12) * basis.struct_page),
        vmalloc: vmalloc_start + 0x40_0000,
        section_bits: 27,
        physmem_bits: 56,
        entries: Some(Box::new(Table { levels })),
        maps_all: true,
        vmemmap_entry: 2 << 20,
        image_segment: true,
        lines,
    }
}
