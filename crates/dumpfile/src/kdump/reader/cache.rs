//! A small cache of decompressed pages, for readers that come back to the same page for a few bytes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use vmcore::{PageSize, PageState, Pfn};

/// Bytes of pages held at most, but for one page per shard.
const BUDGET: usize = 4 << 20;
/// Threads that read different pages seldom meet at one lock.
const SHARDS: usize = 16;

#[derive(Debug)]
struct Slot {
    pfn: Pfn,
    state: PageState,
    used: bool,
    page: Box<[u8]>,
}

#[derive(Debug, Default)]
struct Shard {
    slots: Vec<Slot>,
    hand: usize,
}

/// Pages by frame number; a page that was used since the hand last passed survives it.
#[derive(Debug)]
pub(super) struct Cache {
    slots: usize,
    shards: [Mutex<Shard>; SHARDS],
}

impl Cache {
    pub(super) fn new(page_size: PageSize) -> Self {
        Self { slots: (BUDGET / SHARDS / page_size.len()).max(1), shards: Default::default() }
    }

    fn shard(&self, pfn: Pfn) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[(pfn.0 % SHARDS as u64) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the part of page `pfn` from `offset` on, when the page is here.
    pub(super) fn get(&self, pfn: Pfn, offset: usize, part: &mut [u8]) -> Option<PageState> {
        let mut shard = self.shard(pfn);
        let slot = shard.slots.iter_mut().find(|slot| slot.pfn == pfn)?;
        slot.used = true;
        part.copy_from_slice(&slot.page[offset..offset + part.len()]);
        Some(slot.state)
    }

    /// Keeps a page, in the place of one that was not used lately.
    pub(super) fn put(&self, pfn: Pfn, state: PageState, page: &[u8]) {
        let mut shard = self.shard(pfn);
        let shard = &mut *shard;
        if shard.slots.iter().any(|slot| slot.pfn == pfn) {
            return;
        }
        if shard.slots.len() < self.slots {
            shard.slots.push(Slot { pfn, state, used: false, page: page.into() });
            return;
        }
        while shard.slots[shard.hand].used {
            shard.slots[shard.hand].used = false;
            shard.hand = (shard.hand + 1) % shard.slots.len();
        }
        let slot = &mut shard.slots[shard.hand];
        (slot.pfn, slot.state) = (pfn, state);
        slot.page.copy_from_slice(page);
        shard.hand = (shard.hand + 1) % shard.slots.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_back_as_they_were_put_and_memory_stays_bounded() {
        let cache = Cache::new(PageSize::K64);
        for n in 0..1000u64 {
            cache.put(Pfn(n), PageState::Present, &vec![n as u8; 65536]);
            let mut part = [0; 3];
            assert_eq!(cache.get(Pfn(n), 100, &mut part), Some(PageState::Present));
            assert_eq!(part, [n as u8; 3]);
        }
        let held: usize = cache.shards.iter().map(|s| s.lock().unwrap().slots.len()).sum();
        assert_eq!(held * 65536, BUDGET);
    }

    #[test]
    fn a_page_in_use_outlives_pages_that_pass_by() {
        let cache = Cache::new(PageSize::K4);
        cache.put(Pfn(0), PageState::Present, &[1; 4096]);
        for n in 1..10_000 {
            assert!(cache.get(Pfn(0), 0, &mut [0; 8]).is_some(), "{n}");
            cache.put(Pfn(n * SHARDS as u64), PageState::Present, &[2; 4096]);
        }
    }
}
