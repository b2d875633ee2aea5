//! Memory for the synthetic kernel's own structures.

use crate::error::{ModelError, Result};
use crate::extent::Extent;

/// Hands out memory from the lowest RAM above the kernel image, around what must be avoided.
///
/// All that it spans counts as kernel pages, handed out or not.
#[derive(Clone, Debug)]
pub struct Pool {
    extents: Vec<Extent>,
    page_size: u64,
    at: usize,
    next: u64,
}

impl Pool {
    /// Sets aside `wanted` bytes of `room`, in pages of `page_size`; the largest structure has `unit` bytes.
    pub(crate) fn new(room: &[Extent], page_size: u64, wanted: u64, unit: u64) -> Self {
        let grain = page_size.max(0x1_0000);
        let mut extents = Vec::new();
        let mut have = 0;
        for extent in room {
            let start = extent.start.next_multiple_of(grain);
            let end = extent.end() / page_size * page_size;
            if have >= wanted {
                break;
            }
            if end < start + 2 * unit {
                continue;
            }
            let take = (wanted - have + unit).next_multiple_of(page_size).min(end - start);
            extents.push(Extent::new(start, take));
            // Aligning a unit, and ending inside one, cost up to a unit in each range.
            have += take - unit;
        }
        let next = extents.first().map_or(0, |extent| extent.start);
        Self { extents, page_size, at: 0, next }
    }

    /// `size` bytes at a multiple of `align`.
    pub(crate) fn take(&mut self, size: u64, align: u64) -> Result<u64> {
        while let Some(extent) = self.extents.get(self.at) {
            let start = self.next.next_multiple_of(align);
            if start + size <= extent.end() {
                self.next = start + size;
                return Ok(start);
            }
            self.at += 1;
            self.next = self.extents.get(self.at).map_or(0, |extent| extent.start);
        }
        Err(ModelError::Options { what: "ram", found: size, expected: "room for the kernel's structures" })
    }

    /// The frames of the image and of the pool: first frame and number of frames, in ascending order.
    pub(crate) fn frames(&self, image: Extent) -> Vec<(u64, u64)> {
        let all = [&[image], &self.extents[..]].concat();
        all.iter().map(|extent| (extent.start / self.page_size, extent.length / self.page_size)).collect()
    }
}
