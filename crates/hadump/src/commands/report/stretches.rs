//! Physical memory in stretches, and what its pages are: for a picture.

use crate::output::work;
use crate::show::crash::html::{CLASSES, LEFT_OUT, Stretch};
use anyhow::Result;
use kernel::{Kernel, Value};
use triage::memory::Zone;
use vmcore::{CHUNK_FRAMES, Dump, DumpLevel, Pfn, Range, Selection};

/// Parts of a stretch that are told apart: a column of a picture each.
const PARTS: u64 = 120;
/// Stretches that a picture has.
const MOST: usize = 24;

/// The zones, or where the kernel names none the ranges that have memory.
pub(super) fn of(dump: &Dump, kernel: &Kernel<'_>, zones: &[Zone]) -> Result<Vec<Stretch>> {
    let named: Vec<(String, Range<Pfn>)> = match zones {
        [] => memory(dump),
        zones => zones.iter().map(named).collect(),
    };
    let spill = work::files(None, None);
    let all = Selection::everything(&*dump.memory, DumpLevel::default(), Some(spill()?))?;
    let by_value = kernel.by_value(&all, &spill)?;
    let page = dump.page_size();
    let mut stretches = Vec::new();
    for (name, frames) in named.into_iter().filter(|(_, frames)| !frames.is_empty()).take(MOST) {
        let mut parts = parts(dump, frames);
        for (value, selection) in &by_value {
            let class = Value::ALL.iter().position(|known| known == value).unwrap_or(LEFT_OUT);
            count(selection, &mut parts, class)?;
        }
        // What exists and is nothing of these was left out by an earlier filter.
        for (_, counts) in &mut parts {
            let known: u64 = counts[..LEFT_OUT].iter().sum();
            counts[LEFT_OUT] = counts[LEFT_OUT].saturating_sub(known);
        }
        let parts: Vec<[u64; CLASSES]> = parts.into_iter().map(|(_, counts)| counts).collect();
        let pages: u64 = parts.iter().flatten().sum();
        stretches.push(Stretch {
            name,
            addresses: (page.addr(frames.start).0, page.addr(frames.end).0),
            bytes: pages.saturating_mul(page.bytes()),
            parts,
        });
    }
    Ok(stretches)
}

fn named(zone: &Zone) -> (String, Range<Pfn>) {
    let frames = Range::new(Pfn(zone.start), Pfn(zone.start.saturating_add(zone.spanned)));
    (format!("node {}, {}", zone.node, zone.name), frames)
}

/// The ranges that have memory; small ones beside each other are one, as firmware makes many.
fn memory(dump: &Dump) -> Vec<(String, Range<Pfn>)> {
    let mut ranges: Vec<Range<Pfn>> = Vec::new();
    for range in dump.memory.map().frames().iter() {
        match ranges.last_mut() {
            Some(last) if range.start.0 - last.end.0 <= CHUNK_FRAMES / 16 => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    ranges.into_iter().map(|range| ("memory".to_owned(), range)).collect()
}

/// A stretch in equal parts, and of each the pages that exist, all of them counted as left out.
fn parts(dump: &Dump, frames: Range<Pfn>) -> Vec<(Range<Pfn>, [u64; CLASSES])> {
    let map = dump.memory.map().frames();
    let step = frames.len().div_ceil(PARTS).max(1);
    let mut parts = Vec::new();
    let mut start = frames.start;
    while start < frames.end {
        let end = Pfn(start.0.saturating_add(step).min(frames.end.0));
        let part = Range::new(start, end);
        let mut counts = [0; CLASSES];
        counts[LEFT_OUT] = map.within(part).map(|range| range.len()).sum();
        parts.push((part, counts));
        start = end;
    }
    parts
}

/// Counts the pages of a class in each part.
fn count(selection: &Selection, parts: &mut [(Range<Pfn>, [u64; CLASSES])], class: usize) -> Result<()> {
    for position in 0..selection.chunk_count() {
        let (first, chunk) = selection.chunk(position)?;
        let here = Range::new(first, Pfn(first.0.saturating_add(CHUNK_FRAMES)));
        for (part, counts) in parts.iter_mut() {
            let common = part.intersect(&here);
            if !common.is_empty() {
                counts[class] += chunk.count_within(common.start.0 - first.0, common.end.0 - first.0);
            }
        }
    }
    Ok(())
}
