//! Every memory model but vmemmap, which the other tests run on.

use crate::image::{Image, dropped};
use crate::pages::{LRU, Page, keys};
use crate::tables::{Kind, Machine};
use kernel::Error;
use std::collections::BTreeSet;
use vmcore::PageState;

const SIZE: u64 = 64;
const KINDS: [Kind; 4] = [Kind::X86Four, Kind::HashBig4K, Kind::Radix4K, Kind::Radix64K];
const SECTION: u64 = 1 << 24;

/// Arrays of struct pages in the linear map.
struct Arrays {
    machine: Machine,
    /// First frame, number of frames, physical address.
    parts: Vec<(u64, u64, u64)>,
}

impl Arrays {
    fn new(kind: Kind) -> Self {
        let mut machine = Machine::new(kind, kind.page().frames(64 << 20));
        keys(&mut machine.image);
        Self { machine, parts: Vec::new() }
    }

    fn frames(&self) -> u64 {
        self.machine.image.ram_frames()
    }

    /// Adds an array for `count` frames from `first` on; returns its virtual address.
    fn add(&mut self, first: u64, count: u64) -> u64 {
        let phys = self.machine.image.alloc(count * SIZE, self.machine.image.page.bytes());
        self.parts.push((first, count, phys));
        self.machine.linear(phys)
    }

    /// A block of `len` bytes; returns its physical and its virtual address.
    fn block(&mut self, len: u64) -> (u64, u64) {
        let phys = self.machine.image.alloc(len, self.machine.image.page.bytes());
        (phys, self.machine.linear(phys))
    }

    /// Makes every seventh frame anonymous; returns the image and those frames that have a struct page.
    fn finish(mut self) -> (Image, BTreeSet<u64>) {
        let mut anonymous = BTreeSet::new();
        for &(first, count, phys) in &self.parts {
            for pfn in (first..first + count).filter(|pfn| pfn % 7 == 0) {
                let page = Page { flags: LRU, mapping: 0x5001, ..Page::default() };
                let at = phys + (pfn - first) * SIZE;
                self.machine.image.put64(at, page.flags);
                self.machine.image.put64(at + 24, page.mapping);
                self.machine.image.put32(at + 48, page.mapcount);
                anonymous.insert(pfn);
            }
        }
        (self.machine.finish(), anonymous)
    }
}

/// The rest is kept, also what has no struct page: nobody is left in doubt about frames that the kernel never had.
fn assert_anonymous_go(image: &Image, anonymous: &BTreeSet<u64>) {
    let selected = image.select(8).unwrap();
    assert_eq!(dropped(&selected), *anonymous);
    assert_eq!((selected.undecided, &selected.remarks[..]), (0, &[][..]));
}

#[test]
fn flatmem_has_one_array_from_frame_0() {
    for kind in KINDS {
        let mut a = Arrays::new(kind);
        let array = a.add(0, a.frames());
        let (phys, virt) = a.block(8);
        a.machine.image.put64(phys, array);
        a.machine.image.symbol("mem_map", virt);
        let (image, anonymous) = a.finish();
        assert_anonymous_go(&image, &anonymous);
    }
}

#[test]
fn flatmem_ends_where_its_node_does() {
    let mut a = Arrays::new(Kind::X86Four);
    let all = a.frames();
    let array = a.add(0, all - 1000);
    // What follows the array must not be taken for struct pages.
    let (phys, virt) = a.block(8);
    a.machine.image.put64(phys, array);
    a.machine.image.symbol("mem_map", virt);
    let (node, node_virt) = a.block(64);
    a.machine.image.put64(node + 8, 0);
    a.machine.image.put64(node + 16, all - 1000);
    a.machine.image.symbol("contig_page_data", node_virt);
    a.machine.image.key("OFFSET(pglist_data.node_start_pfn)", 8);
    a.machine.image.key("OFFSET(pglist_data.node_spanned_pages)", 16);
    let (image, anonymous) = a.finish();
    assert_anonymous_go(&image, &anonymous);
}

#[test]
fn discontigmem_has_one_array_a_node() {
    for kind in KINDS {
        let mut a = Arrays::new(kind);
        let half = a.frames() / 2;
        let (table, virt) = a.block(4 * 8);
        // The second node comes first in memory, and numbers have gaps.
        for (slot, first, count) in [(0, half, half), (3, 10, half - 20)] {
            let array = a.add(first, count);
            let (node, node_virt) = a.block(64);
            a.machine.image.put64(table + slot * 8, node_virt);
            a.machine.image.put64(node + 8, array);
            a.machine.image.put64(node + 16, first);
            a.machine.image.put64(node + 24, count);
        }
        a.machine.image.symbol("node_data", virt).key("LENGTH(node_data)", 4);
        a.machine.image.key("OFFSET(pglist_data.node_mem_map)", 8);
        a.machine.image.key("OFFSET(pglist_data.node_start_pfn)", 16);
        a.machine.image.key("OFFSET(pglist_data.node_spanned_pages)", 24);
        let (image, anonymous) = a.finish();
        assert_anonymous_go(&image, &anonymous);
    }
}

