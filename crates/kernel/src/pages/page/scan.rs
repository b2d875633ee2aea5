//! The walk over arrays of `struct page`s that takes pages out of one chunk of a selection.

use super::census::Census;
use super::classes::{Classes, Verdict};
use super::fields::{Big, Little, Order};
use super::region::{CELL, REGION, Regions};
use super::sound::Sound;
use crate::pages::walk::Visitor;
use vmcore::{ByteOrder, CHUNK_FRAMES, Chunk, Pfn, Range, Reason, ReasonCounts};

/// Cells of a region that may hold nonsense before it is kept whole: an eighth.
const MOST_BAD: u8 = (REGION / CELL / 8) as u8;

/// Pages to leave out that lie past the chunk in which they were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Carry {
    /// The frames, all past the chunk.
    pub(crate) frames: Range<Pfn>,
    /// Why they go.
    pub(crate) reason: Reason,
}

/// One chunk being decided.
pub(crate) struct Scan<'a> {
    classes: &'a Classes,
    order: ByteOrder,
    /// What a struct page must look like before anything is left out because of it.
    sound: Option<&'a Sound>,
    /// Regions that are kept whole.
    whole: Regions,
    /// The chunk's first frame.
    first: u64,
    pub(crate) chunk: Chunk,
    pub(crate) reasons: ReasonCounts,
    pub(crate) carries: Vec<Carry>,
    /// Free blocks whose size made no sense and which were kept.
    pub(crate) bad_orders: u64,
    /// Pages kept because the dump does not hold their `struct page`.
    pub(crate) undecided: u64,
    /// Frames that no array of struct pages is about.
    pub(crate) uncovered: u64,
    pub(crate) census: Census,
    /// Cells with nonsense in each region.
    bad: [u8; 64],
    /// Pages that stay because of nonsense in their cell.
    pub(crate) doubtful: u64,
    /// The first frame of the first such cell.
    pub(crate) first_bad: Option<Pfn>,
}

impl Visitor for Scan<'_> {
    fn page_struct(&self) -> usize {
        self.classes.size
    }

    fn pages(&mut self, bytes: &[u8], from: u64, to: u64) -> u64 {
        match self.order {
            ByteOrder::Little => self.pages_in::<Little>(bytes, from, to),
            ByteOrder::Big => self.pages_in::<Big>(bytes, from, to),
        }
    }

    /// Frames that an earlier filter left out need no decision; the others are kept for want of one.
    fn unknown(&mut self, from: Pfn, to: Pfn) {
        let inside = |pfn: Pfn| pfn.0.saturating_sub(self.first).min(CHUNK_FRAMES);
        self.undecided += self.chunk.count_within(inside(from), inside(to));
        self.census.unknown(from, to);
    }

    /// Frames that the kernel knows nothing of are kept without a doubt: they were never in one of its classes.
    fn uncovered(&mut self, from: Pfn, to: Pfn) {
        self.uncovered += to.0.saturating_sub(from.0);
        self.census.uncovered(from, to);
    }
}

impl<'a> Scan<'a> {
    /// Begins with all of `chunk`, whose first frame is `first`. With `sound`, what looks like no struct page leaves
    /// nothing out. The regions `whole` are kept in any case.
    pub(crate) fn new(
        classes: &'a Classes,
        order: ByteOrder,
        sound: Option<&'a Sound>,
        whole: Regions,
        first: Pfn,
        chunk: Chunk,
    ) -> Self {
        Self {
            classes,
            order,
            sound,
            whole,
            first: first.0,
            chunk,
            reasons: ReasonCounts::default(),
            carries: Vec::new(),
            bad_orders: 0,
            undecided: 0,
            uncovered: 0,
            census: Census::default(),
            bad: [0; 64],
            doubtful: 0,
            first_bad: None,
        }
    }

    /// The regions of which too much is nonsense.
    pub(crate) fn failed(&self) -> Regions {
        (0..64).filter(|&i| self.bad[i] >= MOST_BAD).fold(0, |failed, i| failed | 1 << i)
    }

    /// The region of a frame of this chunk.
    pub(crate) fn region(&self, pfn: u64) -> Regions {
        1 << ((pfn - self.first) / REGION)
    }

    fn pages_in<O: Order>(&mut self, bytes: &[u8], from: u64, to: u64) -> u64 {
        let mut pfn = from;
        while pfn < to {
            let end = ((pfn | (CELL - 1)) + 1).min(to);
            pfn = match self.sound {
                _ if self.whole & self.region(pfn) != 0 => end,
                Some(sound) => self.cell::<O>(sound, bytes, from, pfn..end),
                None => self.trusted::<O>(bytes, from, pfn..end),
            };
        }
        pfn
    }

    /// Judges pages without a doubt.
    fn trusted<O: Order>(&mut self, bytes: &[u8], from: u64, pages: std::ops::Range<u64>) -> u64 {
        let mut pfn = pages.start;
        while pfn < pages.end {
            let Some((page, next)) = self.at(bytes, pfn - from) else { return pages.end };
            match self.classes.judge::<O>(page, next, pfn) {
                Verdict::Keep | Verdict::Tail => pfn += 1,
                Verdict::Unmade => {
                    self.unmade(pfn);
                    pfn += 1;
                }
                Verdict::Drop(reason, order) => {
                    let end = pfn + (1 << order);
                    self.take(pfn, end, reason);
                    pfn = end;
                }
                Verdict::BadOrder => {
                    self.bad_orders += 1;
                    pfn += 1;
                }
            }
        }
        pfn
    }

