//! A bounded record of the pages that turned out to be damaged.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use vmcore::Damage;

/// How many pages are remembered; one of these counts once, however often it is read.
const MAX_PAGES: usize = 1 << 16;
/// How many are described.
const MAX_TEXTS: usize = 16;

/// Collects what readers of all threads find.
#[derive(Debug, Default)]
pub(crate) struct DamageLog {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    pages: BTreeSet<u64>,
    first: Vec<String>,
}

impl DamageLog {
    /// Notes that page `pfn` is lost, and why if it is one of the first.
    pub(crate) fn note(&self, pfn: u64, why: impl FnOnce() -> String) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.pages.len() == MAX_PAGES || !found.pages.insert(pfn) || found.first.len() == MAX_TEXTS {
            return;
        }
        let why = why();
        tracing::warn!("page lost: {why}");
        found.first.push(why);
    }

    /// What was found until now.
    pub(crate) fn get(&self) -> Damage {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        Damage { pages: found.pages.len() as u64, first: found.first.clone() }
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_counts_once_and_only_the_first_are_described() {
        let log = DamageLog::default();
        for _ in 0..2 {
            for pfn in 0..100 {
                log.note(pfn, || format!("page {pfn}"));
            }
        }
        let damage = log.get();
        assert_eq!(damage.pages, 100);
        assert_eq!(damage.first.len(), MAX_TEXTS);
        assert_eq!(damage.first[15], "page 15");
    }

    #[test]
    fn a_million_damaged_pages_take_bounded_memory() {
        let log = DamageLog::default();
        (0..1_000_000).for_each(|pfn| log.note(pfn, String::new));
        assert_eq!(log.get().pages, MAX_PAGES as u64);
    }
}
