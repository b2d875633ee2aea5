//! The memory of a kdump-compressed file, or of a split set of them.

use super::cache::Cache;
use super::index::Index;
use crate::codec::{Decoder, Method};
use crate::damage::{DamageLog, chain};
use crate::input::Input;
use crate::kdump::layout::{PAGE_DESC_LEN, PageDesc};
use std::sync::{Mutex, PoisonError};
use vmcore::{
    ByteOrder, CHUNK_FRAMES, Chunk, Damage, MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory,
    ReadError,
};

/// One file with the pages of some frames.
pub(super) struct PartFile {
    pub(super) input: Input,
    /// Where its descriptors start, the first of which is that of the first page in `start..end`.
    pub(super) descriptors: u64,
    /// Where its shared page of zeros is.
    pub(super) zero_page: Option<u64>,
    /// Its frames: all of them when the file is no part of a split set.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Pages of the whole dump before its own, and its own.
    pub(super) before: u64,
    pub(super) within: u64,
}

impl PartFile {
    /// How many descriptors the file is long enough for.
    pub(super) fn descriptors_there(&self) -> u64 {
        (self.input.len().saturating_sub(self.descriptors) / PAGE_DESC_LEN as u64).min(self.within)
    }
}

/// The most stored bytes that are read at once.
const MAX_READ: u64 = 1 << 20;
/// The most bytes of pages that are handled at once, which bounds what a call needs besides its own buffer.
const MAX_PAGES: usize = 1 << 20;
/// Stored pages that lie this close are read together, gap included: a system call costs as much as copying it.
const MAX_GAP: u64 = 4096;

/// Physical memory in kdump-compressed files.
pub(super) struct KdumpMemory {
    /// Ascending and disjoint. The bitmaps are read from the first.
    files: Vec<PartFile>,
    order: ByteOrder,
    map: MemoryMap,
    index: Index,
    damage: DamageLog,
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

/// A page whose bytes are in a file.
#[derive(Clone, Copy)]
struct Wanted {
    /// The number of the file.
    file: usize,
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
    /// Memory in `files`, which are ascending, disjoint, and at least one.
    pub(super) fn new(files: Vec<PartFile>, order: ByteOrder, map: MemoryMap, index: Index) -> Self {
        Self {
            cache: Cache::new(map.page_size()),
            files,
            order,
            map,
            index,
            damage: DamageLog::default(),
            pool: Mutex::default(),
        }
    }

    /// The file that holds the bitmaps; all files of a set have the same ones.
    fn bitmaps(&self) -> &Input {
        &self.files[0].input
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
        while !rest.is_empty() {
            let (group, others) = rest.split_at(together(rest));
            rest = others;
            self.read_group(scratch, first, group, pages, states);
        }
        scratch.wanted = wanted;
        Ok(())
    }

    /// Sets the states of frames below `max_pfn`, and lists those whose bytes are to be read.
    fn read_descriptors(
        &self,
        scratch: &mut Scratch,
        first: u64,
        states: &mut [PageState],
    ) -> Result<(), ReadError> {
        let count = states.len() as u64;
        let (mut rank, skip) = self.index.look_up(self.bitmaps(), first, count, &mut scratch.bits)?;
        for (i, state) in states.iter_mut().enumerate() {
            let bit = skip + i as u64;
            *state = if scratch.bits[(bit / 8) as usize] >> (bit % 8) & 1 != 0 {
                // Until a file turns out to have it.
                PageState::Lost
            } else if self.map.frames().contains(Pfn(first + i as u64)) {
                PageState::Excluded
            } else {
                PageState::Absent
            };
        }
        let mut done = 0;
        let next = self.files.partition_point(|file| file.end <= first);
        for (n, file) in self.files.iter().enumerate().skip(next) {
            if file.start >= first + count {
                break;
            }
            let start = (file.start.max(first) - first) as usize;
            let end = (file.end.min(first + count) - first) as usize;
            rank += lost(&states[done..start]);
            let kept = lost(&states[start..end]);
            self.read_list(
                scratch,
                (n, file),
                rank,
                kept,
                first + start as u64,
                &mut states[start..end],
                start,
            );
            rank += kept;
            done = end;
        }
        Ok(())
    }