/// Writes sections, each with an array of its own, from `table` on in steps of 32 bytes; the second is missing.
fn sections(a: &mut Arrays, table: u64, offset: u64) {
    let per_section = a.machine.image.page.frames(SECTION);
    for section in (0..a.frames() / per_section).rev() {
        let first = section * per_section;
        let flags = [0b11, 0b01, 0b1111, 0b11_1111][section as usize % 4];
        let array = if section == 1 { 0 } else { a.add(first, per_section) };
        let encoded = array.wrapping_sub(first * SIZE) | flags;
        a.machine.image.put64(table + section * 32 + offset, encoded);
    }
    a.machine.image.key("SIZE(mem_section)", 32).key("OFFSET(mem_section.section_mem_map)", offset);
    a.machine.image.key("NUMBER(SECTION_SIZE_BITS)", 24).key("NUMBER(MAX_PHYSMEM_BITS)", 34);
}

#[test]
fn sparsemem_without_roots_has_every_section_in_its_table() {
    for kind in KINDS {
        let mut a = Arrays::new(kind);
        let (table, virt) = a.block(32 << 10);
        sections(&mut a, table, 8);
        a.machine.image.symbol("mem_section", virt).key("LENGTH(mem_section)", 1 << 10);
        let (image, anonymous) = a.finish();
        assert_anonymous_go(&image, &anonymous);
    }
}

/// A section that never was is no doubt; one of which the dump does not say whether it was is.
#[test]
fn frames_of_sections_whose_table_is_not_in_the_dump_are_kept_and_counted() {
    for kind in KINDS {
        let mut a = Arrays::new(kind);
        let page = a.machine.image.page;
        // The first two entries lie in a frame of their own.
        let (block, virt) = a.block((32 << 10) + page.bytes());
        let ahead = page.bytes() - 2 * 32;
        sections(&mut a, block + ahead, 8);
        a.machine.image.symbol("mem_section", virt + ahead).key("LENGTH(mem_section)", 1 << 10);
        let (mut image, anonymous) = a.finish();
        let lost = 2 * page.frames(SECTION);
        image.ram.gone.insert(block >> page.shift(), PageState::Lost);
        let selected = image.select(8).unwrap();
        assert!(dropped(&selected).iter().eq(anonymous.range(lost..)), "{kind:?}");
        assert_eq!(selected.undecided, lost, "{kind:?}");
        assert!(selected.remarks[0].contains("does not hold their struct pages"), "{:?}", selected.remarks);
    }
}

/// SPARSEMEM_EXTREME; returns the virtual address of the roots and their number.
fn extreme(a: &mut Arrays) -> (u64, u64) {
    let page = a.machine.image.page.bytes();
    let (table, table_virt) = a.block(page);
    sections(a, table, 0);
    let (roots, roots_virt) = a.block(page);
    a.machine.image.put64(roots, table_virt);
    let count = (1u64 << 10).div_ceil(page / 32);
    (roots_virt, count)
}

#[test]
fn sparsemem_extreme_finds_sections_through_roots() {
    for kind in KINDS {
        let mut a = Arrays::new(kind);
        let (roots, count) = extreme(&mut a);
        a.machine.image.symbol("mem_section", roots).key("LENGTH(mem_section)", count);
        let (image, anonymous) = a.finish();
        assert_anonymous_go(&image, &anonymous);
    }
}

#[test]
fn the_note_may_name_the_variable_that_points_to_the_roots() {
    for kind in KINDS {
        let mut a = Arrays::new(kind);
        let (roots, _) = extreme(&mut a);
        let (phys, virt) = a.block(8);
        a.machine.image.put64(phys, roots);
        a.machine.image.symbol("mem_section", virt);
        let (image, anonymous) = a.finish();
        assert_anonymous_go(&image, &anonymous);
    }
}

#[test]
fn notes_that_do_not_tell_the_address_bits_are_understood_by_their_length() {
    // 46 bits on x86_64 with sections of 128 MiB, 47 on ppc64 with sections of 16 MiB.
    for (kind, section_bits, length) in [(Kind::X86Four, 27, 4096), (Kind::HashBig4K, 24, 65536)] {
        let mut a = Arrays::new(kind);
        let page = a.machine.image.page;
        let (roots, _) = extreme(&mut a);
        if section_bits == 27 {
            // One section holds all memory.
            a = Arrays::new(kind);
            let array = a.add(0, a.frames());
            let (table, virt) = a.block(page.bytes());
            a.machine.image.put64(table, array | 3);
            let (roots, roots_virt) = a.block(page.bytes());
            a.machine.image.put64(roots, virt);
            a.machine.image.symbol("mem_section", roots_virt);
            a.machine.image.key("SIZE(mem_section)", 32).key("OFFSET(mem_section.section_mem_map)", 0);
        } else {
            a.machine.image.symbol("mem_section", roots);
        }
        a.machine.image.without("NUMBER(SECTION_SIZE_BITS)").without("NUMBER(MAX_PHYSMEM_BITS)");
        a.machine.image.key("LENGTH(mem_section)", length);
        let (mut image, anonymous) = a.finish();
        assert_anonymous_go(&image, &anonymous);

        image.key("LENGTH(mem_section)", 12345);
        assert!(matches!(image.select(8), Err(Error::Implausible { .. })));
        image.without("LENGTH(mem_section)");
        assert!(matches!(
            image.select(8),
            Err(Error::MissingKey { key, .. }) if key == "NUMBER(MAX_PHYSMEM_BITS)"
        ));
    }
}

#[test]
fn a_table_without_a_valid_section_is_an_error_and_not_a_dump_of_everything() {
    let mut a = Arrays::new(Kind::X86Four);
    let (roots, count) = extreme(&mut a);
    a.machine.image.symbol("mem_section", roots + 64).key("LENGTH(mem_section)", count);
    let (image, _) = a.finish();
    assert!(matches!(image.select(8), Err(Error::Implausible { what, .. }) if what == "mem_section"));
}
