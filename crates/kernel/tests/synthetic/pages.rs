//! Struct pages, in the layout of 6.12 unless a test changes it.

use crate::image::Image;
use crate::tables::{Kind, Machine};

pub(crate) const LRU: u64 = 1 << 5;
pub(crate) const WAITERS: u64 = 1 << 7;
pub(crate) const HEAD: u64 = 1 << 6;
pub(crate) const SWAPCACHE: u64 = 1 << 10;
pub(crate) const PRIVATE: u64 = 1 << 14;
pub(crate) const SWAPBACKED: u64 = 1 << 17;
/// A flag above the 32nd, as kernels with few zone bits have.
pub(crate) const HWPOISON: u64 = 1 << 40;
pub(crate) const BUDDY: u32 = 0xf000_0000;
pub(crate) const OFFLINE: u32 = 0xf100_0000;
pub(crate) const HUGETLB: u32 = 0xf400_0000;
pub(crate) const SLAB: u32 = 0xf500_0000;
pub(crate) const UNACCEPTED: u32 = 0xf800_0000;

/// The fields of one struct page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) flags: u64,
    pub(crate) head: u64,
    pub(crate) mapping: u64,
    pub(crate) private: u64,
    pub(crate) mapcount: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self { flags: 0, head: 0, mapping: 0, private: 0, mapcount: u32::MAX }
    }
}

/// Adds the keys that a kernel of 6.12 offers, and PG_hwpoison.
pub(crate) fn keys(image: &mut Image) {
    for (key, value) in [
        ("SIZE(page)", 64),
        ("OFFSET(page.flags)", 0),
        ("OFFSET(page.compound_head)", 8),
        ("OFFSET(page.lru)", 8),
        ("OFFSET(page.mapping)", 24),
        ("OFFSET(page.private)", 40),
        ("OFFSET(page._mapcount)", 48),
        ("LENGTH(zone.free_area)", 11),
        ("NUMBER(PG_lru)", 5),
        ("NUMBER(PG_private)", 14),
        ("NUMBER(PG_swapcache)", 10),
        ("NUMBER(PG_swapbacked)", 17),
        ("NUMBER(PG_head_mask)", HEAD as i64),
        ("NUMBER(PG_hwpoison)", 40),
        ("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", i64::from(BUDDY as i32)),
        ("NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)", i64::from(OFFLINE as i32)),
        ("NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)", i64::from(HUGETLB as i32)),
        ("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)", i64::from(SLAB as i32)),
        ("NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)", i64::from(UNACCEPTED as i32)),
    ] {
        image.key(key, value);
    }
}

/// A kernel with SPARSEMEM_VMEMMAP whose struct pages can be written.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) image: Image,
    /// Physical memory of vmemmap: its pieces, the last one first, so that no two lie side by side in order.
    pub(crate) array: u64,
    pub(crate) len: u64,
    pub(crate) piece: u64,
    pub(crate) size: u64,
}

/// Bits of a section: 16 MiB.
pub(crate) const SECTION_BITS: u32 = 24;

impl World {
    /// A kernel of `kind` with `frames` frames, whose struct pages are all zero.
    pub(crate) fn new(kind: Kind, frames: u64) -> Self {
        Self::with_size(kind, frames, 64)
    }

    /// The same with struct pages of `size` bytes.
    pub(crate) fn with_size(kind: Kind, frames: u64, size: u64) -> Self {
        let mut machine = Machine::new(kind, frames);
        let piece = machine.piece();
        let len = (frames * size).next_multiple_of(piece);
        let array = machine.image.alloc(len, piece);
        for at in (0..len).step_by(piece as usize) {
            let virt = machine.vmemmap() + at;
            machine.map(virt, array + len - piece - at);
        }
        keys(&mut machine.image);
        sections(&mut machine, frames);
        let mut image = machine.finish();
        image.key("SIZE(page)", size);
        Self { image, array, len, piece, size }
    }

    /// The physical address of byte `offset` of vmemmap.
    pub(crate) fn phys(&self, offset: u64) -> u64 {
        self.array + self.len - self.piece - offset / self.piece * self.piece + offset % self.piece
    }

    pub(crate) fn put64(&mut self, pfn: u64, field: u64, value: u64) {
        self.image.put64(self.phys(pfn * self.size + field), value);
    }

    pub(crate) fn put32(&mut self, pfn: u64, field: u64, value: u32) {
        self.image.put32(self.phys(pfn * self.size + field), value);
    }

    pub(crate) fn write(&mut self, pfn: u64, page: Page) {
        self.put64(pfn, 0, page.flags);
        self.put64(pfn, 8, page.head);
        self.put64(pfn, 24, page.mapping);
        self.put64(pfn, 40, page.private);
        self.put32(pfn, 48, page.mapcount);
    }

    /// Writes a compound page of 2^`order` frames: the head as given, the order in the next page's flags, tails.
    pub(crate) fn compound(&mut self, pfn: u64, order: u32, head: Page) {
        self.write(pfn, Page { flags: head.flags | HEAD, ..head });
        for i in 1..1 << order {
            let flags = if i == 1 { u64::from(order) } else { 0 };
            self.write(pfn + i, Page { flags, head: 0xc00c_0000_0000_0001, ..Page::default() });
        }
    }
}

/// Writes SPARSEMEM_EXTREME's tables for vmemmap.
fn sections(machine: &mut Machine, frames: u64) {
    let page = machine.image.page;
    let physmem_bits = 46;
    let per_root = page.bytes() / 16;
    let roots = (1u64 << (physmem_bits - SECTION_BITS)).div_ceil(per_root);
    let section_frames = 1 << (SECTION_BITS - page.shift());
    let sections = frames.div_ceil(section_frames);
    // Roots past the end of memory are never looked at, so their part of the table is left out.
    let used = sections.div_ceil(per_root);
    let table = machine.image.alloc(used * 8, page.bytes());
    let vmemmap = machine.vmemmap();
    for root in 0..used {
        let block = machine.image.alloc(page.bytes(), page.bytes());
        let pointer = machine.linear(block);
        machine.image.put64(table + root * 8, pointer);
        for i in 0..per_root.min(sections - root * per_root) {
            // All flags that have been in use: present, has mem_map, online, early.
            machine.image.put64(block + i * 16, vmemmap | 0b1111);
        }
    }
    let table = machine.linear(table);
    machine.image.symbol("mem_section", table);
    machine.image.key("LENGTH(mem_section)", roots).key("SIZE(mem_section)", 16);
    machine.image.key("OFFSET(mem_section.section_mem_map)", 0);
    machine.image.key("NUMBER(SECTION_SIZE_BITS)", SECTION_BITS);
    machine.image.key("NUMBER(MAX_PHYSMEM_BITS)", physmem_bits);
}
