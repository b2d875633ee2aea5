//! Memory that notes which of its frames are read.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use vmcore::{Chunk, MemoryMap, PageState, Pfn, PhysicalMemory, ReadError};

/// Memory that notes which of its frames are read, in the order in which they are read first.
pub(super) struct Recorder<'m> {
    inner: &'m dyn PhysicalMemory,
    most: usize,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    all: HashSet<Pfn>,
    /// Those that were not taken yet.
    new: Vec<Pfn>,
}

impl<'m> Recorder<'m> {
    /// Notes `most` frames of `inner` at most: the first.
    pub(super) fn new(inner: &'m dyn PhysicalMemory, most: usize) -> Self {
        Self { inner, most, seen: Mutex::default() }
    }

    /// The frames that were read for the first time since they were taken last.
    pub(super) fn take(&self) -> Vec<Pfn> {
        std::mem::take(&mut self.lock().new)
    }

    /// Whether as many frames were noted as there may be.
    pub(super) fn is_full(&self) -> bool {
        self.lock().all.len() >= self.most
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, pfn: Pfn, state: PageState) {
        let mut seen = self.lock();
        // What the input lacks cannot be kept either.
        if state.is_known() && seen.all.len() < self.most && seen.all.insert(pfn) {
            seen.new.push(pfn);
        }
    }
}

impl PhysicalMemory for Recorder<'_> {
    fn map(&self) -> &MemoryMap {
        self.inner.map()
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        let state = self.inner.read_page(pfn, page)?;
        self.note(pfn, state);
        Ok(state)
    }

    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        self.inner.read_run(first, pages, states)?;
        for (pfn, state) in (first.0..).zip(&*states) {
            self.note(Pfn(pfn), *state);
        }
        Ok(())
    }

    fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
        self.inner.drop_excluded(first, chunk)
    }

    fn lost_run(&self, first: Pfn, limit: u64) -> u64 {
        self.inner.lost_run(first, limit)
    }

    fn unread_run(&self, first: Pfn, limit: u64) -> u64 {
        self.inner.unread_run(first, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::{PageSize, PhysAddr, Range};

    /// Frames of their own number; the odd ones were left out.
    struct Even(MemoryMap);

    impl PhysicalMemory for Even {
        fn map(&self) -> &MemoryMap {
            &self.0
        }

        fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
            page.fill(pfn.0 as u8);
            Ok(if pfn.0.is_multiple_of(2) { PageState::Present } else { PageState::Excluded })
        }
    }

    #[test]
    fn frames_are_noted_once_in_the_order_of_their_first_read_and_only_those_that_are_there() {
        let bytes = Range::new(PhysAddr(0), PhysAddr(1 << 20));
        let inner = Even(MemoryMap::new(PageSize::K4, [bytes].into_iter().collect()));
        let recorder = Recorder::new(&inner, 4);
        let mut page = [0; 4096];
        for pfn in [8, 4, 5, 8] {
            assert_eq!(recorder.read_page(Pfn(pfn), &mut page).unwrap().is_known(), pfn != 5);
        }
        assert_eq!(recorder.take(), [Pfn(8), Pfn(4)]);
        let _ = recorder.read(PhysAddr(0x4ff0), &mut [0; 8]).unwrap();
        recorder.read_run(Pfn(10), &mut [0; 3 * 4096], &mut [PageState::Absent; 3]).unwrap();
        assert_eq!(recorder.take(), [Pfn(10), Pfn(12)]);
        assert!(recorder.is_full());
        let _ = recorder.read_page(Pfn(14), &mut page);
        assert_eq!(recorder.take(), []);
    }
}
