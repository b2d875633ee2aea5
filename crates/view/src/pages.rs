//! A dump's memory, read by address.

use crate::cache::Cache;
use crate::content::Failure;
use std::sync::Arc;
use vmcore::{Dump, PageSize, PageState, Pfn, PhysAddr};

/// Whole pages that are read with one call.
const AT_ONCE: usize = 256;

/// Reads of fewer bytes than this go through the cache. Longer ones are of readers that go on, for which reading ahead is made, and
/// would only drive out of the cache what others come back to.
const CACHED: usize = 64 << 10;

/// What is read where a page is not in the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Zeros.
    Zeros,
    /// An error.
    Error,
}

/// Memory of a dump, whose pages are cached.
pub struct Pages {
    dump: Arc<Dump>,
    missing: Missing,
    cache: Cache,
}

impl Pages {
    /// The memory of `dump`, with a cache of at most `cache` bytes.
    pub fn new(dump: Arc<Dump>, missing: Missing, cache: u64) -> Self {
        let cache = Cache::new(dump.page_size(), cache);
        Self { dump, missing, cache }
    }

    /// The page size of the dump.
    pub fn page_size(&self) -> PageSize {
        self.dump.page_size()
    }

    /// What is read where a page is not in the dump.
    pub fn missing(&self) -> Missing {
        self.missing
    }

    /// Fills `bytes` from physical address `addr` on. Where there is no memory are zeros.
    ///
    /// # Errors
    ///
    /// When the input cannot be read, and for a page that is not in the dump, if that is an error.
    pub fn read(&self, addr: PhysAddr, bytes: &mut [u8]) -> Result<(), Failure> {
        let size = self.page_size();
        let (mut at, mut rest) = (addr.0, bytes);
        let small = rest.len() < CACHED;
        while !rest.is_empty() {
            let (pfn, offset) = (size.pfn(PhysAddr(at)), size.offset(at));
            let whole = (rest.len() / size.len()).min(AT_ONCE);
            let direct = offset == 0 && whole > 0 && !small;
            let len = if direct { whole * size.len() } else { rest.len().min(size.len() - offset) };
            let (now, later) = rest.split_at_mut(len);
            if direct {
                let mut states = [PageState::Absent; AT_ONCE];
                self.dump.memory.read_run(pfn, now, &mut states[..whole])?;
                for (pfn, state) in (pfn.0..).zip(&states[..whole]) {
                    self.judge(Pfn(pfn), *state)?;
                }
            } else {
                self.judge(pfn, self.read_part(pfn, offset, now)?)?;
            }
            (at, rest) = (at.saturating_add(len as u64), later);
        }
        Ok(())
    }

    /// Fills `part` with the bytes of page `pfn` from `offset` on, through the cache.
    fn read_part(&self, pfn: Pfn, offset: usize, part: &mut [u8]) -> Result<PageState, Failure> {
        if let Some(state) = self.cache.get(pfn, offset, part) {
            return Ok(state);
        }
        let mut page = vec![0; self.page_size().len()];
        let state = self.dump.memory.read_page(pfn, &mut page)?;
        part.copy_from_slice(&page[offset..offset + part.len()]);
        self.cache.put(pfn, state, &page);
        Ok(state)
    }

    fn judge(&self, pfn: Pfn, state: PageState) -> Result<(), Failure> {
        match (state, self.missing) {
            (PageState::Lost | PageState::Excluded, Missing::Error) => Err(Failure::Missing { pfn, state }),
            _ => Ok(()),
        }
    }
}
