//! Reads of physical memory, with the frames that hold page tables kept at hand.

use crate::Error;
use std::sync::{Mutex, PoisonError};
use vmcore::{ByteOrder, PageSize, Pfn, PhysAddr, PhysicalMemory, Range};

/// Frames of page tables that are kept: at 64 KiB a frame 2 MiB at most.
const SLOTS: usize = 32;

/// One kept frame of a page table.
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

    /// The end of the highest memory.
    pub(crate) fn end(&self) -> PhysAddr {
        self.memory.map().bytes().end().unwrap_or_default()
    }

    /// Lends `len` bytes at `addr` when they lie in a mapping.
    pub(crate) fn lend(&self, addr: PhysAddr, len: usize) -> Option<&[u8]> {
        let frames = self.frames(addr, len);
        let offset = self.page.offset(addr.0);
        let bytes = self.memory.lend_run(frames.start, frames.len())?;
        bytes.get(offset..offset.checked_add(len)?)
    }

    /// The frames that hold `len` bytes at `addr`.
    pub(crate) fn frames(&self, addr: PhysAddr, len: usize) -> Range<Pfn> {
        let end = addr.0.saturating_add(len.max(1) as u64 - 1);
        Range::new(self.page.pfn(addr), Pfn(self.page.pfn(PhysAddr(end)).0 + 1))
    }

    /// Fills `bytes` from `addr` on; `what` names them in an error.
    pub(crate) fn read(&self, addr: PhysAddr, bytes: &mut [u8], what: &str) -> Result<(), Error> {
        if let Some(lent) = self.lend(addr, bytes.len()) {
            bytes.copy_from_slice(lent);
            return Ok(());
        }
        let state = self.memory.read(addr, bytes)?;
        if state.is_known() { Ok(()) } else { Err(Error::NotInDump { what: what.to_owned(), addr, state }) }
    }

    /// Reads one 64-bit entry of a page table; `level` names the table in an error.
    ///
    /// Only the entry's own frame is looked at: a table may be larger or smaller than a page.
    pub(crate) fn entry(&self, addr: PhysAddr, order: ByteOrder, level: &str) -> Result<u64, Error> {
        // Entries are aligned, so none crosses a frame's border, whatever a damaged table pointed to.
        let addr = PhysAddr(addr.0 & !7);
        if let Some(lent) = self.lend(addr, 8) {
            return Ok(order.u64(lent));
        }
        let pfn = self.page.pfn(addr);
        let offset = self.page.offset(addr.0);
        let slot = &self.slots[(pfn.0 % SLOTS as u64) as usize];
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kept, bytes)) = slot.as_ref()
            && *kept == pfn
        {
            return Ok(order.u64(&bytes[offset..]));
        }
        let mut bytes = match slot.take() {
            Some((_, bytes)) => bytes,
            None => vec![0; self.page.len()].into_boxed_slice(),
        };
        let state = self.memory.read_page(pfn, &mut bytes)?;
        if !state.is_known() {
            return Err(Error::NotInDump { what: format!("page table ({level})"), addr, state });
        }
        let entry = order.u64(&bytes[offset..]);
        *slot = Some((pfn, bytes));
        Ok(entry)
    }
}
