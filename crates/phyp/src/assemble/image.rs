//! Bytes at any address of the memory image, whatever its page size.

use crate::Error;
use std::cell::RefCell;
use vmcore::{PageState, Pfn, PhysAddr, PhysicalMemory, Range, ReadError};

thread_local! {
    /// A page of the image, for reads that begin or end inside one.
    static PAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How many frames of the image are read in one go.
const BATCH: usize = 64;

/// The machine's memory as it is now, after the second boot.
pub(crate) struct Image(Box<dyn PhysicalMemory>);

impl Image {
    pub(crate) fn new(memory: Box<dyn PhysicalMemory>) -> Self {
        Self(memory)
    }

    pub(crate) fn memory(&self) -> &dyn PhysicalMemory {
        &*self.0
    }

    /// Fills `out` from `at` on. Returns the state of the first frame that is not known, else `Zero` when all frames
    /// are, else `Present`; what the image should have and has not is `Lost`.
    pub(crate) fn read(&self, at: PhysAddr, out: &mut [u8]) -> Result<PageState, ReadError> {
        let page = self.0.map().page_size();
        let mut at = at.0;
        let mut rest = out;
        let mut all_zero = true;
        while !rest.is_empty() {
            let whole = if page.offset(at) == 0 { rest.len() / page.len() } else { 0 };
            let take;
            let state = if whole > 0 {
                let frames = whole.min(BATCH);
                take = frames * page.len();
                let mut states = [PageState::Absent; BATCH];
                self.0.read_run(page.pfn(PhysAddr(at)), &mut rest[..take], &mut states[..frames])?;
                summary(&states[..frames])
            } else {
                let offset = page.offset(at);
                take = rest.len().min(page.len() - offset);
                self.read_part(page.pfn(PhysAddr(at)), offset, &mut rest[..take])?
            };
            if !state.is_known() {
                return Ok(state);
            }
            all_zero &= state == PageState::Zero;
            at = at.saturating_add(take as u64);
            rest = &mut rest[take..];
        }
        Ok(if all_zero { PageState::Zero } else { PageState::Present })
    }

    fn read_part(&self, pfn: Pfn, offset: usize, out: &mut [u8]) -> Result<PageState, ReadError> {
        PAGE.with_borrow_mut(|page| {
            page.resize(self.0.map().page_size().len(), 0);
            let state = self.0.read_page(pfn, page)?;
            out.copy_from_slice(&page[offset..offset + out.len()]);
            Ok(if state == PageState::Absent { PageState::Lost } else { state })
        })
    }

    /// A copy of `range`, which must be known as a whole; `what` names it in the error.
    pub(crate) fn copy(&self, what: &'static str, range: Range<PhysAddr>) -> Result<Vec<u8>, Error> {
        let gone = || Error::NotInImage { what, addr: range.start };
        let there: u64 = self.0.map().bytes().within(range).map(|r| r.len()).sum();
        if there != range.len() {
            return Err(gone());
        }
        let mut bytes = vec![0; usize::try_from(range.len()).map_err(|_| gone())?];
        match self.read(range.start, &mut bytes)? {
            state if state.is_known() => Ok(bytes),
            _ => Err(gone()),
        }
    }

    /// What of the `len` bytes from `at` on the image has, up to the first that it lacks.
    pub(crate) fn prefix(&self, at: PhysAddr, len: u64) -> Range<PhysAddr> {
        let end = PhysAddr(at.0.saturating_add(len));
        let there = self.0.map().bytes().find(at).map_or(at, |r| r.end);
        Range::new(at, end.min(there))
    }
}

/// The state of several frames as one.
fn summary(states: &[PageState]) -> PageState {
    match states.iter().find(|s| !s.is_known()) {
        Some(PageState::Absent) => PageState::Lost,
        Some(state) => *state,
        None if states.iter().all(|s| *s == PageState::Zero) => PageState::Zero,
        None => PageState::Present,
    }
}
