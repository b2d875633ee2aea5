//! Where a dump is cut into the parts of a split set.
//!
//! Each part is a kdump-compressed file of its own ([`kdump::Options::part`](crate::kdump::Options::part)) with the
//! headers and bitmaps of the whole dump, the pages of its own frames, and room for the descriptors of all. Where the
//! cuts are depends on the selection alone, so any machine that has the dump can make any one part, and all parts fit.
//!
//! The main headers of all parts must be the same byte for byte, or crash and makedumpfile take them for parts of
//! different dumps. That holds for the mark of an incomplete dump too: who writes all parts marks all of them as soon as
//! one lacks pages ([`Writer::finish_in_set`](crate::kdump::Writer::finish_in_set)). Parts made apart from each other know
//! nothing of each other; one that lacks pages is marked alone, and the set is then refused until it has been joined,
//! which is better than a mark that is missing.

use crate::Error;
use vmcore::{Pfn, Range, Selection};

/// How a dump is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Into this many parts with about the same number of pages each; at least one.
    Count(u16),
    /// Into parts with pages of at most this many bytes each, before compression. No part is less than one block of frames
    /// (see [`plan`]), and where more than 65,535 parts would be needed they are larger.
    Size(u64),
}

/// Cuts are at multiples of this number of frames, where a dump is large enough. crash counts pages in sections of this size.
const BLOCK: u64 = 4096;
/// Where it is not, they are at multiples of this one: crash counts the words of a bitmap from a part's first frame on.
const SMALL_BLOCK: u64 = 64;
/// Fewer blocks than this to a part could not be shared out evenly.
const BLOCKS_PER_PART: u64 = 8;

/// Cuts the frames that `selection` speaks of into parts.
///
/// The parts follow each other without holes from frame 0 to the end of memory. All start at a multiple of 4096 frames, or
/// of 64 where fewer than eight blocks of 4096 frames with pages would fall to a part. With more parts than blocks some have no
/// pages and an empty range.
///
/// # Errors
///
/// When the selection cannot be read.
pub fn plan(selection: &Selection, parts: Parts) -> Result<Vec<Range<Pfn>>, Error> {
    let pages_of = |bytes: u64| bytes / selection.map().page_size().bytes();
    let (count, most) = match parts {
        Parts::Count(count) => (u64::from(count.max(1)), u64::MAX),
        Parts::Size(bytes) => {
            let most = pages_of(bytes).max(selection.kept().div_ceil(u16::MAX.into())).max(1);
            (selection.kept().div_ceil(most), most)
        }
    };
    let mut full = 0;
    blocks(selection, BLOCK, |_, pages| full += u64::from(pages > 0))?;
    let block = if full < count.saturating_mul(BLOCKS_PER_PART) { SMALL_BLOCK } else { BLOCK };
    let cuts = match parts {
        Parts::Count(_) => even_cuts(selection, block, count)?,
        Parts::Size(_) => cuts_by_size(selection, block, most)?,
    };
    let mut start = Pfn(0);
    let ends = cuts.into_iter().chain([selection.map().max_pfn()]);
    Ok(ends.map(|end| Range::new(std::mem::replace(&mut start, end), end)).collect())
}

/// The borders between `count` parts with about as many pages each.
fn even_cuts(selection: &Selection, block: u64, count: u64) -> Result<Vec<Pfn>, Error> {
    let target = |part: usize| (selection.kept() as u128 * part as u128 / u128::from(count)) as u64;
    let mut cuts: Vec<Pfn> = Vec::new();
    // The block before, and the pages before each.
    let mut last = (Pfn(0), 0);
    let mut before = 0;
    blocks(selection, block, |start, pages| {
        while (cuts.len() as u64) < count - 1 && before > 0 && before >= target(cuts.len() + 1) {
            let (target, used) = (target(cuts.len() + 1), cuts.last().copied().unwrap_or_default());
            // The nearer of two borders, but rather too many pages than none.
            let earlier = last.0 > used && target.saturating_sub(last.1) < before - target;
            cuts.push(if earlier { last.0 } else { start });
        }
        last = (start, before);
        before += pages;
    })?;
    // What is left has no block of its own.
    cuts.resize(count as usize - 1, last.0.max(cuts.last().copied().unwrap_or_default()));
    Ok(cuts)
}

/// The borders between parts with at most `most` pages each.
fn cuts_by_size(selection: &Selection, block: u64, most: u64) -> Result<Vec<Pfn>, Error> {
    let mut cuts = Vec::new();
    let mut held = 0;
    blocks(selection, block, |start, pages| {
        if held > 0 && pages > 0 && held + pages > most {
            cuts.push(start);
            held = 0;
        }
        held += pages;
    })?;
    Ok(cuts)
}

