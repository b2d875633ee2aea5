//! How many pages of a selection come before a frame.

use crate::Error;
use vmcore::{CHUNK_FRAMES, Chunk, Pfn, Selection};

/// Returns a page's place among all pages of a selection, whatever order they are written in.
///
/// Held in memory are the pages before each chunk; the rest is counted in the chunk's own bitmap.
#[derive(Debug)]
pub(crate) struct Ranks<'s> {
    selection: &'s Selection,
    /// For each chunk of the selection its number and the pages before it.
    before: Vec<(u64, u64)>,
    total: u64,
}

impl<'s> Ranks<'s> {
    /// Counts the pages of `selection`, one chunk at a time.
    pub(crate) fn new(selection: &'s Selection) -> Result<Self, Error> {
        let mut before = Vec::with_capacity(selection.chunk_count());
        let mut total = 0;
        for position in 0..selection.chunk_count() {
            let (first, chunk) = selection.chunk(position)?;
            before.push((first.0 / CHUNK_FRAMES, total));
            total += chunk.count();
        }
        Ok(Self { selection, before, total })
    }

    /// The number of all pages.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The number of pages before frame `pfn`.
    pub(crate) fn rank(&self, pfn: Pfn) -> Result<u64, Error> {
        let number = pfn.0 / CHUNK_FRAMES;
        let position = self.before.partition_point(|&(n, _)| n < number);
        match self.before.get(position) {
            Some(&(n, before)) if n == number => {
                let (_, chunk) = self.selection.chunk(position)?;
                Ok(before + chunk.count_within(0, pfn.0 % CHUNK_FRAMES))
            }
            Some(&(_, before)) => Ok(before),
            None => Ok(self.total),
        }
    }

    /// The pages of the chunk that begins at frame `first`, to be asked in ascending order.
    pub(super) fn walk(&self, first: Pfn) -> Result<Option<RankWalk>, Error> {
        let Ok(position) = self.before.binary_search_by_key(&(first.0 / CHUNK_FRAMES), |&(n, _)| n) else {
            return Ok(None);
        };
        let (_, chunk) = self.selection.chunk(position)?;
        Ok(Some(RankWalk { chunk, at: 0, rank: self.before[position].1 }))
    }
}

/// The ranks of one chunk's pages, in ascending order.
pub(super) struct RankWalk {
    chunk: Chunk,
    at: u64,
    rank: u64,
}

impl RankWalk {
    /// The rank of frame `i` of the chunk, which is not below the one asked for before.
    pub(super) fn rank(&mut self, i: u64) -> u64 {
        self.rank += self.chunk.count_within(self.at, i);
        self.at = i;
        self.rank
    }

    /// Drops from `chunk` what the selection does not have.
    pub(super) fn keep_in(&self, chunk: &mut Chunk) {
        for (n, word) in self.chunk.words().iter().enumerate() {
            let mut strays = chunk.words()[n] & !word;
            while strays != 0 {
                let i = n as u64 * 64 + u64::from(strays.trailing_zeros());
                chunk.set(i, i + 1, false);
                strays &= strays - 1;
            }
        }
    }
}
