//! arm64 (`arch/arm64/include/asm/memory.h`, `pgtable-hwdef.h`, `mm/init.c`).
//!
//! Until 5.3 the linear map was the upper half of the kernel's addresses, since then it is the lower one. A kernel built
//! for 52 bits runs on processors with fewer: with 64 KiB pages it keeps its top table and uses the end of it, with
//! smaller pages (LPA2, 6.9) it leaves a level out, and its entries have shareability where the address would continue.

use super::{Basis, Mmu, Space};
use crate::bytes::ByteOrder;
use crate::synth::dump::generation::Generation;
use crate::synth::dump::tables::{Entries, Level};

struct Table {
    levels: Vec<Level>,
    page: u32,
    order: ByteOrder,
    /// Physical addresses reach beyond 48 bits.
    high: bool,
}

impl Table {
    /// The address as an entry has it.
    fn place(&self, physical: u64) -> u64 {
        match (self.high, self.page) {
            // Inner shareable.
            (false, _) => physical | 3 << 8,
            // Bits 48 to 51 stand at 12.
            (true, 16) => physical & 0x0000_ffff_ffff_0000 | (physical >> 48 & 0xf) << 12 | 3 << 8,
            // Bits 50 and 51 stand at 8.
            (true, _) => physical & 0x0003_ffff_ffff_f000 | (physical >> 50 & 3) << 8,
        }
    }
}

impl Entries for Table {
    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn order(&self) -> ByteOrder {
        // Tables are walked in the kernel's byte order (SCTLR_EL1.EE).
        self.order
    }

    fn table(&self, _level: usize, physical: u64) -> u64 {
        // Tables have no shareability.
        let place = self.place(physical);
        (if self.high && self.page != 16 { place } else { place & !(3 << 8) }) | 3
    }

    fn leaf(&self, level: usize, physical: u64) -> Option<u64> {
        // Not executable, DBM, accessed, normal memory.
        let flags = 0x0068_0000_0000_0400;
        let shift = self.levels[level].shift;
        if shift == self.page {
            return Some(self.place(physical) | flags | 3);
        }
        let block = matches!((self.page, shift), (12, 21 | 30) | (14, 25) | (16, 29));
        block.then_some(self.place(physical) | flags | 1)
    }
}

fn levels(page: u32, bits: u32, root_bits: u32) -> Vec<Level> {
    let step = page - 3;
    let count = (bits - page).div_ceil(step);
    (0..count)
        .map(|level| {
            let shift = page + step * (count - 1 - level);
            Level { shift, bits: if level == 0 { root_bits - shift } else { step } }
        })
        .collect()
}

