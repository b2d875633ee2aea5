//! Equal pages, stored once.
//!
//! A table remembers the pages stored last by a hash of their content. A page with the hash of an earlier one is compared with
//! it byte for byte, the earlier one read again from the input, and shares its place in the file only when they are
//! equal; input that is no longer there compares as different. What shares what is decided page by page in the order of the
//! output, so it does not depend on the number of threads. Workers only look ahead: they compare a page with the earlier one
//! that the table has at that time, and in most cases that is still the one when the page's turn comes.
//!
//! The table has a fixed size. In a dump with more pages than it holds, some equal pages are stored more than once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use vmcore::{PageState, Pfn, PhysicalMemory};

/// A stored page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) hash: u64,
    pub(super) pfn: u64,
    /// Where in the file it is stored, and how.
    pub(super) offset: u64,
    /// 0 where there is no page.
    pub(super) size: u32,
    pub(super) flags: u32,
}

/// Places for pages whose hashes begin alike, the one used last first.
type Set = [Known; 4];

/// The most pages that are remembered: 16 MiB of table.
const MAX_PAGES: u64 = 1 << 19;

/// The pages stored last, by their hashes.
#[derive(Debug)]
pub(super) struct Table {
    sets: Vec<Set>,
}

impl Table {
    /// A table for a file of `pages` pages.
    pub(super) fn new(pages: u64) -> Self {
        // Half full, few sets overflow.
        let sets = pages.saturating_mul(2).clamp(4096, MAX_PAGES).next_power_of_two() as usize / 4;
        Self { sets: vec![Set::default(); sets] }
    }

    /// The number of the set for a hash.
    fn set(&self, hash: u64) -> usize {
        (hash % self.sets.len() as u64) as usize
    }

    /// The page with this hash that was used last.
    pub(super) fn find(&self, hash: u64) -> Option<Known> {
        self.sets[self.set(hash)].iter().find(|known| known.size > 0 && known.hash == hash).copied()
    }

    /// Puts a page first in its set: one that is there already, or a new one in place of the one not used for longest.
    pub(super) fn put(&mut self, known: Known) {
        let set = self.set(known.hash);
        let set = &mut self.sets[set];
        let last = set.iter().position(|k| *k == known).unwrap_or(set.len() - 1);
        set[..=last].rotate_right(1);
        set[0] = known;
    }
}

/// Locks the table.
pub(super) fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reports whether frame `pfn` still reads as `page`, with room for a page.
pub(super) fn is_equal(memory: &dyn PhysicalMemory, pfn: u64, page: &[u8], room: &mut Vec<u8>) -> bool {
    room.resize(page.len(), 0);
    matches!(memory.read_page(Pfn(pfn), room), Ok(PageState::Present)) && *room == page
}

/// A hash of a page, quick and not safe against collisions made on purpose: they cost comparisons in vain.
pub(super) fn hash(page: &[u8]) -> u64 {
    // Odd numbers without pattern: the fractions of the square roots of 2, 3, 5 and 7.
    const KEYS: [u64; 4] =
        [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1];
    // The upper half of a product depends on all bits; without it a flipped top bit would stay a single bit, and cancel out
    // against another one in the next word.
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        (product >> 64) as u64 ^ product as u64
    };
    let mut lanes = KEYS;
    for block in page.as_chunks::<32>().0 {
        for ((lane, word), key) in lanes.iter_mut().zip(block.as_chunks().0).zip(KEYS) {
            *lane = fold(*lane ^ u64::from_le_bytes(*word), key);
        }
    }
    lanes.into_iter().fold(0, |hash, lane| fold(hash ^ lane, KEYS[3]).rotate_left(23))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(hash: u64, pfn: u64) -> Known {
        Known { hash, pfn, offset: pfn * 10, size: 1, flags: 0 }
    }

    #[test]
    fn a_set_forgets_the_page_that_was_not_used_for_longest() {
        let mut table = Table::new(1);
        let sets = table.sets.len() as u64;
        assert_eq!(table.find(0), None);
        for n in 0..4 {
            table.put(known(n * sets, n));
        }
        table.put(known(0, 0));
        table.put(known(4 * sets, 4));
        let found: Vec<_> = (0..5).map(|n| table.find(n * sets).map(|k| k.pfn)).collect();
        assert_eq!(found, [Some(0), None, Some(2), Some(3), Some(4)]);
        // Another page with the same hash hides the earlier one.
        table.put(known(0, 9));
        assert_eq!(table.find(0), Some(known(0, 9)));
    }

    #[test]
    fn a_table_has_a_bound() {
        assert_eq!(Table::new(u64::MAX).sets.len() * size_of::<Set>(), 16 << 20);
    }

    #[test]
    fn pages_that_differ_in_one_bit_have_different_hashes_in_all_parts_of_them() {
        let mut page = vec![0u8; 4096];
        let mut hashes = std::collections::BTreeSet::from([hash(&page)]);
        let mut low = std::collections::BTreeSet::new();
        for bit in 0..4096 * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            hashes.insert(hash(&page));
            low.insert(hash(&page) & 0xffff);
            page[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(hashes.len(), 4096 * 8 + 1);
        // 32,768 balls into 65,536 boxes fill about 25,800.
        assert!(low.len() > 25_000, "{}", low.len());
    }
}
