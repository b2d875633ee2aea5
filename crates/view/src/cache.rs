//! Decompressed pages, for readers that come back to them: at most as many as were allowed.
//!
//! The page cache of the system is before this one; it holds what was read of one file, in pages of the host. This one is of the
//! dump's pages, which may be larger than what is read of them, and is shared by all files that show memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use vmcore::{PageSize, PageState, Pfn};

/// Threads that read different pages seldom meet at one lock.
const SHARDS: u64 = 16;

/// What a page takes besides its bytes: its slot and its entry.
const OVERHEAD: u64 = 96;

struct Slot {
    pfn: Pfn,
    state: PageState,
    used: bool,
    page: Box<[u8]>,
}

#[derive(Default)]
struct Shard {
    slots: Vec<Slot>,
    places: HashMap<Pfn, usize>,
    hand: usize,
}

/// Pages by frame number; a page that was used since the hand last passed survives it.
pub(crate) struct Cache {
    /// Slots of a shard.
    slots: usize,
    shards: [Mutex<Shard>; SHARDS as usize],
}

impl Cache {
    /// A cache of at most `bytes`, in pages of `page_size`.
    pub(crate) fn new(page_size: PageSize, bytes: u64) -> Self {
        let slots = bytes / SHARDS / (page_size.bytes() + OVERHEAD);
        Self { slots: usize::try_from(slots).unwrap_or(usize::MAX), shards: Default::default() }
    }

    fn shard(&self, pfn: Pfn) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[(pfn.0 % SHARDS) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the part of page `pfn` from `offset` on, when the page is here.
    pub(crate) fn get(&self, pfn: Pfn, offset: usize, part: &mut [u8]) -> Option<PageState> {
        let mut shard = self.shard(pfn);
        let place = *shard.places.get(&pfn)?;
        let slot = &mut shard.slots[place];
        slot.used = true;
        part.copy_from_slice(&slot.page[offset..offset + part.len()]);
        Some(slot.state)
    }

    /// Keeps a page, in the place of one that was not used lately.
    pub(crate) fn put(&self, pfn: Pfn, state: PageState, page: &[u8]) {
        if self.slots == 0 {
            return;
        }
        let mut shard = self.shard(pfn);
        let shard = &mut *shard;
        if shard.places.contains_key(&pfn) {
            return;
        }
        if shard.slots.len() < self.slots {
            shard.places.insert(pfn, shard.slots.len());
            shard.slots.push(Slot { pfn, state, used: false, page: page.into() });
            return;
        }
        while shard.slots[shard.hand].used {
            shard.slots[shard.hand].used = false;
            shard.hand = (shard.hand + 1) % shard.slots.len();
        }
        let slot = &mut shard.slots[shard.hand];
        shard.places.remove(&slot.pfn);
        shard.places.insert(pfn, shard.hand);
        (slot.pfn, slot.state) = (pfn, state);
        slot.page.copy_from_slice(page);
        shard.hand = (shard.hand + 1) % shard.slots.len();
    }

    /// Bytes of pages that are held.
    #[cfg(test)]
    fn held(&self) -> usize {
        let of =
            |shard: &Mutex<Shard>| shard.lock().unwrap().slots.iter().map(|s| s.page.len()).sum::<usize>();
        self.shards.iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_back_as_they_were_put_and_memory_stays_bounded() {
        for (size, bytes) in [(PageSize::K4, 1 << 20), (PageSize::K64, 4 << 20)] {
            let cache = Cache::new(size, bytes);
            for n in 0..1000u64 {
                cache.put(Pfn(n), PageState::Present, &vec![n as u8; size.len()]);
                let mut part = [0; 3];
                assert_eq!(cache.get(Pfn(n), 100, &mut part), Some(PageState::Present));
                assert_eq!(part, [n as u8; 3]);
            }
            let held = cache.held() as u64;
            assert!(held <= bytes && held > bytes / 2, "{held} of {bytes}");
        }
    }

    #[test]
    fn a_page_in_use_outlives_pages_that_pass_by() {
        let cache = Cache::new(PageSize::K4, 4 << 20);
        cache.put(Pfn(0), PageState::Present, &[1; 4096]);
        for n in 1..10_000 {
            assert!(cache.get(Pfn(0), 0, &mut [0; 8]).is_some(), "{n}");
            cache.put(Pfn(n * SHARDS), PageState::Present, &[2; 4096]);
        }
    }

    #[test]
    fn a_cache_without_room_holds_nothing() {
        let cache = Cache::new(PageSize::K4, 1000);
        cache.put(Pfn(0), PageState::Present, &[1; 4096]);
        assert_eq!(cache.get(Pfn(0), 0, &mut [0; 8]), None);
    }
}
