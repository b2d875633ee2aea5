//! Parts of a split set.

use super::*;
use crate::kdump::layout::{Header, Layout, SubHeader};
use crate::kdump::{Unfinished, Writer};
use crate::output::Sink;
use crate::split::{Parts, plan};
use proptest::prelude::*;

fn contents(lost: Option<u64>) -> Vec<(u64, Content)> {
    let content = |pfn: u64| match pfn % 7 {
        _ if Some(pfn) == lost => Content::Lost,
        0 | 1 => Content::Zeros,
        2 => Content::Noise(pfn as u8),
        _ => Content::Text(pfn as u8),
    };
    (0..1000).map(|i| if i < 500 { 100 + i } else { CHUNK_FRAMES + i }).map(|p| (p, content(p))).collect()
}

fn write_part(path: &Path, dump: &Dump, selection: &Selection, method: Option<Method>, part: Range<Pfn>) {
    let out = OutputFile::create(path, true).unwrap();
    let options = Options { method: Choice::One(method), part: Some(part), ..Options::default() };
    write(dump, selection, &facts(dump.machine), &options, &out, &Progress::default()).unwrap();
    out.commit().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn each_page_is_in_the_part_of_its_frame_and_each_part_tells_of_all(
        count in 1u16..7, method in any_method(), name in prop::sample::select(vec!["ppc64", "x86_64", "i686"]),
    ) {
        let contents = contents(None);
        let input = dump(machine(name), PageSize::K4, &contents);
        let out: Vec<u64> = (300..400).collect();
        let selection = without(&input, &out);
        let dir = tempfile::tempdir().unwrap();
        let mut headers = Vec::new();
        let layout = Layout::of(input.machine);
        for (n, part) in plan(&selection, Parts::Count(count)).unwrap().into_iter().enumerate() {
            let path = dir.path().join(n.to_string());
            write_part(&path, &input, &selection, method, part);
            let bytes = std::fs::read(&path).unwrap();
            headers.push(bytes[..4096].to_vec());
            let header = Header::decode(&bytes, layout);
            let sub = SubHeader::decode(&bytes[4096..], layout, 6);
            prop_assert_eq!((sub.split, sub.start_pfn_64, sub.end_pfn_64), (1, part.start.0, part.end.0));
            // Where `makedumpfile --reassemble` looks for the page of zeros: after the descriptors of all parts.
            let bitmaps = (1 + header.sub_hdr_size + header.bitmap_blocks) as usize * 4096;
            let zeros = bitmaps + 24 * selection.kept() as usize;
            prop_assert!(bytes[zeros..zeros + 4096].iter().all(|&b| b == 0));
            let output = open(&path).unwrap();
            // Alone it lacks the pages of the others.
            let elsewhere = |(pfn, _): &(u64, Content)| !out.contains(pfn) && !part.contains(Pfn(*pfn));
            prop_assert_eq!(output.source.incomplete, contents.iter().any(elsewhere));
            for &(pfn, content) in &contents {
                let (state, page) = page_of(&output, pfn);
                if out.contains(&pfn) {
                    prop_assert_eq!(state, PageState::Excluded);
                } else if part.contains(Pfn(pfn)) {
                    prop_assert_eq!(state, content.stored(), "page {}", pfn);
                    prop_assert!(page == content.page(4096).1, "page {}", pfn);
                } else {
                    prop_assert_eq!(state, PageState::Lost, "page {} in {:?}", pfn, part);
                }
            }
        }
        prop_assert!(headers.windows(2).all(|two| two[0] == two[1]));
    }
}

#[test]
fn one_part_that_lacks_pages_marks_the_set() {
    let contents = contents(Some(101));
    let input = dump(machine("x86_64"), PageSize::K4, &contents);
    let selection = without(&input, &[]);
    let parts = plan(&selection, Parts::Count(2)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<_> =
        (0..2).map(|n| OutputFile::create(&dir.path().join(n.to_string()), false).unwrap()).collect();
    let facts = facts(input.machine);
    let mut writers: Vec<_> = parts
        .iter()
        .zip(&files)
        .map(|(&part, file)| {
            let options =
                Options { method: Choice::One(Some(Method::Zlib)), part: Some(part), ..Options::default() };
            Writer::begin(&input, &selection, &facts, &options, file).unwrap()
        })
        .collect();
    for writer in &mut writers {
        writer.write(&selection, &Progress::default()).unwrap();
    }
    let whole: Vec<bool> = writers.iter().map(|w| w.written().is_whole()).collect();
    assert_eq!(whole, [false, true]);
    for writer in writers {
        writer.finish_in_set(false).unwrap();
    }
    let headers: Vec<_> =
        files.into_iter().map(|f| std::fs::read(f.commit().unwrap()).unwrap()[..4096].to_vec()).collect();
    assert!(headers[0] == headers[1]);
    assert_eq!(Header::decode(&headers[0], Layout::of(input.machine)).status, 0x9);
}

#[test]
fn an_interrupted_part_goes_on_as_that_part() {
    let contents = contents(None);
    let input = dump(machine("x86_64"), PageSize::K4, &contents);
    let selection = without(&input, &[]);
    let part = plan(&selection, Parts::Count(3)).unwrap()[1];
    let dir = tempfile::tempdir().unwrap();
    let (whole, path) = (dir.path().join("whole"), dir.path().join("part"));
    write_part(&whole, &input, &selection, None, part);

    let facts = facts(input.machine);
    let options = Options { part: Some(part), ..Options::default() };
    let out = OutputFile::create_resumable(&path, false).unwrap();
    let mut writer = Writer::begin(&input, &selection, &facts, &options, &out).unwrap();
    let first = writer.checkpoint().unwrap();
    writer.write(&selection, &Progress::default()).unwrap();
    out.sync().unwrap();
    drop(writer);
    drop(out);

    let name = OutputFile::incomplete_name(&path).unwrap();
    let unfinished = Unfinished::open(&name, &first, || Ok(None)).unwrap();
    let zeros = contents.iter().filter(|(pfn, c)| *c == Content::Zeros && part.contains(Pfn(*pfn))).count();
    assert_eq!(unfinished.done().zero_pages, zeros as u64);
    assert_eq!(unfinished.done().data_pages, 0);
    let out = OutputFile::reopen(&path, false).unwrap();
    let other = Options { method: Choice::One(Some(Method::Zstd)), ..Options::default() };
    assert!(Writer::resume(&input, &unfinished, &other, &out).is_err());
    let mut writer = Writer::resume(&input, &unfinished, &Options::default(), &out).unwrap();
    writer.write(unfinished.remaining(), &Progress::default()).unwrap();
    assert!(writer.finish().unwrap().is_whole());
    out.commit().unwrap();
    assert!(std::fs::read(whole).unwrap() == std::fs::read(path).unwrap());
}
