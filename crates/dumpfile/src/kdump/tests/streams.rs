//! A dump on its way through a pipe.

use super::*;
use crate::flattened::FlattenedSink;
use proptest::prelude::*;

/// The file that a stream makes, as far as it goes. A piece that did not arrive whole is left out: it might end within a
/// descriptor.
fn unflatten(stream: &[u8]) -> (Vec<u8>, bool) {
    let (mut file, mut at) = (Vec::new(), 4096);
    let number = |at: usize| i64::from_be_bytes(stream[at..at + 8].try_into().unwrap());
    while at + 16 <= stream.len() {
        if number(at) == -1 {
            assert_eq!(at + 16, stream.len());
            return (file, true);
        }
        let (offset, size) = (number(at) as usize, number(at + 8) as usize);
        if at + 16 + size > stream.len() {
            break;
        }
        if file.len() < offset + size {
            file.resize(offset + size, 0);
        }
        file[offset..offset + size].copy_from_slice(&stream[at + 16..at + 16 + size]);
        at += 16 + size;
    }
    (file, false)
}

fn stream(dump: &Dump, selection: &Selection, method: Option<Method>, threads: usize) -> (Vec<u8>, Written) {
    let sink = FlattenedSink::new(Vec::new(), "stream").unwrap();
    let options = Options { method: Choice::One(method), ..Options::default() };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let facts = facts(dump.machine);
    let written =
        pool.install(|| write(dump, selection, &facts, &options, &sink, &Progress::default())).unwrap();
    (sink.finish().unwrap().0, written)
}

fn contents(lost: bool) -> Vec<(u64, Content)> {
    let content = |pfn: u64| match pfn % 5 {
        0 => Content::Zeros,
        1 if lost => Content::Lost,
        2 => Content::Noise(pfn as u8),
        _ => Content::Text(pfn as u8),
    };
    (0..600).map(|i| if i < 300 { 40_000 + i } else { 100_000 + i }).map(|p| (p, content(p))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn a_stream_makes_the_file_that_would_have_been_written(
        method in any_method(), lost: bool, name in prop::sample::select(vec!["ppc64", "x86_64"]),
    ) {
        let input = dump(machine(name), PageSize::K4, &contents(lost));
        let selection = without(&input, &[40_003, 40_004, 100_310]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmcore");
        let written = write_to(&path, &input, &selection, method, 2);
        let (one, first) = stream(&input, &selection, method, 1);
        let (three, second) = stream(&input, &selection, method, 3);
        prop_assert!(one == three);
        prop_assert_eq!((first, second), (written, written));
        // file(1) and others look here.
        prop_assert_eq!(&one[4096..4096 + 24], [&[0; 8][..], &464u64.to_be_bytes(), b"KDUMP   "].concat());
        let (file, ended) = unflatten(&one);
        prop_assert!(ended);
        prop_assert!(file == std::fs::read(&path).unwrap());
        // Each byte once, but for the header of a dump that turned out incomplete.
        let header = if lost { 464 + 16 } else { 0 };
        let pieces = one.len() - 4096 - 16 - header;
        prop_assert!(pieces <= file.len() + 16 * 40);
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_after_the_bitmaps_holds_no_page_that_is_wrong() {
    let contents = contents(false);
    let input = dump(machine("x86_64"), PageSize::K4, &contents);
    let selection = without(&input, &[]);
    let sink = FlattenedSink::new(Vec::new(), "stream").unwrap();
    let options = Options { method: Choice::One(Some(Method::Zlib)), ..Options::default() };
    let facts = facts(input.machine);
    let mut writer = crate::kdump::Writer::begin(&input, &selection, &facts, &options, &sink).unwrap();
    writer.checkpoint().unwrap();
    let begun = sink.bytes() as usize;
    // Parts, and a hand-over after each, so that pieces are many.
    for from in (0..600).step_by(50) {
        let mut part = Selection::new(selection.map().clone(), DumpLevel::ALL, None);
        let mut chunk = Chunk::empty();
        for (pfn, _) in &contents[from..from + 50] {
            chunk.set(*pfn, pfn + 1, true);
        }
        part.push(0, chunk, &ReasonCounts::default()).unwrap();
        writer.write(&part, &Progress::default()).unwrap();
        writer.checkpoint().unwrap();
    }
    writer.finish().unwrap();
    let (stream, _) = sink.finish().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    let mut seen = 0;
    for cut in (begun..stream.len()).step_by(3001) {
        let (file, ended) = unflatten(&stream[..cut]);
        assert!(!ended);
        std::fs::write(&path, file).unwrap();
        let output = open(&path).unwrap();
        let mut known = 0;
        for &(pfn, content) in &contents {
            let (state, bytes) = page_of(&output, pfn);
            if state.is_known() {
                assert!(bytes == content.page(4096).1, "page {pfn}");
                known += 1;
            } else {
                assert_eq!(state, PageState::Lost, "page {pfn}");
            }
        }
        assert!(known >= seen, "{known} pages, {seen} before");
        seen = known;
    }
    assert!(seen >= 500, "{seen}");
}
