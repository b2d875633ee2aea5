//! Frames that are not in the dump but have a `struct page`: what the crashed kernel counted, it counted there as well.
//!
//! fadump's reserved area is such: movable memory of the crashed kernel, given away to the next one.

use crate::address::memmodel::MemModel;
use crate::pages::page::{Census, Classes, Sound, Tally};
use crate::pages::walk::Walk;
use crate::{Error, Kernel, KernelMemory};
use rayon::prelude::*;
use vmcore::{CHUNK_FRAMES, Pfn, Range, RangeSet};

/// The most chunks that are looked into; no machine has memory in more.
const MOST_CHUNKS: u64 = 1 << 16;

/// Counts over the frames of `spanned` that the dump lacks.
///
/// # Errors
///
/// Only when the input is damaged.
pub(crate) fn count(
    kernel: &Kernel<'_>,
    model: &MemModel,
    classes: &Classes,
    sound: &Sound,
    spanned: &RangeSet<Pfn>,
) -> Result<Census, Error> {
    let outside = spanned.subtract(kernel.memory_map().frames());
    let mut parts: Vec<Range<Pfn>> = Vec::new();
    let mut chunks = 0u64;
    for range in outside.iter() {
        let (first, last) = (range.start.0 / CHUNK_FRAMES, (range.end.0 - 1) / CHUNK_FRAMES);
        chunks = chunks.saturating_add(last - first + 1);
        if chunks > MOST_CHUNKS {
            break;
        }
        parts.extend((first..=last).map(|index| {
            range.intersect(&Range::new(Pfn(index * CHUNK_FRAMES), Pfn((index + 1) * CHUNK_FRAMES)))
        }));
    }
    let counted: Vec<Census> = parts
        .par_iter()
        .map(|&frames| {
            let first = Pfn(frames.start.0 / CHUNK_FRAMES * CHUNK_FRAMES);
            let order = kernel.machine().order;
            let mut tally = Tally::new(classes, sound, order);
            Walk::new(kernel, model, first).frames(frames, &mut tally)?;
            Ok(tally.census)
        })
        .collect::<Result<_, Error>>()?;
    let mut sum = Census::default();
    counted.iter().for_each(|census| sum.merge(census));
    Ok(sum)
}