pub(super) fn space(basis: Basis) -> Space {
    let Mmu::Arm { built, actual, pa, kaslr } = basis.mmu else { unreachable!("arm64 only") };
    let generation = basis.generation;
    let page = basis.page_size.trailing_zeros();
    // With 64 KiB pages the top table keeps the size it was built with.
    let levels = if page == 16 { levels(page, built, built) } else { levels(page, actual, actual) };
    // LPA2 is in use only where the processor has it.
    let high = pa == 52 && (page == 16 || actual == 52);
    let flipped = generation >= Generation::V5_10;
    let top = |bits: u32| 0u64.wrapping_sub(1 << bits);
    let min = match (built, page) {
        (52, 14) => 47,
        _ => built.min(48),
    };
    let page_offset = if flipped { top(built) } else { top(built - 1) };
    // A multiple of 1 GiB at or below RAM; with KASLR far below, even below 0.
    let mut memstart = basis.ram_start & !((1 << 30) - 1);
    if kaslr {
        memstart = memstart.wrapping_sub(37 << 30);
    }
    if built == 52 && actual != 52 {
        memstart = memstart.wrapping_sub(top(actual).wrapping_sub(top(52)));
    }
    let vmemmap_shift = page - 6;
    let (vmemmap_start, vmemmap_end) = if !flipped {
        (page_offset.wrapping_sub(1 << (built - 1 - vmemmap_shift)), page_offset)
    } else if generation < Generation::V6_9 {
        let start = top(built - vmemmap_shift);
        (start, start.wrapping_add(top(min - 1).wrapping_sub(page_offset) >> vmemmap_shift))
    } else {
        let end = top(30);
        (end.wrapping_sub(top(min - 1).wrapping_sub(page_offset) >> vmemmap_shift), end)
    };
    let frames = ((memstart as i64) >> page) as u64;
    let modules = if flipped { top(min - 1) } else { top(built) };
    let modules_size = if generation >= Generation::V6_6 { 2u64 << 30 } else { 128 << 20 };
    let kimage = modules.wrapping_add(modules_size);
    let offset: u64 = if kaslr { 0x1_2a60_0000 } else { 0 };
    let address = kimage.wrapping_add(offset);
    let image_at = basis.ram_start + 0x20_0000;
    let voffset = address.wrapping_sub(image_at);
    let mut lines = Vec::new();
    lines.push(format!("NUMBER(VA_BITS)={built}"));
    if generation >= Generation::V6_1 {
        lines.push(format!("NUMBER(MODULES_VADDR)={modules:#x}"));
        lines.push(format!("NUMBER(MODULES_END)={kimage:#x}"));
        if generation < Generation::V6_9 {
            lines.push(format!("NUMBER(VMALLOC_START)={kimage:#x}"));
        }
        lines.push(format!("NUMBER(VMALLOC_END)={:#x}", vmemmap_start.wrapping_sub(256 << 20)));
        lines.push(format!("NUMBER(VMEMMAP_START)={vmemmap_start:#x}"));
        lines.push(format!("NUMBER(VMEMMAP_END)={vmemmap_end:#x}"));
    }
    lines.push(format!("NUMBER(kimage_voffset)={voffset:#x}"));
    lines.push(format!("NUMBER(PHYS_OFFSET)={memstart:#x}"));
    if flipped {
        lines.push(format!("NUMBER(TCR_EL1_T1SZ)={:#x}", 64 - actual));
    }
    lines.push(format!("KERNELOFFSET={offset:x}"));
    if flipped {
        lines.push("NUMBER(KERNELPACMASK)=0x0".to_owned());
    }
    let huge = if page == 12 { 2 << 20 } else { basis.page_size };
    let section_bits = match (flipped, page) {
        (false, _) => 30,
        (true, 16) => 29,
        (true, _) => 27,
    };
    Space {
        linear: page_offset.wrapping_sub(memstart),
        image_at,
        image: voffset,
        vmemmap: vmemmap_start.wrapping_sub(frames.wrapping_mul(basis.struct_page)),
        vmalloc: address.wrapping_add(0x4000_0000),
        section_bits,
        physmem_bits: pa,
        entries: Some(Box::new(Table { levels, page, order: basis.order, high })),
        maps_all: true,
        vmemmap_entry: huge,
        image_segment: true,
        lines,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_that_the_architecture_names() {
        let shifts = |page, bits, root| levels(page, bits, root).iter().map(|l| l.shift).collect::<Vec<_>>();
        assert_eq!(shifts(12, 39, 39), [30, 21, 12]);
        assert_eq!(shifts(12, 48, 48), [39, 30, 21, 12]);
        assert_eq!(shifts(12, 52, 52), [48, 39, 30, 21, 12]);
        assert_eq!(shifts(14, 47, 47), [36, 25, 14]);
        assert_eq!(shifts(14, 48, 48), [47, 36, 25, 14]);
        assert_eq!(shifts(16, 42, 42), [29, 16]);
        assert_eq!(levels(16, 52, 52)[0], Level { shift: 42, bits: 10 });
        assert_eq!(levels(12, 52, 52)[0], Level { shift: 48, bits: 4 });
        assert_eq!(levels(14, 52, 52)[0], Level { shift: 47, bits: 5 });
    }
}
