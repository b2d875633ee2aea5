//! A set of pages chosen from a dump, and why the others are not in it.

use crate::{
    CHUNK_FRAMES, Chunk, DumpLevel, MemoryMap, Pfn, PhysicalMemory, Range, RangeSet, ReadError, Reason,
    ReasonCounts,
};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a chunk's bitmap.
const CHUNK_BYTES: usize = (CHUNK_FRAMES / 8) as usize;

/// Where the bitmap of one chunk is.
#[derive(Debug)]
enum Stored {
    Empty,
    /// All that exists, as the memory map says.
    Whole,
    Held(Chunk),
    /// At this offset of the spill file.
    Spilled(u64),
}

/// Why a selection could not be stored or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// The spill file failed.
    #[error("cannot {action} the page bitmap in the work file at offset {offset:#x}")]
    Spill {
        /// `keep` or `read back`.
        action: &'static str,
        /// Where in the file, in bytes.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The input could not say which pages it has.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The pages to keep, in chunks of [`CHUNK_FRAMES`] frames.
///
/// A bitmap of a machine with many terabytes outgrows a kernel booted in 256 MB. Chunks that keep everything or
/// nothing take no room; of the others a few are held in memory and the rest go to a spill file.
#[derive(Debug)]
pub struct Selection {
    level: DumpLevel,
    map: MemoryMap,
    chunks: Vec<(u64, Stored)>,
    reasons: ReasonCounts,
    kept: u64,
    held: usize,
    max_held: usize,
    spill: Option<(File, u64)>,
}

/// The most chunks held in memory when there is a spill file: 8 MiB of bitmap.
const MAX_HELD: usize = 256;

impl Selection {
    /// Nothing chosen yet. `spill` is an empty file that chunks may go to; without one all stay in memory.
    pub fn new(map: MemoryMap, level: DumpLevel, spill: Option<File>) -> Self {
        Self {
            level,
            map,
            chunks: Vec::new(),
            reasons: ReasonCounts::default(),
            kept: 0,
            held: 0,
            max_held: MAX_HELD,
            spill: spill.map(|f| (f, 0)),
        }
    }

    /// Holds no more than this many chunks in memory if there is a spill file: for one of several selections of the same dump.
    #[must_use]
    pub fn holding(mut self, chunks: usize) -> Self {
        self.max_held = chunks.min(MAX_HELD);
        self
    }

    /// Every page that `memory` has, but for those that an earlier filter left out.
    ///
    /// # Errors
    ///
    /// When the input is damaged or the spill file cannot be written.
    pub fn everything(
        memory: &dyn PhysicalMemory,
        level: DumpLevel,
        spill: Option<File>,
    ) -> Result<Self, SelectionError> {
        let mut all = Self::new(memory.map().clone(), level, spill);
        for index in all.chunk_indices() {
            let mut chunk = Chunk::of_map(&all.map, index);
            let mut reasons = ReasonCounts::default();
            reasons.add(Reason::Earlier, memory.drop_excluded(Pfn(index * CHUNK_FRAMES), &mut chunk)?);
            all.push(index, chunk, &reasons)?;
        }
        Ok(all)
    }

    /// The level that was applied, which goes into a dump's header.
    pub fn level(&self) -> DumpLevel {
        self.level
    }

    /// Adds what an earlier filter left out of the input to the level: a header must not promise those pages.
    pub fn add_level(&mut self, earlier: DumpLevel) {
        self.level = self.level.with(earlier);
    }

    /// Leaves out `frames` as well, for `reason`; returns how many of them had been kept.
    ///
    /// # Errors
    ///
    /// When the spill file cannot be read.
    pub fn leave_out(&mut self, frames: &RangeSet<Pfn>, reason: Reason) -> Result<u64, SelectionError> {
        let mut removed = 0;
        for position in 0..self.chunks.len() {
            let first = self.chunks[position].0 * CHUNK_FRAMES;
            let window = Range::new(Pfn(first), Pfn(first.saturating_add(CHUNK_FRAMES)));
            if frames.within(window).next().is_none() {
                continue;
            }
            let (_, mut chunk) = self.chunk(position)?;
            let here: u64 =
                frames.within(window).map(|r| chunk.remove(r.start.0 - first, r.end.0 - first)).sum();
            if here > 0 {
                self.chunks[position].1 = Stored::Held(chunk);
                removed += here;
            }
        }
        self.kept -= removed;
        self.reasons.add(reason, removed);
        Ok(removed)
    }

    /// The frames of `frames` that are kept.
    ///
    /// # Errors
    ///
    /// When the spill file cannot be read.
    pub fn kept_of(&self, frames: &RangeSet<Pfn>) -> Result<RangeSet<Pfn>, SelectionError> {
        let mut kept = RangeSet::default();
        for position in 0..self.chunks.len() {
            let first = self.chunks[position].0 * CHUNK_FRAMES;
            let window = Range::new(Pfn(first), Pfn(first.saturating_add(CHUNK_FRAMES)));
            if frames.within(window).next().is_none() {
                continue;
            }
            let (_, chunk) = self.chunk(position)?;
            let runs = chunk.runs().map(|run| Range::new(Pfn(first + run.start), Pfn(first + run.end)));
            runs.flat_map(|run| frames.within(run)).for_each(|range| kept.insert(range));
        }
        Ok(kept)
    }

    /// The memory that the pages were chosen from.
    pub fn map(&self) -> &MemoryMap {
        &self.map
    }

    /// The number of pages kept.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Why the other pages were left out.
    pub fn reasons(&self) -> &ReasonCounts {
        &self.reasons
    }

    /// The numbers of the chunks in which memory exists, ascending.
    pub fn chunk_indices(&self) -> Vec<u64> {
        let mut indices = Vec::new();
        for r in self.map.frames().iter() {
            let (first, last) = (r.start.0 / CHUNK_FRAMES, (r.end.0 - 1) / CHUNK_FRAMES);
            let first = indices.last().map_or(first, |&seen: &u64| first.max(seen + 1));
            indices.extend(first..=last);
        }
        indices
    }

    /// Appends chunk number `index`, above all before it, with the reasons for what it lacks.
    ///
    /// # Errors
    ///
    /// When the spill file cannot be written.
    pub fn push(&mut self, index: u64, chunk: Chunk, reasons: &ReasonCounts) -> Result<(), SelectionError> {
        debug_assert!(self.chunks.last().is_none_or(|(last, _)| *last < index));
        let count = chunk.count();
        self.kept += count;
        self.reasons.merge(reasons);
        let stored = if count == 0 {
            Stored::Empty
        } else if chunk == Chunk::of_map(&self.map, index) {
            Stored::Whole
        } else {
            match &mut self.spill {
                Some((file, end)) if self.held >= self.max_held => {
                    let offset = *end;
                    let bytes: Vec<u8> = chunk.words().iter().flat_map(|w| w.to_ne_bytes()).collect();
                    file.write_all_at(&bytes, offset).map_err(|source| SelectionError::Spill {
                        action: "keep",
                        offset,
                        source,
                    })?;
                    *end += CHUNK_BYTES as u64;
                    Stored::Spilled(offset)
                }
                _ => {
                    self.held += 1;
                    Stored::Held(chunk)
                }
            }
        };
        self.chunks.push((index, stored));
        Ok(())
    }

    /// The number of chunks; each has memory in it.
    pub fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// The first frame and the kept frames of the chunk at `position`, counted from 0.
    ///
    /// # Errors
    ///
    /// When the spill file cannot be read.
    pub fn chunk(&self, position: usize) -> Result<(Pfn, Chunk), SelectionError> {
        let (index, stored) = &self.chunks[position];
        let chunk = match stored {
            Stored::Empty => Chunk::empty(),
            Stored::Whole => Chunk::of_map(&self.map, *index),
            Stored::Held(chunk) => chunk.clone(),
            &Stored::Spilled(offset) => self.read_back(offset)?,
        };
        Ok((Pfn(index * CHUNK_FRAMES), chunk))
    }

    fn read_back(&self, offset: u64) -> Result<Chunk, SelectionError> {
        let (file, _) = self.spill.as_ref().expect("a chunk is only spilled to a spill file");
        let mut bytes = vec![0; CHUNK_BYTES];
        file.read_exact_at(&mut bytes, offset).map_err(|source| SelectionError::Spill {
            action: "read back",
            offset,
            source,
        })?;
        let mut chunk = Chunk::empty();
        for (word, bytes) in chunk.words_mut().iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PageSize, PhysAddr};

    fn map(frames: &[(u64, u64)]) -> MemoryMap {
        let bytes = frames.iter().map(|&(s, e)| Range::new(PhysAddr(s << 12), PhysAddr(e << 12))).collect();
        MemoryMap::new(PageSize::K4, bytes)
    }

    /// Memory of which every frame divisible by ten was filtered away.
    struct Tenths(MemoryMap);

    impl PhysicalMemory for Tenths {
        fn map(&self) -> &MemoryMap {
            &self.0
        }

        fn read_page(&self, _: Pfn, _: &mut [u8]) -> Result<crate::PageState, ReadError> {
            unreachable!("a selection reads no page")
        }

        fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
            let tenths = (first.0..first.0 + CHUNK_FRAMES).filter(|pfn| pfn % 10 == 0);
            Ok(tenths.map(|pfn| chunk.remove(pfn - first.0, pfn - first.0 + 1)).sum())
        }
    }

    #[test]
    fn chunks_exist_only_where_memory_does() {
        let far = 1 << 40;
        let memory = Tenths(map(&[(1, 10), (20, 30), (far, far + 1)]));
        let all = Selection::everything(&memory, DumpLevel::default(), None).unwrap();
        assert_eq!(all.chunk_indices(), [0, far / CHUNK_FRAMES]);
        assert_eq!((all.kept(), all.reasons().get(Reason::Earlier)), (19, 1));
        let (first, chunk) = all.chunk(1).unwrap();
        let mut runs = chunk.runs();
        assert_eq!((first, runs.next(), runs.next()), (Pfn(far), Some(0..1), None));
    }

    #[test]
    fn what_is_left_out_afterwards_is_counted_once() {
        let far = CHUNK_FRAMES * 3;
        let memory = Tenths(map(&[(1, 10), (20, 30), (far, far + 100)]));
        let mut all = Selection::everything(&memory, DumpLevel::default(), None).unwrap();
        let kept = all.kept();
        let frames = |ranges: &[(u64, u64)]| -> RangeSet<Pfn> {
            ranges.iter().map(|&(s, e)| Range::new(Pfn(s), Pfn(e))).collect()
        };
        let some = frames(&[(8, 22), (CHUNK_FRAMES, CHUNK_FRAMES + 5), (far - 1, far + 2)]);
        let there = all.kept_of(&some).unwrap();
        assert_eq!(
            there.total(),
            [8, 9, 21, far, far + 1].iter().filter(|&pfn| pfn % 10 != 0).count() as u64
        );
        assert_eq!(all.leave_out(&some, Reason::Destroyed).unwrap(), there.total());
        assert_eq!(all.kept(), kept - there.total());
        assert_eq!(all.reasons().get(Reason::Destroyed), there.total());
        assert!(all.kept_of(&some).unwrap().is_empty());
        assert_eq!(all.leave_out(&some, Reason::Destroyed).unwrap(), 0);
    }

    #[test]
    fn chunks_past_the_limit_go_to_the_spill_file_and_come_back() {
        let frames = CHUNK_FRAMES * (MAX_HELD as u64 + 3);
        let file = std::env::temp_dir().join(format!("hadump-selection-{}", std::process::id()));
        let spill = File::options().read(true).write(true).create_new(true).open(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let mut selection = Selection::new(map(&[(0, frames)]), DumpLevel::ALL, Some(spill));
        for i in selection.chunk_indices() {
            let mut chunk = Chunk::empty();
            chunk.set(i, i + 5, true);
            selection.push(i, chunk, &ReasonCounts::default()).unwrap();
        }
        for i in 0..selection.chunk_count() {
            let (first, chunk) = selection.chunk(i).unwrap();
            assert_eq!(first.0, i as u64 * CHUNK_FRAMES);
            let mut runs = chunk.runs();
            assert_eq!((runs.next(), runs.next()), (Some(i as u64..i as u64 + 5), None));
        }
        assert_eq!(selection.kept(), 5 * selection.chunk_count() as u64);
    }
}
