//! Whether a window is worth its mapping.
//!
//! A page read costs about 6,500 instructions; a window costs 125,000 to map and unmap, and then next to nothing a page.
//! Which pages will be read is not known, so the rule is the one for skis: rent for a while, then buy. Whatever comes, that
//! costs no more than a few times what would have been best.

use std::sync::atomic::{AtomicU64, Ordering};

/// Regions whose reads are counted. One that shares its place with another is counted anew, which costs a few reads.
const PLACES: usize = 256;
/// The low bits of a place, the pages read; above them is the region.
const COUNT_BITS: u32 = 16;

/// Counts pages read by region.
#[derive(Debug)]
pub(crate) struct Rent(Box<[AtomicU64]>);

impl Rent {
    pub(crate) fn new() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(u64::MAX)).collect())
    }

    /// Adds `pages` to those read of `region`, and tells how many that makes. Threads that count at the same time may lose
    /// each other's pages.
    pub(crate) fn pay(&self, region: u64, pages: u64) -> u64 {
        let most = (1 << COUNT_BITS) - 1;
        let place = &self.0[(region % PLACES as u64) as usize];
        let known = place.load(Ordering::Relaxed);
        let before = if known >> COUNT_BITS == region { known & most } else { 0 };
        let now = before.saturating_add(pages).min(most);
        place.store(region << COUNT_BITS | now, Ordering::Relaxed);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_add_up_by_region_until_another_takes_its_place() {
        let rent = Rent::new();
        assert_eq!(rent.pay(0, 1), 1);
        assert_eq!(rent.pay(1, 5), 5);
        assert_eq!(rent.pay(0, 2), 3);
        assert_eq!(rent.pay(PLACES as u64, 1), 1);
        assert_eq!(rent.pay(0, 4), 4);
        assert_eq!(rent.pay(7, u64::MAX), (1 << COUNT_BITS) - 1);
    }
}
