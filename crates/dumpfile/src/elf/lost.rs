//! Which pages a core lacks that it should have.

use vmcore::{Pfn, Range};

/// Frames that are lost, as ranges in ascending order, as many as there is room for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    ranges: Vec<Range<Pfn>>,
    room: usize,
    /// Frames above the last range are lost as well, and there was no room to say which.
    pub(super) more: bool,
}

impl Lost {
    /// None yet, with room for this many ranges.
    pub(super) fn with_room(room: usize) -> Self {
        Self { ranges: Vec::new(), room, more: false }
    }

    /// Adds frames, above all frames before.
    pub(super) fn add(&mut self, frames: Range<Pfn>) {
        if frames.is_empty() || self.more {
            return;
        }
        let full = self.ranges.len() == self.room;
        match self.ranges.last_mut() {
            Some(last) if last.end == frames.start => last.end = frames.end,
            _ if full => self.more = true,
            _ => self.ranges.push(frames),
        }
    }

    /// Forgets the frames from `end` on.
    pub(super) fn cut(&mut self, end: Pfn) {
        let Some(last) = self.ranges.last() else { return };
        // What had no room is above all ranges.
        self.more &= last.end <= end;
        self.ranges.truncate(self.ranges.partition_point(|range| range.start < end));
        if let Some(last) = self.ranges.last_mut() {
            last.end = last.end.min(end);
        }
    }

    /// The ranges in ascending order.
    pub(super) fn ranges(&self) -> &[Range<Pfn>] {
        &self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn what_is_named_is_lost_and_only_what_lies_behind_is_not_named(
            steps in prop::collection::vec((0u64..4, 0u64..4), 0..20),
            room in 0usize..8,
            end in 0u64..60,
        ) {
            let mut lost = Lost::with_room(room);
            let mut all = BTreeSet::new();
            let mut at = 0;
            for (gap, len) in steps {
                lost.add(Range::new(Pfn(at + gap), Pfn(at + gap + len)));
                all.extend(at + gap..at + gap + len);
                at += gap + len;
            }
            for cut in [false, true] {
                if cut {
                    lost.cut(Pfn(end));
                    all.retain(|frame| *frame < end);
                }
                let ranges = lost.ranges();
                prop_assert!(ranges.len() <= room && ranges.windows(2).all(|w| w[0].end < w[1].start));
                let named: BTreeSet<u64> = ranges.iter().flat_map(|r| r.start.0..r.end.0).collect();
                let behind = ranges.last().map_or(0, |r| r.end.0);
                prop_assert_eq!(&named, &all.iter().copied().filter(|frame| *frame < behind).collect());
                // A cut below everything that had no room may leave the word that there was more.
                prop_assert!(lost.more || named == all);
                prop_assert!(cut || lost.more == (named != all));
            }
        }
    }
}
