//! What is known of a core before its first page is read: a bound for its segments.
//!
//! How many program headers there are is known when the last page has been seen. So the table gets room for as many as
//! there can be; what is not used stays a hole of the file.

use crate::Error;
use crate::elf::header::MAX_HEADERS;
use crate::elf::layout::Places;
use crate::elf::limits::UNFORESEEN;
use std::path::Path;
use vmcore::{Dump, Pfn, Range, Selection};

/// Zero pages in a row that end a segment, as memory without bytes in the file. Shorter runs are holes of the
/// sparse file inside a segment: a program header costs 56 bytes and every reader a step of a linear search.
const ZERO_RUN: u64 = 64;

/// How many segments runs of zeros may make; in larger dumps [`ZERO_RUN`] grows, so that the table stays small.
const MAX_ZERO_RUNS: u64 = MAX_HEADERS / 4;

/// What is known of a core before its first page is read.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) places: Places,
    pub(super) zero_run: u64,
    pub(super) max_stretches: u64,
}

impl Plan {
    /// Lays out a core of the pages of `selection` with `notes_len` bytes of notes.
    ///
    /// # Errors
    ///
    /// When the pages to keep are in more separate runs than a core should have segments.
    pub(super) fn new(
        dump: &Dump,
        selection: &Selection,
        notes_len: u64,
        path: &Path,
    ) -> Result<Self, Error> {
        let page_size = dump.page_size();
        let addresses = Places::addresses(dump);
        let windows: Vec<Range<Pfn>> = addresses
            .aliases
            .iter()
            .map(|a| Range::new(Pfn(a.start >> page_size.shift()), Pfn(a.end >> page_size.shift())))
            .collect();
        let mut all = Runs::default();
        let mut aliased = vec![Runs::default(); windows.len()];
        for position in 0..selection.chunk_count() {
            let (first, chunk) = selection.chunk(position)?;
            for run in chunk.runs() {
                let run = Range::new(Pfn(first.0 + run.start), Pfn(first.0 + run.end));
                all.add(run);
                for (window, runs) in windows.iter().zip(&mut aliased) {
                    runs.add(run.intersect(window));
                }
            }
        }
        let zero_run = ZERO_RUN.max(all.frames.div_ceil(MAX_ZERO_RUNS));
        let max_stretches = all.stretches(zero_run) + UNFORESEEN;
        // A single segment may be cut in two, and so may each segment where the virtual address jumps.
        let direct = max_stretches + 1 + addresses.jumps();
        let max_headers = aliased
            .iter()
            .fold(1 + direct, |sum, runs| sum + runs.stretches(zero_run) + UNFORESEEN + addresses.jumps());
        if max_headers > MAX_HEADERS {
            return Err(Error::Unsupported {
                path: path.to_owned(),
                what: format!(
                    "the pages to keep are in {} separate runs, more than the {MAX_HEADERS} segments that a core \
                     can reasonably have; write a kdump-compressed file instead",
                    all.count
                ),
            });
        }
        let places = Places::new(dump, selection.map(), addresses, all.frames, max_headers, notes_len);
        Ok(Self { places, zero_run, max_stretches })
    }
}

/// Runs of kept frames, counted.
#[derive(Clone, Copy, Debug, Default)]
struct Runs {
    count: u64,
    frames: u64,
}

impl Runs {
    fn add(&mut self, run: Range<Pfn>) {
        if !run.is_empty() {
            self.count += 1;
            self.frames += run.len();
        }
    }

    /// The most segments that the runs can make: after the first of a run, each takes `zero_run` frames of zeros
    /// and one with content.
    fn stretches(&self, zero_run: u64) -> u64 {
        self.count + self.frames / (zero_run + 1)
    }
}
