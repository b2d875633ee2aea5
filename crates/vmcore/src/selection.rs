//! A set of pages chosen from a dump, and why the others are not in it.

use crate::{MemoryMap, Pfn, PhysicalMemory, Range, ReadError};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Which classes of pages to leave out: makedumpfile's dump level, a sum of bits from 0 to 31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DumpLevel(u8);

impl DumpLevel {
    /// Pages of zeros.
    pub const ZERO: u8 = 1;
    /// Page cache without private data.
    pub const CACHE: u8 = 2;
    /// Page cache with private data (and, as a consequence, all page cache).
    pub const CACHE_PRIVATE: u8 = 4;
    /// Pages of user processes.
    pub const USER: u8 = 8;
    /// Free pages.
    pub const FREE: u8 = 16;
    /// Everything.
    pub const ALL: Self = Self(31);

    /// The level made of `bits`, when they are at most 31.
    pub fn new(bits: u32) -> Option<Self> {
        (bits <= 31).then_some(Self(bits as u8))
    }

    /// The sum of bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Reports whether one of the bits in `class` is set.
    pub const fn has(self, class: u8) -> bool {
        self.0 & class != 0
    }
}

impl std::fmt::Display for DumpLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a page that exists is not in a selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Free in the buddy allocator, or memory the kernel has not accepted from its host yet.
    Free,
    /// Page cache without private data.
    Cache,
    /// Page cache with private data.
    CachePrivate,
    /// Anonymous memory of a process, or a huge page.
    User,
    /// The hardware reported the page as broken; reading it may stop the machine.
    HwPoison,
    /// Taken offline, by a balloon driver for example.
    Offline,
    /// An earlier filter had left the page out already.
    Earlier,
}

impl Reason {
    /// All reasons, in the order reports list them.
    pub const ALL: [Self; 7] = [
        Self::Free,
        Self::Cache,
        Self::CachePrivate,
        Self::User,
        Self::HwPoison,
        Self::Offline,
        Self::Earlier,
    ];

    /// The name in reports and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Cache => "cache",
            Self::CachePrivate => "cache_private",
            Self::User => "user",
            Self::HwPoison => "hwpoison",
            Self::Offline => "offline",
            Self::Earlier => "earlier",
        }
    }
}

/// A number of pages for each [`Reason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReasonCounts([u64; Reason::ALL.len()]);

impl ReasonCounts {
    /// The pages left out for `reason`.
    pub fn get(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// Counts `pages` more for `reason`.
    pub fn add(&mut self, reason: Reason, pages: u64) {
        self.0[reason as usize] += pages;
    }

    /// Adds the counts of another part of memory.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
    }

    /// The pages left out for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Frames in one chunk of a selection: 32 KiB of bitmap, 1 GiB of memory with 4 KiB pages.
pub const CHUNK_FRAMES: u64 = 1 << 18;
const CHUNK_WORDS: usize = (CHUNK_FRAMES / 64) as usize;
const CHUNK_BYTES: usize = CHUNK_WORDS * 8;

/// Which frames of one chunk are kept: bit `i % 64` of word `i / 64` stands for frame `first + i`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    words: Box<[u64; CHUNK_WORDS]>,
}

impl Chunk {
    /// A chunk with nothing kept.
    pub fn empty() -> Self {
        let words = vec![0; CHUNK_WORDS].into_boxed_slice();
        Self { words: words.try_into().expect("the length is the array's") }
    }

    /// Chunk number `index` of a dump with all of `map` kept.
    pub fn of_map(map: &MemoryMap, index: u64) -> Self {
        let first = index * CHUNK_FRAMES;
        let mut chunk = Self::empty();
        for r in map.frames().within(Range::new(Pfn(first), Pfn(first + CHUNK_FRAMES))) {
            chunk.set(r.start.0 - first, r.end.0 - first, true);
        }
        chunk
    }

    /// The words of the bitmap.
    pub fn words(&self) -> &[u64] {
        &self.words[..]
    }

    /// Reports whether frame `i` of the chunk is kept.
    pub fn contains(&self, i: u64) -> bool {
        self.words[(i / 64) as usize] >> (i % 64) & 1 != 0
    }

    /// Keeps or drops frames `start..end` of the chunk.
    pub fn set(&mut self, start: u64, end: u64, keep: bool) {
        let mut i = start;
        while i < end {
            let (word, bit) = ((i / 64) as usize, i % 64);
            let run = (64 - bit).min(end - i);
            let mask = (u64::MAX >> (64 - run)) << bit;
            if keep {
                self.words[word] |= mask;
            } else {
                self.words[word] &= !mask;
            }
            i += run;
        }
    }

