//! The `struct page`s of a block.

use super::block::{Block, Kind};
use super::truth::{poisoned_tail, truth};
use crate::rng::Rng;
use crate::synth::dump::generation::{Generation, Type};
use crate::synth::dump::page::{Map, Page};
use crate::synth::dump::truth::Run;

/// Writes the pages of a block; returns what its frames are to a filter. `address` is that of the block's first
/// `struct page`; `linear` of some memory of the kernel; the pages from `until` on share another's memory.
pub(crate) fn write(
    map: &mut Map,
    block: Block,
    (address, linear): (u64, u64),
    until: u64,
    rng: &mut Rng,
) -> Vec<Run> {
    let Block { frame, order, kind } = block;
    let generation = map.generation;
    let (lru, uptodate, backed) = (map.flag("lru"), map.flag("uptodate"), map.flag("swapbacked"));
    let object = linear + 0x100 * (1 + rng.below(0x800));
    let listed = Page {
        flags: lru | uptodate,
        // Neighbours on a list of the reclaim.
        lru: [address + 8 + 4 * map.size, address + 8 + 9 * map.size],
        index: rng.below(1 << 20),
        refcount: 1 + rng.below(3) as u32,
        ..Page::PLAIN
    };
    let anonymous =
        Page { flags: listed.flags | backed, mapping: object | 1, mapcount: 0, refcount: 1, ..listed };
    let cache = Page { mapping: object, ..listed };
    let waiters = if rng.below(4) == 0 { map.flag("waiters") } else { 0 };
    let active = if rng.below(2) == 0 { map.flag("active") | map.flag("referenced") } else { 0 };
    let page = match kind {
        Kind::Free => {
            let flags =
                if order > 4 && generation >= Generation::V6_1 && rng.below(4) == 0 { uptodate } else { 0 };
            Page {
                flags: flags | map.flag("buddy"),
                private: order.into(),
                mapcount: map.typed(Type::Buddy),
                refcount: 0,
                ..Page::PLAIN
            }
        }
        Kind::Unaccepted => Page { mapcount: map.typed(Type::Unaccepted), refcount: 0, ..Page::PLAIN },
        Kind::Anonymous | Kind::Thp | Kind::AnonymousFolio | Kind::PoisonedThp => {
            Page { flags: anonymous.flags | waiters | active, ..anonymous }
        }
        Kind::AnonymousMlocked => {
            Page { flags: anonymous.flags | map.flag("unevictable") | map.flag("mlocked"), ..anonymous }
        }
        Kind::SwapCache => Page {
            flags: anonymous.flags | map.flag("swapcache"),
            private: 0x1_2340 | rng.below(16),
            ..anonymous
        },
        Kind::Ksm => Page { mapping: object | 3, mapcount: 4, ..anonymous },
        Kind::Cache | Kind::CacheFolio => Page { flags: cache.flags | active | waiters, ..cache },
        Kind::CacheDirty => Page { flags: cache.flags | map.flag("dirty") | map.flag("writeback"), ..cache },
        // In a batch that has yet to be put on the list.
        Kind::CacheBatched => Page { flags: uptodate, ..cache },
        Kind::Shmem => Page { flags: cache.flags | backed, ..cache },
        Kind::ShmemSwap => {
            Page { flags: uptodate | backed | map.flag("swapcache"), private: 0x5_6780, mapping: 0, ..cache }
        }
        Kind::CachePrivate => {
            Page { flags: cache.flags | map.flag("private"), private: object | 0x40, refcount: 2, ..cache }
        }
        Kind::Hugetlb => Page {
            flags: uptodate | active,
            mapping: object,
            mapcount: map.typed(Type::Hugetlb),
            ..Page::PLAIN
        },
        Kind::HugetlbAnonymous => {
            Page { flags: uptodate, mapping: object | 1, mapcount: map.typed(Type::Hugetlb), ..Page::PLAIN }
        }
        Kind::HugetlbFree => Page { refcount: 0, mapcount: map.typed(Type::Hugetlb), ..Page::PLAIN },
        Kind::Slab => slab(map, object, rng),
        Kind::Kernel | Kind::KernelCompound | Kind::KernelBlock => {
            Page { private: rng.below(2) * object, ..Page::PLAIN }
        }
        Kind::KernelPrivate => Page { flags: map.flag("private"), private: object | 8, ..Page::PLAIN },
        Kind::LargeKmalloc => Page { mapcount: map.typed(Type::LargeKmalloc), ..Page::PLAIN },
        Kind::PageTable => Page { mapcount: map.typed(Type::Table), index: object, ..Page::PLAIN },
        Kind::PerCpu => Page { refcount: 0, lru: listed.lru, index: rng.below(3), ..Page::PLAIN },
        Kind::Movable => Page { mapping: object | 2, private: object | 0x10, ..Page::PLAIN },
        // The owner has the low bits of the type: where the first object begins.
        Kind::Zsmalloc => {
            let mapcount = map.typed(Type::Zsmalloc) & !0xffff | rng.below(0x1000) as u32;
            Page { mapcount, private: object, flags: map.flag("private"), ..Page::PLAIN }
        }
        Kind::Offline => Page { mapcount: map.typed(Type::Offline), ..Page::PLAIN },
        Kind::Poisoned => Page { flags: map.flag("hwpoison") | uptodate, ..Page::PLAIN },
        Kind::PoisonedAnonymous => Page { flags: anonymous.flags | map.flag("hwpoison"), ..anonymous },
    };
    match kind {
        Kind::Free | Kind::Unaccepted => {
            map.write(frame, page);
            let inner =
                Page { refcount: 0, lru: [0xdead_0000_0000_0100, 0xdead_0000_0000_0122], ..Page::PLAIN };
            for other in 1..1 << order {
                map.write(frame + other, inner);
            }
        }
        _ if order == 0 => map.write(frame, page),
        // Allocated at once, and not compound: only the first of the pages is counted as in use.
        Kind::KernelBlock => {
            map.write(frame, page);
            for other in 1..1 << order {
                map.write(frame + other, Page { refcount: 0, ..Page::PLAIN });
            }
        }
        _ => {
            let destructor = match kind {
                Kind::Hugetlb | Kind::HugetlbAnonymous | Kind::HugetlbFree => 2,
                Kind::Thp | Kind::PoisonedThp | Kind::AnonymousFolio | Kind::CacheFolio => 3,
                _ => 1,
            };
            map.compound(frame, order, page, (address, destructor), until);
            if kind == Kind::Slab {
                slab_count(map, frame, rng);
            }
        }
    }
    if kind == Kind::Slab && order == 0 {
        slab_count(map, frame, rng);
    }
    if kind == Kind::PoisonedThp && order > 0 {
        let broken = frame + poisoned_tail(order);
        let flags = map.flag("hwpoison") | map.top_flags(broken);
        map.put64(broken, 0, flags);
    }
    truth(map, block)
}

