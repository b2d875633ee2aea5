//! The segments of a core, as its pages come by.

use super::plan::Plan;
use crate::elf::layout::Stretch;
use crate::elf::lost::Lost;
use crate::pipeline::Batch;
use vmcore::{PageSize, PageState, Pfn, Range};

/// The segments so far, and where the next page with content goes.
///
/// Memory: 32 bytes for each segment, of which there are at most [`MAX_HEADERS`]: 16 MiB.
#[derive(Debug)]
pub(super) struct Builder {
    page_size: PageSize,
    zero_run: u64,
    limit: usize,
    stretches: Vec<Stretch>,
    next_offset: u64,
    lost: Lost,
}

impl Builder {
    pub(super) fn new(plan: &Plan, lost: Lost) -> Self {
        Self {
            page_size: plan.places.page_size,
            zero_run: plan.zero_run,
            limit: plan.max_stretches as usize,
            stretches: Vec::new(),
            next_offset: plan.places.data_at,
            lost,
        }
    }

    /// Adds `count` frames of zeros, above all frames before; `None` when the table is full.
    pub(super) fn zeros(&mut self, first: Pfn, count: u64) -> Option<()> {
        match self.touching(first) {
            Some(last) => last.frames += count,
            None => {
                self.begin(Stretch { first: first.0, data: 0, frames: count, offset: self.next_offset })?;
            }
        }
        Some(())
    }

    /// Adds `count` frames with content, above all frames before, and returns where they go in the file; `None` when
    /// the table is full.
    pub(super) fn data(&mut self, first: Pfn, count: u64) -> Option<u64> {
        let (size, zero_run) = (self.page_size.bytes(), self.zero_run);
        let joined = self.touching(first).filter(|last| last.frames - last.data < zero_run).map(|last| {
            let at = last.offset + last.frames * size;
            last.frames += count;
            last.data = last.frames;
            at
        });
        let at = match joined {
            Some(at) => at,
            None => {
                let offset = self.next_offset;
                self.begin(Stretch { first: first.0, data: count, frames: count, offset })?;
                offset
            }
        };
        self.next_offset = at + count * size;
        Some(at)
    }

    /// The segment that ends where `first` begins.
    fn touching(&mut self, first: Pfn) -> Option<&mut Stretch> {
        self.stretches.last_mut().filter(|s| s.first + s.frames == first.0)
    }

    fn begin(&mut self, stretch: Stretch) -> Option<()> {
        (self.stretches.len() < self.limit).then(|| self.stretches.push(stretch))
    }

    /// Where the next page with content would go: the end of the file.
    pub(super) fn end(&self) -> u64 {
        self.next_offset
    }

    /// Takes note of frames that are in no segment and should be, above all frames before.
    pub(super) fn lose(&mut self, frames: Range<Pfn>) {
        self.lost.add(frames);
    }

    /// The segments, and the pages they lack.
    pub(super) fn finish(self) -> (Vec<Stretch>, Lost) {
        (self.stretches, self.lost)
    }
}

/// A kind of page as far as segments care, for a number of pages in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) state: PageState,
    pub(super) count: u64,
    /// Where the bytes go, once it is known; for [`PageState::Present`] only.
    pub(super) offset: Option<u64>,
}

/// Puts what a batch consists of into `spans`, in order; no span reaches from one run of the batch into the next.
pub(super) fn spans_of(batch: &Batch, spans: &mut Vec<Span>) {
    spans.clear();
    for run in batch.runs() {
        for same in run.states.chunk_by(|a, b| a == b) {
            spans.push(Span { state: same[0], count: same.len() as u64, offset: None });
        }
    }
}
