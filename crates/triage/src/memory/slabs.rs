//! Slab caches (SLUB, which all kernels have since 6.8 and distributions had before).

use super::{SlabCache, counters};
use crate::Subject;
use std::collections::HashSet;

/// The most caches, and the most slabs on one list, believed.
const MAX_CACHES: usize = 1 << 14;
const MAX_SLABS: usize = 1 << 16;
/// The most bytes of a slab: two objects of it are no farther from each other.
const FARTHEST: u64 = 1 << 22;

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
    free = free.saturating_add(kept(subject, at, shape & 0xffff));
    cache.active = cache.objects.saturating_sub(free);
    cache.bytes = cache.slabs.saturating_mul(bytes);
    Some(cache)
}

/// The `struct kmem_cache_node` of each node: pointers in an array, in pairs with another one since 7.1.
fn nodes(subject: &Subject<'_>, cache: u64) -> Vec<u64> {
    each_node(subject, cache, "kmem_cache_per_node_ptrs.node")
}

/// What a cache has for each node; `pair` is which of a pair, where there are pairs.
fn each_node(subject: &Subject<'_>, cache: u64, pair: &str) -> Vec<u64> {
    let (array, within) = match subject.offset(pair) {
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

/// Free objects in the slabs that are on a node's list of those with some.
fn free_on(subject: &Subject<'_>, node: u64) -> u64 {
    let Some(partial) = subject.offset("kmem_cache_node.partial") else { return 0 };
    let path = |member: &str| format!("{}.{member}", kind(subject));
    // They were on a list of all kinds of pages before 5.2.
    let list = ["slab_list", "lru"].map(path).into_iter().find(|list| subject.offset(list).is_some());
    let Some(list) = list else { return 0 };
    let (slabs, _) = subject.list(node.wrapping_add(partial), &list, MAX_SLABS);
    slabs.into_iter().map(|slab| free_in(subject, slab)).fold(0, u64::saturating_add)
}

/// What a slab is: a kind of page before 5.17.
fn kind(subject: &Subject<'_>) -> &'static str {
    if subject.offset("slab.inuse").is_some() { "slab" } else { "page" }
}

/// Free objects of a slab, as far as it counts them.
fn free_in(subject: &Subject<'_>, slab: u64) -> u64 {
    let number = |member: &str| subject.bits_in(slab, &format!("{}.{member}", kind(subject)));
    number("objects").zip(number("inuse")).map_or(0, |(objects, used)| objects.saturating_sub(used))
}

/// Free objects that CPUs keep for later, which `/proc/slabinfo` counts as used: in sheaves since 7.0, on lists of slabs of
/// their own before. `per_slab`: objects of a slab.
fn kept(subject: &Subject<'_>, cache: u64, per_slab: u64) -> u64 {
    let cpus = subject.cpus("__cpu_possible_mask").unwrap_or_default();
    let of = |member: &str| subject.pointer_in(cache, member).filter(|&at| at != 0);
    let mut sum = 0u64;
    if let Some(sheaves) = of("kmem_cache.cpu_sheaves") {
        for at in cpus.iter().filter_map(|&cpu| subject.per_cpu(sheaves, cpu)) {
            // What is in the third one (`rcu_free`) may still be read by others.
            for name in ["main", "spare"] {
                let sheaf =
                    subject.pointer_in(at, &format!("slub_percpu_sheaves.{name}")).filter(|&at| at != 0);
                let size = sheaf.and_then(|sheaf| subject.number_in(sheaf, "slab_sheaf.size"));
                sum = sum.saturating_add(size.unwrap_or(0));
            }
        }
        // Each node has full ones for all CPUs, in 7.0 as a part of what a cache has for it.
        let barns = match subject.offset("kmem_cache_per_node_ptrs.barn") {
            Some(_) => each_node(subject, cache, "kmem_cache_per_node_ptrs.barn"),
            None => {
                let of_node = |node| subject.pointer_in(node, "kmem_cache_node.barn").filter(|&at| at != 0);
                nodes(subject, cache).into_iter().filter_map(of_node).collect()
            }
        };
        for barn in barns {
            let Some(full) = subject.offset("node_barn.sheaves_full") else { continue };
            let (full, _) = subject.list(barn.wrapping_add(full), "slab_sheaf.barn_list", MAX_SLABS);
            let sizes = full.into_iter().filter_map(|sheaf| subject.number_in(sheaf, "slab_sheaf.size"));
            sum = sizes.fold(sum, u64::saturating_add);
        }
    }
    if let Some(own) = of("kmem_cache.cpu_slab") {
        for at in cpus.iter().filter_map(|&cpu| subject.per_cpu(own, cpu)) {
            sum = sum.saturating_add(kept_by(subject, cache, at, per_slab));
        }
    }
    sum
}

/// Free objects of the slabs that a CPU (`struct kmem_cache_cpu`) works on: those on its list, and those that others freed.
fn kept_by(subject: &Subject<'_>, cache: u64, cpu: u64, per_slab: u64) -> u64 {
    let pointer = |path: &str| subject.pointer_in(cpu, path).filter(|&at| at != 0);
    let mut sum = 0u64;
    let mut object = pointer("kmem_cache_cpu.freelist");
    while let Some(at) = object.filter(|_| sum < per_slab) {
        sum += 1;
        object = next_free(subject, cache, at).filter(|&next| next != 0);
    }
    let slab = pointer("kmem_cache_cpu.slab").or_else(|| pointer("kmem_cache_cpu.page"));
    sum = sum.saturating_add(slab.map_or(0, |slab| free_in(subject, slab)));
    let next = format!("{}.next", kind(subject));
    let mut seen = HashSet::new();
    let mut partial = pointer("kmem_cache_cpu.partial");
    while let Some(slab) = partial.filter(|&slab| seen.len() < MAX_SLABS && seen.insert(slab)) {
        sum = sum.saturating_add(free_in(subject, slab));
        partial = subject.pointer_in(slab, &next).filter(|&at| at != 0);
    }
    sum
}

/// The free object behind the one at `at`. Hardened kernels hide the pointer (kernel: `freelist_ptr_decode`): by a random number
/// of the cache and where it lies, whose bytes are swapped since 5.7.
fn next_free(subject: &Subject<'_>, cache: u64, at: u64) -> Option<u64> {
    let place = at.wrapping_add(subject.number_in(cache, "kmem_cache.offset").unwrap_or(0));
    let stored = subject.pointer(place)?;
    let Some(random) = subject.pointer_in(cache, "kmem_cache.random") else { return Some(stored) };
    let near = |next: &u64| *next == 0 || next.abs_diff(at) < FARTHEST;
    [place.swap_bytes(), place].into_iter().map(|place| stored ^ random ^ place).find(near)
}