    /// Judges the pages of one cell, or keeps all of them when one looks like no page.
    #[inline]
    fn cell<O: Order>(&mut self, sound: &Sound, bytes: &[u8], from: u64, pages: std::ops::Range<u64>) -> u64 {
        let word = (pages.start - self.first) / 64;
        let before = (self.chunk.words()[word as usize], self.reasons);
        self.census.cells += 1;
        let mut pfn = pages.start;
        while pfn < pages.end {
            let Some((page, next)) = self.at(bytes, pfn - from) else { return pages.end };
            let verdict = self.classes.judge::<O>(page, next, pfn);
            let sane = match verdict {
                Verdict::Unmade => {
                    self.unmade(pfn);
                    pfn += 1;
                    continue;
                }
                Verdict::BadOrder => false,
                _ if sound.is_tail::<O>(page) => sound.tail::<O>(page),
                Verdict::Keep | Verdict::Tail => sound.page::<O>(page),
                Verdict::Drop(reason, order) => {
                    sound.page::<O>(page)
                        && (reason == Reason::User || sound.linked::<O>(page))
                        && (order == 0 || self.rest_is_sane::<O>(sound, bytes, pfn - from, order))
                }
            };
            if !sane {
                self.doubt(&pages, before);
                return pages.end;
            }
            let prior = (pfn > from).then(|| self.at(bytes, pfn - 1 - from)).flatten();
            let around = [prior.map(|(prior, _)| prior), Some(page), next];
            self.census.count::<O>(self.classes, sound, around, verdict);
            match verdict {
                Verdict::Drop(reason, order) => {
                    let end = pfn + (1 << order);
                    self.take(pfn, end, reason);
                    pfn = end;
                }
                _ => pfn += 1,
            }
        }
        pfn
    }

    /// Keeps a page that has no `struct page`, though the array has a place for it.
    fn unmade(&mut self, pfn: u64) {
        self.uncovered(Pfn(pfn), Pfn(pfn + 1));
    }

    /// The struct page at `index` of `bytes` and the one after.
    #[inline(always)]
    fn at<'b>(&self, bytes: &'b [u8], index: u64) -> Option<(&'b [u8], Option<&'b [u8]>)> {
        let size = self.classes.size;
        let at = index as usize * size;
        Some((bytes.get(at..at + size)?, bytes.get(at + size..at + 2 * size)))
    }

    /// Looks at further pages of the block of 2^`order` that begins at `index`: the last one of each cell, and of the
    /// block. (With huge pages whose struct pages were freed, the first ones of cells are copies of the head.)
    fn rest_is_sane<O: Order>(&self, sound: &Sound, bytes: &[u8], index: u64, order: u32) -> bool {
        let Some((head, _)) = self.at(bytes, index) else { return false };
        let free = self.classes.is_buddy::<O>(head);
        if !free && self.classes.is_unaccepted::<O>(head) {
            return true;
        }
        let last = (1u64 << order) - 1;
        let mut further = (CELL - 1).min(last);
        while further <= last {
            // A block may reach past what is at hand.
            let Some((page, _)) = self.at(bytes, index + further) else { break };
            let sane = if free { sound.inside_free::<O>(page) } else { sound.inside_compound::<O>(page) };
            if !sane {
                return false;
            }
            further += CELL;
        }
        true
    }

    /// Takes back what was decided about a cell.
    fn doubt(&mut self, pages: &std::ops::Range<u64>, before: (u64, ReasonCounts)) {
        let (word, reasons) = before;
        for i in (pages.start - self.first)..(pages.end - self.first) {
            if word >> (i % 64) & 1 != 0 {
                self.chunk.set(i, i + 1, true);
                self.doubtful += 1;
            }
        }
        self.reasons = reasons;
        self.census.bad_cells += 1;
        self.first_bad = self.first_bad.or(Some(Pfn(pages.start)));
        let region = ((pages.start - self.first) / REGION) as usize;
        self.bad[region] = self.bad[region].saturating_add(1);
    }

    /// Leaves out the free block of 2^`order` pages at `pfn`, which lies in this chunk.
    pub(crate) fn free_block(&mut self, pfn: Pfn, order: u32) {
        self.take(pfn.0, pfn.0 + (1 << order), Reason::Free);
    }

    /// Leaves frames out but for those in regions that are kept whole; what lies past the chunk is for later ones.
    pub(crate) fn take(&mut self, start: u64, end: u64, reason: Reason) {
        let limit = self.first + CHUNK_FRAMES;
        let (from, to) = (start - self.first, end.min(limit) - self.first);
        let removed = if self.whole == 0 {
            self.chunk.remove(from, to)
        } else {
            let regions = (from / REGION..to.div_ceil(REGION)).filter(|region| self.whole >> region & 1 == 0);
            let parts = regions.map(|r| (from.max(r * REGION), to.min((r + 1) * REGION)));
            parts.map(|(from, to)| self.chunk.remove(from, to)).sum()
        };
        self.reasons.add(reason, removed);
        if end > limit {
            self.carries.push(Carry { frames: Range::new(Pfn(limit), Pfn(end)), reason });
        }
    }
}
