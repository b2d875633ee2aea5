//! A file read through windows is the file.

use mapped::MappedFile;
use proptest::prelude::*;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// As in the crate.
const WINDOW: u64 = 2 << 20;

/// A file of `len` bytes, of which each word of eight tells where it is.
fn file(len: u64) -> File {
    let file = tempfile::tempfile().expect("a file");
    let words: Vec<u8> =
        (0..len.div_ceil(8)).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    file.write_all_at(&words[..len as usize], 0).expect("to write it");
    file
}

/// How many windows of this file are mapped.
fn mapped_windows(file: &File) -> usize {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(" {} ", file.metadata().expect("an inode").ino());
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the process's mappings");
    maps.lines().filter(|line| line.contains(&inode)).count()
}

/// The bytes or the kind of error.
fn outcome(read: io::Result<()>, bytes: Vec<u8>) -> Result<Vec<u8>, io::ErrorKind> {
    read.map(|()| bytes).map_err(|error| error.kind())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_read_gives_what_a_read_of_the_file_gives(
        len in prop_oneof![0..20_000u64, WINDOW - 9000..WINDOW + 9000, 3 * WINDOW - 9000..3 * WINDOW + 9000],
        reads in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![0..9000usize, 0..3_000_000usize]), 1..40),
    ) {
        let file = file(len);
        let mapped = MappedFile::new(file.try_clone().unwrap(), len);
        for (at, count) in reads {
            // Some begin past the end, many reach past it.
            let offset = at.index(len as usize + 5000) as u64;
            let (mut got, mut expected) = (vec![1; count], vec![1; count]);
            let got = outcome(mapped.read_exact_at(&mut got, offset), got);
            let expected = outcome(file.read_exact_at(&mut expected, offset), expected);
            prop_assert!(got == expected, "{count} bytes at {offset}: {:?} {:?}", got.err(), expected.err());
        }
    }
}

#[test]
fn a_page_that_stands_alone_is_read_and_more_of_a_window_are_mapped() {
    let len = 4 * WINDOW;
    let mapped = MappedFile::new(file(len), len);
    let mut page = [0; 4096];
    for window in 0..4 {
        mapped.read_exact_at(&mut page, window * WINDOW).unwrap();
    }
    assert_eq!(mapped_windows(mapped.file()), 0);
    for n in 0..16 {
        mapped.read_exact_at(&mut page, 3 * WINDOW + n * 8192).unwrap();
    }
    assert_eq!(mapped_windows(mapped.file()), 1);
}

#[test]
fn threads_read_the_same_and_few_windows_stay() {
    let (len, windows) = (200 * WINDOW, 200);
    let file = tempfile::tempfile().unwrap();
    file.set_len(len).unwrap();
    for n in 0..windows {
        file.write_all_at(&[n as u8; 40_000], n * WINDOW + 100).unwrap();
    }
    let mapped = MappedFile::new(file.try_clone().unwrap(), len);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let mapped = &mapped;
            scope.spawn(move || {
                let mut bytes = vec![0; 40_000];
                for n in 0..windows {
                    let n = (n + thread * 25) % windows;
                    mapped.read_exact_at(&mut bytes, n * WINDOW + 100).unwrap();
                    assert!(bytes.iter().all(|byte| *byte == n as u8));
                }
            });
        }
    });
    let processors = std::thread::available_parallelism().unwrap().get();
    let kept = mapped_windows(&file);
    assert!((1..=2 * processors + 16 + 3).contains(&kept), "{kept}");
    drop(mapped);
    assert_eq!(mapped_windows(&file), 0);
}

/// The kernel maps no file of procfs but `/proc/vmcore`; before 3.11 not even that.
#[test]
fn a_file_that_the_kernel_does_not_map_is_read() {
    let file = File::open("/proc/self/auxv").unwrap();
    let mut expected = vec![0; 64];
    file.read_exact_at(&mut expected, 0).unwrap();
    let mapped = MappedFile::new(file, 1 << 20);
    for _ in 0..20 {
        let mut bytes = vec![0; 64];
        mapped.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, expected);
    }
}
