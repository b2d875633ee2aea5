//! Memory behind a table of segments of a file.

use super::{Content, Piece, Table};
use crate::damage::{DamageLog, chain};
use crate::input::Input;
use vmcore::{
    CHUNK_FRAMES, Chunk, Damage, MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, Range,
    ReadError,
};

/// How much of a sparse file is read before the next hole is looked for.
const SPARSE_READ: u64 = 256 << 10;

/// Physical memory behind a table of segments.
///
/// A frame may have several pieces, as segments begin and end anywhere. It is lost when a byte of it is lost, else
/// excluded when a byte of it is excluded: half a page with made-up zeros would be a wrong page. Bytes that no
/// segment covers are not memory and read as zero.
pub(crate) struct SegmentMemory {
    input: Input,
    table: Table,
    map: MemoryMap,
    damage: DamageLog,
}

impl SegmentMemory {
    pub(crate) fn new(input: Input, table: Table, map: MemoryMap) -> Self {
        Self { input, table, map, damage: DamageLog::default() }
    }

    /// How many bytes the file should have and has not.
    pub(crate) fn lost(&self) -> u64 {
        self.table.total(Content::Lost)
    }

    /// Reads bytes from `from` on of a [`Content::Data`] piece, and reports what each stretch of it is.
    ///
    /// What cannot be read is cleared and lost.
    fn read_data(
        &self,
        piece: &Piece,
        from: u64,
        bytes: &mut [u8],
        mut tell: impl FnMut(Range<u64>, PageState),
    ) {
        let end = from + bytes.len() as u64;
        let mut at = from;
        while at < end {
            let offset = piece.file_offset(at);
            let rest = &mut bytes[(at - from) as usize..];
            let hole = (self.input.next_content(offset) - offset).min(rest.len() as u64);
            if hole > 0 {
                rest[..hole as usize].fill(0);
                tell(Range::new(at, at + hole), PageState::Zero);
                at += hole;
                continue;
            }
            let len =
                if self.input.is_sparse() { SPARSE_READ.min(rest.len() as u64) } else { rest.len() as u64 };
            self.read_or_lose(piece, at, &mut rest[..len as usize], &mut tell);
            at += len;
        }
    }

    /// Reports whether every frame of the gap `start..end` exists in part, so that the gap reads as zeros.
    fn gap_is_partial(&self, start: u64, end: u64) -> bool {
        let page = self.map.page_size();
        let frames = Range::new(page.pfn(PhysAddr(start)), Pfn(page.pfn(PhysAddr(end - 1)).0 + 1));
        self.map.frames().find(frames.start).is_some_and(|r| frames.end <= r.end)
    }

    /// Reads at once what can be read, frame by frame where something cannot.
    fn read_or_lose(
        &self,
        piece: &Piece,
        from: u64,
        bytes: &mut [u8],
        tell: &mut impl FnMut(Range<u64>, PageState),
    ) {
        let end = from + bytes.len() as u64;
        if self.input.read_content_at(piece.file_offset(from), bytes).is_ok() {
            return tell(Range::new(from, end), PageState::Present);
        }
        // One bad sector fails the whole read; the other frames may well be readable.
        let page = self.map.page_size();
        let mut at = from;
        while at < end {
            let len = (page.bytes() - page.offset(at) as u64).min(end - at);
            let part = &mut bytes[(at - from) as usize..][..len as usize];
            let state = match self.input.read_content_at(piece.file_offset(at), part) {
                Ok(()) => PageState::Present,
                Err(error) => {
                    let pfn = page.pfn(PhysAddr(at)).0;
                    self.damage.note(pfn, || format!("page {pfn:#x}: {}", chain(&error)));
                    PageState::Lost
                }
            };
            tell(Range::new(at, at + len), state);
            at += len;
        }
    }
}

