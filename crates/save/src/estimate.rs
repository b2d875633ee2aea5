//! How large a dump will be, and how long it will take, from a sample of its pages.

use crate::{DESCRIPTOR_LEN, Error};
use dumpfile::codec::{Choice, Encoder};
use dumpfile::kdump;
use std::time::{Duration, Instant};
use vmcore::{Dump, PageState, Pfn, Selection, is_zero};

/// Pages that are read for an estimate. The mean of that many sizes, spread evenly from 0 to a page, is known to a fiftieth.
const SAMPLE: u64 = 1024;

/// What a selection of pages is expected to become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The pages to be kept.
    pub pages: u64,
    /// The pages looked at.
    pub sampled: u64,
    /// Of those, pages of zeros.
    pub zero: u64,
    /// The expected size of the file in bytes.
    pub bytes: u64,
    /// A size in bytes that it exceeds in one case of fifty, if the sample is like the rest. Where the compression is chosen as time
    /// allows, the size without one.
    pub at_most: u64,
    /// The time that reading and compressing all pages takes one thread.
    pub work: Duration,
}

/// Estimates a kdump file of `selection`.
///
/// Pages are taken evenly from all that are kept, so that each class has its share. Where the compression is chosen as time
/// allows, the strongest is assumed.
///
/// # Errors
///
/// When the input is damaged, the bitmaps cannot be read back, or the method has no such level.
pub fn estimate(dump: &Dump, selection: &Selection, options: &kdump::Options) -> Result<Estimate, Error> {
    let page = dump.page_size();
    let make = |method| {
        let encoder = Encoder::new(method, options.level, page)?;
        if options.checksums { encoder.with_checksum() } else { Ok(encoder) }
    };
    let strongest = options.method.strongest();
    let mut encoder = strongest
        .map(make)
        .transpose()
        .map_err(|error| dumpfile::Error::Unsupported { path: "-".into(), what: error.to_string() })?;
    let mut room = vec![0; encoder.as_ref().map_or(0, Encoder::out_len)];
    let mut bytes = vec![0; page.len()];
    let mut sizes: Vec<u64> = Vec::new();
    let mut zero = 0;
    let started = Instant::now();
    for pfn in sample(selection)? {
        let state = dump.memory.read_page(pfn, &mut bytes).map_err(dumpfile::Error::from)?;
        sizes.push(match state {
            PageState::Present if !is_zero(&bytes) => {
                let packed = encoder.as_mut().and_then(|encoder| encoder.encode(&bytes, &mut room));
                packed.map_or(page.bytes(), |len| len as u64)
            }
            PageState::Present | PageState::Zero => {
                zero += 1;
                0
            }
            PageState::Lost | PageState::Excluded | PageState::Absent => 0,
        });
    }
    let spent = started.elapsed();
    let pages = selection.kept();
    let bitmaps = 2 * selection.map().max_pfn().0.div_ceil(8).next_multiple_of(page.bytes());
    let notes = dump.notes.total().next_multiple_of(page.bytes());
    let fixed = 3 * page.bytes() + notes + bitmaps + DESCRIPTOR_LEN * pages;
    let (mean, error) = mean(&sizes);
    let most = match options.method {
        Choice::One(_) => mean + 2.0 * error,
        Choice::Auto(_) => page.bytes() as f64,
    };
    let total = |each: f64| fixed.saturating_add((each * pages as f64) as u64);
    let sampled = sizes.len() as u64;
    let scale = if sampled == 0 { 0.0 } else { pages as f64 / sampled as f64 };
    Ok(Estimate {
        pages,
        sampled,
        zero,
        bytes: total(mean),
        at_most: total(most.min(page.bytes() as f64)),
        work: spent.mul_f64(scale),
    })
}

/// The mean of `sizes` and its standard error.
fn mean(sizes: &[u64]) -> (f64, f64) {
    let count = sizes.len() as f64;
    if sizes.len() < 2 {
        return (sizes.first().map_or(0.0, |size| *size as f64), 0.0);
    }
    let mean = sizes.iter().sum::<u64>() as f64 / count;
    let squares: f64 = sizes.iter().map(|&size| (size as f64 - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0) / count).sqrt())
}

/// Frames spread evenly over the kept pages.
fn sample(selection: &Selection) -> Result<Vec<Pfn>, Error> {
    let step = (selection.kept() / SAMPLE).max(1);
    let mut frames = Vec::new();
    // Which page of each step is read varies, so that a pattern in memory does not coincide with the sample's.
    let mut next = step / 2;
    let (mut rank, mut number) = (0, 0u64);
    for position in 0..selection.chunk_count() {
        let (first, chunk) = selection.chunk(position)?;
        for run in chunk.runs() {
            let len = run.end - run.start;
            while next < rank + len {
                frames.push(Pfn(first.0 + run.start + next - rank));
                number += 1;
                next = number * step + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % step;
            }
            rank += len;
        }
    }
    Ok(frames)
}
