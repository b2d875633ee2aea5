//! Compound pages and huge pages of hugetlbfs, by every generation of kernels.

use crate::pages::{HEAD, LRU, Page, World};
use crate::tables::Kind;
use std::collections::BTreeSet;

const FREE_HUGE_PAGE: u64 = 0xffff_ffff_8123_4560;
const ANON: u64 = 0x5001;

/// One generation: keys to take away, keys to add, and how it marks a compound page.
struct Generation {
    name: &'static str,
    keys: &'static [(&'static str, u64)],
    symbol: bool,
    /// Whether tails are marked by bit 0 of `compound_head` (4.4).
    tails: bool,
    mark: fn(&mut World, u64, u32, bool),
}

fn put(w: &mut World, pfn: u64, field: u64, width: u64, value: u64) {
    let at = w.phys(pfn * w.size + field);
    let order = w.image.order();
    match width {
        1 => w.image.write(at, &[value as u8]),
        2 => w.image.write(at, &order.put_u16(value as u16)),
        4 => w.image.put32(at, value as u32),
        _ => w.image.put64(at, value),
    }
}

const GENERATIONS: [Generation; 11] = [
    Generation {
        name: "3.19",
        keys: &[("OFFSET(list_head.next)", 0), ("OFFSET(list_head.prev)", 8), ("OFFSET(page.lru)", 32)],
        symbol: true,
        tails: false,
        mark: |w, pfn, order, huge| {
            put(w, pfn + 1, 32, 8, if huge { FREE_HUGE_PAGE } else { 0xffff_ffff_8100_0000 });
            put(w, pfn + 1, 40, 8, order.into());
        },
    },
    Generation {
        name: "4.0",
        keys: &[("OFFSET(page.compound_dtor)", 32), ("OFFSET(page.compound_order)", 40)],
        symbol: true,
        tails: false,
        mark: |w, pfn, order, huge| {
            put(w, pfn + 1, 32, 8, if huge { FREE_HUGE_PAGE } else { 0xffff_ffff_8100_0000 });
            put(w, pfn + 1, 40, 8, order.into());
        },
    },
    Generation {
        name: "4.4, shorts",
        keys: &[
            ("OFFSET(page.compound_dtor)", 16),
            ("OFFSET(page.compound_order)", 18),
            ("NUMBER(HUGETLB_PAGE_DTOR)", 2),
        ],
        symbol: false,
        tails: true,
        mark: |w, pfn, order, huge| {
            put(w, pfn + 1, 16, 2, if huge { 2 } else { 1 });
            put(w, pfn + 1, 18, 2, order.into());
        },
    },
    Generation {
        name: "4.14, ints",
        keys: &[
            ("OFFSET(page.compound_dtor)", 16),
            ("OFFSET(page.compound_order)", 20),
            ("NUMBER(HUGETLB_PAGE_DTOR)", 2),
        ],
        symbol: true,
        tails: true,
        mark: |w, pfn, order, huge| {
            put(w, pfn + 1, 16, 4, if huge { 2 } else { 1 });
            put(w, pfn + 1, 20, 4, order.into());
        },
    },
    Generation {
        name: "6.1, bytes",
        keys: &[
            ("OFFSET(page.compound_dtor)", 16),
            ("OFFSET(page.compound_order)", 17),
            ("NUMBER(HUGETLB_PAGE_DTOR)", 2),
        ],
        symbol: false,
        tails: true,
        mark: |w, pfn, order, huge| {
            put(w, pfn + 1, 16, 1, if huge { 2 } else { 1 });
            put(w, pfn + 1, 17, 1, order.into());
            // What else may be in the word.
            put(w, pfn + 1, 18, 2, 0xffff);
        },
    },
    Generation {
        name: "6.3",
        keys: &[
            ("OFFSET(folio._folio_dtor)", 80),
            ("OFFSET(folio._folio_order)", 81),
            ("NUMBER(HUGETLB_PAGE_DTOR)", 2),
        ],
        symbol: false,
        tails: true,
        mark: |w, pfn, order, huge| {
            put(w, pfn + 1, 16, 1, if huge { 2 } else { 1 });
            put(w, pfn + 1, 17, 1, order.into());
        },
    },
    Generation {
        name: "6.6",
        keys: &[("NUMBER(PG_hugetlb)", 8)],
        symbol: false,
        tails: true,
        mark: |w, pfn, order, huge| {
            put(w, pfn + 1, 0, 8, 0x7_0000_0000_0000 | u64::from(order) | u64::from(huge) << 8);
        },
    },
    Generation {
        name: "6.9",
        keys: &[("NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)", 0xffff_feff)],
        symbol: false,
        tails: true,
        mark: |w, pfn, order, huge| {
            put(w, pfn + 1, 0, 8, 0x7_0000_0000_0000 | u64::from(order));
            put(w, pfn, 48, 4, if huge { 0xffff_feff } else { 0xffff_ffff });
        },
    },
    Generation {
        name: "6.12",
        keys: &[("NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)", 0xf400_0000)],
        symbol: false,
        tails: true,
        mark: |w, pfn, order, huge| {
            put(w, pfn + 1, 0, 8, 0x7_0000_0000_0000 | u64::from(order));
            put(w, pfn, 48, 4, if huge { 0xf400_0000 } else { 0xffff_ffff });
        },
    },
    Generation {
        name: "7.1",
        keys: &[("NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)", 0xf400_0000), ("OFFSET(page.compound_info)", 8)],
        symbol: false,
        tails: true,
        mark: |w, pfn, order, huge| {
            put(w, pfn + 1, 0, 8, u64::from(order));
            put(w, pfn, 48, 4, if huge { 0xf400_0000 } else { 0xffff_ffff });
        },
    },
    Generation {
        name: "6.12 without hugetlbfs",
        keys: &[],
        symbol: false,
        tails: true,
        mark: |w, pfn, order, _| put(w, pfn + 1, 0, 8, order.into()),
    },
];

