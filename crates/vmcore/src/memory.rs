//! Random access to the physical memory of a crashed machine.

use crate::{Chunk, MemoryMap, PageSize, Pfn, PhysAddr, ReadError};
use std::collections::BTreeMap;

/// What is known about one page frame.
///
/// Five answers, not two: a page left out on purpose must never be taken for a page that was lost, nor a page of
/// zeros for either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum PageState {
    /// The buffer holds the page.
    Present,
    /// The page is all zeros; the buffer was cleared.
    Zero,
    /// An earlier filter left the page out; the buffer was cleared.
    Excluded,
    /// The page should be here but could not be read or was cut off; the buffer was cleared.
    Lost,
    /// No memory exists at this frame number; the buffer was cleared.
    Absent,
}

impl PageState {
    /// Reports whether the page's bytes are known.
    pub fn is_known(self) -> bool {
        matches!(self, Self::Present | Self::Zero)
    }

    /// The state of a frame of which different parts are in these states: of half a page with made-up zeros nobody can
    /// tell that it is none.
    pub fn of_whole(self, other: Self) -> Self {
        let rank = |state| match state {
            Self::Absent => 0,
            Self::Zero => 1,
            Self::Present => 2,
            Self::Excluded => 3,
            Self::Lost => 4,
        };
        if rank(self) >= rank(other) { self } else { other }
    }
}

/// Pages that turned out to be damaged when they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// How many pages, each counted once; a lower bound when there are a great many.
    pub pages: u64,
    /// What was wrong with the first of them, one sentence per entry.
    pub first: Vec<String>,
}

/// What all of an input says of itself, besides its pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// The input carries checksums of every byte of it that counts, and they were compared.
    pub proved: bool,
    /// What does not fit, one sentence per entry.
    pub problems: Vec<String>,
    /// How many pages with content are stored in which way, by the names of compressions, and `none`; empty where the format has
    /// one way only.
    pub stored: BTreeMap<&'static str, u64>,
}

/// Random access to physical memory, shared by all worker threads.
///
/// Methods take `&self` and keep no cursor: two threads may ask for the same page at once. Of `read_page` and `read_run` an
/// implementation provides at least one, as each is made of the other where it does not.
pub trait PhysicalMemory: Send + Sync {
    /// Where memory exists. A frame outside the map is [`PageState::Absent`].
    fn map(&self) -> &MemoryMap;

    /// Fills `page`, whose length is the dump's page size, with frame `pfn`.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged. A page that is missing or that the system cannot read is a
    /// [`PageState`], not an error.
    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        let mut state = [PageState::Absent];
        self.read_run(pfn, page, &mut state)?;
        Ok(state[0])
    }

    /// Fills `pages` with the frames from `first` on and sets one state for each.
    ///
    /// The length of `pages` is that of `states` times the page size. Files are read in large runs at once.
    ///
    /// # Errors
    ///
    /// As [`PhysicalMemory::read_page`].
    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        let size = self.map().page_size().len();
        for (i, (page, state)) in pages.chunks_exact_mut(size).zip(states).enumerate() {
            *state = self.read_page(Pfn(first.0 + i as u64), page)?;
        }
        Ok(())
    }

    /// Drops from `chunk`, which begins at frame `first`, the frames that an earlier filter left out of the input,
    /// as far as the input shows without reading pages, and returns how many that were.
    ///
    /// # Errors
    ///
    /// As [`PhysicalMemory::read_page`].
    fn drop_excluded(&self, _first: Pfn, _chunk: &mut Chunk) -> Result<u64, ReadError> {
        Ok(0)
    }

    /// How many frames from `first` on, at most `limit`, the input knows to be [`PageState::Lost`] without reading.
    ///
    /// A file that was cut off early may lack terabytes; no reader should clear a buffer for each page of them.
    fn lost_run(&self, _first: Pfn, _limit: u64) -> u64 {
        0
    }

    /// How many frames from `first` on, at most `limit`, the input has no byte of, as far as it knows that without
    /// reading: what is searched for in memory is not there. A header of a few bytes can claim terabytes.
    fn unread_run(&self, first: Pfn, limit: u64) -> u64 {
        self.lost_run(first, limit)
    }

    /// Counts frames in another size from now on; `false` when this memory cannot.
    fn set_page_size(&mut self, _size: PageSize) -> bool {
        false
    }

    /// The pages that were [`PageState::Lost`] because the input is damaged where they should be, among those that
    /// were read until now.
    fn damage(&self) -> Damage {
        Damage::default()
    }

    /// Reads all of the input, and compares it with its own checksums; where it has none, what must fit together.
    ///
    /// # Errors
    ///
    /// When the input cannot be read.
    fn check(&self) -> Result<Check, ReadError> {
        Ok(Check::default())
    }

    /// What of an input without checksums cannot be, by what its tables say of where pages are: a part of
    /// [`PhysicalMemory::check`] that reads no page.
    ///
    /// # Errors
    ///
    /// When the input cannot be read.
    fn contradictions(&self) -> Result<Vec<String>, ReadError> {
        Ok(Vec::new())
    }

    /// Fills `bytes` from physical address `addr` on, across frames if need be.
    ///
    /// Returns [`PageState::Present`] when every byte is known (frames of zeros included), else the state of the
    /// first frame that is not.
    ///
    /// # Errors
    ///
    /// As [`PhysicalMemory::read_page`].
    fn read(&self, addr: PhysAddr, bytes: &mut [u8]) -> Result<PageState, ReadError> {
        let size = self.map().page_size();
        let mut page = vec![0; size.len()];
        let mut at = addr.0;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = size.offset(at);
            let (now, later) = rest.split_at_mut(rest.len().min(size.len() - offset));
            let state = self.read_page(size.pfn(PhysAddr(at)), &mut page)?;
            if !state.is_known() {
                return Ok(state);
            }
            now.copy_from_slice(&page[offset..offset + now.len()]);
            at = at.saturating_add(now.len() as u64);
            rest = later;
        }
        Ok(PageState::Present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Range, RangeSet};

    /// A memory of two frames, the second of which was filtered away.
    struct Two(MemoryMap);

    impl PhysicalMemory for Two {
        fn map(&self) -> &MemoryMap {
            &self.0
        }

        fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
            page.fill(if pfn.0 == 0 { 7 } else { 0 });
            Ok([PageState::Present, PageState::Zero, PageState::Excluded][pfn.0 as usize])
        }
    }

    #[test]
    fn a_read_crosses_frames_and_stops_at_one_that_is_unknown() {
        let bytes: RangeSet<PhysAddr> = [Range::new(PhysAddr(0), PhysAddr(0x3000))].into_iter().collect();
        let memory = Two(MemoryMap::new(PageSize::K4, bytes));
        let mut bytes = [1; 4];
        assert_eq!(memory.read(PhysAddr(0xffe), &mut bytes).unwrap(), PageState::Present);
        assert_eq!(bytes, [7, 7, 0, 0]);
        assert_eq!(memory.read(PhysAddr(0x1ffe), &mut bytes).unwrap(), PageState::Excluded);
    }
}
