//! What a filter must come to.

use std::collections::BTreeMap;

use crate::extent::Extent;

/// What a page is to a filter that knows what the kernel's VMCOREINFO exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The kernel's own, and whatever cannot be distinguished from it. Never left out.
    Kernel,
    /// In the buddy allocator, or never accepted from the host: level 16.
    Free,
    /// Page cache and shared memory: level 2, and 4.
    Cache,
    /// Page cache with private data: level 4.
    CachePrivate,
    /// Anonymous memory of processes: level 8.
    Anonymous,
    /// Huge pages of hugetlbfs, used or not: level 8.
    Hugetlb,
    /// Broken pages of no other class: left out at every level.
    HwPoison,
    /// Offline pages: left out at every level.
    Offline,
}

/// Why a page is left out, as reports count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Free.
    Free,
    /// Cache.
    Cache,
    /// Cache with private data.
    CachePrivate,
    /// Memory of processes, hugetlb included.
    User,
    /// Broken.
    HwPoison,
    /// Offline.
    Offline,
}

/// Frames of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First frame.
    pub first: u64,
    /// Number of frames.
    pub count: u64,
    /// What they are.
    pub class: Class,
    /// Broken besides.
    pub poisoned: bool,
}

impl Run {
    /// Why these frames are left out at `level`; `None` when they are kept.
    pub fn why(&self, level: u32) -> Option<Why> {
        let by_class = match self.class {
            Class::Kernel => None,
            Class::Free => (level & 16 != 0).then_some(Why::Free),
            Class::Cache => (level & 6 != 0).then_some(Why::Cache),
            Class::CachePrivate => (level & 4 != 0).then_some(Why::CachePrivate),
            Class::Anonymous | Class::Hugetlb => (level & 8 != 0).then_some(Why::User),
            Class::HwPoison => Some(Why::HwPoison),
            Class::Offline => Some(Why::Offline),
        };
        by_class.or(self.poisoned.then_some(Why::HwPoison))
    }
}

/// The frames in a dump, and what each is.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Runs in ascending order, only of frames in the dump.
    pub runs: Vec<Run>,
}

impl Truth {
    /// Sorts the runs, takes out frames that the dump does not have and joins what is alike.
    pub(crate) fn new(mut all: Vec<Run>, absent: &[(u64, u64)]) -> Self {
        all.sort_unstable_by_key(|run| run.first);
        let mut runs: Vec<Run> = Vec::new();
        let mut push = |run: Run| match runs.last_mut() {
            Some(last)
                if last.first + last.count == run.first
                    && (last.class, last.poisoned) == (run.class, run.poisoned) =>
            {
                last.count += run.count;
            }
            _ => runs.push(run),
        };
        for run in all {
            let holes: Vec<Extent> =
                absent.iter().map(|(first, count)| Extent::new(*first, *count)).collect();
            for part in crate::extent::subtract(&[Extent::new(run.first, run.count)], &holes) {
                push(Run { first: part.start, count: part.length, ..run });
            }
        }
        Self { runs }
    }

    /// The run that a frame is in; `None` for frames that are not in the dump.
    pub fn of(&self, frame: u64) -> Option<&Run> {
        let next = self.runs.partition_point(|run| run.first <= frame);
        self.runs[..next].last().filter(|run| frame - run.first < run.count)
    }

    /// The frames in the dump.
    pub fn frames(&self) -> u64 {
        self.runs.iter().map(|run| run.count).sum()
    }

    /// The runs of frames that `level` leaves out, joined: first frame and number.
    pub fn dropped(&self, level: u32) -> Vec<(u64, u64)> {
        let mut out: Vec<(u64, u64)> = Vec::new();
        for run in self.runs.iter().filter(|run| run.why(level).is_some()) {
            match out.last_mut() {
                Some((first, count)) if *first + *count == run.first => *count += run.count,
                _ => out.push((run.first, run.count)),
            }
        }
        out
    }

    /// How many frames `level` leaves out, and why.
    pub fn counts(&self, level: u32) -> BTreeMap<Why, u64> {
        let mut counts = BTreeMap::new();
        for run in &self.runs {
            if let Some(why) = run.why(level) {
                *counts.entry(why).or_default() += run.count;
            }
        }
        counts
    }

    /// Frames of each class.
    pub fn classes(&self) -> BTreeMap<Class, u64> {
        let mut counts = BTreeMap::new();
        for run in &self.runs {
            *counts.entry(run.class).or_default() += run.count;
        }
        counts
    }

    /// The frames kept at `level` as a bitmap: bit `n & 7` of byte `n >> 3` is frame `n`, up to the last in the
    /// dump. For machines whose RAM is not far away.
    pub fn kept_bitmap(&self, level: u32) -> Vec<u8> {
        self.bitmap(|run| run.why(level).is_none())
    }

    /// The frames in the dump, as [`Truth::kept_bitmap`].
    pub fn bitmap_of_all(&self) -> Vec<u8> {
        self.bitmap(|_| true)
    }

    fn bitmap(&self, of: impl Fn(&Run) -> bool) -> Vec<u8> {
        let frames = self.runs.last().map_or(0, |run| run.first + run.count);
        let mut bits = vec![0u8; frames.div_ceil(8) as usize];
        for run in self.runs.iter().filter(|run| of(run)) {
            for frame in run.first..run.first + run.count {
                bits[(frame >> 3) as usize] |= 1 << (frame & 7);
            }
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(class: Class, poisoned: bool) -> u32 {
        let run = Run { first: 0, count: 1, class, poisoned };
        (0..32).filter(|level| run.why(*level).is_none()).fold(0, |set, level| set | 1 << level)
    }

    #[test]
    fn each_class_is_kept_at_the_levels_that_do_not_ask_for_it() {
        let without =
            |bits: u32| (0..32u32).filter(|level| level & bits == 0).fold(0, |set, level| set | 1 << level);
        for (class, bits) in [
            (Class::Kernel, 0),
            (Class::Free, 16),
            (Class::Cache, 2 | 4),
            (Class::CachePrivate, 4),
            (Class::Anonymous, 8),
            (Class::Hugetlb, 8),
        ] {
            assert_eq!(levels(class, false), without(bits), "{class:?}");
            assert_eq!(levels(class, true), 0, "broken {class:?}");
        }
        assert_eq!((levels(Class::HwPoison, false), levels(Class::Offline, false)), (0, 0));
    }

    #[test]
    fn frames_that_are_not_in_the_dump_are_in_no_run() {
        let run = |first, count, class| Run { first, count, class, poisoned: false };
        let all = vec![run(30, 10, Class::Cache), run(0, 20, Class::Free), run(20, 10, Class::Free)];
        let truth = Truth::new(all, &[(10, 5)]);
        assert_eq!(
            truth.runs,
            [run(0, 10, Class::Free), run(15, 15, Class::Free), run(30, 10, Class::Cache)]
        );
        assert_eq!((truth.frames(), truth.dropped(16)), (35, vec![(0, 10), (15, 15)]));
        assert!(truth.of(12).is_none() && truth.of(40).is_none());
        assert_eq!(truth.of(39).map(|run| run.class), Some(Class::Cache));
        assert_eq!(truth.kept_bitmap(16), [0, 0, 0, 0xc0, 0xff]);
    }
}
