//! Which class each kind of page belongs to, on every kind of kernel.

use crate::image::dropped;
use crate::pages::{
    BUDDY, HUGETLB, HWPOISON, LRU, OFFLINE, PRIVATE, Page, SLAB, SWAPBACKED, SWAPCACHE, UNACCEPTED, WAITERS,
    World,
};
use crate::tables::{KINDS, Kind};
use kernel::Error;
use std::collections::BTreeSet;
use vmcore::{PageState, Reason};

const ANON: u64 = 0x5001;

fn set(ranges: &[std::ops::Range<u64>]) -> BTreeSet<u64> {
    ranges.iter().cloned().flatten().collect()
}

/// One page or block of every class; 64 MiB of memory.
fn every_class(kind: Kind, size: u64) -> World {
    let mut w = World::with_size(kind, kind.page().frames(64 << 20), size);
    w.image.key("LENGTH(zone.free_area)", 9);
    let page = Page::default();
    w.write(100, Page { flags: LRU, mapping: 0x5000, ..page });
    w.write(101, Page { flags: LRU | PRIVATE, mapping: 0x5000, ..page });
    w.write(102, Page { flags: SWAPCACHE | SWAPBACKED, ..page });
    // PG_owner_priv_1 alone: a file system's mark, not the swap cache.
    w.write(103, Page { flags: SWAPCACHE, mapping: 0x5000, ..page });
    w.write(104, Page { flags: LRU | SWAPBACKED, mapping: ANON, mapcount: 0, ..page });
    // KSM, and a movable page of a driver.
    w.write(105, Page { mapping: 0x5003, mapcount: 3, ..page });
    w.write(106, Page { mapping: 0x5002, ..page });
    w.write(107, Page { mapping: ANON, mapcount: SLAB, ..page });
    w.write(112, Page { private: 2, mapcount: BUDDY, ..page });
    w.write(120, Page { flags: HWPOISON, ..page });
    w.write(121, Page { mapcount: OFFLINE, ..page });
    w.compound(128, 3, page);
    w.write(130, Page { flags: HWPOISON, head: 0xc00c_0000_0000_0001, ..page });
    w.compound(136, 3, Page { flags: LRU, mapping: ANON, ..page });
    w.compound(144, 2, Page { flags: LRU, mapping: 0x5000, ..page });
    w.compound(152, 3, Page { mapcount: HUGETLB, ..page });
    w.write(160, Page { flags: LRU | WAITERS, mapping: ANON, ..page });
    w.write(256, Page { mapcount: UNACCEPTED, ..page });
    w
}

#[test]
fn every_class_is_told_at_its_own_level_on_every_kind_of_kernel() {
    let always = set(&[120..122, 130..131]);
    let cache = set(&[100..101, 102..103, 144..148]);
    let private = BTreeSet::from([101]);
    let user = set(&[104..106, 136..144, 152..161]);
    let free = set(&[112..116, 256..512]);
    for kind in KINDS {
        for size in [64, 56, 80] {
            let w = every_class(kind, size);
            for level in 0..32 {
                let mut expected = always.clone();
                for (bit, class) in [(2, &cache), (4, &cache), (4, &private), (8, &user), (16, &free)] {
                    if level & bit != 0 {
                        expected.extend(class);
                    }
                }
                let selected = w.image.select(level).unwrap();
                assert_eq!(
                    dropped(&selected),
                    expected,
                    "{kind:?}, struct pages of {size} bytes, level {level}"
                );
                assert_eq!((selected.undecided, &selected.remarks[..]), (0, &[][..]));
            }
        }
    }
}

#[test]
fn reasons_say_which_class_a_page_was_in() {
    let selected = every_class(Kind::X86Four, 64).image.select(31).unwrap();
    let reasons = Reason::ALL.map(|reason| selected.selection.reasons().get(reason));
    assert_eq!(reasons, [260, 6, 1, 19, 2, 1, 0, 0, 0]);
}

#[test]
fn pages_with_waiters_are_not_taken_for_slab_when_the_kernel_has_no_slab_flag() {
    // makedumpfile falls back to bit 7, which has been PG_waiters since 4.10.
    let w = every_class(Kind::X86Four, 64);
    assert!(w.image.dropped(8).contains(&160));
    assert!(!w.image.dropped(2).contains(&160));
}

#[test]
fn a_slab_flag_counts_where_the_kernel_exports_one() {
    let mut w = every_class(Kind::HashBig4K, 64);
    w.image.without("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)").key("NUMBER(PG_slab)", 9);
    w.write(200, Page { flags: 1 << 9 | LRU, mapping: ANON, ..Page::default() });
    w.write(201, Page { flags: 1 << 9, mapcount: BUDDY, ..Page::default() });
    let dropped = w.image.dropped(24);
    assert!(!dropped.contains(&200) && !dropped.contains(&201));
    assert!(dropped.contains(&107), "what was slab by type is anonymous now");
}

#[test]
fn a_swap_cache_with_a_flag_of_its_own_needs_no_second_one() {
    let mut w = every_class(Kind::X86Four, 64);
    w.image.without("NUMBER(PG_swapbacked)").key("NUMBER(PG_swapcache)", 15);
    w.write(200, Page { flags: 1 << 15, ..Page::default() });
    assert!(w.image.dropped(2).contains(&200));
    // Below PG_private the flag has two meanings, and nothing distinguishes them.
    w.image.key("NUMBER(PG_swapcache)", 10);
    let selected = w.image.select(2).unwrap();
    assert!(!dropped(&selected).contains(&102));
    assert!(selected.remarks[0].contains("PG_swapbacked"), "{:?}", selected.remarks);
}

