//! The walk over arrays of `struct page`s that sorts the pages of one chunk by value.

use super::classes::{Classes, Verdict};
use super::fields::{Big, Little, Order};
use crate::Value;
use crate::pages::walk::Visitor;
use vmcore::{ByteOrder, CHUNK_FRAMES, Chunk, Pfn, Range, Reason};

/// One chunk being sorted.
pub(crate) struct Sorter<'a> {
    classes: Option<&'a Classes>,
    order: ByteOrder,
    /// The flag of pages reserved at boot.
    reserved: u64,
    /// The chunk's first frame.
    pub(crate) first: Pfn,
    /// The pages of each value, in the order of [`Value::ALL`]. What nothing is known of is with the kernel's.
    pub(crate) chunks: [Chunk; Value::ALL.len()],
    /// Blocks that reach past the chunk.
    pub(crate) carries: Vec<(Range<Pfn>, Value)>,
}

impl<'a> Sorter<'a> {
    /// Begins with `chunk`, whose first frame is `first`. Without `classes` the walk finds nothing.
    pub(crate) fn new(
        classes: Option<&'a Classes>,
        order: ByteOrder,
        reserved: u64,
        first: Pfn,
        chunk: Chunk,
    ) -> Self {
        let mut chunks = Value::ALL.map(|_| Chunk::empty());
        chunks[Value::Kernel as usize] = chunk;
        Self { classes, order, reserved, first, chunks, carries: Vec::new() }
    }

    /// Gives `frames`, which lie in this chunk, their value; those that have one keep it.
    pub(crate) fn found(&mut self, frames: Range<Pfn>, value: Value) {
        if value == Value::Kernel || frames.is_empty() {
            return;
        }
        let (start, end) = (frames.start.0 - self.first.0, frames.end.0 - self.first.0);
        let [essential, rest, others @ ..] = &mut self.chunks;
        let to = if value == Value::Essential { essential } else { &mut others[value as usize - 2] };
        rest.move_to(start, end, to);
    }

    /// Gives the 2^`order` frames from `pfn` on their value.
    pub(crate) fn block(&mut self, pfn: u64, order: u32, value: Value) {
        let limit = self.first.0 + CHUNK_FRAMES;
        let end = pfn.saturating_add(1 << order);
        self.found(Range::new(Pfn(pfn), Pfn(end.min(limit))), value);
        if end > limit {
            self.carries.push((Range::new(Pfn(limit), Pfn(end)), value));
        }
    }

    fn pages_in<O: Order>(&mut self, classes: &Classes, bytes: &[u8], from: u64, to: u64) -> u64 {
        let size = classes.size;
        let mut pfn = from;
        let mut inside = false;
        while pfn < to {
            let at = (pfn - from) as usize * size;
            let Some(page) = bytes.get(at..at + size) else { break };
            let next = bytes.get(at + size..at + 2 * size);
            let found = match classes.judge::<O>(page, next, pfn) {
                Verdict::Keep => {
                    let foundation = classes.foundation::<O>(page, next, pfn, self.reserved);
                    inside = foundation.is_none() && classes.in_block::<O>(page, next, pfn, inside);
                    foundation.or(inside.then_some(0)).map(|order| (Value::Essential, order))
                }
                Verdict::Drop(Reason::Free, order) => Some((Value::Free, order)),
                Verdict::Drop(Reason::Cache, order) => Some((Value::Cache, order)),
                Verdict::Drop(Reason::CachePrivate, order) => Some((Value::CachePrivate, order)),
                Verdict::Drop(Reason::User, order) => Some((Value::User, order)),
                Verdict::Drop(..) | Verdict::BadOrder | Verdict::Tail | Verdict::Unmade => None,
            };
            pfn += match found {
                Some((value, order)) => {
                    self.block(pfn, order, value);
                    1 << order
                }
                None => 1,
            };
        }
        pfn
    }
}

impl Visitor for Sorter<'_> {
    fn page_struct(&self) -> usize {
        self.classes.map_or(64, |classes| classes.size)
    }

    fn pages(&mut self, bytes: &[u8], from: u64, to: u64) -> u64 {
        match (self.classes, self.order) {
            (None, _) => to,
            (Some(classes), ByteOrder::Little) => self.pages_in::<Little>(classes, bytes, from, to),
            (Some(classes), ByteOrder::Big) => self.pages_in::<Big>(classes, bytes, from, to),
        }
    }

    fn unknown(&mut self, _: Pfn, _: Pfn) {}

    fn uncovered(&mut self, _: Pfn, _: Pfn) {}
}