    /// Sets the states of those frames of `file` from `first` on that are in it, which are [`PageState::Lost`] as yet:
    /// `kept` pages, the first of which is number `rank` of the whole dump. `at` is where in the run they start.
    #[expect(
        clippy::too_many_arguments,
        reason = "one step of read_descriptors, which would be unreadable in one"
    )]
    fn read_list(
        &self,
        scratch: &mut Scratch,
        (number, file): (usize, &PartFile),
        rank: u64,
        kept: u64,
        first: u64,
        states: &mut [PageState],
        at: usize,
    ) {
        let index = rank.saturating_sub(file.before);
        let there = file.descriptors_there().saturating_sub(index).min(kept);
        let list_at = file.descriptors + index * PAGE_DESC_LEN as u64;
        let bytes = &mut scratch.descriptors;
        bytes.clear();
        bytes.resize(there as usize * PAGE_DESC_LEN, 0);
        if let Err(error) = file.input.read_at(list_at, bytes) {
            self.damage
                .note(first, || format!("page descriptors from page {first:#x} on: {}", chain(&error)));
            return;
        }
        let list = bytes.as_chunks().0.iter().enumerate();
        let wanted = states.iter_mut().enumerate().filter(|(_, state)| **state == PageState::Lost);
        for ((i, state), (n, desc)) in wanted.zip(list) {
            let desc = PageDesc::decode(desc, self.order);
            let pfn = first + i as u64;
            *state = match self.judge(file, desc) {
                Ok(Stored::Lost) => PageState::Lost,
                Ok(Stored::Zero) => PageState::Zero,
                Ok(Stored::At(offset, method)) => {
                    let size = desc.size.into();
                    scratch.wanted.push(Wanted { file: number, at: at + i, offset, size, method });
                    PageState::Present
                }
                Err((field, found, expected)) => {
                    self.damage.note(pfn, || {
                        let at = list_at + (n * PAGE_DESC_LEN) as u64;
                        let field = format!("page_desc.{field} of page {pfn:#x}");
                        file.input.damaged(field, at, found, expected).to_string()
                    });
                    PageState::Lost
                }
            };
        }
    }

    /// What a descriptor says of its page; a field that makes no sense, what it is, and what it could be.
    fn judge(&self, file: &PartFile, desc: PageDesc) -> Result<Stored, (&'static str, String, String)> {
        let PageDesc { offset, size, flags } = desc;
        let page_len = self.page_size().bytes();
        if offset == 0 {
            return Ok(Stored::Lost);
        }
        // Bits that are no method mean nothing; of several the first counts, as for all readers.
        let method = Method::ALL.into_iter().find(|m| flags & m.flag() != 0);
        if method.is_none() && u64::from(size) != page_len {
            return Err(("size", size.to_string(), format!("{page_len} as the page is not compressed")));
        }
        if size == 0 || u64::from(size) > page_len {
            return Err(("size", size.to_string(), format!("1 to {page_len}")));
        }
        if offset < file.descriptors {
            let expected = format!("an offset behind the bitmaps, from {:#x} on", file.descriptors);
            return Err(("offset", format!("{offset:#x}"), expected));
        }
        if offset.checked_add(size.into()).is_none_or(|end| end > file.input.len()) {
            return Ok(Stored::Lost);
        }
        if method.is_none() && file.zero_page == Some(offset) {
            return Ok(Stored::Zero);
        }
        Ok(Stored::At(offset, method))
    }

    /// Reads and decompresses pages that lie close to each other in the file.
    fn read_group(
        &self,
        scratch: &mut Scratch,
        first: u64,
        group: &[Wanted],
        pages: &mut [u8],
        states: &mut [PageState],
    ) {
        let size = self.page_size().len();
        let input = &self.files[group[0].file].input;
        let start = group.iter().map(|w| w.offset).min().unwrap_or(0);
        let end = group.iter().map(Wanted::end).max().unwrap_or(0);
        let side_by_side = |(i, w): (usize, &Wanted)| {
            w.method.is_none() && w.at == group[0].at + i && w.offset == start + (i * size) as u64
        };
        let read = if group.iter().enumerate().all(side_by_side) {
            let from = group[0].at * size;
            input.read_content_at(start, &mut pages[from..from + group.len() * size]).map(|()| true)
        } else {
            scratch.stored.resize((end - start) as usize, 0);
            input.read_content_at(start, &mut scratch.stored).map(|()| false)
        };
        let mut lose = |at: usize, pages: &mut [u8], why: &dyn Fn() -> String| {
            self.damage.note(first + at as u64, why);
            states[at] = PageState::Lost;
            pages[at * size..][..size].fill(0);
        };
        match read {
            Ok(true) => return,
            Ok(false) => {}
            // A bad spot of the disk costs the pages on it, not their neighbours.
            Err(_) if group.len() > 1 => {
                for w in group {
                    self.read_group(scratch, first, std::slice::from_ref(w), pages, states);
                }
                return;
            }
            Err(error) => {
                let at = group[0].at;
                return lose(at, pages, &|| format!("page {:#x}: {}", first + at as u64, chain(&error)));
            }
        }
        for w in group {
            let page = &mut pages[w.at * size..][..size];
            let stored = &scratch.stored[(w.offset - start) as usize..(w.end() - start) as usize];
            let Some(method) = w.method else {
                page.copy_from_slice(stored);
                continue;
            };
            if let Err(error) = scratch.decoder.decode(method, stored, page) {
                lose(w.at, pages, &|| {
                    let field = format!("content of page {:#x}", first + w.at as u64);
                    let found = format!("no page: {}", chain(&error));
                    input.damaged(field, w.offset, found, "a compressed page").to_string()
                });
            }
        }
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

/// What a descriptor says.
enum Stored {
    /// The page is not in the file.
    Lost,
    /// It is the page of zeros.
    Zero,
    /// Its bytes start here and are stored so.
    At(u64, Option<Method>),
}

/// How many of the states are as yet, or for good, [`PageState::Lost`].
fn lost(states: &[PageState]) -> u64 {
    states.iter().filter(|state| **state == PageState::Lost).count() as u64
}

/// How many of the first pages are best read with one call.
fn together(wanted: &[Wanted]) -> usize {
    let (mut start, mut end) = (wanted[0].offset, wanted[0].end());
    for (i, w) in wanted.iter().enumerate().skip(1) {
        let (low, high) = (start.min(w.offset), end.max(w.end()));
        let close = w.offset <= end.saturating_add(MAX_GAP) && start <= w.end().saturating_add(MAX_GAP);
        if !close || high - low > MAX_READ || w.file != wanted[0].file {
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
        self.index.read(self.bitmaps(), first.0, &mut bits)?;
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

    /// Frames of parts that are not there, and frames whose descriptors were cut off.
    fn lost_run(&self, first: Pfn, limit: u64) -> u64 {
        let next = self.files.partition_point(|file| file.end <= first.0);
        let gap = match self.files.get(next) {
            Some(file) if file.start <= first.0 => {
                if file.descriptors_there() == file.within {
                    return 0;
                }
                file.end
            }
            Some(file) => file.start,
            None => self.index.max_pfn(),
        };
        let limit = limit.min(gap.min(self.index.max_pfn()).saturating_sub(first.0)).min(CHUNK_FRAMES);
        if limit == 0 {
            return 0;
        }
        let mut bits = Vec::new();
        let Ok((rank, skip)) = self.index.look_up(self.bitmaps(), first.0, limit, &mut bits) else {
            return 0;
        };
        let cut = |file: &PartFile| rank.saturating_sub(file.before) >= file.descriptors_there();
        if self.files.get(next).is_some_and(|file| file.start <= first.0 && !cut(file)) {
            return 0;
        }
        let kept = |i: &u64| bits[((skip + i) / 8) as usize] >> ((skip + i) % 8) & 1 != 0;
        (0..limit).take_while(kept).count() as u64
    }

    fn damage(&self) -> Damage {
        self.damage.get()
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
