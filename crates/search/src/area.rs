//! Which memory is searched, and the pieces that threads take of it.

use crate::Error;
use std::collections::VecDeque;
use vmcore::{CHUNK_FRAMES, Chunk, PageSize, Pfn, PhysAddr, PhysicalMemory, Range};

/// Bytes of a piece that one thread searches at once. Pieces end at multiples of it, so that what is found does not depend on
/// how many threads there are.
const PIECE_BYTES: u64 = 1 << 20;

/// Keeps of a chunk, whose first frame is given, the frames of the pages that are searched.
pub type Only<'a> = dyn Fn(Pfn, &mut Chunk) -> Result<(), Error> + Sync + 'a;

/// The memory that is searched.
pub struct Area<'a> {
    /// The dump's memory.
    pub memory: &'a dyn PhysicalMemory,
    /// The addresses that a match lies in with all of its bytes.
    pub within: Range<PhysAddr>,
    /// Which pages are searched; `None` for all.
    pub only: Option<&'a Only<'a>>,
}

impl<'a> Area<'a> {
    /// All of a dump's memory.
    pub fn all(memory: &'a dyn PhysicalMemory) -> Self {
        Self { memory, within: Range::new(PhysAddr(0), PhysAddr(u64::MAX)), only: None }
    }

    /// The frames that are searched, at most: those that an earlier filter left out are among them.
    pub fn frames(&self) -> u64 {
        self.memory.map().frames().within(self.window()).map(|range| range.len()).sum()
    }

    fn page(&self) -> PageSize {
        self.memory.map().page_size()
    }

    /// The frames that `within` touches.
    fn window(&self) -> Range<Pfn> {
        let page = self.page();
        let last = PhysAddr(self.within.end.0.saturating_sub(1));
        Range::new(page.pfn(self.within.start), Pfn(page.pfn(last).0 + u64::from(!self.within.is_empty())))
    }

    /// The pieces, ascending.
    pub(crate) fn pieces(&self) -> Pieces<'_> {
        Pieces { area: self, next: 0, cut: VecDeque::new(), before: Pfn(u64::MAX), excluded: 0, lost: 0 }
    }
}

/// Frames side by side that are searched at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The frames.
    pub(crate) frames: Range<Pfn>,
    /// The frame before is searched, too.
    pub(crate) goes_on_before: bool,
    /// Frames right behind that are searched, too, as far as the next piece reaches.
    pub(crate) behind: u64,
}

/// Cuts memory into pieces. What the input has no pages of is left out, and counted.
pub(crate) struct Pieces<'a> {
    area: &'a Area<'a>,
    /// The first chunk that was not looked at.
    next: u64,
    cut: VecDeque<Range<Pfn>>,
    /// The end of the last piece.
    before: Pfn,
    /// Frames that an earlier filter left out.
    pub(crate) excluded: u64,
    /// Frames that are known to be lost without reading them.
    pub(crate) lost: u64,
}

impl Pieces<'_> {
    /// The next piece; `None` behind the last.
    ///
    /// # Errors
    ///
    /// When the input is damaged, or what chooses pages fails.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, Error> {
        // What follows a piece says how far a match reaches that begins in it.
        while self.cut.len() < 2 && self.cut_chunk()? {}
        let Some(frames) = self.cut.pop_front() else { return Ok(None) };
        let behind = self.cut.front().filter(|next| next.start == frames.end).map_or(0, Range::len);
        let goes_on_before = self.before == frames.start;
        self.before = frames.end;
        Ok(Some(Piece { frames, goes_on_before, behind }))
    }

    /// Cuts the next chunk that has memory; `false` where there is none.
    fn cut_chunk(&mut self) -> Result<bool, Error> {
        let Area { memory, only, .. } = *self.area;
        let window = self.area.window();
        let rest = Range::new(Pfn(self.next.saturating_mul(CHUNK_FRAMES)), Pfn(u64::MAX)).intersect(&window);
        let Some(index) = memory.map().frames().within(rest).next().map(|range| range.start.0 / CHUNK_FRAMES)
        else {
            return Ok(false);
        };
        self.next = index + 1;
        let first = Pfn(index * CHUNK_FRAMES);
        let mut chunk = Chunk::of_map(memory.map(), index);
        let inside = |pfn: Pfn| pfn.0.saturating_sub(first.0).min(CHUNK_FRAMES);
        chunk.set(0, inside(window.start), false);
        chunk.set(inside(window.end), CHUNK_FRAMES, false);
        if let Some(only) = only {
            only(first, &mut chunk)?;
        }
        self.excluded += memory.drop_excluded(first, &mut chunk)?;
        let most = (PIECE_BYTES / self.area.page().bytes()).max(1);
        for run in chunk.runs() {
            let (mut at, end) = (first.0 + run.start, first.0 + run.end);
            while at < end {
                let lost = memory.lost_run(Pfn(at), end - at).min(end - at);
                if lost > 0 {
                    self.lost += lost;
                    at += lost;
                    continue;
                }
                let to = ((at / most + 1) * most).min(end);
                self.cut.push_back(Range::new(Pfn(at), Pfn(to)));
                at = to;
            }
        }
        Ok(true)
    }
}