const ORDER: u32 = 3;

/// Frames 200 to 207 are a huge page, 208 to 215 anonymous memory, 216 to 223 the kernel's own.
fn world(generation: &Generation, kind: Kind) -> World {
    let mut w = World::new(kind, 4096);
    for key in ["NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)", "OFFSET(page.lru)"] {
        w.image.without(key);
    }
    if !generation.tails || generation.name == "7.1" {
        w.image.without("OFFSET(page.compound_head)");
    }
    for (key, value) in generation.keys {
        w.image.key(key, value);
    }
    if generation.symbol {
        w.image.symbol("free_huge_page", FREE_HUGE_PAGE);
    }
    for (head, anon, huge) in [(200, 0, true), (208, ANON, false), (216, 0, false)] {
        let flags = if anon != 0 { LRU } else { 0 };
        w.write(head, Page { flags: flags | HEAD, mapping: anon, ..Page::default() });
        for tail in head + 1..head + (1 << ORDER) {
            // Kernels without `compound_head` give each page of a huge anonymous one its own mapping.
            let (head, mapping) = if generation.tails { (1, 0) } else { (0, anon) };
            w.write(tail, Page { head, mapping, ..Page::default() });
        }
        (generation.mark)(&mut w, head, ORDER, huge);
    }
    w
}

#[test]
fn huge_pages_are_told_by_every_generation_of_kernels() {
    for generation in &GENERATIONS {
        for kind in [Kind::X86Four, Kind::HashBig4K] {
            let w = world(generation, kind);
            let name = generation.name;
            let (first, remarks) = if name.contains("without") { (208, 1) } else { (200, 0) };
            let selected = w.image.select(8).unwrap();
            assert_eq!(crate::image::dropped(&selected), (first..216).collect(), "{name}, {kind:?}");
            assert_eq!(selected.remarks.len(), remarks, "{name}: {:?}", selected.remarks);
            assert_eq!(w.image.dropped(22), BTreeSet::new(), "{name}, {kind:?}");
        }
    }
}

#[test]
fn a_compound_page_of_impossible_size_counts_as_one_page() {
    // Too large, not aligned, and without a tail after it.
    for (order, pfn, tail) in [(23, 0, 1), (63, 0, 1), (255, 0, 1), (3, 204, 1), (3, 208, 0)] {
        let mut w = World::new(Kind::X86Four, 4096);
        w.write(pfn, Page { flags: HEAD | LRU, mapping: ANON, ..Page::default() });
        w.write(pfn + 1, Page { flags: order, head: tail, ..Page::default() });
        assert_eq!(w.image.dropped(8), [pfn].into(), "order {order} at {pfn}");
    }
}

#[test]
fn a_huge_page_at_the_last_frame_of_memory_is_told_by_the_struct_page_past_it() {
    // Firmware takes the end of a huge page away: memory ends after its head, struct pages do not.
    let generation = &GENERATIONS[4];
    let mut w = World::new(Kind::X86Four, 4097);
    w.image.without("NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)");
    for (key, value) in generation.keys {
        w.image.key(key, value);
    }
    w.write(4096, Page { flags: HEAD, ..Page::default() });
    w.write(4097, Page { head: 1, ..Page::default() });
    (generation.mark)(&mut w, 4096, ORDER, true);
    assert_eq!(w.image.dropped(8), [4096].into());
}

#[test]
fn kernels_that_name_no_head_flag_have_their_pages_judged_one_by_one() {
    let mut w = world(&GENERATIONS[0], Kind::X86Four);
    w.image.without("NUMBER(PG_head_mask)");
    let selected = w.image.select(8).unwrap();
    assert_eq!(crate::image::dropped(&selected), (208..216).collect());
    assert!(selected.remarks[0].contains("hugetlbfs"));
}

#[test]
fn fields_at_impossible_places_are_refused() {
    for (order, dtor) in [(16, 16), (64, 63), (1u64 << 40, 16)] {
        let mut w = world(&GENERATIONS[4], Kind::X86Four);
        w.image.key("OFFSET(page.compound_order)", order).key("OFFSET(page.compound_dtor)", dtor);
        let error = w.image.select(8).unwrap_err().to_string();
        assert!(error.contains("compound_order"), "{error}");
    }
    let mut w = world(&GENERATIONS[5], Kind::X86Four);
    w.image.key("OFFSET(folio._folio_order)", 17);
    assert!(w.image.select(8).unwrap_err().to_string().contains("_folio_"));
}
