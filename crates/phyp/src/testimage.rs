//! A memory image of plain bytes, for tests.

use vmcore::{MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, Range, ReadError};

/// Bytes from physical address 0 on; frames named in `missing` cannot be read.
pub(crate) struct TestImage {
    map: MemoryMap,
    bytes: Vec<u8>,
    missing: Vec<Pfn>,
}

impl TestImage {
    pub(crate) fn new(page: PageSize, bytes: Vec<u8>) -> Self {
        let all = Range::new(PhysAddr(0), PhysAddr(bytes.len() as u64));
        let map = MemoryMap::new(page, [all].into_iter().collect());
        Self { map, bytes, missing: Vec::new() }
    }

    pub(crate) fn without(mut self, pfn: u64) -> Self {
        self.missing.push(Pfn(pfn));
        self
    }
}

impl PhysicalMemory for TestImage {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        page.fill(0);
        let start = self.map.page_size().addr(pfn).0 as usize;
        let Some(bytes) = self.bytes.get(start..).filter(|b| !b.is_empty()) else {
            return Ok(PageState::Absent);
        };
        if self.missing.contains(&pfn) {
            return Ok(PageState::Excluded);
        }
        let len = bytes.len().min(page.len());
        page[..len].copy_from_slice(&bytes[..len]);
        Ok(if page.iter().all(|&b| b == 0) { PageState::Zero } else { PageState::Present })
    }
}