    /// Drops frames `start..end` and answers how many of them had been kept until now.
    #[inline]
    pub fn remove(&mut self, start: u64, end: u64) -> u64 {
        // Most of what a classification drops is a page or a few, and it drops millions of them.
        let (word, bit) = ((start / 64) as usize, start % 64);
        if start < end && end - start <= 64 - bit {
            let mask = (u64::MAX >> (64 - (end - start))) << bit;
            let kept = self.words[word] & mask;
            self.words[word] ^= kept;
            return u64::from(kept.count_ones());
        }
        let before = self.count_within(start, end);
        self.set(start, end, false);
        before
    }

    /// The number of frames kept.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|w| u64::from(w.count_ones())).sum()
    }

    fn count_within(&self, start: u64, end: u64) -> u64 {
        let mut count = 0;
        let mut i = start;
        while i < end {
            let (word, bit) = ((i / 64) as usize, i % 64);
            let run = (64 - bit).min(end - i);
            let mask = (u64::MAX >> (64 - run)) << bit;
            count += u64::from((self.words[word] & mask).count_ones());
            i += run;
        }
        count
    }

    /// The kept frames as runs `start..end` relative to the chunk, ascending.
    pub fn runs(&self) -> impl Iterator<Item = std::ops::Range<u64>> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let run = self.next_run(at)?;
            at = run.end;
            Some(run)
        })
    }

    /// The first run of kept frames at or above frame `from` of the chunk.
    pub fn next_run(&self, from: u64) -> Option<std::ops::Range<u64>> {
        let start = self.next(from, false)?;
        Some(start..self.next(start, true).unwrap_or(CHUNK_FRAMES))
    }

    /// The first frame from `from` on that is kept, or with `inverted` is not.
    fn next(&self, from: u64, inverted: bool) -> Option<u64> {
        let mut word = (from / 64) as usize;
        let mut mask = u64::MAX << (from % 64);
        while word < CHUNK_WORDS {
            let bits = if inverted { !self.words[word] } else { self.words[word] } & mask;
            if bits != 0 {
                return Some(word as u64 * 64 + u64::from(bits.trailing_zeros()));
            }
            mask = u64::MAX;
            word += 1;
        }
        None
    }
}

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
            spill: spill.map(|f| (f, 0)),
        }
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

    /// The level that was applied, which is what a dump's header tells.
    pub fn level(&self) -> DumpLevel {
        self.level
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
                Some((file, end)) if self.held >= MAX_HELD => {
                    let offset = *end;
                    let bytes: Vec<u8> = chunk.words.iter().flat_map(|w| w.to_ne_bytes()).collect();
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
        for (word, bytes) in chunk.words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PageSize, PhysAddr};
    use proptest::prelude::*;

    fn map(frames: &[(u64, u64)]) -> MemoryMap {
        let bytes = frames.iter().map(|&(s, e)| Range::new(PhysAddr(s << 12), PhysAddr(e << 12))).collect();
        MemoryMap::new(PageSize::K4, bytes)
    }

    #[test]
    fn levels_beyond_31_do_not_exist() {
        assert_eq!(DumpLevel::new(31), Some(DumpLevel::ALL));
        assert_eq!(DumpLevel::new(32), None);
        assert!(DumpLevel::new(17).unwrap().has(DumpLevel::FREE));
        assert!(!DumpLevel::new(17).unwrap().has(DumpLevel::USER));
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

    proptest! {
        #[test]
        fn a_chunk_behaves_as_a_set(ops in prop::collection::vec((0u64..CHUNK_FRAMES, 0u64..300, any::<bool>()), 0..20)) {
            let mut chunk = Chunk::empty();
            let mut model = std::collections::BTreeSet::new();
            for (start, len, keep) in ops {
                let end = (start + len).min(CHUNK_FRAMES);
                if keep {
                    chunk.set(start, end, true);
                    model.extend(start..end);
                } else {
                    let removed = (start..end).filter(|i| model.remove(i)).count();
                    prop_assert_eq!(chunk.remove(start, end), removed as u64);
                }
            }
            prop_assert_eq!(chunk.count(), model.len() as u64);
            let members: Vec<u64> = chunk.runs().flatten().collect();
            prop_assert_eq!(members, model.into_iter().collect::<Vec<_>>());
        }
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
