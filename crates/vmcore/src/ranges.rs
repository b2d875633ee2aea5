//! Sorted sets of half-open ranges.

use std::fmt;

/// A half-open range `start..end` of addresses or frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Range<T> {
    /// The first value inside.
    pub start: T,
    /// The first value past the range.
    pub end: T,
}

impl<T: Copy + Ord + Into<u64>> Range<T> {
    /// The range from `start` up to, not including, `end`; empty when `end` is not above `start`.
    pub fn new(start: T, end: T) -> Self {
        Self { start, end: end.max(start) }
    }

    /// How many values lie inside.
    pub fn len(&self) -> u64 {
        self.end.into() - self.start.into()
    }

    /// Reports whether nothing lies inside.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Reports whether `value` lies inside.
    pub fn contains(&self, value: T) -> bool {
        self.start <= value && value < self.end
    }

    /// The part that both ranges share, possibly empty.
    pub fn intersect(&self, other: &Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

impl<T: fmt::Display> fmt::Debug for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// A set of values as sorted, disjoint, non-touching ranges; lookups are logarithmic.
#[derive(Clone, PartialEq, Eq)]
pub struct RangeSet<T> {
    ranges: Vec<Range<T>>,
}

impl<T> Default for RangeSet<T> {
    fn default() -> Self {
        Self { ranges: Vec::new() }
    }
}

impl<T: fmt::Display> fmt::Debug for RangeSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.ranges).finish()
    }
}

impl<T: Copy + Ord + Into<u64>> FromIterator<Range<T>> for RangeSet<T> {
    /// Takes ranges in any order; overlapping and touching ones become one.
    fn from_iter<I: IntoIterator<Item = Range<T>>>(iter: I) -> Self {
        let mut sorted: Vec<Range<T>> = iter.into_iter().filter(|r| !r.is_empty()).collect();
        sorted.sort_unstable_by_key(|r| r.start);
        let mut ranges: Vec<Range<T>> = Vec::with_capacity(sorted.len());
        for r in sorted {
            match ranges.last_mut() {
                Some(last) if r.start <= last.end => last.end = last.end.max(r.end),
                _ => ranges.push(r),
            }
        }
        Self { ranges }
    }
}

impl<T: Copy + Ord + Into<u64>> RangeSet<T> {
    /// The ranges in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<T>> + ExactSizeIterator + '_ {
        self.ranges.iter().copied()
    }

    /// The number of ranges.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Reports whether the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many values the set holds.
    pub fn total(&self) -> u64 {
        self.ranges.iter().map(Range::len).sum()
    }

    /// The first value past the highest one in the set.
    pub fn end(&self) -> Option<T> {
        self.ranges.last().map(|r| r.end)
    }

    /// The range that holds `value`.
    pub fn find(&self, value: T) -> Option<Range<T>> {
        let next = self.ranges.partition_point(|r| r.start <= value);
        self.ranges[..next].last().copied().filter(|r| r.contains(value))
    }

    /// Reports whether `value` is in the set.
    pub fn contains(&self, value: T) -> bool {
        self.find(value).is_some()
    }

    /// The parts of the set that lie inside `window`, in ascending order.
    pub fn within(&self, window: Range<T>) -> impl Iterator<Item = Range<T>> + '_ {
        let first = self.ranges.partition_point(|r| r.end <= window.start);
        self.ranges[first..]
            .iter()
            .take_while(move |r| r.start < window.end)
            .map(move |r| r.intersect(&window))
            .filter(|r| !r.is_empty())
    }

    /// Adds a range.
    pub fn insert(&mut self, range: Range<T>) {
        if range.is_empty() {
            return;
        }
        let first = self.ranges.partition_point(|r| r.end < range.start);
        let last = self.ranges.partition_point(|r| r.start <= range.end);
        let merged = self.ranges[first..last]
            .iter()
            .fold(range, |m, r| Range { start: m.start.min(r.start), end: m.end.max(r.end) });
        self.ranges.splice(first..last, [merged]);
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut ranges = Vec::with_capacity(self.ranges.len());
        for &r in &self.ranges {
            let mut start = r.start;
            for hole in other.within(r) {
                if start < hole.start {
                    ranges.push(Range { start, end: hole.start });
                }
                start = hole.end;
            }
            if start < r.end {
                ranges.push(Range { start, end: r.end });
            }
        }
        Self { ranges }
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self { ranges: self.ranges.iter().flat_map(|&r| other.within(r)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pfn;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn r(start: u64, end: u64) -> Range<Pfn> {
        Range::new(Pfn(start), Pfn(end))
    }

    fn members(set: &RangeSet<Pfn>) -> BTreeSet<u64> {
        set.iter().flat_map(|r| r.start.0..r.end.0).collect()
    }

    fn any_ranges() -> impl Strategy<Value = Vec<Range<Pfn>>> {
        prop::collection::vec((0u64..120, 0u64..20).prop_map(|(s, l)| r(s, s + l)), 0..12)
    }

    proptest! {
        #[test]
        fn a_range_set_behaves_as_a_set_of_its_members(a in any_ranges(), b in any_ranges(), w in (0u64..120, 0u64..60)) {
            let one: RangeSet<Pfn> = a.iter().copied().collect();
            let mut inserted = RangeSet::default();
            a.iter().for_each(|&x| inserted.insert(x));
            prop_assert_eq!(&one, &inserted);
            let two: RangeSet<Pfn> = b.into_iter().collect();
            let (m1, m2) = (members(&one), members(&two));
            prop_assert_eq!(one.total(), m1.len() as u64);
            prop_assert_eq!(members(&one.subtract(&two)), m1.difference(&m2).copied().collect());
            prop_assert_eq!(members(&one.intersect(&two)), m1.intersection(&m2).copied().collect());
            for v in 0..150 {
                prop_assert_eq!(one.contains(Pfn(v)), m1.contains(&v));
            }
            let window = r(w.0, w.0 + w.1);
            let inside: BTreeSet<u64> = one.within(window).flat_map(|r| r.start.0..r.end.0).collect();
            prop_assert_eq!(inside, m1.range(w.0..w.0 + w.1).copied().collect());
        }
    }
}
