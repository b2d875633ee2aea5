//! A batch of pages and their bytes.

use crate::Error;
use vmcore::{PageSize, PageState, Pfn, PhysicalMemory, Range, is_zero};

/// How much is read at once, and tested for zeros while it is in a core's own cache.
const READ_BYTES: usize = 128 << 10;

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
    /// How many pages of the output come before it, in frame order; 0 when they are not counted.
    pub(crate) rank: u64,
    /// The state of each page.
    pub(crate) states: &'a [PageState],
    /// The content of all pages, one after another.
    pub(crate) bytes: &'a [u8],
}

/// Some kept pages in frame order, with their states and bytes.
#[derive(Debug)]
pub(crate) struct Batch {
    page_size: PageSize,
    /// The frames of each run, and the rank of its first page.
    runs: Vec<(Range<Pfn>, u64)>,
    states: Vec<PageState>,
    buffer: Vec<u8>,
    /// Frames that no input has, in place of pages.
    lost: Range<Pfn>,
}

const NO_FRAMES: Range<Pfn> = Range { start: Pfn(0), end: Pfn(0) };

impl Batch {
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

    /// Which frames those are.
    pub(crate) fn lost_frames(&self) -> Range<Pfn> {
        self.lost
    }

    /// The frame after the last one.
    pub(crate) fn end(&self) -> Pfn {
        self.runs.last().map_or(self.lost.end, |(frames, _)| frames.end)
    }

    /// Appends frames above all before them, of which the first has this rank.
    pub(super) fn push(&mut self, frames: Range<Pfn>, rank: u64) {
        // Chunks end where the selection cuts them, memory does not.
        match self.runs.last_mut() {
            Some((last, _)) if last.end == frames.start => last.end = frames.end,
            _ => self.runs.push((frames, rank)),
        }
        self.states.resize(self.states.len() + frames.len() as usize, PageState::Absent);
    }

    /// Obtains the bytes and states of all pages.
    pub(super) fn load(&mut self, memory: &dyn PhysicalMemory) -> Result<(), Error> {
        let size = self.page_size.len();
        if self.buffer.len() < self.states.len() * size {
            self.buffer = vec![0; self.states.len() * size];
        }
        let pieces = (READ_BYTES / size).max(1);
        let (mut states, mut buffer) = (&mut self.states[..], &mut self.buffer[..]);
        for (frames, _) in &self.runs {
            let mut pfn = frames.start;
            while pfn < frames.end {
                let count = pieces.min((frames.end.0 - pfn.0) as usize);
                let (mine, other) = states.split_at_mut(count);
                let (pages, rest) = buffer.split_at_mut(count * size);
                memory.read_run(pfn, pages, mine)?;
                for (page, state) in pages.chunks_exact(size).zip(mine) {
                    if *state == PageState::Present && is_zero(page) {
                        *state = PageState::Zero;
                    }
                }
                (states, buffer) = (other, rest);
                pfn.0 += count as u64;
            }
        }
        Ok(())
    }

    /// The number of pages.
    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    /// The runs of pages, in frame order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        let (mut at, size) = (0, self.page_size.len());
        self.runs.iter().map(move |&(frames, rank)| {
            let count = frames.len() as usize;
            let run = at..at + count;
            at += count;
            let bytes = &self.buffer[run.start * size..run.end * size];
            Run { first: frames.start, rank, states: &self.states[run], bytes }
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
