//! Nodes and zones: counters and free lists (`include/linux/mmzone.h`).

use std::collections::BTreeMap;

use crate::bytes::Bytes;
use crate::error::Result;
use crate::memory::Memory;
use crate::rng::Rng;
use crate::synth::dump::arch::{Space, image};
use crate::synth::dump::generation::Generation;
use crate::synth::dump::page::Map;
use crate::synth::dump::place::Places;
use crate::synth::dump::pool::Pool;
use crate::synth::dump::scene::{Block, Kind};
use crate::synth::dump::{Model, Spec};

/// Zones that a node has room for, and those that are in use.
const ZONES: u64 = 4;
const NR_ZONES: u32 = 3;
/// Per-CPU counters may hold this much back: two processors, each below the threshold of a small zone.
const SLACK: u64 = 7;

/// Offsets of fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) free_area: u64,
    pub(crate) area: u64,
    pub(crate) lists: u64,
    pub(crate) vm_stat: u64,
    pub(crate) spanned: u64,
    pub(crate) zone: u64,
    pub(crate) nr_zones: u64,
    /// Only with FLATMEM and DISCONTIGMEM.
    pub(crate) node_mem_map: Option<u64>,
    pub(crate) start: u64,
    pub(crate) span: u64,
    pub(crate) id: u64,
    pub(crate) node: u64,
}

/// The layout of a kernel with `orders` sizes of free blocks.
pub(crate) fn layout(spec: &Spec, orders: u32) -> Layout {
    let lists = if spec.generation < Generation::V3_10 { 5 } else { 6 };
    let area = lists * 16 + 8;
    let free_area = 192;
    let vm_stat = (free_area + area * u64::from(orders) + 64).next_multiple_of(64);
    let zone = (vm_stat + 8 * 48).next_multiple_of(64);
    // Behind the zones, the zone lists.
    let nr_zones = ZONES * zone + 0x1400;
    let own_map = matches!(spec.model, Model::Flat | Model::Discontig);
    let start = nr_zones + if own_map { 16 } else { 8 };
    Layout {
        free_area,
        area,
        lists,
        vm_stat,
        spanned: 136,
        zone,
        nr_zones,
        node_mem_map: own_map.then_some(nr_zones + 8),
        start,
        span: start + 16,
        id: start + 24,
        node: (start + 0x400).next_multiple_of(64),
    }
}

#[derive(Default)]
struct Zone {
    free: u64,
    lists: BTreeMap<(u32, u64), Vec<u64>>,
    /// Pages on LRU lists: inactive and active anonymous ones, inactive and active ones of files, unevictable ones.
    lru: [u64; 5],
}

/// Where the LRU lists are counted in `vm_stat`: after NR_FREE_PAGES, or one further, where NR_ALLOC_BATCH (3.12 to 4.7)
/// or NR_FREE_PAGES_BLOCKS (6.15) is between.
fn lru_at(generation: Generation) -> u64 {
    let between =
        matches!(generation, Generation::V3_19 | Generation::V4_4) || generation >= Generation::V6_16;
    if between { 2 } else { 1 }
}

/// The list that a page with these flags is on.
fn lru_list(map: &Map, flags: u64) -> Option<usize> {
    let has = |name: &str| flags & map.flag(name) != 0;
    let list = match has("swapbacked") {
        true => usize::from(has("active")),
        false => 2 + usize::from(has("active")),
    };
    has("lru").then_some(if has("unevictable") { 4 } else { list })
}

/// A counter that has yet to hear of some pages.
fn lagging(rng: &mut Rng, count: u64) -> u64 {
    (count + rng.below(2 * SLACK)).saturating_sub(SLACK.min(count))
}

