//! A window of a page set as a bitmap.

use crate::{MemoryMap, Pfn, Range};

/// Frames in one chunk of a selection: 32 KiB of bitmap, 1 GiB of memory with 4 KiB pages.
pub const CHUNK_FRAMES: u64 = 1 << 18;
const CHUNK_WORDS: usize = (CHUNK_FRAMES / 64) as usize;

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

    /// The words of the bitmap, to be set.
    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words[..]
    }

    /// Reports whether frame `i` of the chunk is kept.
    pub fn contains(&self, i: u64) -> bool {
        self.words[(i / 64) as usize] >> (i % 64) & 1 != 0
    }

    /// Keeps or drops frames `start..end` of the chunk.
    pub fn set(&mut self, start: u64, end: u64, keep: bool) {
        let Some(Span { head, whole, tail }) = Span::of(start, end) else { return };
        // Whole words at once: the chunks of a large machine are mostly full or empty.
        self.words[whole].fill(if keep { u64::MAX } else { 0 });
        for (word, mask) in head.into_iter().chain(tail) {
            if keep {
                self.words[word] |= mask;
            } else {
                self.words[word] &= !mask;
            }
        }
    }

    /// Drops frames `start..end` and returns how many of them had been kept until now.
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

    /// Keeps what `other` keeps, too.
    pub fn unite(&mut self, other: &Self) {
        self.words.iter_mut().zip(other.words()).for_each(|(mine, other)| *mine |= other);
    }

    /// Moves the frames among `start..end` that are kept here to `other` and returns how many that were.
    pub fn move_to(&mut self, start: u64, end: u64, other: &mut Self) -> u64 {
        let mut count = 0;
        let mut i = start;
        while i < end {
            let (word, bit) = ((i / 64) as usize, i % 64);
            let run = (64 - bit).min(end - i);
            let moved = self.words[word] & (u64::MAX >> (64 - run)) << bit;
            self.words[word] ^= moved;
            other.words[word] |= moved;
            count += u64::from(moved.count_ones());
            i += run;
        }
        count
    }

    /// The number of frames kept.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|w| u64::from(w.count_ones())).sum()
    }

    /// The number of frames kept among `start..end`.
    pub fn count_within(&self, start: u64, end: u64) -> u64 {
        let Some(Span { head, whole, tail }) = Span::of(start, end) else { return 0 };
        let whole: u64 = self.words[whole].iter().map(|w| u64::from(w.count_ones())).sum();
        let ends = head.into_iter().chain(tail);
        whole + ends.map(|(word, mask)| u64::from((self.words[word] & mask).count_ones())).sum::<u64>()
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

/// A run of frames in terms of words: those that it covers, and at its ends those of which it covers the bits of a mask.
struct Span {
    head: Option<(usize, u64)>,
    whole: std::ops::Range<usize>,
    tail: Option<(usize, u64)>,
}

impl Span {
    /// The run `start..end`, unless it is empty.
    fn of(start: u64, end: u64) -> Option<Self> {
        if start >= end {
            return None;
        }
        let (first, last) = ((start / 64) as usize, (end / 64) as usize);
        let from_start = u64::MAX << (start % 64);
        let to_end = (1 << (end % 64)) - 1;
        if first == last {
            return Some(Self { head: Some((first, from_start & to_end)), whole: 0..0, tail: None });
        }
        let cut = !start.is_multiple_of(64);
        let head = cut.then_some((first, from_start));
        let tail = (!end.is_multiple_of(64)).then_some((last, to_end));
        Some(Self { head, whole: first + usize::from(cut)..last, tail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            let (start, end) = (CHUNK_FRAMES / 3, CHUNK_FRAMES / 2);
            let (mut outside, mut inside) = (chunk.clone(), Chunk::empty());
            inside.set(start + 1, start + 2, true);
            let moved = outside.move_to(start, end, &mut inside);
            prop_assert_eq!(moved, model.range(start..end).count() as u64);
            prop_assert_eq!(outside.count() + moved, chunk.count());
            prop_assert!(inside.contains(start + 1) && outside.count_within(start, end) == 0);
            prop_assert!(model.range(start..end).all(|&i| inside.contains(i)));
            let members: Vec<u64> = chunk.runs().flatten().collect();
            prop_assert_eq!(members, model.into_iter().collect::<Vec<_>>());
        }
    }
}
