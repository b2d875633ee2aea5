//! The kept pages of a selection, cut into batches.

use super::{BATCH_BYTES, Batch};
use crate::Error;
use vmcore::{Chunk, Pfn, PhysicalMemory, Range, Selection};

/// Walks a selection one chunk at a time, whatever its size.
pub(super) struct Source<'m> {
    memory: &'m dyn PhysicalMemory,
    selection: &'m Selection,
    batch_pages: u64,
    position: usize,
    /// The chunk being walked: its first frame, its pages, and where in it the walk stands.
    chunk: Option<(Pfn, Chunk, u64)>,
}

impl<'m> Source<'m> {
    pub(super) fn new(memory: &'m dyn PhysicalMemory, selection: &'m Selection) -> Self {
        let batch_pages = (BATCH_BYTES / selection.map().page_size().len()).max(1) as u64;
        Self { memory, selection, batch_pages, position: 0, chunk: None }
    }

    /// Puts the next pages into `batch`, or the next frames that are known to be lost; reports whether there were any.
    pub(super) fn fill(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        while (batch.len() as u64) < self.batch_pages {
            let Some((first, chunk, at)) = &mut self.chunk else {
                if self.position == self.selection.chunk_count() {
                    break;
                }
                let (first, chunk) = self.selection.chunk(self.position)?;
                self.position += 1;
                self.chunk = Some((first, chunk, 0));
                continue;
            };
            let Some(run) = chunk.next_run(*at) else {
                self.chunk = None;
                continue;
            };
            let start = Pfn(first.0 + run.start);
            let lost = self.memory.lost_run(start, run.end - run.start);
            if lost > 0 {
                if batch.len() == 0 {
                    batch.set_lost(Range::new(start, Pfn(start.0 + lost)));
                    *at = run.start + lost;
                }
                return Ok(true);
            }
            let end = run.end.min(run.start + self.batch_pages - batch.len() as u64);
            batch.push(Range::new(start, Pfn(first.0 + end)));
            *at = end;
        }
        Ok(batch.len() > 0)
    }
}
