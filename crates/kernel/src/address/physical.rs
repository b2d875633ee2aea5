//! Reads of physical memory, with frames that are read in small pieces (page tables, lists) kept at hand.

use crate::Error;
use std::sync::{Mutex, PoisonError};
use vmcore::{ByteOrder, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory};

/// Frames that are kept: at 64 KiB a frame 2 MiB at most.
const SLOTS: usize = 32;

/// One kept frame.
type Slot = Mutex<Option<(Pfn, Box<[u8]>)>>;

/// The dump's memory as translation and the page walk need it.
pub(crate) struct Physical<'d> {
    memory: &'d dyn PhysicalMemory,
    page: PageSize,
    slots: Box<[Slot]>,
}

impl<'d> Physical<'d> {
    pub(crate) fn new(memory: &'d dyn PhysicalMemory) -> Self {
        let slots = (0..SLOTS).map(|_| Mutex::new(None)).collect();
        Self { memory, page: memory.map().page_size(), slots }
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
        let slot = &self.slots[(pfn.0 % SLOTS as u64) as usize];
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kept, frame)) = slot.as_ref()
            && *kept == pfn
        {
            bytes.copy_from_slice(&frame[part]);
            return Ok(PageState::Present);
        }
        let mut frame = match slot.take() {
            Some((_, frame)) => frame,
            None => vec![0; self.page.len()].into_boxed_slice(),
        };
        let state = self.memory.read_page(pfn, &mut frame)?;
        if state.is_known() {
            bytes.copy_from_slice(&frame[part]);
            *slot = Some((pfn, frame));
        }
        Ok(state)
    }
}
