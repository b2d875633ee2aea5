//! Slab caches (SLUB, which all kernels have since 6.8 and distributions had before).

use super::{SlabCache, counters};
use crate::Subject;
use std::collections::HashSet;

/// The most caches, and the most slabs on one list, believed.
const MAX_CACHES: usize = 1 << 14;
const MAX_SLABS: usize = 1 << 16;

/// All caches, the largest first; `None` where their layout is not known.
pub(super) fn find(subject: &Subject<'_>) -> Option<(Vec<SlabCache>, bool)> {
    let head = subject.symbol("slab_caches")?;
    subject.offset("kmem_cache_node.nr_slabs")?;
    subject.offset("kmem_cache.oo")?;
    let (found, whole) = subject.list(head, "kmem_cache.list", MAX_CACHES);
    let mut caches: Vec<SlabCache> = found.into_iter().filter_map(|at| cache(subject, at)).collect();
    caches.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    Some((caches, whole))
}

fn cache(subject: &Subject<'_>, at: u64) -> Option<SlabCache> {
    // `struct kmem_cache_order_objects` is one number: the order above 16 bits of objects.
    let shape = subject.unsigned(at.wrapping_add(subject.offset("kmem_cache.oo")?), 4)?;
    let bytes = subject.page_size().checked_shl((shape >> 16) as u32).filter(|_| shape >> 16 < 32)?;
    let name = subject.offset("kmem_cache.name")?;
    let mut cache = SlabCache {
        name: subject.text_at(at.wrapping_add(name), 64)?,
        object_size: subject.number_in(at, "kmem_cache.object_size")?,
        ..SlabCache::default()
    };
    let mut free = 0u64;
    for node in nodes(subject, at) {
        let number = |path: &str| subject.pointer_in(node, path).unwrap_or(0);
        let slabs = number("kmem_cache_node.nr_slabs");
        cache.slabs = cache.slabs.saturating_add(slabs);
        let objects = match subject.offset("kmem_cache_node.total_objects") {
            Some(_) => number("kmem_cache_node.total_objects"),
            None => slabs.saturating_mul(shape & 0xffff),
        };
        cache.objects = cache.objects.saturating_add(objects);
        free = free.saturating_add(free_on(subject, node));
    }
    cache.active = cache.objects.saturating_sub(free);
    cache.bytes = cache.slabs.saturating_mul(bytes);
    Some(cache)
}

/// The `struct kmem_cache_node` of each node: pointers in an array, in pairs with another one since 7.1.
fn nodes(subject: &Subject<'_>, cache: u64) -> Vec<u64> {
    let (array, within) = match subject.offset("kmem_cache_per_node_ptrs.node") {
        Some(within) if subject.offset("kmem_cache.per_node").is_some() => ("kmem_cache.per_node", within),
        _ => ("kmem_cache.node", 0),
    };
    let Some((place, (count, size))) = subject.place(array).zip(subject.array(array)) else {
        return Vec::new();
    };
    let first = cache.wrapping_add(place.offset).wrapping_add(within);
    let at = |node: u64| subject.pointer(first.wrapping_add(node.wrapping_mul(size)));
    let count = count.max(1).min(counters::nodes(subject));
    let mut seen = HashSet::new();
    (0..count).filter_map(at).filter(|&node| node != 0 && seen.insert(node)).collect()
}

/// Free objects in the slabs that are on a node's list of those with some. What CPUs have taken counts as used, as in
/// `/proc/slabinfo`.
fn free_on(subject: &Subject<'_>, node: u64) -> u64 {
    let Some(partial) = subject.offset("kmem_cache_node.partial") else { return 0 };
    // A slab was a kind of page before 5.17.
    let kind = if subject.offset("slab.slab_list").is_some() { "slab" } else { "page" };
    let path = |member: &str| format!("{kind}.{member}");
    let (inuse, objects) = (path("inuse"), path("objects"));
    let (slabs, _) = subject.list(node.wrapping_add(partial), &path("slab_list"), MAX_SLABS);
    let free = |slab: u64| {
        let used = subject.bits_in(slab, &inuse)?;
        Some(subject.bits_in(slab, &objects)?.saturating_sub(used))
    };
    slabs.into_iter().filter_map(free).fold(0, u64::saturating_add)
}
