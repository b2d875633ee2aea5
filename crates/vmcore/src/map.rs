//! Where a machine has memory.

use crate::{PageSize, Pfn, PhysAddr, Range, RangeSet};

/// Where the machine has memory, in bytes.
///
/// Ranges need not begin or end at a frame's border: firmware and `/proc/vmcore` cut frames in two. Such a frame
/// exists, and its missing bytes read as zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryMap {
    page_size: PageSize,
    bytes: RangeSet<PhysAddr>,
    frames: RangeSet<Pfn>,
}

impl MemoryMap {
    /// The map of memory at `bytes`.
    pub fn new(page_size: PageSize, bytes: RangeSet<PhysAddr>) -> Self {
        let frame = |r: Range<PhysAddr>| {
            Range::new(page_size.pfn(r.start), Pfn(page_size.pfn(PhysAddr(r.end.0 - 1)).0 + 1))
        };
        let frames = bytes.iter().map(frame).collect();
        Self { page_size, bytes, frames }
    }

    /// The page size that frames are counted in.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The bytes that exist.
    pub fn bytes(&self) -> &RangeSet<PhysAddr> {
        &self.bytes
    }

    /// The frames of which at least one byte exists.
    pub fn frames(&self) -> &RangeSet<Pfn> {
        &self.frames
    }

    /// The first frame number past all memory.
    pub fn max_pfn(&self) -> Pfn {
        self.frames.end().unwrap_or_default()
    }

    /// How many frames exist only in part.
    pub fn partial_frames(&self) -> u64 {
        let page = self.page_size;
        let mut partial: Vec<Pfn> = self
            .bytes
            .iter()
            .flat_map(|r| [r.start, r.end])
            .filter(|edge| page.offset(edge.0) != 0)
            .map(|edge| page.pfn(edge))
            .collect();
        // Two ranges may end and begin inside one frame.
        partial.sort_unstable();
        partial.dedup();
        partial.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(ranges: &[(u64, u64)]) -> MemoryMap {
        let bytes = ranges.iter().map(|&(s, e)| Range::new(PhysAddr(s), PhysAddr(e))).collect();
        MemoryMap::new(PageSize::K4, bytes)
    }

    #[test]
    fn a_frame_that_is_partly_there_exists() {
        let map = map(&[(0, 0x2800), (0x5100, 0x6000)]);
        assert_eq!(
            map.frames().iter().collect::<Vec<_>>(),
            [Range::new(Pfn(0), Pfn(3)), Range::new(Pfn(5), Pfn(6))]
        );
        assert_eq!(map.partial_frames(), 2);
        assert_eq!(map.max_pfn(), Pfn(6));
    }

    #[test]
    fn two_ranges_inside_one_frame_are_one_partial_frame() {
        assert_eq!(map(&[(0x1000, 0x1100), (0x1200, 0x1300)]).partial_frames(), 1);
    }
}
