//! Pages in the order of their value.

use crate::pages::{BUDDY, HEAD, HUGETLB, LRU, PRIVATE, Page, SLAB, World};
use crate::tables::{KINDS, Kind};
use kernel::{Kernel, Value};
use std::collections::BTreeMap;
use vmcore::{CHUNK_FRAMES, DumpLevel, Selection};

/// The value of every page of a whole dump.
fn values(world: &World) -> BTreeMap<u64, Value> {
    let dump = world.image.dump();
    let whole = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
    let parts = Kernel::open(&dump).unwrap().by_value(&whole, &tempfile::tempfile).unwrap();
    let mut values = BTreeMap::new();
    for (value, part) in &parts {
        for position in 0..part.chunk_count() {
            let (first, chunk) = part.chunk(position).unwrap();
            for i in chunk.runs().flatten() {
                assert_eq!(values.insert(first.0 + i, *value), None, "page {i} is in two parts");
            }
        }
    }
    assert_eq!(values.len() as u64, whole.kept(), "parts make up the whole");
    values
}

fn world(kind: Kind) -> World {
    let mut w = World::new(kind, kind.page().frames(64 << 20));
    w.image.key("LENGTH(zone.free_area)", 9);
    let page = Page::default();
    w.write(100, Page { flags: LRU, mapping: 0xc000_0000_0000_5000, ..page });
    w.write(101, Page { flags: LRU | PRIVATE, mapping: 0xc000_0000_0000_5000, ..page });
    w.write(102, Page { mapping: 0xc000_0000_0000_5001, ..page });
    w.compound(104, 2, Page { mapcount: SLAB, ..page });
    w.write(112, Page { private: 2, mapcount: BUDDY, ..page });
    w
}

#[test]
fn each_class_has_its_value_on_every_kind_of_kernel() {
    for kind in KINDS {
        let w = world(kind);
        let values = values(&w);
        let expected =
            [(100, Value::Cache), (101, Value::CachePrivate), (102, Value::User), (103, Value::Kernel)];
        for (pfn, value) in expected {
            assert_eq!(values[&pfn], value, "{kind:?}: {pfn}");
        }
        assert!((104..108).all(|pfn| values[&pfn] == Value::Essential), "{kind:?}: slab");
        assert!((112..116).all(|pfn| values[&pfn] == Value::Free), "{kind:?}: free");
        let array = w.array >> kind.page().shift();
        assert_eq!(values[&array], Value::Essential, "{kind:?}: struct pages");
    }
}

#[test]
fn what_a_kernel_does_not_tell_apart_stays_together() {
    let mut w = world(Kind::X86Four);
    w.image.without("NUMBER(PG_lru)");
    let no_cache = values(&w);
    assert_eq!((no_cache[&100], no_cache[&102], no_cache[&112]), (Value::Kernel, Value::User, Value::Free));
    w.image.without("SIZE(page)");
    let nothing = values(&w);
    assert!([100, 102, 112].iter().all(|pfn| nothing[pfn] == Value::Kernel));
}

#[test]
fn a_block_has_its_value_past_the_end_of_a_chunk() {
    let mut w = World::new(Kind::X86Four, CHUNK_FRAMES + (1 << 16));
    w.write(0, Page { flags: HEAD, mapcount: HUGETLB, ..Page::default() });
    w.write(1, Page { flags: 19, head: 1, ..Page::default() });
    let values = values(&w);
    for pfn in [0, CHUNK_FRAMES - 1, CHUNK_FRAMES, CHUNK_FRAMES + (1 << 15)] {
        assert_eq!(values[&pfn], Value::User, "{pfn}");
    }
    // Page tables inside it are known to be none of it.
    assert_eq!(values[&(w.array >> 12)], Value::Essential);
}