/// Writes nodes and zones, and links the free blocks; returns the frames that the zones count as free.
pub(crate) fn write(
    spec: &Spec,
    space: &Space,
    (blocks, orders): (&[Block], u32),
    map: &mut Map,
    places: &Places,
    (memory, pool): (&mut Memory, &mut Pool),
    rng: &mut Rng,
) -> Result<u64> {
    let layout = layout(spec, orders);
    let mut zones: BTreeMap<(u64, u64), Zone> = BTreeMap::new();
    let mut total = 0;
    let cma = spec.frames_of(&spec.cma);
    for block in blocks {
        let number = u64::from(block.frame >= map.top().normal);
        let zone = zones.entry((map.top().node(block.frame), number)).or_default();
        if !matches!(block.kind, Kind::Free | Kind::Unaccepted) {
            if let Some(list) = lru_list(map, map.flags_of(block.frame)) {
                zone.lru[list] += 1 << block.order;
            }
            continue;
        }
        zone.free += 1 << block.order;
        total += 1 << block.order;
        if block.kind == Kind::Free {
            let in_cma = cma.iter().any(|(first, count)| (*first..first + count).contains(&block.frame));
            let list = if in_cma { layout.lists - 2 } else { (block.frame >> block.order) % 3 };
            zone.lists.entry((block.order, list)).or_default().push(block.frame);
        }
    }
    let nodes: std::collections::BTreeSet<u64> = spec.banks.iter().map(|bank| bank.node).collect();
    for node in nodes {
        let (at, address) = if spec.is_numa() {
            let at = pool.take(layout.node, spec.page_size)?;
            (at, space.linear.wrapping_add(at))
        } else {
            let at = space.image_at + image::CONTIG;
            (at, space.image.wrapping_add(at))
        };
        let frames: Vec<(u64, u64)> = spec
            .banks
            .iter()
            .zip(spec.frames())
            .filter(|(bank, _)| bank.node == node)
            .map(|(_, frames)| frames)
            .collect();
        let start = frames.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let end = frames.iter().map(|(first, count)| first + count).max().unwrap_or(0);
        let mut out = Bytes::zeroed(spec.order, layout.node as usize);
        for number in 0..u64::from(NR_ZONES) {
            let base = number * layout.zone;
            let span = match number {
                0 => end.min(map.top().normal).saturating_sub(start),
                1 => end.saturating_sub(start.max(map.top().normal)),
                _ => 0,
            };
            out.u64_at((base + layout.spanned) as usize, span);
            let zone = zones.remove(&(node, number)).unwrap_or_default();
            let mut counter = |index: u64, count: u64| {
                out.u64_at((base + layout.vm_stat + index * 8) as usize, count);
            };
            counter(0, lagging(rng, zone.free));
            if spec.generation >= Generation::V6_16 {
                // Free pages in whole page blocks.
                let block = 1 << (orders - 1);
                counter(1, zone.free / 2 / block * block);
            }
            for (list, count) in zone.lru.iter().enumerate() {
                counter(lru_at(spec.generation) + list as u64, lagging(rng, *count));
            }
            for order in 0..orders {
                let area = base + layout.free_area + u64::from(order) * layout.area;
                let mut blocks = 0;
                for list in 0..layout.lists {
                    let head = area + list * 16;
                    let frames = zone.lists.get(&(order, list)).map_or(&[][..], |frames| frames);
                    blocks += frames.len() as u64;
                    let (first, last) = link(map, places, address.wrapping_add(head), frames);
                    out.u64_at(head as usize, first).u64_at(head as usize + 8, last);
                }
                out.u64_at((area + layout.lists * 16) as usize, blocks);
            }
        }
        out.u32_at(layout.nr_zones as usize, NR_ZONES);
        if let Some(offset) = layout.node_mem_map {
            out.u64_at(offset as usize, places.address(start));
        }
        out.u64_at(layout.start as usize, start)
            .u64_at(layout.start as usize + 8, frames.iter().map(|(_, count)| count).sum())
            .u64_at(layout.span as usize, end - start)
            .u32_at(layout.id as usize, node as u32);
        memory.write(at, &out.bytes)?;
        if spec.is_numa() {
            memory.write(space.image_at + image::NODE_DATA + node * 8, &spec.order.u64(address))?;
        }
    }
    Ok(total)
}

/// Makes a ring of a list's head and its blocks; returns the head's two pointers.
fn link(map: &mut Map, places: &Places, head: u64, frames: &[u64]) -> (u64, u64) {
    let lru = map.layout().lru as u64;
    let node = |frame: u64| places.address(frame).wrapping_add(lru);
    for (n, frame) in frames.iter().enumerate() {
        let before = n.checked_sub(1).map_or(head, |n| node(frames[n]));
        let after = frames.get(n + 1).map_or(head, |frame| node(*frame));
        map.link(*frame, false, after);
        map.link(*frame, true, before);
    }
    (frames.first().map_or(head, |frame| node(*frame)), frames.last().map_or(head, |frame| node(*frame)))
}