#[test]
fn a_free_block_of_impossible_size_is_kept_and_said() {
    let mut w = every_class(Kind::Radix64K, 64);
    w.write(208, Page { private: 9, mapcount: BUDDY, ..Page::default() });
    w.write(210, Page { private: 2, mapcount: BUDDY, ..Page::default() });
    w.write(212, Page { private: u64::MAX, mapcount: BUDDY, ..Page::default() });
    let selected = w.image.select(16).unwrap();
    assert_eq!(dropped(&selected).range(200..256).count(), 0);
    assert!(selected.remarks[0].starts_with("3 free blocks"), "{:?}", selected.remarks);
}

#[test]
fn each_key_that_a_class_needs_is_named_when_it_is_missing() {
    let cases = [
        ("SIZE(page)", 31),
        ("OFFSET(page.flags)", 2),
        ("OFFSET(page.mapping)", 8),
        ("OFFSET(page.private)", 16),
        ("OFFSET(page._mapcount)", 16),
        ("LENGTH(zone.free_area)", 16),
        ("NUMBER(PG_lru)", 2),
        ("NUMBER(PG_private)", 4),
        ("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", 16),
        ("SYMBOL(mem_section)", 8),
        ("SIZE(mem_section)", 8),
        ("OFFSET(mem_section.section_mem_map)", 8),
    ];
    for (key, level) in cases {
        let mut w = every_class(Kind::Radix4K, 64);
        w.image.without(key);
        match w.image.select(level) {
            Err(Error::MissingKey { key: named, .. }) => assert_eq!(named, key),
            other => panic!("{key}: {:?}", other.map(|s| s.remarks)),
        }
    }
    let mut w = every_class(Kind::Radix4K, 64);
    w.image.without("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)");
    assert!(matches!(w.image.select(8), Err(Error::MissingKey { key, .. }) if key == "NUMBER(PG_slab)"));
}

#[test]
fn classes_that_the_kernel_was_built_without_are_not_missed() {
    let mut w = every_class(Kind::Radix4K, 64);
    w.image.without("NUMBER(PG_hwpoison)").without("NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)");
    assert_eq!(w.image.dropped(0), BTreeSet::new());
    assert_eq!(w.image.dropped(16), set(&[112..116, 256..512]));
}

#[test]
fn levels_0_and_1_keep_everything_where_the_kernel_is_not_understood() {
    for level in [0, 1] {
        let mut w = every_class(Kind::X86Four, 64);
        w.image.without("SIZE(page)");
        let selected = w.image.select(level).unwrap();
        assert_eq!(dropped(&selected), BTreeSet::new());
        assert!(selected.remarks[0].contains("SIZE(page)"), "{:?}", selected.remarks);
    }
}

#[test]
fn pages_whose_struct_pages_are_not_in_the_dump_are_kept_and_counted() {
    for kind in KINDS {
        let mut w = every_class(kind, 64);
        let all = w.image.dropped(31);
        let shift = w.image.page.shift();
        // The frame that holds the struct page of frame 104, and those around it.
        let gone = w.phys(104 * 64) >> shift;
        w.image.ram.gone.insert(gone, PageState::Lost);
        let per_frame = w.image.page.bytes() / 64;
        let first = 104 / per_frame * per_frame;
        let selected = w.image.select(31).unwrap();
        let expected: BTreeSet<u64> =
            all.into_iter().filter(|pfn| !(first..first + per_frame).contains(pfn)).collect();
        let ours = dropped(&selected);
        assert!(ours.is_subset(&expected) && ours.range(0..first).eq(expected.range(0..first)), "{kind:?}");
        assert_eq!(selected.undecided, per_frame.min(w.image.ram_frames()), "{kind:?}");
        assert!(selected.remarks[0].contains("struct pages"), "{:?}", selected.remarks);
    }
}

#[test]
fn pages_that_an_earlier_filter_left_out_are_not_promised_again() {
    let mut w = every_class(Kind::X86Four, 64);
    w.image.ram.gone.insert(104, PageState::Excluded);
    w.image.ram.gone.insert(600, PageState::Excluded);
    let selected = w.image.select(8).unwrap();
    assert_eq!(selected.selection.reasons().get(Reason::Earlier), 2);
    assert_eq!(selected.selection.reasons().get(Reason::User), 18);
    assert!(dropped(&selected).contains(&600));
}

#[test]
fn a_huge_page_of_16_gib_is_left_out_across_chunks() {
    let order = 22;
    let head = 1 << order;
    let frames = head * 2 + (1 << 18) + 77;
    let mut w = World::new(Kind::X86Four, frames);
    w.write(head, Page { flags: crate::pages::HEAD, mapcount: HUGETLB, ..Page::default() });
    w.write(head + 1, Page { flags: order, head: 1, ..Page::default() });
    // Inside the huge page a tail is broken as well; it goes once.
    w.write(head + (1 << 20), Page { flags: HWPOISON, head: 1, ..Page::default() });
    w.write(2 * head, Page { mapping: ANON, ..Page::default() });
    let selected = w.image.select(8).unwrap();
    let reasons = selected.selection.reasons();
    assert_eq!(reasons.get(Reason::User) + reasons.get(Reason::HwPoison), head + 1);
    let dropped = dropped(&selected);
    assert_eq!((dropped.first(), dropped.last()), (Some(&head), Some(&(2 * head))));
}
