//! Ranges of physical addresses.

/// A range of physical addresses in bytes: a start and a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// Length in bytes; a range may be empty.
    pub length: u64,
}

impl Extent {
    /// A range from its start and length.
    pub const fn new(start: u64, length: u64) -> Self {
        Self { start, length }
    }

    /// A range from its first byte and the byte after its last.
    pub const fn between(start: u64, end: u64) -> Self {
        Self { start, length: end.saturating_sub(start) }
    }

    /// The byte after the last; saturates at the end of the address space.
    pub const fn end(self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// Whether no byte lies in it.
    pub const fn is_empty(self) -> bool {
        self.length == 0
    }

    /// Whether `address` lies in it.
    pub const fn contains(self, address: u64) -> bool {
        self.start <= address && address < self.end()
    }

    /// The bytes that lie in both.
    pub fn intersect(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self::between(start, self.end().min(other.end()).max(start))
    }
}

/// Whether `list` covers every byte of `extent`; `list` is sorted and disjoint, neighbours may touch.
pub fn covers(list: &[Extent], extent: Extent) -> bool {
    let mut at = extent.start;
    for item in list {
        if at >= extent.end() {
            break;
        }
        if item.start <= at && at < item.end() {
            at = item.end();
        }
    }
    at >= extent.end()
}

/// `list` without the bytes of `holes`; both sorted, the result too.
pub fn subtract(list: &[Extent], holes: &[Extent]) -> Vec<Extent> {
    let mut out = Vec::new();
    for item in list {
        let mut at = item.start;
        for hole in holes {
            if hole.end() <= at || hole.start >= item.end() || hole.is_empty() {
                continue;
            }
            if hole.start > at {
                out.push(Extent::between(at, hole.start));
            }
            at = at.max(hole.end());
        }
        if at < item.end() {
            out.push(Extent::between(at, item.end()));
        }
    }
    out
}

/// Sorted, with empty ranges dropped and overlapping or touching ones joined.
pub fn merged(mut list: Vec<Extent>) -> Vec<Extent> {
    list.retain(|extent| !extent.is_empty());
    list.sort_unstable();
    let mut out: Vec<Extent> = Vec::with_capacity(list.len());
    for extent in list {
        match out.last_mut() {
            Some(last) if extent.start <= last.end() => {
                last.length = last.end().max(extent.end()) - last.start;
            }
            _ => out.push(extent),
        }
    }
    out
}

/// The bytes that lie in both lists.
pub fn intersect(left: &[Extent], right: &[Extent]) -> Vec<Extent> {
    let mut out = Vec::new();
    for a in left {
        for b in right {
            let both = a.intersect(*b);
            if !both.is_empty() {
                out.push(both);
            }
        }
    }
    merged(out)
}

/// Bytes in all of them; they do not overlap.
pub fn total(list: &[Extent]) -> u64 {
    list.iter().map(|extent| extent.length).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtracting_a_hole_in_the_middle_leaves_both_sides() {
        let left = subtract(&[Extent::new(0, 100)], &[Extent::new(10, 20), Extent::new(90, 50)]);
        assert_eq!(left, [Extent::between(0, 10), Extent::between(30, 90)]);
    }

    #[test]
    fn merging_joins_what_touches_or_overlaps() {
        let list =
            merged(vec![Extent::new(20, 10), Extent::new(0, 20), Extent::new(40, 1), Extent::new(5, 3)]);
        assert_eq!(list, [Extent::new(0, 30), Extent::new(40, 1)]);
    }

    #[test]
    fn a_list_covers_a_range_only_without_a_gap() {
        let list = [Extent::new(0, 10), Extent::new(10, 10), Extent::new(21, 10)];
        assert!(covers(&list, Extent::new(3, 17)));
        assert!(!covers(&list, Extent::new(3, 20)));
    }
}
