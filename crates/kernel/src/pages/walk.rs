//! The walk over the arrays of `struct page`s, for code that looks at each of them once.

use crate::address::memmodel::{MemModel, PageRun};
use crate::address::translate::Stop;
use crate::pages::page::Window;
use crate::{Error, Kernel};
use vmcore::{Pfn, Range, VirtAddr};

/// `struct page`s read at once: 512 KiB of them.
const WINDOW_PAGES: u64 = 8192;

/// What looks at `struct page`s.
pub(crate) trait Visitor {
    /// Bytes of a `struct page`.
    fn page_struct(&self) -> usize;

    /// Looks at frames `from..to`, of which `bytes` holds the `struct page`s from `from` on and, when there is one,
    /// the one after. Returns the next frame to look at, which is past `to` when a block reaches further.
    fn pages(&mut self, bytes: &[u8], from: u64, to: u64) -> u64;

    /// Called when the dump does not contain the `struct page`s of frames `from` up to `to`. `to` may be below `from`.
    fn unknown(&mut self, from: Pfn, to: Pfn);

    /// Called when frames `from` up to `to` have no `struct page` at all: no array covers them, or the kernel's page tables
    /// do not map it. What is no memory to the kernel is so, such as firmware. `to` may be below `from`.
    fn uncovered(&mut self, from: Pfn, to: Pfn);
}

/// A walk over frames in ascending order.
pub(crate) struct Walk<'k, 'd> {
    kernel: &'k Kernel<'d>,
    model: &'k MemModel,
    window: Window,
    runs: Vec<PageRun>,
    untold: Vec<Range<Pfn>>,
    /// Frames before this one were handled as part of a block.
    resume: u64,
}

impl<'k, 'd> Walk<'k, 'd> {
    /// A walk that begins at frame `first` or later.
    pub(crate) fn new(kernel: &'k Kernel<'d>, model: &'k MemModel, first: Pfn) -> Self {
        Self {
            kernel,
            model,
            window: Window::default(),
            runs: Vec::new(),
            untold: Vec::new(),
            resume: first.0,
        }
    }

    /// Shows `visitor` the `struct page`s of `frames`.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged.
    pub(crate) fn frames(&mut self, frames: Range<Pfn>, visitor: &mut impl Visitor) -> Result<(), Error> {
        self.runs.clear();
        self.model.runs(self.kernel, frames, &mut self.runs)?;
        let mut seen = frames.start;
        for i in 0..self.runs.len() {
            let run = self.runs[i];
            self.between(Range::new(seen, run.frames.start), visitor)?;
            self.run(run, visitor)?;
            seen = run.frames.end;
        }
        self.between(Range::new(seen, frames.end), visitor)
    }

    /// Tells `visitor` of frames that are in none of the known arrays.
    fn between(&mut self, frames: Range<Pfn>, visitor: &mut impl Visitor) -> Result<(), Error> {
        self.untold.clear();
        self.model.untold(self.kernel, frames, &mut self.untold)?;
        let mut seen = frames.start;
        for part in &self.untold {
            visitor.uncovered(seen, part.start);
            visitor.unknown(part.start, part.end);
            seen = part.end;
        }
        visitor.uncovered(seen, frames.end);
        Ok(())
    }

    /// How many frames from `pfn` on have no `struct page`, because nothing is mapped where it would be: where a dump claims
    /// more memory than there can be it takes long to find that out window by window.
    fn gap(&self, run: &PageRun, pfn: u64, size: u64) -> Result<u64, Error> {
        let at = run.at.0.wrapping_add((pfn - run.frames.start.0).wrapping_mul(size));
        match self.kernel.map_or_stop(VirtAddr(at)) {
            Err(Stop { error: Error::Read(error), .. }) => Err(error.into()),
            Err(Stop { error: Error::NotMapped { .. }, len }) => {
                Ok((len / size.max(1)).min(run.frames.end.0 - pfn))
            }
            _ => Ok(0),
        }
    }

    /// Shows the pages of one array.
    fn run(&mut self, run: PageRun, visitor: &mut impl Visitor) -> Result<(), Error> {
        let size = visitor.page_struct();
        let mut pfn = run.frames.start.0.max(self.resume);
        while pfn < run.frames.end.0 {
            let gap = self.gap(&run, pfn, size as u64)?;
            if gap > WINDOW_PAGES {
                visitor.uncovered(Pfn(pfn), Pfn(pfn + gap));
                pfn += gap;
                continue;
            }
            // A head's facts stand in the next struct page. Compound pages are aligned, so windows that end at an even
            // frame never part the two.
            let end = (pfn / WINDOW_PAGES + 1).saturating_mul(WINDOW_PAGES).min(run.frames.end.0);
            let count = (end - pfn + (end & 1)) as usize;
            let at = run.at.0.wrapping_add((pfn - run.frames.start.0).wrapping_mul(size as u64));
            let loaded = self.window.load(self.kernel, VirtAddr(at), count * size)?;
            let missing = Missing { first: pfn, size, unmapped: loaded.unmapped };
            let mut next = pfn;
            for known in loaded.known {
                let from = (pfn + known.start.div_ceil(size) as u64).max(next);
                let to = (pfn + (known.end / size) as u64).min(end);
                if from >= to {
                    continue;
                }
                missing.show(next, from, visitor);
                let bytes = &loaded.bytes[(from - pfn) as usize * size..known.end];
                next = visitor.pages(bytes, from, to).max(to);
            }
            missing.show(next, end, visitor);
            pfn = end.max(next);
        }
        self.resume = pfn.max(self.resume);
        Ok(())
    }
}

/// What a window lacks.
struct Missing<'w> {
    /// The frame whose `struct page` is at the window's first byte.
    first: u64,
    /// Bytes of a `struct page`.
    size: usize,
    /// The parts that are not mapped.
    unmapped: &'w [std::ops::Range<usize>],
}

impl Missing<'_> {
    /// Tells `visitor` of frames `from..to`, none of which has a `struct page` in the window: which have none anywhere, and
    /// of which the dump lacks it.
    fn show(&self, from: u64, to: u64, visitor: &mut impl Visitor) {
        let mut at = from;
        for part in self.unmapped {
            // One that is mapped in part exists.
            let start = (self.first + part.start.div_ceil(self.size) as u64).max(at);
            let end = (self.first + (part.end / self.size) as u64).min(to);
            if start < end {
                visitor.unknown(Pfn(at), Pfn(start));
                visitor.uncovered(Pfn(start), Pfn(end));
                at = end;
            }
        }
        visitor.unknown(Pfn(at), Pfn(to));
    }
}
