//! Files whose batches are compressed as disk and processors have time for.

use super::*;
use crate::codec::Methods;
use crate::kdump::layout::{PAGE_DESC_LEN, PageDesc};
use crate::kdump::{Checkpoint, Unfinished, Writer};
use crate::output::Sink;
use proptest::prelude::*;
use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A disk that is slow for a while, then fast, and slow again.
struct Moody {
    file: OutputFile,
    written: AtomicU64,
}

impl Sink for Moody {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), crate::Error> {
        self.file.write_at(offset, bytes)
    }

    fn append_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), crate::Error> {
        if self.written.fetch_add(1, Ordering::Relaxed) % 60 < 5 {
            std::thread::sleep(Duration::from_millis(30));
        }
        self.file.append_at(offset, parts)
    }

    fn sync(&self) -> Result<(), crate::Error> {
        self.file.sync()
    }
}

fn all() -> Methods {
    Methods::of(any_methods()).unwrap()
}

fn options(methods: Methods) -> Options {
    Options { method: Choice::Auto(methods), checksums: true, ..Options::default() }
}

/// Pages of 64 KiB, so that few of them make many batches.
fn text(count: u64) -> Vec<(u64, Content)> {
    let content = |i: u64| match i % 40 {
        0 => Content::Zeros,
        1 => Content::Noise(i as u8),
        _ => Content::Text(i as u8),
    };
    (0..count).map(|i| (i, content(i))).collect()
}

/// How the pages of the file at `path` are stored, by the flags of their descriptors, without those of zeros.
fn flags(path: &Path, pages: u64) -> Vec<u32> {
    let bytes = std::fs::read(path).unwrap();
    let mut headers = crate::kdump::header::Headers::read(&Input::open(path).unwrap()).unwrap();
    let at = headers.geometry(&Input::open(path).unwrap()).unwrap().descriptors;
    let zeros = at + pages * PAGE_DESC_LEN as u64;
    let table = &bytes[at as usize..][..pages as usize * PAGE_DESC_LEN];
    let descs = table.as_chunks().0.iter().map(|desc| PageDesc::decode(desc, headers.layout.order));
    descs.filter(|desc| desc.offset != zeros).map(|desc| desc.flags).collect()
}

#[test]
fn methods_are_mixed_and_every_page_comes_back() {
    let page = PageSize::new(1 << 16).unwrap();
    let contents = text(2400);
    let input = dump(machine("x86_64"), page, &contents);
    let selection = without(&input, &[]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    let out = Moody { file: OutputFile::create(&path, false).unwrap(), written: AtomicU64::new(0) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let facts = facts(input.machine);
    let methods = Methods::default();
    let write = || write(&input, &selection, &facts, &options(methods), &out, &Progress::default());
    let written = pool.install(write).unwrap();
    out.file.commit().unwrap();

    let flags = flags(&path, 2400);
    let count = |flag: u32| flags.iter().filter(|found| **found == flag).count() as u64;
    for method in Method::ALL {
        assert_eq!(written.compressed_pages[method.index()], count(method.flag()), "{method}");
    }
    assert_eq!(written.raw_pages, count(0));
    let ways = methods.ways().filter(|way| count(way.map_or(0, Method::flag)) > 100).count();
    assert!(ways > 1, "{written:?}");

    let output = open(&path).unwrap();
    assert!(!output.source.incomplete);
    for &(pfn, content) in &contents {
        let (state, bytes) = page_of(&output, pfn);
        assert_eq!((state, bytes), (content.stored(), content.page(page.len()).1), "page {pfn}");
    }
    let check = output.memory.check().unwrap();
    assert!(check.proved && check.problems.is_empty(), "{check:?}");
    assert_eq!(check.stored.values().sum::<u64>(), written.data_pages);
    assert_eq!(check.stored["none"], written.raw_pages);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn what_a_resumed_file_has_is_counted_by_method_and_other_methods_are_refused(
        half in 1u64..600, dedup: bool, threads in 1usize..4,
    ) {
        let contents = text(600);
        let input = dump(machine("ppc64le"), PageSize::new(1 << 16).unwrap(), &contents);
        let first: Vec<u64> = (0..600).filter(|pfn| *pfn >= half).collect();
        let (whole, some) = (without(&input, &[]), without(&input, &first));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmcore");
        let out = OutputFile::create_resumable(&path, false).unwrap();
        let options = Options { dedup, ..options(all()) };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (written, checkpoint): (Written, Checkpoint) = pool.install(|| {
            let mut writer = Writer::begin(&input, &whole, &facts(input.machine), &options, &out).unwrap();
            writer.write(&some, &Progress::default()).unwrap();
            (writer.written(), writer.checkpoint().unwrap())
        });
        drop(out);
        let incomplete = dir.path().join("vmcore-incomplete");
        let unfinished = Unfinished::open(&incomplete, &checkpoint, || Ok(None)).unwrap();
        let found = *unfinished.done();
        prop_assert_eq!(found.compressed_pages, written.compressed_pages);
        prop_assert_eq!(found.raw_pages, written.raw_pages);

        let out = OutputFile::reopen(&path, false).unwrap();
        let other = Options { method: Choice::One(Some(Method::Zstd)), ..options };
        let refused = Writer::resume(&input, &unfinished, &other, &out).err().unwrap().to_string();
        prop_assert!(refused.contains("begun with zlib and "), "{}", refused);
        let written = pool.install(|| {
            let mut writer = Writer::resume(&input, &unfinished, &options, &out).unwrap();
            writer.write(unfinished.remaining(), &Progress::default()).unwrap();
            writer.finish().unwrap()
        });
        out.commit().unwrap();
        prop_assert_eq!(written.compressed_pages.iter().sum::<u64>() + written.raw_pages, written.data_pages);
        let output = open(&path).unwrap();
        prop_assert!(output.memory.check().unwrap().problems.is_empty());
        for &(pfn, content) in &contents {
            prop_assert_eq!(page_of(&output, pfn).0, content.stored());
        }
    }
}

#[test]
fn what_nothing_shrinks_is_stored_as_it_is_whatever_the_disk() {
    let contents: Vec<_> = (0..300).map(|i| (i, Content::Noise(i as u8))).collect();
    let input = dump(machine("x86_64"), PageSize::new(1 << 16).unwrap(), &contents);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    let written = write_with(&path, &input, &without(&input, &[]), options(all()), 2);
    assert_eq!((written.raw_pages, written.data_pages), (300, 300));
}
