use super::*;
use crate::kdump::layout::{Header, Layout};
use proptest::prelude::*;
use vmcore::PhysAddr;

fn any_content() -> impl Strategy<Value = Content> {
    prop_oneof![
        3 => Just(Content::Zeros),
        4 => any::<u8>().prop_map(Content::Text),
        3 => any::<u8>().prop_map(Content::Noise),
        1 => Just(Content::Lost),
        1 => Just(Content::Excluded),
    ]
}

/// Runs of pages with gaps between, some of them far away; with each page whether it is kept.
fn any_pages() -> impl Strategy<Value = Vec<(u64, Content, bool)>> {
    let run = (
        prop_oneof![4 => 0u64..20, 1 => Just(4090u64), 1 => CHUNK_FRAMES - 3..CHUNK_FRAMES * 2],
        prop::collection::vec((any_content(), prop::bool::weighted(0.7)), 1..12),
    );
    prop::collection::vec(run, 0..8).prop_map(|runs| {
        let mut pfn = 0;
        let mut pages = Vec::new();
        for (gap, run) in runs {
            pfn += gap;
            for (content, kept) in run {
                pages.push((pfn, content, kept));
                pfn += 1;
            }
        }
        pages
    })
}

fn any_machine() -> impl Strategy<Value = Machine> {
    prop::sample::select(vec!["ppc64le", "ppc64", "x86_64", "s390x", "i686", "armv7l", "armv7b", "ppc"])
        .prop_map(machine)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn any_page_set_comes_back_with_the_same_states_and_bytes(
        pages in any_pages(), machine in any_machine(), method in any_method(),
        shift in prop::sample::select(vec![12, 14, 16]),
    ) {
        let page_size = PageSize::new(1 << shift).unwrap();
        let contents: Vec<_> = pages.iter().map(|&(pfn, content, _)| (pfn, content)).collect();
        let input = dump(machine, page_size, &contents);
        let out: Vec<u64> = pages.iter().filter(|p| !p.2).map(|p| p.0).collect();
        let selection = without(&input, &out);
        let dir = tempfile::tempdir().unwrap();
        let (one, three) = (dir.path().join("one"), dir.path().join("three"));
        let written = write_to(&one, &input, &selection, method, 1);
        prop_assert_eq!(write_to(&three, &input, &selection, method, 3), written);
        prop_assert!(std::fs::read(&one).unwrap() == std::fs::read(&three).unwrap());
        prop_assert_eq!(std::fs::metadata(&one).unwrap().len(), written.bytes);

        let output = open(&one).unwrap();
        prop_assert_eq!(output.machine, machine);
        prop_assert_eq!(output.page_size(), page_size);
        prop_assert_eq!(output.memory.map(), input.memory.map());
        prop_assert_eq!(output.source.dump_level, Some(DumpLevel::ALL));
        prop_assert_eq!(output.source.utsname.as_ref(), Some(&facts(machine).utsname));
        prop_assert_eq!(output.vmcoreinfo.as_ref(), input.vmcoreinfo.as_ref());
        prop_assert!(output.notes.raw().starts_with(input.notes.raw()));
        prop_assert_eq!(output.notes.iter().last().unwrap(), &facts(machine).notes[0]);
        let lost = pages.iter().any(|&(_, content, kept)| kept && content.stored() == PageState::Lost);
        prop_assert_eq!(output.source.incomplete, lost);
        let remarks: Vec<_> = output.source.remarks.iter().filter(|r| !r.starts_with("VMCOREINFO says")).collect();
        prop_assert!(remarks.is_empty(), "{:?}", remarks);

        let mut seen = Written { bytes: written.bytes, raw_pages: written.raw_pages, ..Written::default() };
        for &(pfn, content, kept) in &pages {
            let expected = match (kept, content.stored()) {
                (false, _) => PageState::Excluded,
                (true, state) => state,
            };
            let (state, page) = page_of(&output, pfn);
            prop_assert_eq!(state, expected, "page {}", pfn);
            let bytes = if expected.is_known() { content.page(page_size.len()).1 } else { vec![0; page_size.len()] };
            prop_assert!(page == bytes, "page {}", pfn);
            if kept {
                match content {
                    Content::Zeros => seen.zero_pages += 1,
                    Content::Lost => seen.lost_pages += 1,
                    Content::Excluded => seen.missing_pages += 1,
                    Content::Text(_) | Content::Noise(_) => seen.data_pages += 1,
                }
            }
        }
        if let Some(method) = method {
            seen.compressed_pages[method.index()] = seen.data_pages - seen.raw_pages;
        }
        prop_assert_eq!(seen, written);
        let end = pages.last().map_or(0, |p| p.0 + 1);
        prop_assert_eq!(page_of(&output, end).0, PageState::Absent);
        prop_assert_eq!(page_of(&output, u64::MAX >> shift).0, PageState::Absent);
    }

    #[test]
    fn runs_and_byte_ranges_agree_with_single_pages(pages in any_pages(), method in any_method(), start: u16, len in 1usize..40_000) {
        let contents: Vec<_> = pages.iter().map(|&(pfn, content, _)| (pfn, content)).collect();
        let input = dump(machine("ppc64"), PageSize::K4, &contents);
        let out: Vec<u64> = pages.iter().filter(|p| !p.2).map(|p| p.0).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmcore");
        write_to(&path, &input, &without(&input, &out), method, 2);
        let output = open(&path).unwrap();

        let mut bytes = vec![1; 300 * 4096];
        let mut states = vec![PageState::Absent; 300];
        output.memory.read_run(Pfn(0), &mut bytes, &mut states).unwrap();
        for (pfn, (page, state)) in bytes.chunks(4096).zip(&states).enumerate() {
            let (single, bytes) = page_of(&output, pfn as u64);
            prop_assert_eq!(*state, single, "page {}", pfn);
            prop_assert!(page == bytes, "page {}", pfn);
        }
        let start = usize::from(start);
        let mut part = vec![1; len];
        for _ in 0..2 {
            let state = output.memory.read(PhysAddr(start as u64), &mut part).unwrap();
            let touched = &states[start / 4096..(start + len).div_ceil(4096)];
            match touched.iter().find(|s| !s.is_known()) {
                Some(unknown) => prop_assert_eq!(state, *unknown),
                None => {
                    prop_assert_eq!(state, PageState::Present);
                    prop_assert!(part == bytes[start..start + len]);
                }
            }
        }
    }
}

