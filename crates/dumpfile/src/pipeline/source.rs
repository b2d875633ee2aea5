//! The kept pages of a selection, cut into batches.

use super::ranks::{RankWalk, Ranks};
use super::{Batch, room};
use crate::Error;
use vmcore::{CHUNK_FRAMES, Chunk, Pfn, PhysicalMemory, Range, Selection};

/// Walks a selection one chunk at a time, whatever its size.
pub(crate) struct Source<'m> {
    pub(super) memory: &'m dyn PhysicalMemory,
    pages: &'m Selection,
    /// All pages of the output, of which `pages` are some.
    ranks: Option<&'m Ranks<'m>>,
    /// Only pages of these frames are walked over.
    frames: Range<Pfn>,
    batch_pages: u64,
    position: usize,
    walk: Option<Walk>,
}

/// The chunk being walked over.
struct Walk {
    first: Pfn,
    chunk: Chunk,
    ranks: Option<RankWalk>,
    /// Where in it the walk is.
    at: u64,
}

impl<'m> Source<'m> {
    /// All of `pages`. They are counted from 0 on, as pages of no other set. The memory for batches is shared with `beside` others.
    pub(crate) fn new(memory: &'m dyn PhysicalMemory, pages: &'m Selection, beside: usize) -> Self {
        let bytes = room::batch_bytes(rayon::current_num_threads(), beside);
        let batch_pages = (bytes / pages.map().page_size().bytes()).max(1);
        let frames = Range::new(Pfn(0), Pfn(u64::MAX));
        Self { memory, pages, ranks: None, frames, batch_pages, position: 0, walk: None }
    }

    /// Those of the pages that `ranks` counts and that lie in `frames`; batches then know their ranks.
    pub(crate) fn ranked(self, ranks: &'m Ranks<'m>, frames: Range<Pfn>) -> Self {
        Self { ranks: Some(ranks), frames, ..self }
    }

    /// Puts the next pages into `batch`, or the next frames that are known to be lost; reports whether there were any.
    pub(super) fn fill(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        while (batch.len() as u64) < self.batch_pages {
            let Some(walk) = &mut self.walk else {
                if self.position == self.pages.chunk_count() {
                    break;
                }
                self.walk = self.open(self.position)?;
                self.position += 1;
                continue;
            };
            let Some(run) = walk.chunk.next_run(walk.at) else {
                self.walk = None;
                continue;
            };
            let start = Pfn(walk.first.0 + run.start);
            let lost = self.memory.lost_run(start, run.end - run.start);
            if lost > 0 {
                if batch.len() == 0 {
                    batch.set_lost(Range::new(start, Pfn(start.0 + lost)));
                    walk.at = run.start + lost;
                }
                return Ok(true);
            }
            let end = run.end.min(run.start + self.batch_pages - batch.len() as u64);
            let rank = walk.ranks.as_mut().map_or(0, |ranks| ranks.rank(run.start));
            batch.push(Range::new(start, Pfn(walk.first.0 + end)), rank);
            walk.at = end;
        }
        Ok(batch.len() > 0)
    }

    /// Begins with the chunk at `position`, if anything of it is to be walked over.
    fn open(&self, position: usize) -> Result<Option<Walk>, Error> {
        let (first, mut chunk) = self.pages.chunk(position)?;
        let all = Range::new(first, Pfn(first.0 + CHUNK_FRAMES));
        let some = all.intersect(&self.frames);
        if some.is_empty() {
            return Ok(None);
        }
        chunk.set(0, some.start.0 - first.0, false);
        chunk.set(some.end.0 - first.0, CHUNK_FRAMES, false);
        let ranks = match self.ranks {
            None => None,
            Some(ranks) => {
                let Some(ranks) = ranks.walk(first)? else { return Ok(None) };
                ranks.keep_in(&mut chunk);
                Some(ranks)
            }
        };
        Ok(Some(Walk { first, chunk, ranks, at: 0 }))
    }
}
