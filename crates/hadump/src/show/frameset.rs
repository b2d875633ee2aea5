//! A set of frames, reported as its first ranges.

use serde::Serialize;
use vmcore::{Pfn, Range};

/// How many ranges are kept.
const REPORTED: usize = 1024;
/// How many of them are printed for people.
const SHOWN: usize = 8;

/// Frames in ascending order, with their first ranges. Field names are those of the JSON output.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Frameset {
    pub(crate) pages: u64,
    /// First and last frame of each range.
    ranges: Vec<[u64; 2]>,
    /// Whether `ranges` lacks some.
    more: bool,
}

impl Frameset {
    /// Adds frames that are above all others.
    pub(crate) fn push(&mut self, frames: Range<Pfn>) {
        self.pages += frames.len();
        let room = self.ranges.len() < REPORTED;
        match self.ranges.last_mut() {
            Some([_, last]) if *last + 1 == frames.start.0 && !self.more => *last = frames.end.0 - 1,
            _ if room => self.ranges.push([frames.start.0, frames.end.0 - 1]),
            _ => self.more = true,
        }
    }

    /// How many frames, and where the first of them are.
    pub(crate) fn text(&self) -> String {
        let range = |[first, last]: &[u64; 2]| match last - first {
            0 => format!("{first:#x}"),
            _ => format!("{first:#x}-{last:#x}"),
        };
        let mut ranges: Vec<String> = self.ranges.iter().take(SHOWN).map(range).collect();
        if self.more || self.ranges.len() > SHOWN {
            ranges.push("...".into());
        }
        let frames = if ranges.is_empty() { String::new() } else { format!(": frames {}", ranges.join(" ")) };
        format!("{} pages{frames}", self.pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_one_range_and_only_the_first_ranges_are_kept() {
        let mut set = Frameset::default();
        set.push(Range::new(Pfn(1), Pfn(3)));
        set.push(Range::new(Pfn(3), Pfn(4)));
        set.push(Range::new(Pfn(9), Pfn(10)));
        assert_eq!(set.text(), "4 pages: frames 0x1-0x3 0x9");
        for pfn in 0..2 * REPORTED as u64 {
            set.push(Range::new(Pfn(100 + 2 * pfn), Pfn(101 + 2 * pfn)));
        }
        assert_eq!((set.pages, set.ranges.len(), set.more), (4 + 2 * REPORTED as u64, REPORTED, true));
        assert!(set.text().ends_with("..."));
    }
}
