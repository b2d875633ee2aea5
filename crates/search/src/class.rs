//! What the kernel uses pages for.

use crate::Error;
use kernel::{Kernel, Value};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use vmcore::{CHUNK_FRAMES, Chunk, Dump, DumpLevel, Pfn, Selection};

/// The pages of a dump by what the kernel uses them for.
pub struct Classes {
    parts: Vec<Part>,
    /// The numbers of the chunks that each part has.
    indices: Vec<u64>,
}

struct Part {
    value: Value,
    pages: Selection,
    /// The chunk that was looked at last: what is asked comes in ascending order.
    last: Mutex<Option<(u64, Chunk)>>,
}

impl Classes {
    /// Asks the kernel's `struct page`s; `None` where it does not tell. `spill` makes a work file.
    ///
    /// # Errors
    ///
    /// When the input is damaged, or a work file cannot be made or written.
    pub fn of(
        dump: &Dump,
        kernel: &Kernel<'_>,
        spill: &dyn Fn() -> io::Result<File>,
    ) -> Result<Option<Self>, Error> {
        if !kernel.tells_classes() {
            return Ok(None);
        }
        let file = spill().ok();
        let all =
            Selection::everything(&*dump.memory, DumpLevel::default(), file).map_err(kernel::Error::from)?;
        let parts = kernel.by_value(&all, spill)?.into_iter();
        let parts = parts.map(|(value, pages)| Part { value, pages, last: Mutex::default() }).collect();
        Ok(Some(Self { parts, indices: all.chunk_indices() }))
    }

    /// The class of a page; `None` for one that is not in the dump.
    ///
    /// # Errors
    ///
    /// When a work file cannot be read.
    pub fn with(&self, pfn: Pfn) -> Result<Option<Value>, Error> {
        for part in &self.parts {
            let index = pfn.0 / CHUNK_FRAMES;
            if self.look(part, index, |chunk| chunk.contains(pfn.0 % CHUNK_FRAMES))? {
                return Ok(Some(part.value));
            }
        }
        Ok(None)
    }

    /// Drops from `chunk`, which begins at frame `first`, the pages of other classes than `wanted`.
    ///
    /// # Errors
    ///
    /// When a work file cannot be read.
    pub fn keep(&self, wanted: &[Value], first: Pfn, chunk: &mut Chunk) -> Result<(), Error> {
        let mut kept = Chunk::empty();
        for part in self.parts.iter().filter(|part| wanted.contains(&part.value)) {
            self.look(part, first.0 / CHUNK_FRAMES, |pages| kept.unite(pages))?;
        }
        let unwanted: Vec<_> = chunk.runs().flat_map(|run| gaps(&kept, run)).collect();
        unwanted.into_iter().for_each(|gap| chunk.set(gap.start, gap.end, false));
        Ok(())
    }

    /// Shows `look` the pages of a part in one chunk.
    fn look<R>(&self, part: &Part, index: u64, look: impl FnOnce(&Chunk) -> R) -> Result<R, Error> {
        let mut last = part.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match last.take().filter(|(known, _)| *known == index) {
            Some(known) => known,
            None => match self.indices.binary_search(&index) {
                Ok(position) => (index, part.pages.chunk(position).map_err(kernel::Error::from)?.1),
                Err(_) => (index, Chunk::empty()),
            },
        };
        let seen = look(&known.1);
        *last = Some(known);
        Ok(seen)
    }
}

/// The parts of `run` that are not in `kept`.
fn gaps(kept: &Chunk, run: Range<u64>) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut at = run.start;
    while at < run.end {
        let next = kept.next_run(at).unwrap_or(run.end..run.end);
        gaps.push(at..next.start.min(run.end));
        at = next.end;
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_not_kept() {
        let mut kept = Chunk::empty();
        kept.set(5, 8, true);
        kept.set(20, 30, true);
        assert_eq!(gaps(&kept, 0..25), [0..5, 8..20]);
        assert_eq!(gaps(&kept, 6..9), [6..6, 8..9]);
        assert_eq!(gaps(&kept, 40..50), vec![40..50; 1]);
    }
}
