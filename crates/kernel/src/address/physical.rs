//! Reads of physical memory, with frames that are read in small pieces (page tables, lists) kept at hand.

use crate::Error;
use std::sync::{Mutex, PoisonError};
use vmcore::{ByteOrder, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory};

/// Sets of frames that are kept, and frames of one set: at 64 KiB a frame 2 MiB at most.
///
/// A walk reads a table of each level and what it leads to by turns, and where they lie is chance. With one frame in a set,
/// two of them that met in one pushed each other out: of a dump's 1388 reads of single pages 1026 were of the same two.
const SETS: usize = 8;
const WAYS: usize = 4;

/// Kept frames of one set, the one used last first.
type Set = Mutex<[Option<(Pfn, Box<[u8]>)>; WAYS]>;

/// The dump's memory as translation and the page walk need it.
pub(crate) struct Physical<'d> {
    memory: &'d dyn PhysicalMemory,
    page: PageSize,
    sets: Box<[Set]>,
}

impl<'d> Physical<'d> {
    pub(crate) fn new(memory: &'d dyn PhysicalMemory) -> Self {
        let sets = (0..SETS).map(|_| Set::default()).collect();
        Self { memory, page: memory.map().page_size(), sets }
    }

    pub(crate) fn memory(&self) -> &'d dyn PhysicalMemory {
        self.memory
    }

    pub(crate) fn page_size(&self) -> PageSize {
        self.page
    }

    /// The start of the lowest memory.
    pub(crate) fn start(&self) -> PhysAddr {
        self.memory.map().bytes().iter().next().map_or(PhysAddr(0), |range| range.start)
    }

    /// Reports whether there is memory at `addr`.
    pub(crate) fn exists(&self, addr: PhysAddr) -> bool {
        self.memory.map().bytes().contains(addr)
    }

    /// The end of the highest memory.
    pub(crate) fn end(&self) -> PhysAddr {
        self.memory.map().bytes().end().unwrap_or_default()
    }

    /// Fills `bytes` from `addr` on; `what` names them in an error.
    pub(crate) fn read(&self, addr: PhysAddr, bytes: &mut [u8], what: &str) -> Result<(), Error> {
        let state = if bytes.len() >= self.page.len() {
            self.memory.read(addr, bytes)?
        } else {
            self.read_some(addr, bytes)?
        };
        if state.is_known() { Ok(()) } else { Err(Error::NotInDump { what: what.to_owned(), addr, state }) }
    }

    /// Reads one 64-bit entry of a page table or a list; `what` names it in an error.
    ///
    /// Only the entry's own frame is looked at: a table may be larger or smaller than a page.
    pub(crate) fn entry(&self, addr: PhysAddr, order: ByteOrder, what: &str) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        self.read(addr, &mut bytes, what)?;
        Ok(order.u64(&bytes))
    }

    /// Reads less than a page, which lies in two frames at most.
    fn read_some(&self, addr: PhysAddr, bytes: &mut [u8]) -> Result<PageState, Error> {
        let offset = self.page.offset(addr.0);
        let here = bytes.len().min(self.page.len() - offset);
        let (first, second) = bytes.split_at_mut(here);
        let pfn = self.page.pfn(addr);
        let state = self.read_in_frame(pfn, offset, first)?;
        if second.is_empty() || !state.is_known() {
            return Ok(state);
        }
        self.read_in_frame(Pfn(pfn.0 + 1), 0, second)
    }

    /// Reads a part of one frame and keeps the frame: what is read in small pieces is read again nearby.
    fn read_in_frame(&self, pfn: Pfn, offset: usize, bytes: &mut [u8]) -> Result<PageState, Error> {
        let part = offset..offset + bytes.len();
        let set = &self.sets[(pfn.0 % SETS as u64) as usize];
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = set.iter().position(|kept| kept.as_ref().is_some_and(|(kept, _)| *kept == pfn)) {
            set[..=at].rotate_right(1);
            if let Some((_, frame)) = &set[0] {
                bytes.copy_from_slice(&frame[part]);
            }
            return Ok(PageState::Present);
        }
        let mut frame = match set[WAYS - 1].take() {
            Some((_, frame)) => frame,
            None => vec![0; self.page.len()].into_boxed_slice(),
        };
        let state = self.memory.read_page(pfn, &mut frame)?;
        if state.is_known() {
            bytes.copy_from_slice(&frame[part]);
            set.rotate_right(1);
            set[0] = Some((pfn, frame));
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use vmcore::{MemoryMap, Range, ReadError};

    /// Memory that counts how often it is read, with each frame full of its number.
    struct Counting {
        map: MemoryMap,
        reads: AtomicUsize,
    }

    impl PhysicalMemory for Counting {
        fn map(&self) -> &MemoryMap {
            &self.map
        }

        fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            page.fill(pfn.0 as u8);
            Ok(PageState::Present)
        }
    }

    #[test]
    fn tables_that_are_read_by_turns_are_read_once_wherever_they_lie() {
        let all = Range::new(PhysAddr(0), PhysAddr(1 << 20));
        let memory = Counting {
            map: MemoryMap::new(PageSize::K4, [all].into_iter().collect()),
            reads: AtomicUsize::new(0),
        };
        let physical = Physical::new(&memory);
        for round in 0..10 {
            for frame in [3, 35, 67, 99] {
                let entry =
                    physical.entry(PhysAddr((frame << 12) | (round * 8)), ByteOrder::Little, "a table");
                assert_eq!(entry.unwrap(), frame * 0x0101_0101_0101_0101);
            }
        }
        assert_eq!(memory.reads.load(Ordering::Relaxed), 4);
        // A frame that was pushed out is read again.
        for frame in [3, 35, 67, 99, 131, 3] {
            physical.entry(PhysAddr(frame << 12), ByteOrder::Little, "a table").unwrap();
        }
        assert_eq!(memory.reads.load(Ordering::Relaxed), 6);
    }
}