/// Goes over the blocks of `block` frames in which memory may exist, with the first frame and the kept pages of each.
fn blocks(selection: &Selection, block: u64, mut visit: impl FnMut(Pfn, u64)) -> Result<(), Error> {
    let words = (block / 64) as usize;
    for position in 0..selection.chunk_count() {
        let (first, chunk) = selection.chunk(position)?;
        for (n, words) in chunk.words().chunks(words).enumerate() {
            let start = Pfn(first.0 + n as u64 * block);
            if start < selection.map().max_pfn() {
                visit(start, words.iter().map(|word| u64::from(word.count_ones())).sum());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vmcore::{CHUNK_FRAMES, Chunk, DumpLevel, MemoryMap, PageSize, ReasonCounts};

    /// A selection of these frames out of memory of the same frames, of which some are left out.
    fn selection(frames: &[(u64, u64)], out: &[(u64, u64)]) -> Selection {
        let page = PageSize::K4;
        let range =
            |&(start, len): &(u64, u64)| Range::new(page.addr(Pfn(start)), page.addr(Pfn(start + len)));
        let map = MemoryMap::new(page, frames.iter().map(range).collect());
        let mut selection = Selection::new(map, DumpLevel::ALL, None);
        for index in selection.chunk_indices() {
            let mut chunk = Chunk::of_map(selection.map(), index);
            let first = index * CHUNK_FRAMES;
            for &(start, len) in out {
                let cut = |pfn: u64| pfn.clamp(first, first + CHUNK_FRAMES) - first;
                chunk.remove(cut(start), cut(start + len));
            }
            selection.push(index, chunk, &ReasonCounts::default()).unwrap();
        }
        selection
    }

    fn pages(selection: &Selection, part: Range<Pfn>) -> u64 {
        let mut count = 0;
        for position in 0..selection.chunk_count() {
            let (first, chunk) = selection.chunk(position).unwrap();
            let all = Range::new(first, Pfn(first.0 + CHUNK_FRAMES));
            let some = all.intersect(&part);
            count +=
                chunk.count_within(some.start.0.max(first.0) - first.0, some.end.0.max(first.0) - first.0);
        }
        count
    }

    fn check_tiles(selection: &Selection, parts: &[Range<Pfn>]) {
        assert_eq!(parts[0].start, Pfn(0));
        assert_eq!(parts.last().unwrap().end, selection.map().max_pfn());
        assert!(parts.windows(2).all(|two| two[0].end == two[1].start));
        assert!(parts.iter().all(|part| part.start.0.is_multiple_of(SMALL_BLOCK)), "{parts:?}");
        assert_eq!(parts.iter().map(|&part| pages(selection, part)).sum::<u64>(), selection.kept());
    }

    fn any_ranges(max: u64) -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0..3 * CHUNK_FRAMES, 1..max), 0..6)
    }

    proptest! {
        #[test]
        fn parts_tile_memory_and_are_balanced(
            frames in any_ranges(200_000), out in any_ranges(100_000), count in 1u16..12, far: bool,
        ) {
            let mut frames = frames;
            if far {
                frames.push((1 << 36, 70_000));
            }
            let selection = selection(&frames, &out);
            let parts = plan(&selection, Parts::Count(count)).unwrap();
            prop_assert_eq!(parts.len(), usize::from(count));
            check_tiles(&selection, &parts);
            prop_assert_eq!(&plan(&selection, Parts::Count(count)).unwrap(), &parts);
            let block = if parts.iter().all(|part| part.start.0.is_multiple_of(BLOCK)) { BLOCK } else { SMALL_BLOCK };
            for part in parts {
                let fair = selection.kept() / u64::from(count);
                prop_assert!(pages(&selection, part).abs_diff(fair) <= 2 * block, "{:?}, fair is {}", part, fair);
            }
        }

        #[test]
        fn parts_of_a_size_hold_no_more(frames in any_ranges(100_000), out in any_ranges(50_000), size in 0u64..100_000) {
            let selection = selection(&frames, &out);
            let parts = plan(&selection, Parts::Size(size * 4096)).unwrap();
            check_tiles(&selection, &parts);
            for part in &parts {
                let pages = pages(&selection, *part);
                prop_assert!(pages <= size.max(BLOCK), "{} pages in {:?}", pages, part);
                prop_assert!(pages > 0 || selection.kept() == 0);
            }
            // Not many more than it takes.
            let fewest = selection.kept().div_ceil(size.max(1));
            if size > 2 * BLOCK {
                prop_assert!(parts.len() as u64 <= 2 * fewest + 1, "{} parts, {} would do", parts.len(), fewest);
            }
        }
    }

    #[test]
    fn a_large_dump_is_cut_at_sections_and_a_small_one_at_words() {
        let large = selection(&[(0, 4 * CHUNK_FRAMES)], &[]);
        let parts = plan(&large, Parts::Count(3)).unwrap();
        assert!(parts.iter().all(|part| part.start.0.is_multiple_of(BLOCK)));
        let small = selection(&[(0, 1000), (5000, 24)], &[]);
        let parts = plan(&small, Parts::Count(4)).unwrap();
        assert_eq!(parts.iter().map(|&part| pages(&small, part)).collect::<Vec<_>>(), [256, 256, 256, 256]);
    }

    #[test]
    fn more_parts_than_blocks_leave_some_empty() {
        let tiny = selection(&[(10, 3)], &[]);
        let parts = plan(&tiny, Parts::Count(4)).unwrap();
        check_tiles(&tiny, &parts);
        assert_eq!(parts.len(), 4);
        let none = selection(&[], &[]);
        assert_eq!(plan(&none, Parts::Count(2)).unwrap(), [Range::new(Pfn(0), Pfn(0)); 2]);
        assert_eq!(plan(&none, Parts::Size(0)).unwrap(), [Range::new(Pfn(0), Pfn(0))]);
    }
}
