//! The memory of a kdump-compressed file.

use super::cache::Cache;
use super::index::Index;
use crate::codec::{Decoder, Method};
use crate::input::Input;
use crate::kdump::header::Geometry;
use crate::kdump::layout::{PAGE_DESC_LEN, PageDesc};
use std::error::Error as _;
use std::sync::{Mutex, PoisonError};
use vmcore::{
    ByteOrder, CHUNK_FRAMES, Chunk, MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, ReadError,
};

/// The part of a split set that a file holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// The frames of the part.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Pages of the whole set before this part, and in it.
    pub(super) before: u64,
    pub(super) within: u64,
}

/// The most stored bytes that are read at once.
const MAX_READ: u64 = 1 << 20;
/// The most bytes of pages that are handled at once, which bounds what a call needs besides its own buffer.
const MAX_PAGES: usize = 1 << 20;
/// Stored pages that lie this close are read together, gap included: a system call costs as much as copying it.
const MAX_GAP: u64 = 4096;

/// Physical memory in a kdump-compressed file.
pub(super) struct KdumpMemory {
    input: Input,
    order: ByteOrder,
    map: MemoryMap,
    index: Index,
    descriptors: u64,
    part: Option<Part>,
    /// Where the shared page of zeros is.
    zero_page: Option<u64>,
    cache: Cache,
    pool: Mutex<Vec<Scratch>>,
}

/// What one call needs, lent from a pool that grows to the number of threads.
#[derive(Default)]
struct Scratch {
    decoder: Decoder,
    bits: Vec<u8>,
    descriptors: Vec<u8>,
    stored: Vec<u8>,
    wanted: Vec<Wanted>,
    page: Vec<u8>,
}

/// A page whose bytes are in the file.
#[derive(Clone, Copy)]
struct Wanted {
    /// Its position in the run.
    at: usize,
    offset: u64,
    size: u64,
    method: Option<Method>,
}

impl Wanted {
    fn end(&self) -> u64 {
        self.offset + self.size
    }
}

impl KdumpMemory {
    pub(super) fn new(
        input: Input,
        order: ByteOrder,
        map: MemoryMap,
        index: Index,
        geometry: &Geometry,
        part: Option<Part>,
        zero_page: Option<u64>,
    ) -> Self {
        Self {
            cache: Cache::new(map.page_size()),
            input,
            order,
            map,
            index,
            descriptors: geometry.descriptors,
            part,
            zero_page,
            pool: Mutex::default(),
        }
    }

    fn page_size(&self) -> PageSize {
        self.map.page_size()
    }

