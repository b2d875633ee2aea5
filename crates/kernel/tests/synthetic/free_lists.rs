//! Free pages of kernels before 3.9, which are only found on the free lists.

use crate::image::dropped;
use crate::pages::{LRU, Page, World};
use crate::tables::{KINDS, Kind, Machine};
use proptest::prelude::*;
use std::collections::BTreeSet;

const ZONE: u64 = 0x400;
const AREA: u64 = 5 * 16 + 8;
const LRU_OFFSET: u64 = 32;

/// A kernel without the mark of free pages, and the physical address of its only node.
fn world(kind: Kind) -> (World, u64) {
    let frames = kind.page().frames(64 << 20);
    let mut w = World::new(kind, frames);
    let node = w.image.alloc(3 * ZONE, w.image.page.bytes());
    let linear = Machine::new(kind, frames).linear(node);
    let table = w.image.alloc(16, 16);
    w.image.put64(table + 8, linear);
    w.image.put32(node + 2 * ZONE, 2);
    for zone in 0..2 {
        for head in heads(zone) {
            for pointer in [0, 8] {
                w.image.put64(node + head + pointer, linear + head);
            }
        }
    }
    let table = Machine::new(kind, frames).linear(table);
    w.image.without("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)").without("OFFSET(page._mapcount)");
    w.image.symbol("node_data", table).key("LENGTH(node_data)", 2);
    w.image.key("OFFSET(pglist_data.node_zones)", 0).key("OFFSET(pglist_data.nr_zones)", 2 * ZONE);
    w.image.key("SIZE(zone)", ZONE).key("OFFSET(zone.free_area)", 16).key("LENGTH(zone.free_area)", 3);
    w.image
        .key("SIZE(free_area)", AREA)
        .key("OFFSET(free_area.free_list)", 0)
        .key("LENGTH(free_area.free_list)", 5);
    w.image.key("SIZE(list_head)", 16).key("OFFSET(list_head.next)", 0).key("OFFSET(list_head.prev)", 8);
    w.image.key("OFFSET(page.lru)", LRU_OFFSET);
    // Slab is a flag on such kernels.
    w.image.without("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)").key("NUMBER(PG_slab)", 7);
    (w, node)
}

fn head(zone: u64, order: u64, list: u64) -> u64 {
    zone * ZONE + 16 + order * AREA + list * 16
}

fn heads(zone: u64) -> impl Iterator<Item = u64> {
    (0..3).flat_map(move |order| (0..5).map(move |list| head(zone, order, list)))
}

/// Puts blocks on the list whose head is at `head` of the node.
fn link(w: &mut World, kind: Kind, node: u64, head: u64, pfns: &[u64]) {
    let machine = Machine::new(kind, 4096);
    let virt = |pfn: &u64| machine.vmemmap() + pfn * 64 + LRU_OFFSET;
    let head_virt = machine.linear(node + head);
    let mut ring = vec![head_virt];
    ring.extend(pfns.iter().map(virt));
    let phys: Vec<u64> =
        std::iter::once(node + head).chain(pfns.iter().map(|pfn| w.phys(pfn * 64 + LRU_OFFSET))).collect();
    for (i, &at) in phys.iter().enumerate() {
        w.image.put64(at, ring[(i + 1) % ring.len()]);
        w.image.put64(at + 8, ring[(i + ring.len() - 1) % ring.len()]);
    }
}

#[test]
fn free_blocks_are_found_on_the_lists_of_all_zones() {
    for kind in KINDS {
        let (mut w, node) = world(kind);
        w.write(50, Page { flags: LRU, mapping: 0x5001, ..Page::default() });
        link(&mut w, kind, node, head(0, 0, 0), &[77]);
        link(&mut w, kind, node, head(0, 2, 4), &[128, 100, 900]);
        link(&mut w, kind, node, head(1, 1, 2), &[200]);
        let free: BTreeSet<u64> =
            [77..78, 100..104, 128..132, 200..202, 900..904].into_iter().flatten().collect();
        let selected = w.image.select(16).unwrap();
        assert_eq!(dropped(&selected), free, "{kind:?}");
        assert_eq!(selected.remarks, [""; 0]);
        assert_eq!(w.image.dropped(8), [50].into());
        assert_eq!(w.image.dropped(24).len(), free.len() + 1);
    }
}

#[test]
fn a_broken_list_is_left_where_it_breaks() {
    let kind = Kind::X86Four;
    let (mut w, node) = world(kind);
    link(&mut w, kind, node, head(0, 0, 1), &[300, 301, 302, 303]);
    // The third entry leads back to the second: a circle that never comes to the head again.
    let second = Machine::new(kind, 4096).vmemmap() + 301 * 64 + LRU_OFFSET;
    w.put64(302, LRU_OFFSET, second);
    link(&mut w, kind, node, head(1, 0, 1), &[400]);
    let selected = w.image.select(16).unwrap();
    assert_eq!(dropped(&selected), [300, 301, 302, 400].into());
    assert!(selected.remarks[0].starts_with("1 free lists"), "{:?}", selected.remarks);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn damaged_lists_end(
        kind in 0usize..KINDS.len(),
        chains in prop::collection::vec((0u64..2, 0u64..3, 0u64..5, prop::collection::btree_set(64u64..900, 0..20)), 0..6),
        swaps in prop::collection::vec((64u64..900, any::<bool>(), 64u64..900), 0..20),
    ) {
        let kind = KINDS[kind];
        let (mut w, node) = world(kind);
        for (zone, order, list, pfns) in chains {
            let pfns: Vec<u64> = pfns.into_iter().collect();
            link(&mut w, kind, node, head(zone, order, list), &pfns);
        }
        let vmemmap = Machine::new(kind, 4096).vmemmap();
        for (at, back, to) in swaps {
            w.put64(at, LRU_OFFSET + if back { 8 } else { 0 }, vmemmap + to * 64 + LRU_OFFSET);
        }
        let selected = w.image.select(16).unwrap();
        let selection = &selected.selection;
        prop_assert_eq!(selection.kept() + selection.reasons().total(), w.image.ram_frames());
    }
}
