//! The crashed system's memory, put together from the memory image as it is after the second boot.
//!
//! Every byte that exists belongs to one [`Segment`]: it lies somewhere in the image (boot memory at its copy, all else
//! in place), or it is lost. A frame with a lost byte is lost as a whole, for a page that is zero in part would pass for
//! a good one. A frame that exists in part has zeros where nothing exists, as `/proc/vmcore` shows it.

use crate::assemble::image::Image;
use vmcore::{MemoryMap, PageState, Pfn, PhysAddr, PhysicalMemory, Range, ReadError};

/// A stretch of the crashed system's memory and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) range: Range<PhysAddr>,
    /// Where in the image; `None` is lost.
    pub(crate) image: Option<PhysAddr>,
}

impl Segment {
    /// Where `range`, a part of this segment, lies in the image.
    fn locate(&self, range: Range<PhysAddr>) -> Option<Range<PhysAddr>> {
        let start = self.image?.0 + (range.start.0 - self.range.start.0);
        Some(Range::new(PhysAddr(start), PhysAddr(start + range.len())))
    }
}

/// Memory made of segments over an image.
pub(crate) struct Reassembled {
    image: Image,
    map: MemoryMap,
    /// Sorted and disjoint; together they are the map's bytes.
    segments: Vec<Segment>,
}

impl Reassembled {
    /// `segments` are sorted and disjoint, and cover the bytes of `map`.
    pub(crate) fn new(image: Image, map: MemoryMap, segments: Vec<Segment>) -> Self {
        debug_assert!(segments.is_sorted_by(|a, b| a.range.end <= b.range.start));
        Self { image, map, segments }
    }

    /// The addresses of `count` frames from `first` on.
    fn span(&self, first: Pfn, count: u64) -> Range<PhysAddr> {
        let page = self.map.page_size();
        Range::new(page.addr(first), page.addr(Pfn(first.0.saturating_add(count))))
    }

    /// The segments that touch `span`, with the part inside it.
    fn parts(&self, span: Range<PhysAddr>) -> impl Iterator<Item = (&Segment, Range<PhysAddr>)> {
        let first = self.segments.partition_point(|s| s.range.end <= span.start);
        self.segments[first..]
            .iter()
            .take_while(move |s| s.range.start < span.end)
            .map(move |s| (s, s.range.intersect(&span)))
    }

    /// The segment that holds all of frame `pfn`, with how many frames from there on, at most `limit`, it holds.
    fn run(&self, pfn: Pfn, limit: u64) -> Option<(&Segment, u64)> {
        let span = self.span(pfn, 1);
        let (segment, part) = self.parts(span).next()?;
        let whole = part == span;
        whole.then(|| {
            (segment, ((segment.range.end.0 - span.start.0) >> self.map.page_size().shift()).min(limit))
        })
    }

    fn read_frame(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        let span = self.span(pfn, 1);
        page.fill(0);
        let mut state = PageState::Absent;
        for (segment, part) in self.parts(span) {
            let Some(at) = segment.locate(part) else {
                page.fill(0);
                return Ok(PageState::Lost);
            };
            let from = (part.start.0 - span.start.0) as usize;
            let piece = self.image.read(at.start, &mut page[from..from + part.len() as usize])?;
            if !piece.is_known() {
                page.fill(0);
                return Ok(piece);
            }
            state = if piece == PageState::Zero && state != PageState::Present {
                piece
            } else {
                PageState::Present
            };
        }
        Ok(state)
    }

    /// Reads frames that lie in one piece of the image.
    fn read_piece(
        &self,
        at: Range<PhysAddr>,
        pages: &mut [u8],
        states: &mut [PageState],
    ) -> Result<(), ReadError> {
        let (own, its) = (self.map.page_size(), self.image.memory().map().page_size());
        if own == its && its.offset(at.start.0) == 0 {
            self.image.memory().read_run(its.pfn(at.start), pages, states)?;
            // The map says that there is memory, so what the image lacks is lost.
            states.iter_mut().filter(|s| **s == PageState::Absent).for_each(|s| *s = PageState::Lost);
            return Ok(());
        }
        let mut at = at.start.0;
        for (page, state) in pages.chunks_exact_mut(own.len()).zip(states) {
            *state = self.image.read(PhysAddr(at), page)?;
            if !state.is_known() {
                page.fill(0);
            }
            at += own.bytes();
        }
        Ok(())
    }
}

impl PhysicalMemory for Reassembled {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        let size = self.map.page_size().len();
        let mut done = 0;
        while done < states.len() {
            let pfn = Pfn(first.0.saturating_add(done as u64));
            let run = self.run(pfn, (states.len() - done) as u64);
            let count = run.map_or(1, |(_, frames)| frames as usize);
            let pages = &mut pages[done * size..(done + count) * size];
            let states = &mut states[done..done + count];
            match run.map(|(segment, frames)| segment.locate(self.span(pfn, frames))) {
                Some(Some(at)) => self.read_piece(at, pages, states)?,
                Some(None) => {
                    pages.fill(0);
                    states.fill(PageState::Lost);
                }
                None => states[0] = self.read_frame(pfn, pages)?,
            }
            done += count;
        }
        Ok(())
    }

    fn lost_run(&self, first: Pfn, limit: u64) -> u64 {
        let Some((segment, frames)) = self.run(first, limit) else { return 0 };
        let Some(at) = segment.locate(self.span(first, frames)) else { return frames };
        let image = self.image.memory();
        let (own, its) = (self.map.page_size(), image.map().page_size());
        if own == its && its.offset(at.start.0) == 0 {
            image.lost_run(its.pfn(at.start), frames).min(frames)
        } else {
            0
        }
    }
}

#[cfg(test)]
#[path = "reassembled_tests.rs"]
mod tests;
