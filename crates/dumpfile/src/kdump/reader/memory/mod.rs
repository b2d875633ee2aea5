//! The memory of a kdump-compressed file, or of a split set of them.

mod check;
mod descriptors;

use super::cache::Cache;
use super::index::Index;
use crate::codec::Decoder;
use crate::codec::Method;
use crate::damage::{DamageLog, chain};
use crate::input::Input;
use crate::kdump::layout::PAGE_DESC_LEN;
use crate::kdump::sums::Sums;
use descriptors::{Wanted, together};
use std::sync::{Mutex, PoisonError};
use vmcore::{
    ByteOrder, CHUNK_FRAMES, Check, Chunk, Damage, MemoryMap, PageSize, PageState, Pfn, PhysAddr,
    PhysicalMemory, ReadError,
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
    /// Its checksums, if it has them.
    pub(super) sums: Option<Box<Sums>>,
}

impl PartFile {
    /// How many descriptors the file is long enough for.
    pub(super) fn descriptors_there(&self) -> u64 {
        (self.input.len().saturating_sub(self.descriptors) / PAGE_DESC_LEN as u64).min(self.within)
    }
}

/// The most bytes of pages that are handled at once, which bounds what a call needs besides its own buffer.
const MAX_PAGES: usize = 1 << 20;
/// Physical memory in kdump-compressed files.
pub(super) struct KdumpMemory {
    /// Ascending and disjoint. The bitmaps are read from the first.
    files: Vec<PartFile>,
    order: ByteOrder,
    map: MemoryMap,
    index: Index,
    /// The first frame of which the bitmaps are damaged.
    trusted: u64,
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

impl KdumpMemory {
    /// Memory in `files`, which are ascending, disjoint, and at least one.
    ///
    /// From frame `trusted` on the bitmaps do not say which page is whose.
    pub(super) fn new(
        files: Vec<PartFile>,
        order: ByteOrder,
        map: MemoryMap,
        index: Index,
        trusted: u64,
    ) -> Self {
        Self {
            cache: Cache::new(map.page_size()),
            files,
            order,
            map,
            index,
            trusted,
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
        let PartFile { input, sums, .. } = &self.files[group[0].file];
        let mut start = group.iter().map(|w| w.offset).min().unwrap_or(0);
        let mut end = group.iter().map(Wanted::end).max().unwrap_or(0);
        // A few pages that prove themselves are not worth reading what is around them.
        let sums = sums.as_deref().filter(|sums| {
            let proves_itself = |w: &Wanted| matches!(w.method, Some(Method::Zlib | Method::Zstd));
            let inside = sums.widen(start..start);
            !group.iter().all(proves_itself) || end - start > inside.end - inside.start
        });
        if let Some(sums) = sums {
            let wide = sums.widen(start..end);
            (start, end) = (wide.start, wide.end);
        }
        let side_by_side = |(i, w): (usize, &Wanted)| {
            w.method.is_none() && w.at == group[0].at + i && w.offset == start + (i * size) as u64
        };
        let read = if sums.is_none() && group.iter().enumerate().all(side_by_side) {
            let from = group[0].at * size;
            input.read_written_at(start, &mut pages[from..from + group.len() * size]).map(|()| true)
        } else {
            scratch.stored.resize((end - start) as usize, 0);
            // Between pages nothing need be written; what lacks of pages does not fit their sums.
            let is_there = sums.is_some() || group.iter().all(|w| input.has(w.offset, w.end() - w.offset));
            let stored = &mut scratch.stored;
            let read =
                if is_there { input.read_at(start, stored) } else { input.read_written_at(start, stored) };
            read.map(|()| false)
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
        let bad = sums.map_or(Ok(Vec::new()), |sums| sums.bad_data(input, start, &scratch.stored));
        // Where there are no sums to be had, nothing fits.
        let bad = bad.unwrap_or_else(|_| std::iter::once(start..end).collect());
        for w in group {
            let page = &mut pages[w.at * size..][..size];
            let stored = &scratch.stored[(w.offset - start) as usize..(w.end() - start) as usize];
            let chunk = bad.iter().find(|chunk| chunk.start < w.end() && w.offset < chunk.end);
            let doubt = |text: &str| {
                let chunk = chunk.cloned().unwrap_or_default();
                let field = format!("content of page {:#x}", first + w.at as u64);
                let found =
                    format!("{text}in bytes {:#x} to {:#x}, which do not fit", chunk.start, chunk.end);
                input.damaged(field, w.offset, found, "bytes that fit their checksum").to_string()
            };
            let Some(method) = w.method else {
                if chunk.is_some() {
                    lose(w.at, pages, &|| doubt(""));
                } else {
                    page.copy_from_slice(stored);
                }
                continue;
            };
            // The stream's own checksum proves a page although something near it is damaged.
            if chunk.is_some() && !matches!(method, Method::Zlib | Method::Zstd) {
                lose(w.at, pages, &|| doubt(""));
                continue;
            }
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

impl PhysicalMemory for KdumpMemory {
    fn map(&self) -> &MemoryMap {
        &self.map
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
        // Of what cannot be trusted nothing was left out on purpose.
        let trusted = self.trusted.saturating_sub(first.0).min(CHUNK_FRAMES) / 8;
        bits[trusted as usize..].fill(0xff);
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

    fn unread_run(&self, first: Pfn, limit: u64) -> u64 {
        let limit = limit.min(self.index.max_pfn().saturating_sub(first.0)).min(CHUNK_FRAMES);
        let mut bits = Vec::new();
        let Ok((_, skip)) = self.index.look_up(self.bitmaps(), first.0, limit, &mut bits) else {
            return 0;
        };
        let left_out = |i: &u64| bits[((skip + i) / 8) as usize] >> ((skip + i) % 8) & 1 == 0;
        let run = (0..limit).take_while(left_out).count() as u64;
        if run > 0 { run } else { self.lost_run(first, limit) }
    }

    fn damage(&self) -> Damage {
        self.damage.get()
    }

    fn contradictions(&self) -> Result<Vec<String>, ReadError> {
        check::contradictions(self)
    }

    fn check(&self) -> Result<Check, ReadError> {
        check::check(self)
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
