//! Which bytes of a file came with a stream.

use std::collections::BTreeMap;

/// More separate stretches than this are not kept in mind. The pieces of a dump that came whole make few.
const MAX_STRETCHES: usize = 1 << 20;

/// The stretches of a file that pieces of a stream covered.
#[derive(Clone, Debug, Default)]
pub struct Covered {
    /// The end of each stretch by its start.
    stretches: BTreeMap<u64, u64>,
    scattered: bool,
}

impl Covered {
    /// Adds `start..end`.
    pub(super) fn add(&mut self, mut start: u64, mut end: u64) {
        if self.scattered || start >= end {
            return;
        }
        // Those that begin before and reach here, then those that begin inside.
        if let Some((&first, &last)) = self.stretches.range(..=start).next_back()
            && last >= start
        {
            (start, end) = (first, end.max(last));
        }
        while let Some((&first, &last)) = self.stretches.range(start..=end).next() {
            end = end.max(last);
            self.stretches.remove(&first);
        }
        self.stretches.insert(start, end);
        if self.stretches.len() > MAX_STRETCHES {
            self.scattered = true;
            self.stretches.clear();
        }
    }

    /// Reports whether there were too many stretches to keep them in mind.
    pub(crate) fn is_scattered(&self) -> bool {
        self.scattered
    }

    /// The stretches, ascending and apart from each other.
    pub(super) fn iter(&self) -> impl Iterator<Item = std::ops::Range<u64>> {
        self.stretches.iter().map(|(&start, &end)| start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stretches_are_what_was_added(pieces in prop::collection::vec((0u64..200, 0u64..30), 0..30)) {
            let mut covered = Covered::default();
            let mut bytes = vec![false; 240];
            for (start, len) in pieces {
                covered.add(start, start + len);
                bytes[start as usize..(start + len) as usize].fill(true);
            }
            let mut seen = vec![false; 240];
            let mut last = None;
            for stretch in covered.iter() {
                prop_assert!(last.is_none_or(|last| last < stretch.start));
                seen[stretch.start as usize..stretch.end as usize].fill(true);
                last = Some(stretch.end);
            }
            prop_assert_eq!(seen, bytes);
        }
    }

    #[test]
    fn pieces_that_never_meet_take_bounded_memory() {
        let mut covered = Covered::default();
        (0..3 << 20).for_each(|n| covered.add(n * 2, n * 2 + 1));
        assert!(covered.is_scattered());
        assert_eq!(covered.iter().count(), 0);
    }
}
