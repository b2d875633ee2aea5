//! x86_64 (`arch/x86/include/asm/pgtable_64_types.h`, `page_64_types.h`): four or five levels, entries of 2 MiB and 1 GiB.

use super::{Arch, Basis, Mmu, Space, image};
use crate::bytes::ByteOrder;
use crate::synth::dump::generation::Generation;
use crate::synth::dump::tables::{Entries, Level};

/// `__START_KERNEL_map`.
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// Where the image is linked.
const LINKED_AT: u64 = 0x100_0000;

struct Table {
    levels: Vec<Level>,
    /// The encryption bit, as a mask.
    encrypted: u64,
}

impl Entries for Table {
    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn order(&self) -> ByteOrder {
        ByteOrder::Little
    }

    fn table(&self, _level: usize, physical: u64) -> u64 {
        // Present, writable, accessed, dirty.
        physical | 0x63 | self.encrypted
    }

    fn leaf(&self, level: usize, physical: u64) -> Option<u64> {
        // The same, global and not executable.
        let flags = 0x8000_0000_0000_0163 | self.encrypted;
        match self.levels[level].shift {
            12 => Some(physical | flags),
            // PSE, and PAT where it is in large entries.
            21 | 30 => Some(physical | flags | 0x1080),
            _ => None,
        }
    }
}

pub(super) fn space(basis: Basis) -> Space {
    let Mmu::X86 { five, kaslr, sme } = basis.mmu else { unreachable!("x86_64 only") };
    let generation = basis.generation;
    let shifts: &[u32] = if five { &[48, 39, 30, 21, 12] } else { &[39, 30, 21, 12] };
    let levels = shifts.iter().map(|shift| Level { shift: *shift, bits: 9 }).collect();
    let encrypted = sme.map_or(0, |bit| 1 << bit);
    let (linear, vmemmap, vmalloc) = match (five, kaslr) {
        (false, true) => (0xffff_957b_c000_0000, 0xffff_f5cb_0000_0000, 0xffff_b3c4_8000_0000),
        (true, true) => (0xff3a_957b_c000_0000, 0xffd6_4000_0000_0000, 0xff5e_0004_8000_0000),
        (true, false) => (0xff11_0000_0000_0000, 0xffd4_0000_0000_0000, 0xffa0_0000_0000_0000),
        (false, false) if generation < Generation::V5_10 => {
            (0xffff_8800_0000_0000, 0xffff_ea00_0000_0000, 0xffff_c900_0000_0000)
        }
        (false, false) => (0xffff_8880_0000_0000, 0xffff_ea00_0000_0000, 0xffff_c900_0000_0000),
    };
    // KASLR moves the image's addresses and its memory apart: phys_base may be negative.
    let (offset, image_at) = if kaslr { (0x2180_0000, 0x160_0000) } else { (0, LINKED_AT) };
    let address = KERNEL_MAP + LINKED_AT + offset;
    let phys_base = image_at.wrapping_sub(address - KERNEL_MAP);
    let mut lines = Vec::new();
    if generation < Generation::V4_14 {
        lines.push(format!("SYMBOL(phys_base)={:x}", address + image::MISC + 0x300));
        lines.push(format!("SYMBOL(init_level4_pgt)={:x}", address + image::SWAPPER));
    } else {
        lines.push(format!("NUMBER(phys_base)={}", phys_base as i64));
        lines.push(format!("SYMBOL(init_top_pgt)={:x}", address + image::SWAPPER));
    }
    if generation >= Generation::V5_10 {
        lines.push(format!("NUMBER(pgtable_l5_enabled)={}", u8::from(five)));
    }
    if basis.numa {
        lines.push(format!("SYMBOL(node_data)={:x}", address + image::NODE_DATA));
        lines.push("LENGTH(node_data)=64".to_owned());
    }
    if generation >= Generation::V3_19 {
        lines.push(format!("KERNELOFFSET={offset:x}"));
        lines.push("NUMBER(KERNEL_IMAGE_SIZE)=1073741824".to_owned());
    }
    if generation >= Generation::V5_10 {
        // Printed as a signed number since 5.2.
        lines.push(format!("NUMBER(sme_mask)={encrypted}"));
    }
    debug_assert_eq!(basis.mmu.arch(), Arch::X86_64);
    Space {
        linear,
        image_at,
        image: address.wrapping_sub(image_at),
        vmemmap,
        vmalloc,
        section_bits: 27,
        physmem_bits: if five { 52 } else { 46 },
        entries: Some(Box::new(Table { levels, encrypted })),
        maps_all: true,
        vmemmap_entry: 2 << 20,
        image_segment: true,
        lines,
    }
}
