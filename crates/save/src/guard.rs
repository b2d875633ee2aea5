//! Memory that cannot be read where it was released.

use crate::state::Hold;
use vmcore::{
    Chunk, Damage, MemoryMap, PageState, Pfn, PhysAddr, PhysicalMemory, Range, RangeSet, ReadError,
};

/// A dump's memory without what was released and may be in use by now: those frames are lost, and are never read.
pub struct Guarded {
    inner: Box<dyn PhysicalMemory>,
    gone: RangeSet<Pfn>,
    /// Keeps the rest from being released while it is read.
    _held: Option<Hold>,
}

impl Guarded {
    /// `inner` without the frames of which a byte lies in `gone`.
    pub fn new(inner: Box<dyn PhysicalMemory>, gone: &RangeSet<PhysAddr>) -> Self {
        let page = inner.map().page_size();
        let frames = |r: Range<PhysAddr>| Range::new(page.pfn(r.start), Pfn(page.frames(r.end.0)));
        Self { inner, gone: gone.iter().map(frames).collect(), _held: None }
    }

    /// The same memory, held for reading as long as this lives.
    #[must_use]
    pub fn held(self, reading: Option<Hold>) -> Self {
        Self { _held: reading, ..self }
    }

    /// Whether frame `first` is gone, and for how many frames from there on, at most `limit`, the same holds.
    fn stretch(&self, first: Pfn, limit: u64) -> (bool, u64) {
        match self.gone.find(first) {
            Some(range) => (true, (range.end.0 - first.0).min(limit)),
            None => {
                let window = Range::new(first, Pfn(first.0.saturating_add(limit)));
                let next = self.gone.within(window).next();
                (false, next.map_or(limit, |r| r.start.0 - first.0))
            }
        }
    }
}

impl PhysicalMemory for Guarded {
    fn map(&self) -> &MemoryMap {
        self.inner.map()
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        if self.gone.contains(pfn) {
            page.fill(0);
            return Ok(PageState::Lost);
        }
        self.inner.read_page(pfn, page)
    }

    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        let size = self.map().page_size().len();
        let mut at = 0;
        while at < states.len() {
            let pfn = Pfn(first.0.saturating_add(at as u64));
            let (gone, count) = self.stretch(pfn, (states.len() - at) as u64);
            let end = at + count as usize;
            let (pages, states) = (&mut pages[at * size..end * size], &mut states[at..end]);
            if gone {
                pages.fill(0);
                states.fill(PageState::Lost);
            } else {
                self.inner.read_run(pfn, pages, states)?;
            }
            at = end;
        }
        Ok(())
    }

    fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
        self.inner.drop_excluded(first, chunk)
    }

    fn lost_run(&self, first: Pfn, limit: u64) -> u64 {
        match self.stretch(first, limit) {
            (true, count) => count,
            (false, count) => self.inner.lost_run(first, count),
        }
    }

    fn damage(&self) -> Damage {
        self.inner.damage()
    }

    fn read(&self, addr: PhysAddr, bytes: &mut [u8]) -> Result<PageState, ReadError> {
        let page = self.map().page_size();
        let last = PhysAddr(addr.0.saturating_add((bytes.len() as u64).saturating_sub(1)));
        let window = Range::new(page.pfn(addr), Pfn(page.pfn(last).0 + 1));
        if self.gone.within(window).next().is_some() {
            return Ok(PageState::Lost);
        }
        self.inner.read(addr, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vmcore::PageSize;

    const FRAMES: u64 = 40;

    /// Memory whose every page holds its own number.
    struct Numbers(MemoryMap);

    impl PhysicalMemory for Numbers {
        fn map(&self) -> &MemoryMap {
            &self.0
        }

        fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
            page.fill(pfn.0 as u8);
            Ok(PageState::Present)
        }
    }

    proptest! {
        #[test]
        fn frames_that_are_gone_are_lost_and_the_others_are_read(
            gone in prop::collection::vec((0u64..FRAMES * 4096, 1u64..9000), 0..4), first in 0..FRAMES, count in 1..10usize,
        ) {
            let bytes = [Range::new(PhysAddr(0), PhysAddr(FRAMES << 12))].into_iter().collect();
            let numbers = Numbers(MemoryMap::new(PageSize::K4, bytes));
            let gone: RangeSet<PhysAddr> =
                gone.into_iter().map(|(s, l)| Range::new(PhysAddr(s), PhysAddr(s + l))).collect();
            let guarded = Guarded::new(Box::new(numbers), &gone);
            let mut pages = vec![0xff; count << 12];
            let mut states = vec![PageState::Absent; count];
            guarded.read_run(Pfn(first), &mut pages, &mut states).unwrap();
            for (i, state) in states.into_iter().enumerate() {
                let pfn = first + i as u64;
                let frame = Range::new(PhysAddr(pfn << 12), PhysAddr((pfn + 1) << 12));
                let lost = gone.within(frame).next().is_some();
                prop_assert_eq!(state == PageState::Lost, lost);
                prop_assert_eq!(pages[i << 12], if lost { 0 } else { pfn as u8 });
                prop_assert_eq!(guarded.lost_run(Pfn(pfn), 5) > 0, lost);
                let mut byte = [0];
                let read = guarded.read(PhysAddr((pfn << 12) + 7), &mut byte).unwrap();
                prop_assert_eq!(read == PageState::Lost, lost);
            }
        }
    }
}
