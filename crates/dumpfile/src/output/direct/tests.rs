use super::disk::Disk;
use super::spread::PIECE;
use super::*;
use crate::output::{OutputFile, Sink};
use proptest::prelude::*;

/// A directory beside the test program: that of temporary files may be a tmpfs.
fn directory() -> tempfile::TempDir {
    let program = std::env::current_exe().unwrap();
    tempfile::tempdir_in(program.parent().unwrap()).unwrap()
}

fn noise(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 31 + seed * 7 + i / 251) % 255 + 1) as u8).collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// Appends after a gap, in parts.
    Append {
        gap: usize,
        len: usize,
        parts: usize,
    },
    /// Writes before the appended bytes, or over the last ones.
    Write {
        back: usize,
        len: usize,
    },
    /// Cuts the file off before its end.
    Cut {
        back: usize,
    },
    Sync,
}

fn step() -> impl Strategy<Value = Step> {
    let append = |gap, len| (gap, len, 1usize..4);
    prop_oneof![
        4 => append(0usize..1, 0..3 * LEAST).prop_map(|(gap, len, parts)| Step::Append { gap, len, parts }),
        1 => append(0usize..9000, LEAST..PIECE * 5).prop_map(|(gap, len, parts)| Step::Append { gap, len, parts }),
        1 => (0usize..20_000, 0usize..6000).prop_map(|(back, len)| Step::Write { back, len: len.min(back) }),
        1 => (0usize..9000).prop_map(|back| Step::Cut { back }),
        1 => Just(Step::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_file_holds_what_was_written_to_it_in_either_way_and_nothing_behind(
        steps in prop::collection::vec(step(), 1..12),
        start in 0usize..9000,
        writers in 1usize..5,
    ) {
        let directory = directory();
        let mut out = OutputFile::create(&directory.path().join("vmcore"), false).unwrap();
        if let Some(direct) = &mut out.direct {
            direct.stage().writers = writers;
        }
        let mut expected = noise(start, 1);
        out.write_at(0, &expected).unwrap();
        for (n, step) in steps.iter().enumerate() {
            match *step {
                Step::Append { gap, len, parts } => {
                    let bytes = noise(len, n);
                    let at = expected.len() + if len > 0 { gap } else { 0 };
                    let pieces = bytes.chunks(len.div_ceil(parts).max(1));
                    out.append_at(at as u64, &pieces.map(IoSlice::new).collect::<Vec<_>>()).unwrap();
                    expected.resize(at, 0);
                    expected.extend(bytes);
                }
                Step::Write { back, len } => {
                    let at = expected.len().saturating_sub(back);
                    let bytes = noise(len.min(expected.len() - at), n);
                    out.write_at(at as u64, &bytes).unwrap();
                    expected[at..at + bytes.len()].copy_from_slice(&bytes);
                }
                Step::Cut { back } => {
                    expected.truncate(expected.len().saturating_sub(back));
                    prop_assert!(out.cut_off(expected.len() as u64));
                }
                Step::Sync => out.sync().unwrap(),
            }
        }
        let written = std::fs::read(out.commit().unwrap()).unwrap();
        prop_assert_eq!(written.len(), expected.len());
        prop_assert!(written == expected);
    }
}

#[test]
fn what_the_system_refuses_is_written_in_the_usual_way() {
    let directory = directory();
    let path = directory.path().join("vmcore");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    // A file that cannot be written to stands for a file system that takes no such writes.
    let stage = Mutex::new(Stage::new(3));
    let direct = Direct { file: File::open(&path).unwrap(), has_length: true, stage };
    let bytes = noise(PIECE + 5000, 3);
    assert!(direct.append(&file, &path, 10, &[IoSlice::new(&bytes)]).unwrap());
    assert!(!direct.append(&file, &path, 10, &[IoSlice::new(&bytes)]).unwrap());
    let mut written = std::fs::read(&path).unwrap();
    let behind = written.split_off(10 + bytes.len());
    assert!(written[..10] == [0; 10] && written[10..] == bytes);
    assert!(behind.len() < BLOCK && behind.iter().all(|&byte| byte == 0));
}

#[test]
fn an_unfinished_file_has_every_byte_that_was_appended() {
    let directory = directory();
    let target = directory.path().join("vmcore");
    let out = OutputFile::create_resumable(&target, false).unwrap();
    let bytes = noise(3 * LEAST + 77, 5);
    out.append_at(100, &[IoSlice::new(&bytes)]).unwrap();
    let unfinished = std::fs::read(OutputFile::incomplete_name(&target).unwrap()).unwrap();
    assert!(unfinished[100..100 + bytes.len()] == bytes);
    assert!(unfinished.len() - 100 - bytes.len() < BLOCK);
}

#[test]
fn one_thread_writes_where_there_are_few_processors() {
    assert_eq!([1, 2, 4, 7, 8, 16, 64, 1000].map(writers), [1, 1, 1, 1, 2, 4, 8, 8]);
}

/// Appends, each with a gap before it.
fn appends() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let gap = prop_oneof![3 => Just(0), 1 => 0..9000usize];
    prop::collection::vec((gap, 70_000..5 * PIECE), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn several_writers_leave_the_bytes_of_one_whatever_the_disk_does(
        appends in appends(), writers in 2usize..6, seed in any::<u64>(), refuse in 0u64..4,
    ) {
        let mut disk = Disk::new(seed);
        disk.refuse = refuse * 20;
        let mut stage = Stage::new(writers);
        let mut expected = Vec::new();
        for (n, (gap, len)) in appends.into_iter().enumerate() {
            let bytes = noise(len, n);
            expected.resize(expected.len() + gap, 0);
            let parts: Vec<IoSlice<'_>> = bytes.chunks(len / 3 + n).map(IoSlice::new).collect();
            let offset = expected.len() as u64;
            if !stage.append(&disk, offset, &parts).unwrap() {
                disk.put(&bytes, offset).unwrap();
            }
            prop_assert_eq!(disk.under_way(), 0);
            expected.extend(bytes);
            let mut written = disk.bytes().clone();
            prop_assert!(written.len() - expected.len() < BLOCK);
            prop_assert!(written.split_off(expected.len()).iter().all(|&byte| byte == 0));
            prop_assert!(written == expected);
        }
    }

    #[test]
    fn where_a_piece_is_refused_what_was_there_before_stays_and_nothing_else(
        first in 70_000..2 * PIECE, second in 2 * PIECE..6 * PIECE, writers in 2usize..6, seed in any::<u64>(),
        broken in prop::collection::hash_set(0u64..1000, 1..3),
    ) {
        let mut disk = Disk::new(seed);
        let mut stage = Stage::new(writers);
        let bytes = noise(first, 1);
        prop_assert!(stage.append(&disk, 0, &[IoSlice::new(&bytes)]).unwrap());
        let blocks = ((second + first % BLOCK) / BLOCK) as u64;
        disk.broken = broken.iter().map(|n| (first / BLOCK) as u64 + 1 + n % (blocks - 1)).collect();
        let more = noise(second, 2);
        let error = stage.append(&disk, first as u64, &[IoSlice::new(&more)]).unwrap_err();
        prop_assert_eq!(disk.under_way(), 0);
        prop_assert!(matches!(error, Error::Write { .. }), "{}", error);
        prop_assert!(disk.bytes()[..first] == bytes);
        prop_assert_eq!(disk.bytes().len(), first.next_multiple_of(BLOCK));
        // From then on all is written in the usual way.
        prop_assert!(!stage.append(&disk, first as u64, &[IoSlice::new(&more)]).unwrap());
    }
}
