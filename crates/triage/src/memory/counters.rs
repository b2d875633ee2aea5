//! The kernel's counters, zones and huge pages.

use super::{Counter, HugePages, Zone};
use crate::Subject;

/// The most nodes, zones of a node, counters and sizes of huge pages believed.
const MAX_NODES: u64 = 1 << 10;
const MAX_ZONES: u64 = 16;
const MAX_COUNTERS: usize = 256;
const MAX_SIZES: u64 = 16;

/// The counters of an array such as `vm_zone_stat`, by the enumeration that `first` is of; `end` is what counts them.
pub(super) fn all(subject: &Subject<'_>, array: &str, first: &str, end: &str) -> Option<Vec<Counter>> {
    let at = subject.symbol(array)?;
    let mut counters: Vec<Counter> = Vec::new();
    let mut last = None;
    for (name, index) in subject.types?.enumeration(first).ok()? {
        if name == end || counters.len() >= MAX_COUNTERS {
            break;
        }
        let Some(place) = u64::try_from(index).ok().filter(|&index| index < MAX_COUNTERS as u64) else {
            continue;
        };
        let value = subject.signed(at.wrapping_add(place * subject.word()), subject.word())?;
        // Of several names for one counter the last is its own: those before say where a group begins.
        if last == Some(index) {
            counters.pop();
        }
        counters.push(Counter { name, value });
        last = Some(index);
    }
    (!counters.is_empty()).then_some(counters)
}

/// The number of nodes that there can be.
pub(crate) fn nodes(subject: &Subject<'_>) -> u64 {
    let count = subject.symbol("nr_node_ids").and_then(|at| subject.unsigned(at, 4));
    count.unwrap_or(1).clamp(1, MAX_NODES)
}

/// Where each node's `struct pglist_data` is.
fn node_data(subject: &Subject<'_>) -> Vec<(u32, u64)> {
    match subject.symbol("node_data") {
        Some(table) => {
            let at = |node: u64| subject.pointer(table.wrapping_add(node * subject.word()));
            let known = (0..nodes(subject)).filter_map(|node| Some((node as u32, at(node)?)));
            known.filter(|(_, at)| *at != 0).collect()
        }
        None => subject.symbol("contig_page_data").map(|at| (0, at)).into_iter().collect(),
    }
}

/// All zones that have memory, and what of their pages is apart.
#[derive(Default)]
pub(super) struct Zones {
    pub(super) zones: Vec<Zone>,
    /// Pages that wait on lists of CPUs to be given out again.
    pub(super) on_lists: u64,
    /// Free pages below which the kernel begins to reclaim: the sum of the zones' low watermarks. `None` where they are not
    /// known.
    pub(super) low: Option<u64>,
}

/// Where a zone has its low watermark: the second of an array, and since 5.0 what it is raised by for a while.
fn low_watermark(subject: &Subject<'_>, zone: u64) -> Option<u64> {
    const WMARK_LOW: u64 = 1;
    let array = subject.offset("zone._watermark").or_else(|| subject.offset("zone.watermark"))?;
    let low = subject.pointer(zone.wrapping_add(array).wrapping_add(WMARK_LOW * subject.word()))?;
    Some(low.saturating_add(subject.pointer_in(zone, "zone.watermark_boost").unwrap_or(0)))
}

/// All zones that have memory.
pub(super) fn zones(subject: &Subject<'_>) -> Zones {
    let Zones { mut zones, mut on_lists, .. } = Zones::default();
    let mut low = Some(0u64);
    let Some((place, (count, size))) =
        subject.place("pglist_data.node_zones").zip(subject.array("pglist_data.node_zones"))
    else {
        return Zones::default();
    };
    let cpus = subject.cpus("__cpu_possible_mask").unwrap_or_default();
    for (node, data) in node_data(subject) {
        for index in 0..count.min(MAX_ZONES) {
            let at = data.wrapping_add(place.offset).wrapping_add(index.wrapping_mul(size));
            let number = |path: &str| subject.pointer_in(at, path);
            let Some(present) = number("zone.present_pages").filter(|&present| present > 0) else { continue };
            let name = subject.offset("zone.name");
            let name = name.and_then(|offset| subject.text_at(at.wrapping_add(offset), 32));
            zones.push(Zone {
                node,
                name: name.unwrap_or_default(),
                start: number("zone.zone_start_pfn").unwrap_or(0),
                spanned: number("zone.spanned_pages").unwrap_or(0),
                present,
                managed: number("zone.managed_pages").unwrap_or(0),
                // The first counter of a zone is NR_FREE_PAGES.
                free: number("zone.vm_stat").unwrap_or(0),
            });
            low = low.zip(low_watermark(subject, at)).map(|(sum, low)| sum.saturating_add(low));
            let sets = number("zone.per_cpu_pageset").or_else(|| number("zone.pageset"));
            // Before 5.14 they were inside of another struct, at its start.
            let lists = cpus.iter().filter_map(|&cpu| subject.per_cpu(sets?, cpu));
            let counts = lists.filter_map(|list| subject.signed_in(list, "per_cpu_pages.count"));
            on_lists = counts.fold(on_lists, |sum, count| sum.saturating_add(count.max(0) as u64));
        }
    }
    Zones { zones, on_lists, low }
}

/// Huge pages of each size.
pub(super) fn huge(subject: &Subject<'_>) -> Vec<HugePages> {
    let table = subject.symbol("hstates").zip(subject.size_of("hstate"));
    let count = subject.symbol("hugetlb_max_hstate").and_then(|at| subject.unsigned(at, 4));
    let Some(((table, each), count)) = table.zip(count) else { return Vec::new() };
    let state = |index: u64| {
        let at = table.wrapping_add(index.wrapping_mul(each));
        let order = u32::try_from(subject.number_in(at, "hstate.order")?).ok().filter(|&order| order < 32)?;
        Some(HugePages {
            size: subject.page_size() << order,
            total: subject.number_in(at, "hstate.nr_huge_pages")?,
            free: subject.number_in(at, "hstate.free_huge_pages")?,
        })
    };
    (0..count.min(MAX_SIZES)).filter_map(state).collect()
}