#[test]
fn pages_of_an_earlier_filter_are_dropped_from_a_selection() {
    let contents: Vec<_> = (0..200).map(|pfn| (pfn, Content::Text(pfn as u8))).collect();
    let input = dump(machine("x86_64"), PageSize::K4, &contents);
    let out: Vec<u64> = (0..200).filter(|pfn| pfn % 7 == 0 || (60..130).contains(pfn)).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    write_to(&path, &input, &without(&input, &out), Some(Method::Zlib), 2);
    let output = open(&path).unwrap();
    let everything = Selection::everything(&*output.memory, DumpLevel::ALL, None).unwrap();
    assert_eq!(everything.kept(), 200 - out.len() as u64);
    assert_eq!(everything.reasons().get(vmcore::Reason::Earlier), out.len() as u64);
    let kept: Vec<u64> = everything.chunk(0).unwrap().1.runs().flatten().collect();
    assert!(kept.iter().all(|pfn| !out.contains(pfn)));
}

#[test]
fn a_file_that_was_written_again_is_the_same_file() {
    let contents: Vec<_> = (0..500)
        .map(|pfn| (pfn, if pfn % 3 == 0 { Content::Zeros } else { Content::Noise(pfn as u8) }))
        .collect();
    let input = dump(machine("ppc64le"), PageSize::K64, &contents[..100]);
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    write_to(&first, &input, &without(&input, &[3, 50]), Some(Method::Zstd), 2);
    let mut again = open(&first).unwrap();
    // The writer adds hadump's own note, which the first file has already.
    again.notes = input.notes;
    let selection = Selection::everything(&*again.memory, DumpLevel::ALL, None).unwrap();
    write_to(&second, &again, &selection, Some(Method::Zstd), 2);
    assert!(std::fs::read(first).unwrap() == std::fs::read(second).unwrap());
}

