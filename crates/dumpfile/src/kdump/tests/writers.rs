//! Several threads that write: the bytes are those of one, and a checkpoint covers what is written.

use super::*;
use crate::kdump::{Checkpoint, Writer};
use crate::output::{OnDisk, Sink};
use proptest::prelude::*;

/// Enough for several pieces a batch that do not shrink, after pages of all kinds.
fn contents() -> Vec<(u64, Content)> {
    let content = |pfn: u64| match pfn % 31 {
        0 => Content::Zeros,
        1 | 2 => Content::Text(pfn as u8),
        _ => Content::Noise(pfn as u8),
    };
    (0..3000).map(|pfn| (pfn, content(pfn))).collect()
}

/// Some of the pages: those from one thousand to the next.
fn thousand(whole: &Selection, n: u64) -> Selection {
    let mut chunk = Chunk::of_map(whole.map(), 0);
    chunk.set(0, n * 1000, false);
    chunk.set((n + 1) * 1000, CHUNK_FRAMES, false);
    let mut some = Selection::new(whole.map().clone(), whole.level(), None);
    some.push(0, chunk, &ReasonCounts::default()).unwrap();
    some
}

/// A checkpoint, and what was durable when it was made.
type Covered = (Checkpoint, Vec<u8>);

/// Writes the pages in three parts, with a checkpoint after each; returns the checkpoints with what was durable then, and
/// whether all was written.
fn in_parts(input: &Dump, method: Option<Method>, out: &OnDisk) -> (Vec<Covered>, Result<(), crate::Error>) {
    let whole = without(input, &[]);
    let options = Options { method: Choice::One(method), checksums: true, ..Options::default() };
    let facts = facts(input.machine);
    let mut writer = Writer::begin(input, &whole, &facts, &options, out).unwrap();
    let mut checkpoints = Vec::new();
    let mut result = Ok(());
    for part in 0..3 {
        if result.is_ok() {
            result = writer.write(&thousand(&whole, part), &Progress::default());
        }
        checkpoints.push((writer.checkpoint().unwrap(), out.durable()));
    }
    writer.finish().unwrap();
    out.sync().unwrap();
    (checkpoints, result)
}

/// The bytes of the file with one writer and a disk with room for everything.
fn plain(input: &Dump, method: Option<Method>) -> Vec<u8> {
    let out = OnDisk::new(1, 0, u64::MAX);
    in_parts(input, method, &out).1.unwrap();
    out.durable()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn several_writers_make_the_file_of_one_and_checkpoints_cover_what_is_written(
        writers in 2usize..6, seed in any::<u64>(), packed in any::<bool>(),
    ) {
        let input = dump(machine("x86_64"), PageSize::K4, &contents());
        let method = packed.then_some(Method::Zlib);
        let expected = plain(&input, method);
        let out = OnDisk::new(writers, seed, u64::MAX);
        let (checkpoints, written) = in_parts(&input, method, &out);
        written.unwrap();
        let bytes = out.durable();
        prop_assert!(bytes == expected);
        let mut begin = checkpoints[0].1.len().min(1 << 20);
        for (checkpoint, durable) in checkpoints {
            let end = checkpoint.next_offset as usize;
            prop_assert!(durable[begin.min(end)..end] == bytes[begin.min(end)..end]);
            begin = end;
        }
    }

    #[test]
    fn of_a_full_disk_every_page_is_whole_or_lost_and_those_before_it_was_full_are_there(
        writers in 2usize..6, seed in any::<u64>(), room in (1u64 << 20)..(11 << 20),
    ) {
        let contents = contents();
        let input = dump(machine("x86_64"), PageSize::K4, &contents);
        let out = OnDisk::new(writers, seed, room);
        let (checkpoints, written) = in_parts(&input, None, &out);
        prop_assert!(written.is_err());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmcore");
        for (checkpoint, durable) in checkpoints {
            std::fs::write(&path, &durable).unwrap();
            let output = open(&path).unwrap();
            let mut whole = 0;
            for &(pfn, content) in &contents {
                match page_of(&output, pfn) {
                    (PageState::Lost, _) => {}
                    (state, bytes) => {
                        prop_assert_eq!(state, content.stored());
                        prop_assert!(bytes == content.page(4096).1, "page {}", pfn);
                        whole += 1;
                    }
                }
            }
            prop_assert_eq!(whole, checkpoint.written.data_pages + checkpoint.written.zero_pages);
            prop_assert!(checkpoint.next_offset <= room);
        }
    }
}
