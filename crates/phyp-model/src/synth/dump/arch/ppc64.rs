//! 64-bit POWER (`arch/powerpc/include/asm/book3s/64/radix*.h`, `hash*.h`, `mm/init_64.c`).
//!
//! Entries of radix tables are big-endian in memory whatever the kernel's order. The top table has 2^13 entries, 64 KiB,
//! whatever the page size.

use super::{Basis, Mmu, Space, image};
use crate::bytes::ByteOrder;
use crate::synth::LINEAR;
use crate::synth::dump::generation::Generation;
use crate::synth::dump::tables::{Entries, Level};

const VALID: u64 = 1 << 63;
const LEAF: u64 = 1 << 62;
/// Accessed, dirty, read and write for the kernel.
const KERNEL: u64 = 0x100 | 0x80 | 0x4 | 0x2 | 0x8;

struct Radix {
    levels: Vec<Level>,
}

impl Entries for Radix {
    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn order(&self) -> ByteOrder {
        ByteOrder::Big
    }

    fn table(&self, level: usize, physical: u64) -> u64 {
        // The low byte is the size of the table it points to.
        VALID | physical | u64::from(self.levels[level + 1].bits)
    }

    fn leaf(&self, level: usize, physical: u64) -> Option<u64> {
        (level > 0).then_some(VALID | LEAF | physical | KERNEL)
    }
}

pub(super) fn space(basis: Basis) -> Space {
    let Basis { mmu, generation, page_size, numa, .. } = basis;
    let page = page_size.trailing_zeros();
    let radix = mmu == Mmu::Radix;
    let pte = if page_size == 0x1_0000 { 5 } else { 9 };
    let level = |shift, bits| Level { shift, bits };
    let levels = vec![level(39, 13), level(30, 9), level(21, 9), level(page, pte)];
    let modern = generation >= Generation::V5_10;
    let (vmemmap, vmalloc) = match (radix, modern, page_size) {
        (true, true, _) => (0xc00c_0000_0000_0000, 0xc008_0000_0000_0000),
        (true, false, _) => (0xc00a_0000_0000_0000, 0xc008_0000_0000_0000),
        (false, true, 0x1000) => (0xc000_3f00_0000_0000, 0xc000_3d00_0000_0000),
        (false, true, _) => (0xc00c_0000_0000_0000, 0xc008_0000_0000_0000),
        // Regions of their own, until 4.17.
        (false, false, _) => (0xf000_0000_0000_0000, 0xd000_0000_0000_0000),
    };
    let physmem_bits = match generation {
        Generation::V2_6_32 | Generation::V3_2 => 44,
        _ if !modern => 46,
        _ => 51,
    };
    let symbol = |offset: u64| LINEAR + offset;
    let mut lines = Vec::new();
    if numa {
        lines.push(format!("SYMBOL(node_data)={:x}", symbol(image::NODE_DATA)));
        lines.push("LENGTH(node_data)=256".to_owned());
    } else {
        lines.push(format!("SYMBOL(contig_page_data)={:x}", symbol(image::CONTIG)));
    }
    if generation >= Generation::V3_19 {
        for (name, offset) in
            [("vmemmap_list", 0x100), ("mmu_vmemmap_psize", 0x110), ("mmu_psize_defs", 0x400)]
        {
            lines.push(format!("SYMBOL({name})={:x}", symbol(image::MISC + offset)));
        }
        for line in [
            "SIZE(vmemmap_backing)=24",
            "OFFSET(vmemmap_backing.list)=0",
            "OFFSET(vmemmap_backing.phys)=8",
            "OFFSET(vmemmap_backing.virt_addr)=16",
            "SIZE(mmu_psize_def)=96",
            "OFFSET(mmu_psize_def.shift)=0",
        ] {
            lines.push(line.to_owned());
        }
    }
    if generation >= Generation::V4_14 {
        lines.push(format!("SYMBOL(cur_cpu_spec)={:x}", symbol(image::MISC + 0x120)));
        lines.push("OFFSET(cpu_spec.cpu_features)=16".to_owned());
        lines.push("OFFSET(cpu_spec.mmu_features)=32".to_owned());
    }
    if generation >= Generation::V6_9 {
        lines.push(format!("NUMBER(RADIX_MMU)={}", u8::from(radix)));
    }
    if generation >= Generation::V4_14 {
        lines.push("KERNELOFFSET=0".to_owned());
    }
    let entries: Option<Box<dyn Entries>> = radix.then(|| Box::new(Radix { levels }) as _);
    Space {
        linear: LINEAR,
        image_at: 0,
        image: LINEAR,
        vmemmap,
        vmalloc,
        section_bits: 24,
        physmem_bits,
        entries,
        maps_all: radix,
        vmemmap_entry: match mmu {
            Mmu::Hash { vmemmap_shift } => 1 << vmemmap_shift,
            _ => 2 << 20,
        },
        image_segment: false,
        lines,
    }
}