#[test]
fn memory_far_away_costs_no_blocks_on_the_disk() {
    use std::os::unix::fs::MetadataExt;
    let far = 0x6000_0000_0000 >> 12;
    let input = dump(
        machine("x86_64"),
        PageSize::K4,
        &[(0, Content::Text(1)), (far, Content::Text(2)), (far + 1, Content::Zeros)],
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    let began = std::time::Instant::now();
    write_to(&path, &input, &without(&input, &[]), Some(Method::Zlib), 2);
    let output = open(&path).unwrap();
    assert_eq!(page_of(&output, far), Content::Text(2).page(4096));
    assert_eq!(page_of(&output, far + 1).0, PageState::Zero);
    assert_eq!(page_of(&output, far / 2).0, PageState::Absent);
    let meta = std::fs::metadata(&path).unwrap();
    assert!(meta.len() > far / 4, "two bitmaps of {far} bits");
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    assert!(began.elapsed().as_secs() < 10);
}

#[test]
fn a_writer_that_is_stopped_leaves_a_dump_that_says_it_is_incomplete() {
    let contents: Vec<_> = (0..2000).map(|pfn| (pfn, Content::Text(pfn as u8))).collect();
    let input = dump(machine("x86_64"), PageSize::K4, &contents);
    let dir = tempfile::tempdir().unwrap();
    let out = OutputFile::create(&dir.path().join("vmcore"), false).unwrap();
    let progress = Progress::default();
    progress.cancel();
    let selection = without(&input, &[]);
    let options = Options { method: Choice::One(Some(Method::Zlib)), ..Options::default() };
    let result = write(&input, &selection, &facts(input.machine), &options, &out, &progress);
    assert!(matches!(result, Err(crate::Error::Cancelled)));
    let kept = out.keep_incomplete().unwrap();
    let output = open(&kept).unwrap();
    assert!(output.source.incomplete);
    assert_eq!(page_of(&output, 5).0, PageState::Lost);
}

#[test]
fn a_dump_without_names_gets_those_that_readers_insist_on() {
    let input = dump(machine("ppc64"), PageSize::K64, &[(0, Content::Text(1))]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    let out = OutputFile::create(&path, false).unwrap();
    let (selection, options) = (without(&input, &[]), Options::default());
    write(&input, &selection, &Facts::default(), &options, &out, &Progress::default()).unwrap();
    out.commit().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let header = Header::decode(&bytes, Layout::of(input.machine));
    assert_eq!(header.utsname.sysname, "Linux");
    assert_eq!(header.utsname.release, "6.1.0-test");
    assert_eq!(header.utsname.machine, "ppc64");
    assert!(!header.utsname.version.is_empty());
}

/// Offsets and numbers written down from makedumpfile's structures, not taken from the code under test.
#[test]
fn a_file_is_laid_out_as_makedumpfile_lays_it_out() {
    let input = dump(
        machine("x86_64"),
        PageSize::K4,
        &[(0, Content::Text(3)), (9, Content::Zeros), (70_000, Content::Noise(1))],
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    write_to(&path, &input, &without(&input, &[]), Some(Method::Zlib), 1);
    let bytes = std::fs::read(&path).unwrap();
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());

    assert_eq!(&bytes[..8], b"KDUMP   ");
    assert_eq!(u32_at(8), 6);
    assert_eq!(&bytes[12..18], b"Linux\0");
    assert_eq!(&bytes[12 + 4 * 65..][..7], b"x86_64\0");
    assert_eq!((u64_at(408), u64_at(416)), (1_795_388_515, 0));
    assert_eq!((u32_at(424), u32_at(428), u32_at(432)), (1, 4096, 1));
    // 70,001 bits are 8,751 bytes: 3 blocks for each of two bitmaps.
    assert_eq!((u32_at(436), u32_at(440), u32_at(460)), (6, 70_001, 2));

    let sub = 4096;
    assert_eq!((u64_at(sub), u32_at(sub + 8), u32_at(sub + 12)), (0x1000, 31, 0));
    let (info, info_len) = (u64_at(sub + 32) as usize, u64_at(sub + 40) as usize);
    assert_eq!(&bytes[info..info + info_len], INFO);
    assert_eq!(u64_at(sub + 48), 4096 + 104);
    assert!((u64_at(sub + 48)..u64_at(sub + 48) + u64_at(sub + 56)).contains(&(info as u64)));
    assert_eq!((u64_at(sub + 72), u64_at(sub + 80), u64_at(sub + 88), u64_at(sub + 96)), (0, 0, 0, 70_001));

    for bitmap in [8192, 8192 + 3 * 4096] {
        let set: Vec<usize> =
            (0..3 * 4096 * 8).filter(|pfn| bytes[bitmap + pfn / 8] >> (pfn % 8) & 1 != 0).collect();
        assert_eq!(set, [0, 9, 70_000]);
    }
    let descriptors = 8192 + 6 * 4096;
    let zero_page = descriptors + 3 * 24;
    assert!(bytes[zero_page..zero_page + 4096].iter().all(|&b| b == 0));
    let desc = |i: usize| {
        (
            u64_at(descriptors + i * 24) as usize,
            u32_at(descriptors + i * 24 + 8) as usize,
            u32_at(descriptors + i * 24 + 12),
        )
    };
    let (offset, size, flags) = desc(0);
    assert_eq!((offset, flags), (zero_page + 4096, 1));
    let mut page = vec![0; 4096];
    crate::codec::Decoder::new().decode(Method::Zlib, &bytes[offset..offset + size], &mut page).unwrap();
    assert_eq!(page, Content::Text(3).page(4096).1);
    assert_eq!(desc(1), (zero_page, 4096, 0));
    assert_eq!(desc(2), (offset + size, 4096, 0), "noise does not shrink");
    assert_eq!(bytes.len(), offset + size + 4096);
}
