//! Pages to save, cut into segments; after each of them the output is made durable.

use vmcore::{CHUNK_FRAMES, Chunk, Pfn, ReasonCounts, Selection, SelectionError};

/// The most chunks that a piece touches: their bitmaps are held in memory, 32 KiB each.
const MAX_CHUNKS: usize = 64;

/// Hands out the pages of `parts`, one part after the other and each in frame order.
pub struct Segments<'p> {
    parts: &'p [Selection],
    part: usize,
    position: usize,
    /// The chunk being cut: its first frame, its pages, and where the next segment begins in it.
    chunk: Option<(Pfn, Chunk, u64)>,
    left: u64,
}

impl<'p> Segments<'p> {
    /// Begins with the first page of the first part.
    pub fn new(parts: &'p [Selection]) -> Self {
        let left = parts.iter().map(Selection::kept).sum();
        Self { parts, part: 0, position: 0, chunk: None, left }
    }

    /// How many pages have not been handed out.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next pages, at most `max` of them; `None` after the last.
    ///
    /// # Errors
    ///
    /// When a part's bitmaps cannot be read back.
    pub fn next(&mut self, max: u64) -> Result<Option<Selection>, SelectionError> {
        loop {
            let Some(part) = self.parts.get(self.part) else { return Ok(None) };
            let piece = self.cut(part, max)?;
            if piece.kept() > 0 {
                self.left -= piece.kept();
                return Ok(Some(piece));
            }
            if self.position == part.chunk_count() && self.chunk.is_none() {
                self.part += 1;
                self.position = 0;
            } else if max == 0 {
                return Ok(Some(piece));
            }
        }
    }

    /// The frame below which every page of all parts has been handed out.
    ///
    /// # Errors
    ///
    /// As [`Segments::next`].
    pub fn mark(&self) -> Result<Pfn, SelectionError> {
        let mut mark = Pfn(u64::MAX);
        if let Some((first, chunk, at)) = &self.chunk
            && let Some(run) = chunk.next_run(*at)
        {
            mark = mark.min(Pfn(first.0 + run.start));
        }
        for (number, part) in self.parts.iter().enumerate().skip(self.part) {
            let from = if number == self.part { self.position } else { 0 };
            for position in from..part.chunk_count() {
                let (first, chunk) = part.chunk(position)?;
                if first >= mark {
                    break;
                }
                if let Some(run) = chunk.next_run(0) {
                    mark = mark.min(Pfn(first.0 + run.start));
                    break;
                }
            }
        }
        Ok(mark)
    }

    fn cut(&mut self, part: &Selection, max: u64) -> Result<Selection, SelectionError> {
        let mut piece = Selection::new(part.map().clone(), part.level(), None);
        for _ in 0..MAX_CHUNKS {
            let (first, chunk, at) = match self.chunk.take() {
                Some(chunk) => chunk,
                None if self.position == part.chunk_count() => break,
                None => {
                    let (first, chunk) = part.chunk(self.position)?;
                    self.position += 1;
                    (first, chunk, 0)
                }
            };
            let (taken, at) = take(&chunk, at, max - piece.kept());
            piece.push(first.0 / CHUNK_FRAMES, taken, &ReasonCounts::default())?;
            if let Some(at) = at {
                self.chunk = Some((first, chunk, at));
                break;
            }
        }
        Ok(piece)
    }
}

/// The first `max` pages of `chunk` from `at` on, and where the next one is.
fn take(chunk: &Chunk, mut at: u64, max: u64) -> (Chunk, Option<u64>) {
    let mut taken = Chunk::empty();
    let mut left = max;
    while let Some(run) = chunk.next_run(at) {
        if left == 0 {
            return (taken, Some(run.start));
        }
        let end = run.end.min(run.start + left);
        taken.set(run.start, end, true);
        left -= end - run.start;
        at = end;
    }
    (taken, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vmcore::{DumpLevel, MemoryMap, PageSize, PhysAddr, Range};

    const END: u64 = 100 * CHUNK_FRAMES;

    fn part(frames: &[u64]) -> Selection {
        let bytes = [Range::new(PhysAddr(0), PhysAddr(END << 12))].into_iter().collect();
        let mut part = Selection::new(MemoryMap::new(PageSize::K4, bytes), DumpLevel::ALL, None);
        for index in part.chunk_indices() {
            let mut chunk = Chunk::empty();
            for pfn in frames.iter().filter(|pfn| **pfn / CHUNK_FRAMES == index) {
                chunk.set(pfn % CHUNK_FRAMES, pfn % CHUNK_FRAMES + 1, true);
            }
            part.push(index, chunk, &ReasonCounts::default()).unwrap();
        }
        part
    }

    fn frames(selection: &Selection) -> Vec<u64> {
        let chunks = (0..selection.chunk_count()).map(|position| selection.chunk(position).unwrap());
        chunks
            .flat_map(|(first, chunk)| chunk.runs().flatten().map(|i| first.0 + i).collect::<Vec<_>>())
            .collect()
    }

    proptest! {
        #[test]
        fn every_page_is_handed_out_once_and_the_mark_is_the_first_that_is_not(
            frames_of in prop::collection::btree_map(
                prop_oneof![0..300u64, CHUNK_FRAMES - 5..CHUNK_FRAMES + 5, 0..END], 0..3usize, 0..60),
            max in 1u64..20,
        ) {
            let lists: Vec<Vec<u64>> =
                (0..3).map(|n| frames_of.iter().filter(|(_, part)| **part == n).map(|(f, _)| *f).collect()).collect();
            let parts: Vec<Selection> = lists.iter().map(|list| part(list)).collect();
            let mut left: Vec<u64> = lists.concat();
            let mut segments = Segments::new(&parts);
            let mut seen = Vec::new();
            loop {
                let first = left.iter().min().map_or(u64::MAX, |pfn| *pfn);
                prop_assert_eq!(segments.mark().unwrap().0, first);
                prop_assert_eq!(segments.left(), left.len() as u64);
                let Some(piece) = segments.next(max).unwrap() else { break };
                let mut piece = frames(&piece);
                prop_assert!(!piece.is_empty() && piece.len() as u64 <= max);
                left.retain(|pfn| !piece.contains(pfn));
                seen.append(&mut piece);
            }
            prop_assert_eq!(seen, lists.concat());
        }
    }
}
