//! What a release gives to the allocator, page for page.

use super::{Area, down, up};
use vmcore::{PhysAddr, Range, RangeSet};

/// The pages that the kernel would free: memory above boot memory without the dump area and the firmware's
/// `reserved-ranges`. A range between two of those begins at the page in which the one before it ends, and ends at the
/// page in which the next one begins (`fadump_release_memory`, `fadump_release_reserved_area`: both ends are rounded
/// down), so the last page of what is kept is freed where it ends inside a page.
///
/// Where the page size is not known, what any of the possible ones would free.
pub(super) fn freed(
    area: &Area,
    memory: &RangeSet<PhysAddr>,
    firmware: &RangeSet<PhysAddr>,
) -> RangeSet<PhysAddr> {
    let mut kept = firmware.clone();
    kept.insert(area.kept);
    let mut out = RangeSet::default();
    for page in area.pages.iter().map(|p| p.bytes()) {
        let pages = |start, end| Range::new(PhysAddr(start), PhysAddr(end));
        let memory: RangeSet<PhysAddr> =
            memory.iter().map(|r| pages(up(r.start.0, page), down(r.end.0, page))).collect();
        let mut start = area.boot_end.0;
        for hole in kept.iter().chain([Range::new(PhysAddr(u64::MAX), PhysAddr(u64::MAX))]) {
            let gap = pages(down(start, page), down(hole.start.0, page));
            memory.within(gap).for_each(|range| out.insert(range));
            start = start.max(hole.end.0);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vmcore::PageSize;

    fn range(start: u64, end: u64) -> Range<PhysAddr> {
        Range::new(PhysAddr(start), PhysAddr(end))
    }

    fn set(ranges: &[(u64, u64)]) -> RangeSet<PhysAddr> {
        ranges.iter().map(|&(a, b)| range(a, b)).collect()
    }

    fn area(boot_end: u64, start: u64, end: u64, pages: &[PageSize]) -> Area {
        Area { boot_end: PhysAddr(boot_end), kept: range(start, end), parameters: None, pages: pages.into() }
    }

    #[test]
    fn the_page_in_which_the_dump_area_ends_is_freed() {
        let area = area(0x1400_0000, 0x1400_0000, 0x2801_01b0, &[PageSize::K64]);
        let freed = freed(&area, &set(&[(0, 0x4000_0000)]), &set(&[]));
        assert_eq!(freed, set(&[(0x2801_0000, 0x4000_0000)]));
    }

    #[test]
    fn an_area_of_whole_pages_is_kept_whole() {
        let area = area(0x1400_0000, 0x1400_0000, 0x2802_0000, &[PageSize::K64]);
        let freed = freed(&area, &set(&[(0, 0x4000_0000)]), &set(&[]));
        assert_eq!(freed, set(&[(0x2802_0000, 0x4000_0000)]));
    }

    #[test]
    fn the_firmwares_ranges_are_kept_but_for_a_last_part_of_a_page() {
        let area = area(0x100_0000, 0x200_0000, 0x300_0000, &[PageSize::K4]);
        let memory = set(&[(0, 0x500_0000), (0x600_0000, 0x700_0800)]);
        let freed = freed(&area, &memory, &set(&[(0x400_0800, 0x410_0800), (0x900_0000, 0x901_0000)]));
        let expected = [
            (0x100_0000, 0x200_0000),
            (0x300_0000, 0x400_0000),
            (0x410_0000, 0x500_0000),
            (0x600_0000, 0x700_0000),
        ];
        assert_eq!(freed, set(&expected));
    }

    #[test]
    fn without_a_page_size_what_any_would_free_counts() {
        let area = area(0x1400_0000, 0x1400_0000, 0x2801_11b0, &[PageSize::K4, PageSize::K64]);
        let freed = freed(&area, &set(&[(0, 0x4000_0000)]), &set(&[]));
        assert_eq!(freed, set(&[(0x2801_0000, 0x4000_0000)]));
    }

    /// The kernel's loop as it is written, over single pages.
    fn by_the_kernel(area: &Area, memory: &RangeSet<PhysAddr>, firmware: &[(u64, u64)]) -> Vec<u64> {
        let page = area.pages[0].bytes();
        let mut kept = firmware.to_vec();
        kept.push((area.kept.start.0, area.kept.end.0));
        kept.sort_unstable();
        let end = memory.end().unwrap().0;
        let (mut start, mut parts) = (area.boot_end.0, Vec::new());
        for (from, to) in kept {
            if start >= to {
                continue;
            }
            if start < from {
                parts.push((start, from));
            }
            start = to;
        }
        if start < end {
            parts.push((start, end));
        }
        let is_memory =
            |pfn: u64| memory.iter().any(|r| r.start.0 <= pfn * page && (pfn + 1) * page <= r.end.0);
        let frames = |(a, b): (u64, u64)| (a / page..b / page).filter(|&pfn| is_memory(pfn));
        let mut frames: Vec<u64> = parts.into_iter().flat_map(frames).collect();
        frames.sort_unstable();
        frames.dedup();
        frames
    }

    proptest! {
        #[test]
        fn what_is_freed_is_what_the_kernels_loop_frees(
            boot in 0u64..40,
            start in 0u64..100,
            len in 1u64..0x10_0000,
            firmware in prop::collection::vec((0u64..0x30_0000, 1u64..0x3_0000), 0..4),
            memory in prop::collection::vec((0u64..80, 1u64..60), 1..4),
        ) {
            let page = 0x1_0000;
            let memory = memory.iter().map(|&(a, n)| range(a * page, (a + n) * page)).collect();
            let firmware: Vec<(u64, u64)> = firmware.iter().map(|&(a, n)| (a, a + n)).collect();
            let area = area(boot * page, start * page, start * page + len, &[PageSize::K64]);
            let expected = by_the_kernel(&area, &memory, &firmware);
            let freed = freed(&area, &memory, &set(&firmware));
            let frames: Vec<u64> = freed.iter().flat_map(|r| r.start.0 / page..r.end.0 / page).collect();
            prop_assert_eq!(frames, expected);
        }
    }
}