    /// Runs `work` with a scratch of its own.
    fn with_scratch<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        let pool = || self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let pooled = pool().pop();
        let mut scratch = pooled.unwrap_or_default();
        let result = work(&mut scratch);
        pool().push(scratch);
        result
    }

    /// Reads at most [`MAX_PAGES`] bytes of pages.
    fn read_some(
        &self,
        scratch: &mut Scratch,
        first: u64,
        pages: &mut [u8],
        states: &mut [PageState],
    ) -> Result<(), ReadError> {
        let size = self.page_size().len();
        states.fill(PageState::Absent);
        scratch.wanted.clear();
        let inside = self.index.max_pfn().saturating_sub(first).min(states.len() as u64);
        if inside > 0 {
            self.read_descriptors(scratch, first, &mut states[..inside as usize])?;
        }
        for (page, state) in pages.chunks_exact_mut(size).zip(&*states) {
            if *state != PageState::Present {
                page.fill(0);
            }
        }
        let wanted = std::mem::take(&mut scratch.wanted);
        let mut rest = &wanted[..];
        let mut result = Ok(());
        while result.is_ok() && !rest.is_empty() {
            let (group, others) = rest.split_at(together(rest));
            rest = others;
            result = self.read_group(scratch, first, group, pages, states);
        }
        scratch.wanted = wanted;
        result
    }

    /// Sets the states of frames below `max_pfn`, and lists those whose bytes are to be read.
    fn read_descriptors(
        &self,
        scratch: &mut Scratch,
        first: u64,
        states: &mut [PageState],
    ) -> Result<(), ReadError> {
        let count = states.len() as u64;
        let (rank, skip) = self.index.look_up(&self.input, first, count, &mut scratch.bits)?;
        let mut kept = 0;
        for (i, state) in states.iter_mut().enumerate() {
            let bit = skip + i as u64;
            *state = if scratch.bits[(bit / 8) as usize] >> (bit % 8) & 1 != 0 {
                kept += 1;
                PageState::Present
            } else if self.map.frames().contains(Pfn(first + i as u64)) {
                PageState::Excluded
            } else {
                PageState::Absent
            };
        }
        // In a part of a split set the list starts with the part's first page.
        let (start, end, before) =
            self.part.map_or((0, u64::MAX, 0), |part| (part.start, part.end, part.before));
        let skipped = before.saturating_sub(rank).min(kept);
        let at = self.descriptors + (rank.max(before) - before) * PAGE_DESC_LEN as u64;
        let bytes = &mut scratch.descriptors;
        bytes.clear();
        bytes.resize((kept - skipped) as usize * PAGE_DESC_LEN, 0);
        // What a cut-off file does not have stays zero, which is a lost page's descriptor.
        let there = self.input.len().saturating_sub(at).min(bytes.len() as u64) as usize;
        self.input.read_at(at, &mut bytes[..there / PAGE_DESC_LEN * PAGE_DESC_LEN])?;

        let mut list = bytes.as_chunks().0.iter().enumerate();
        for (i, state) in states.iter_mut().enumerate().filter(|(_, s)| **s == PageState::Present) {
            let pfn = first + i as u64;
            if !(start..end).contains(&pfn) {
                *state = PageState::Lost;
                continue;
            }
            let Some((n, desc)) = list.next() else {
                *state = PageState::Lost;
                continue;
            };
            let desc = PageDesc::decode(desc, self.order);
            let desc_at = at + (n * PAGE_DESC_LEN) as u64;
            match self.judge(pfn, desc_at, desc)? {
                Ok((offset, method)) => {
                    scratch.wanted.push(Wanted { at: i, offset, size: desc.size.into(), method });
                }
                Err(other) => *state = other,
            }
        }
        Ok(())
    }

    /// Where a page's bytes are and how they are stored, or its state when there is nothing to read.
    fn judge(
        &self,
        pfn: u64,
        at: u64,
        desc: PageDesc,
    ) -> Result<Result<(u64, Option<Method>), PageState>, ReadError> {
        let PageDesc { offset, size, flags } = desc;
        let page_len = self.page_size().bytes();
        if offset == 0 {
            return Ok(Err(PageState::Lost));
        }
        let damaged = |field: &str, found: String, expected: String| {
            Err(self.input.damaged(format!("page_desc.{field} of page {pfn:#x}"), at, found, expected))
        };
        // Bits that are no method mean nothing; of several the first counts, as for all readers.
        let method = Method::ALL.into_iter().find(|m| flags & m.flag() != 0);
        if method.is_none() && u64::from(size) != page_len {
            return damaged("size", size.to_string(), format!("{page_len} as the page is not compressed"));
        }
        if size == 0 || u64::from(size) > page_len {
            return damaged("size", size.to_string(), format!("1 to {page_len}"));
        }
        if offset < self.descriptors {
            let expected = format!("an offset behind the bitmaps, from {:#x} on", self.descriptors);
            return damaged("offset", format!("{offset:#x}"), expected);
        }
        if offset.checked_add(size.into()).is_none_or(|end| end > self.input.len()) {
            return Ok(Err(PageState::Lost));
        }
        if method.is_none() && self.zero_page == Some(offset) {
            return Ok(Err(PageState::Zero));
        }
        Ok(Ok((offset, method)))
    }

    /// Reads and decompresses pages that lie close to each other in the file.
    fn read_group(
        &self,
        scratch: &mut Scratch,
        first: u64,
        group: &[Wanted],
        pages: &mut [u8],
        states: &mut [PageState],
    ) -> Result<(), ReadError> {
        let size = self.page_size().len();
        let start = group.iter().map(|w| w.offset).min().unwrap_or(0);
        let end = group.iter().map(Wanted::end).max().unwrap_or(0);
        let side_by_side = |(i, w): (usize, &Wanted)| {
            w.method.is_none() && w.at == group[0].at + i && w.offset == start + (i * size) as u64
        };
        let read = if group.iter().enumerate().all(side_by_side) {
            let from = group[0].at * size;
            self.input.read_at(start, &mut pages[from..from + group.len() * size]).map(|()| true)
        } else {
            scratch.stored.resize((end - start) as usize, 0);
            self.input.read_at(start, &mut scratch.stored).map(|()| false)
        };
        match read {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // A bad spot of the disk costs the pages on it, not their neighbours.
            Err(_) if group.len() > 1 => {
                return group.iter().try_for_each(|w| {
                    self.read_group(scratch, first, std::slice::from_ref(w), pages, states)
                });
            }
            Err(error) => {
                let at = group[0].at;
                tracing::warn!(pfn = first + at as u64, "page lost: {error}: {:?}", error.source());
                states[at] = PageState::Lost;
                pages[at * size..][..size].fill(0);
                return Ok(());
            }
        }
        for w in group {
            let page = &mut pages[w.at * size..][..size];
            let stored = &scratch.stored[(w.offset - start) as usize..(w.end() - start) as usize];
            let Some(method) = w.method else {
                page.copy_from_slice(stored);
                continue;
            };
            scratch.decoder.decode(method, stored, page).map_err(|error| {
                let field = format!("content of page {:#x}", first + w.at as u64);
                let cause = error.source().map(|s| format!(" ({s})")).unwrap_or_default();
                self.input.damaged(field, w.offset, format!("no page: {error}{cause}"), "a compressed page")
            })?;
        }
        Ok(())
    }

    /// Fills `part` with the bytes of page `pfn` from `offset` on, through the cache.
    fn read_part(&self, pfn: Pfn, offset: usize, part: &mut [u8]) -> Result<PageState, ReadError> {
        if let Some(state) = self.cache.get(pfn, offset, part) {
            return Ok(state);
        }
        self.with_scratch(|scratch| {
            let mut page = std::mem::take(&mut scratch.page);
            page.resize(self.page_size().len(), 0);
            let mut state = [PageState::Absent];
            let read = self.read_some(scratch, pfn.0, &mut page, &mut state);
            if read.is_ok() {
                part.copy_from_slice(&page[offset..offset + part.len()]);
                self.cache.put(pfn, state[0], &page);
            }
            scratch.page = page;
            read.map(|()| state[0])
        })
    }
}

