//! The walk over arrays of `struct page` that takes pages out of one chunk of a selection.

use super::classes::{Classes, Verdict};
use super::fields::{Big, Little, Order};
use crate::walk::Visitor;
use vmcore::{ByteOrder, CHUNK_FRAMES, Chunk, Pfn, Range, Reason, ReasonCounts};

/// Pages to leave out that lie past the chunk in which they were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Carry {
    /// The frames, all past the chunk.
    pub(crate) frames: Range<Pfn>,
    /// Why they go.
    pub(crate) reason: Reason,
}

/// One chunk being decided.
pub(crate) struct Scan<'a> {
    classes: &'a Classes,
    order: ByteOrder,
    /// The chunk's first frame.
    first: u64,
    pub(crate) chunk: Chunk,
    pub(crate) reasons: ReasonCounts,
    pub(crate) carries: Vec<Carry>,
    /// Free blocks whose size made no sense and which were kept.
    pub(crate) bad_orders: u64,
    /// Pages kept because the dump does not hold their `struct page`.
    pub(crate) undecided: u64,
}

impl Visitor for Scan<'_> {
    fn page_struct(&self) -> usize {
        self.classes.size
    }

    fn pages(&mut self, bytes: &[u8], from: u64, to: u64) -> u64 {
        match self.order {
            ByteOrder::Little => self.pages_in::<Little>(bytes, from, to),
            ByteOrder::Big => self.pages_in::<Big>(bytes, from, to),
        }
    }

    /// Frames that an earlier filter left out need no decision; the others are kept for want of one.
    fn unknown(&mut self, from: Pfn, to: Pfn) {
        let inside = |pfn: Pfn| pfn.0.saturating_sub(self.first).min(CHUNK_FRAMES);
        self.undecided += self.chunk.count_within(inside(from), inside(to));
    }
}

impl<'a> Scan<'a> {
    /// Begins with all of `chunk`, whose first frame is `first`.
    pub(crate) fn new(classes: &'a Classes, order: ByteOrder, first: Pfn, chunk: Chunk) -> Self {
        Self {
            classes,
            order,
            first: first.0,
            chunk,
            reasons: ReasonCounts::default(),
            carries: Vec::new(),
            bad_orders: 0,
            undecided: 0,
        }
    }

    fn pages_in<O: Order>(&mut self, bytes: &[u8], from: u64, to: u64) -> u64 {
        let classes = self.classes;
        let size = classes.size;
        let mut pfn = from;
        while pfn < to {
            let at = (pfn - from) as usize * size;
            let Some(page) = bytes.get(at..at + size) else { break };
            let next = bytes.get(at + size..at + 2 * size);
            match classes.judge::<O>(page, next, pfn) {
                Verdict::Keep => pfn += 1,
                Verdict::Drop(reason, order) => {
                    let end = pfn + (1 << order);
                    self.remove(pfn, end, reason);
                    pfn = end;
                }
                Verdict::BadOrder => {
                    self.bad_orders += 1;
                    pfn += 1;
                }
            }
        }
        pfn
    }

    /// Leaves out the free block of 2^`order` pages at `pfn`, which lies in this chunk.
    pub(crate) fn free_block(&mut self, pfn: Pfn, order: u32) {
        self.remove(pfn.0, pfn.0 + (1 << order), Reason::Free);
    }

    fn remove(&mut self, start: u64, end: u64, reason: Reason) {
        let limit = self.first + CHUNK_FRAMES;
        let removed = self.chunk.remove(start - self.first, end.min(limit) - self.first);
        self.reasons.add(reason, removed);
        if end > limit {
            self.carries.push(Carry { frames: Range::new(Pfn(limit), Pfn(end)), reason });
        }
    }
}
