//! A batch of pages and their bytes.

use crate::Error;
use vmcore::{PageSize, PageState, Pfn, PhysicalMemory, Range, is_zero};

/// One kept page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    /// What is known of it; `Present` only when it is not all zeros.
    pub(crate) state: PageState,
    /// Its content, zeros unless it is present.
    pub(crate) bytes: &'a [u8],
}

/// Kept pages that follow each other in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    /// The first frame.
    pub(crate) first: Pfn,
    /// The state of each page.
    pub(crate) states: &'a [PageState],
    /// The content of all pages, one behind the other.
    pub(crate) bytes: &'a [u8],
}

/// Where the bytes of a run are.
#[derive(Clone, Copy, Debug)]
enum Bytes<'m> {
    /// In the mapped input.
    Lent(&'m [u8]),
    /// At this offset of the batch's own buffer.
    Read(usize),
}

/// Some kept pages in frame order, with their states and bytes.
#[derive(Debug)]
pub(crate) struct Batch<'m> {
    page_size: PageSize,
    runs: Vec<(Range<Pfn>, Bytes<'m>)>,
    states: Vec<PageState>,
    buffer: Vec<u8>,
    /// Frames that nobody has, in place of pages.
    lost: Range<Pfn>,
}

const NO_FRAMES: Range<Pfn> = Range { start: Pfn(0), end: Pfn(0) };

impl<'m> Batch<'m> {
    pub(super) fn new(page_size: PageSize) -> Self {
        Self { page_size, runs: Vec::new(), states: Vec::new(), buffer: Vec::new(), lost: NO_FRAMES }
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.states.clear();
        self.lost = NO_FRAMES;
    }

    /// Makes an empty batch stand for frames that are known to be lost.
    pub(super) fn set_lost(&mut self, frames: Range<Pfn>) {
        self.lost = frames;
    }

    /// How many frames that are known to be lost the batch stands for; it has no pages then.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.len()
    }

    /// Appends frames above all before them.
    pub(super) fn push(&mut self, frames: Range<Pfn>) {
        // Chunks end where the selection cuts them, memory does not.
        match self.runs.last_mut() {
            Some((last, _)) if last.end == frames.start => last.end = frames.end,
            _ => self.runs.push((frames, Bytes::Read(0))),
        }
        self.states.resize(self.states.len() + frames.len() as usize, PageState::Absent);
    }

    /// Obtains the bytes and states of all pages.
    pub(super) fn load(&mut self, memory: &'m dyn PhysicalMemory) -> Result<(), Error> {
        let size = self.page_size.len();
        let mut states = &mut self.states[..];
        let mut used = 0;
        for (frames, bytes) in &mut self.runs {
            let count = frames.len() as usize;
            let (mine, rest) = states.split_at_mut(count);
            states = rest;
            let content = if let Some(lent) = memory.lend_run(frames.start, frames.len()) {
                *bytes = Bytes::Lent(lent);
                mine.fill(PageState::Present);
                lent
            } else {
                let end = used + count * size;
                if self.buffer.len() < end {
                    self.buffer.resize(end, 0);
                }
                *bytes = Bytes::Read(used);
                let content = &mut self.buffer[used..end];
                memory.read_run(frames.start, content, mine)?;
                used = end;
                content
            };
            for (page, state) in content.chunks_exact(size).zip(mine) {
                if *state == PageState::Present && is_zero(page) {
                    *state = PageState::Zero;
                }
            }
        }
        Ok(())
    }

    /// The number of pages.
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    /// The frames from the first page to the last, those between that are not kept included.
    pub(crate) fn span(&self) -> Range<Pfn> {
        match (self.runs.first(), self.runs.last()) {
            (Some((first, _)), Some((last, _))) => Range::new(first.start, last.end),
            _ => self.lost,
        }
    }

    /// The runs of pages, in frame order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        let mut at = 0;
        self.runs.iter().map(move |(frames, bytes)| {
            let count = frames.len() as usize;
            let states = &self.states[at..at + count];
            at += count;
            let bytes = match *bytes {
                Bytes::Lent(lent) => lent,
                Bytes::Read(offset) => &self.buffer[offset..offset + count * self.page_size.len()],
            };
            Run { first: frames.start, states, bytes }
        })
    }

    /// The pages, in frame order.
    pub(crate) fn pages(&self) -> impl Iterator<Item = Page<'_>> {
        let size = self.page_size.len();
        self.runs().flat_map(move |run| {
            let pages = run.states.iter().zip(run.bytes.chunks_exact(size));
            pages.map(|(&state, bytes)| Page { state, bytes })
        })
    }
}
