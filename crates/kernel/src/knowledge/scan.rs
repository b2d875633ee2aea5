//! A search through all memory of a dump.

use crate::Error;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use vmcore::{PageState, Pfn, PhysAddr, PhysicalMemory};

/// Bytes that are read at once by each thread.
const PIECE: u64 = 1 << 20;

/// The most places that are remembered. A kernel's name is in memory once for each container that runs, and once for each
/// program that asked for it.
const MAX_PLACES: usize = 1 << 18;

/// How far a search through memory is. Another thread may look at it meanwhile.
#[derive(Debug, Default)]
pub struct Search {
    done: AtomicU64,
    all: AtomicU64,
}

impl Search {
    /// The bytes of memory that were searched, and those of all memory; `None` while nothing is searched.
    pub fn seen(&self) -> Option<(u64, u64)> {
        let all = self.all.load(Ordering::Relaxed);
        (all > 0).then(|| (self.done.load(Ordering::Relaxed).min(all), all))
    }

    fn begin(&self, all: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.all.store(all, Ordering::Relaxed);
    }

    fn end(&self) {
        self.all.store(0, Ordering::Relaxed);
    }
}

/// Where the `needles` stand in memory, ascending, for each of them. A needle that crosses from one frame into the next is
/// found if the frames are neighbours.
pub(super) fn find_all(
    memory: &dyn PhysicalMemory,
    needles: &[&[u8]],
    search: &Search,
) -> Result<Vec<Vec<PhysAddr>>, Error> {
    let page = memory.map().page_size();
    search.begin(memory.map().frames().total() * page.bytes());
    let step = (PIECE / page.bytes()).max(1);
    let mut ranges = memory.map().frames().iter();
    let mut rest = (0, 0);
    let mut pieces = std::iter::from_fn(|| {
        loop {
            if rest.0 >= rest.1 {
                let range = ranges.next()?;
                rest = (range.start.0, range.end.0);
            }
            let (start, end) = rest;
            // Memory that the input only claims to have takes no time.
            let unread = memory.unread_run(Pfn(start), end - start);
            rest.0 = if unread > 0 { start + unread } else { end.min(start + step) };
            search.done.fetch_add((rest.0 - start) * page.bytes(), Ordering::Relaxed);
            if unread == 0 {
                return Some((start, rest.0, end));
            }
        }
    });
    let finders: Vec<_> = needles.iter().map(memchr::memmem::Finder::new).collect();
    let longest = needles.iter().map(|n| n.len()).max().unwrap_or(0).min(page.len());
    let look = |&(start, end, range_end): &(u64, u64, u64)| -> Result<Vec<(usize, PhysAddr)>, Error> {
        // What begins here may end in the next piece.
        let beyond = u64::from(end < range_end && longest > 1);
        let frames = (end - start + beyond) as usize;
        let mut bytes = vec![0; frames * page.len()];
        let mut states = vec![PageState::Absent; frames];
        memory.read_run(Pfn(start), &mut bytes, &mut states)?;
        let own = (end - start) as usize * page.len();
        let seen = bytes.len().min(own + longest.saturating_sub(1));
        let base = page.addr(Pfn(start)).0;
        let mut places = Vec::new();
        for (i, finder) in finders.iter().enumerate() {
            let hits = finder.find_iter(&bytes[..seen]).filter(|&at| at < own).take(MAX_PLACES);
            places.extend(hits.map(|at| (i, PhysAddr(base + at as u64))));
        }
        Ok(places)
    };
    let mut found = vec![Vec::new(); needles.len()];
    let wave = rayon::current_num_threads().max(1) * 4;
    loop {
        let pieces: Vec<_> = pieces.by_ref().take(wave).collect();
        if pieces.is_empty() {
            search.end();
            return Ok(found);
        }
        let places: Vec<_> = pieces.par_iter().map(look).collect::<Result<_, _>>()?;
        for (i, addr) in places.into_iter().flatten() {
            let found: &mut Vec<PhysAddr> = &mut found[i];
            if found.len() < MAX_PLACES {
                found.push(addr);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::{MemoryMap, PageSize, Range, ReadError};

    /// Memory that is full of one text.
    struct Full(MemoryMap, &'static [u8; 16]);

    impl PhysicalMemory for Full {
        fn map(&self) -> &MemoryMap {
            &self.0
        }

        fn read_page(&self, _: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
            page.chunks_exact_mut(16).for_each(|part| part.copy_from_slice(self.1));
            Ok(PageState::Present)
        }
    }

    #[test]
    fn the_names_of_a_hundred_thousand_containers_are_all_looked_at_and_a_quarter_of_a_million_in_all() {
        let places = |bytes: u64| {
            let all = [Range::new(PhysAddr(0), PhysAddr(bytes))].into_iter().collect();
            let memory = Full(MemoryMap::new(PageSize::K4, all), b"OSRELEASE=6.12.\n");
            find_all(&memory, &[b"OSRELEASE="], &Search::default()).unwrap().remove(0)
        };
        let found = places(16 * 100_352);
        assert_eq!(found.len(), 100_352);
        assert_eq!(found.last(), Some(&PhysAddr(16 * 100_351)));
        assert_eq!(places(8 << 20).len(), MAX_PLACES);
    }

    /// Memory that notes how far the search is when a page is read.
    struct Watched<'a>(MemoryMap, &'a Search, std::sync::Mutex<Vec<(u64, u64)>>);

    impl PhysicalMemory for Watched<'_> {
        fn map(&self) -> &MemoryMap {
            &self.0
        }

        fn read_page(&self, _: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
            page.fill(0);
            self.2.lock().unwrap().push(self.1.seen().expect("a search"));
            Ok(PageState::Present)
        }
    }

    #[test]
    fn a_search_says_how_much_of_memory_it_has_seen_and_nothing_before_and_after() {
        const ALL: u64 = 256 << 20;
        let search = Search::default();
        let all = [Range::new(PhysAddr(0), PhysAddr(ALL))].into_iter().collect();
        let memory = Watched(MemoryMap::new(PageSize::K64, all), &search, std::sync::Mutex::default());
        assert_eq!(search.seen(), None);
        find_all(&memory, &[b"x"], &search).unwrap();
        assert_eq!(search.seen(), None);
        let seen = memory.2.into_inner().unwrap();
        assert!(seen.iter().all(|&(done, all)| 0 < done && done <= all && all == ALL));
        assert!(seen.is_sorted() && seen.first().unwrap().0 < ALL && seen.last().unwrap().0 == ALL);
    }
}