/// How many of the first pages are best read with one call.
fn together(wanted: &[Wanted]) -> usize {
    let (mut start, mut end) = (wanted[0].offset, wanted[0].end());
    for (i, w) in wanted.iter().enumerate().skip(1) {
        let (low, high) = (start.min(w.offset), end.max(w.end()));
        let close = w.offset <= end.saturating_add(MAX_GAP) && start <= w.end().saturating_add(MAX_GAP);
        if !close || high - low > MAX_READ {
            return i;
        }
        (start, end) = (low, high);
    }
    wanted.len()
}

impl PhysicalMemory for KdumpMemory {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        let mut state = [PageState::Absent];
        self.read_run(pfn, page, &mut state)?;
        Ok(state[0])
    }

    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        let size = self.page_size().len();
        let some = (MAX_PAGES / size).max(1);
        self.with_scratch(|scratch| {
            let mut at = first.0;
            for (pages, states) in pages.chunks_mut(some * size).zip(states.chunks_mut(some)) {
                self.read_some(scratch, at, pages, states)?;
                at = at.saturating_add(some as u64);
            }
            Ok(())
        })
    }

    fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
        let mut bits = vec![0; (CHUNK_FRAMES / 8) as usize];
        self.index.read(&self.input, first.0, &mut bits)?;
        let mut dropped = 0;
        for (i, word) in bits.as_chunks().0.iter().enumerate() {
            let mut gone = chunk.words()[i] & !u64::from_le_bytes(*word);
            while gone != 0 {
                let start = u64::from(gone.trailing_zeros());
                let len = u64::from((gone >> start).trailing_ones());
                let at = i as u64 * 64 + start;
                dropped += chunk.remove(at, at + len);
                gone &= !(u64::MAX >> (64 - len) << start);
            }
        }
        Ok(dropped)
    }

    fn read(&self, addr: PhysAddr, bytes: &mut [u8]) -> Result<PageState, ReadError> {
        let size = self.page_size();
        let mut at = addr.0;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (pfn, offset) = (size.pfn(PhysAddr(at)), size.offset(at));
            let mut states = [PageState::Absent; 64];
            let whole = (rest.len() / size.len()).min(states.len());
            let (now, later) = if offset == 0 && whole > 0 {
                let (now, later) = rest.split_at_mut(whole * size.len());
                self.read_run(pfn, now, &mut states[..whole])?;
                (now, later)
            } else {
                let (now, later) = rest.split_at_mut(rest.len().min(size.len() - offset));
                states[0] = self.read_part(pfn, offset, now)?;
                (now, later)
            };
            let used = if offset == 0 { whole.max(1) } else { 1 };
            if let Some(unknown) = states[..used].iter().find(|s| !s.is_known()) {
                return Ok(*unknown);
            }
            at = at.saturating_add(now.len() as u64);
            rest = later;
        }
        Ok(PageState::Present)
    }
}