fn slab(map: &Map, object: u64, rng: &mut Rng) -> Page {
    let flags = map.flag("slab") & if map.generation >= Generation::V6_10 { 0 } else { !0 };
    let page = Page { flags, mapcount: map.typed(Type::Slab), ..Page::PLAIN };
    match map.generation {
        Generation::V2_6_32 => Page { private: object, mapcount: 0x15_0005, ..page },
        // Objects in use, objects, frozen: where the map count is.
        generation if generation < Generation::V5_10 => {
            let mapcount = (rng.below(20) | 21 << 16) as u32;
            Page { mapcount, private: object, index: object + 0x10, ..page }
        }
        Generation::V5_10 | Generation::V6_1 => {
            Page { mapping: object, index: object + 0x10, private: 0x15_0005, ..page }
        }
        _ => Page { lru: [object, object + 0x800], index: object + 0x10, private: 0x15_0005, ..page },
    }
}

/// Since 6.2 slab counts slabs on a processor's list where `mapping` is: odd as often as not.
fn slab_count(map: &mut Map, frame: u64, rng: &mut Rng) {
    if map.generation >= Generation::V6_3 {
        let mapping = map.layout().mapping;
        map.put64(frame, mapping, 0);
        map.put32(frame, mapping, 1 + 2 * rng.below(8) as u32);
        // What fills the word up is left from the page's last owner.
        map.put32(frame, mapping + 4, 1);
    }
}