impl PhysicalMemory for SegmentMemory {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        let page = self.map.page_size();
        let base = page.addr(first).0;
        let window = Range::new(base, base.saturating_add(pages.len() as u64));
        let frame_of = |addr: u64| ((addr - base) >> page.shift()) as usize;
        states.fill(PageState::Absent);
        let mut filled = base;
        for piece in self.table.within(window) {
            let part = Range::new(piece.start, piece.end).intersect(&window);
            pages[(filled - base) as usize..(part.start - base) as usize].fill(0);
            let bytes = &mut pages[(part.start - base) as usize..(part.end - base) as usize];
            let mut tell = |range: Range<u64>, state| {
                for known in &mut states[frame_of(range.start)..=frame_of(range.end - 1)] {
                    *known = known.of_whole(state);
                }
            };
            match piece.content {
                Content::Data => self.read_data(piece, part.start, bytes, tell),
                other => {
                    bytes.fill(0);
                    tell(part, state_of(other));
                }
            }
            filled = part.end;
        }
        pages[(filled - base) as usize..].fill(0);
        for (bytes, state) in pages.chunks_exact_mut(page.len()).zip(states) {
            // The parts of such a frame that could be read are in the buffer.
            if matches!(state, PageState::Lost | PageState::Excluded) {
                bytes.fill(0);
            }
        }
        Ok(())
    }

    fn lost_run(&self, first: Pfn, limit: u64) -> u64 {
        let page = self.map.page_size();
        let start = page.addr(first).0;
        match self.table.find(start) {
            Some(piece) if piece.content == Content::Lost => ((piece.end - start) >> page.shift()).min(limit),
            _ => 0,
        }
    }

    fn unread_run(&self, first: Pfn, limit: u64) -> u64 {
        let page = self.map.page_size();
        let start = page.addr(first).0;
        let Some(piece) = self.table.find(start) else { return 0 };
        let end = match piece.content {
            Content::Data => {
                let offset = piece.file_offset(start);
                start.saturating_add(self.input.next_content(offset) - offset).min(piece.end)
            }
            _ => piece.end,
        };
        ((end - start) >> page.shift()).min(limit)
    }

    fn set_page_size(&mut self, size: PageSize) -> bool {
        self.map = MemoryMap::new(size, self.map.bytes().clone());
        true
    }

    fn damage(&self) -> Damage {
        self.damage.get()
    }

    fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
        let page = self.map.page_size();
        let frames = Range::new(first, Pfn(first.0.saturating_add(CHUNK_FRAMES)));
        let window = Range::new(page.addr(frames.start).0, page.addr(frames.end).0);
        // The frames of the chunk that have a byte of `piece`.
        let touched = |piece: &Piece| {
            let part = Range::new(piece.start, piece.end).intersect(&window);
            page.pfn(PhysAddr(part.start)).0 - first.0..page.pfn(PhysAddr(part.end - 1)).0 + 1 - first.0
        };
        let pieces = |content| self.table.within(window).filter(move |p| p.content == content).map(touched);
        // A frame of which another part is lost is lost, see `PageState::of_whole`.
        let lost: Vec<u64> =
            pieces(Content::Lost).flat_map(|f| [f.start, f.end - 1]).filter(|&i| chunk.contains(i)).collect();
        let mut dropped = 0;
        for frames in pieces(Content::Excluded) {
            dropped += chunk.remove(frames.start, frames.end);
        }
        for i in lost {
            dropped -= u64::from(!chunk.contains(i));
            chunk.set(i, i + 1, true);
        }
        Ok(dropped)
    }

    /// Reads only the bytes asked for. Each byte counts for itself, so that the known part of a frame that is
    /// otherwise lost can be had.
    fn read(&self, addr: PhysAddr, bytes: &mut [u8]) -> Result<PageState, ReadError> {
        let window = Range::new(addr.0, addr.0.saturating_add(bytes.len() as u64));
        let mut filled = addr.0;
        let mut state = PageState::Present;
        for piece in self.table.within(window) {
            let part = Range::new(piece.start, piece.end).intersect(&window);
            if filled < part.start && !self.gap_is_partial(filled, part.start) {
                return Ok(PageState::Absent);
            }
            bytes[(filled - addr.0) as usize..(part.start - addr.0) as usize].fill(0);
            let into = &mut bytes[(part.start - addr.0) as usize..(part.end - addr.0) as usize];
            match piece.content {
                Content::Data => {
                    if self.input.read_content_at(piece.file_offset(part.start), into).is_err() {
                        state = PageState::Lost;
                    }
                }
                Content::Zero => into.fill(0),
                other => state = state_of(other),
            }
            if !state.is_known() {
                return Ok(state);
            }
            filled = part.end;
        }
        if filled < window.end {
            if !self.gap_is_partial(filled, window.end) {
                return Ok(PageState::Absent);
            }
            bytes[(filled - addr.0) as usize..].fill(0);
        }
        Ok(state)
    }
}

fn state_of(content: Content) -> PageState {
    match content {
        Content::Data => PageState::Present,
        Content::Zero => PageState::Zero,
        Content::Lost => PageState::Lost,
        Content::Excluded => PageState::Excluded,
    }
}
