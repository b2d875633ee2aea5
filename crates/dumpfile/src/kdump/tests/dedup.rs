//! Equal pages stored once.

use super::*;
use crate::kdump::Writer;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

fn write_shared(
    path: &Path,
    dump: &Dump,
    selection: &Selection,
    method: Option<Method>,
    threads: usize,
) -> Written {
    write_with(
        path,
        dump,
        selection,
        Options { method: Choice::One(method), dedup: true, ..Options::default() },
        threads,
    )
}

/// `pages` pages, of which page `i` has one of `kinds` contents.
fn contents(pages: u64, kinds: u64, seed: u64) -> Vec<(u64, Content)> {
    let mix = |i: u64| (i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let content = |i: u64| match mix(i) % 8 {
        0 => Content::Zeros,
        1..4 => Content::Noise((mix(i) / 8 % kinds) as u8),
        _ => Content::Text((mix(i) / 8 % kinds) as u8),
    };
    (0..pages).map(|i| (i * 2, content(i))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn pages_come_back_and_the_file_is_never_larger_and_the_same_on_any_number_of_threads(
        kinds in prop::sample::select(vec![1u64, 5, 200]), seed: u64, method in any_method(),
        shift in prop::sample::select(vec![12, 16]),
    ) {
        let contents = contents(if shift == 12 { 1500 } else { 150 }, kinds, seed);
        let page = PageSize::new(1 << shift).unwrap();
        let input = dump(machine("ppc64"), page, &contents);
        let selection = without(&input, &[6, 8]);
        let dir = tempfile::tempdir().unwrap();
        let [plain, one, three] = ["plain", "one", "three"].map(|name| dir.path().join(name));
        let unshared = write_to(&plain, &input, &selection, method, 2);
        let shared = write_shared(&one, &input, &selection, method, 1);
        prop_assert_eq!(write_shared(&three, &input, &selection, method, 3), shared);
        prop_assert!(std::fs::read(&one).unwrap() == std::fs::read(&three).unwrap());
        prop_assert!(shared.bytes <= unshared.bytes);
        let stored = contents.iter().filter(|(pfn, c)| *c != Content::Zeros && ![6, 8].contains(pfn));
        let distinct: std::collections::BTreeSet<_> = stored.clone().map(|(_, c)| c.page(page.len()).1).collect();
        prop_assert_eq!(shared.data_pages, stored.clone().count() as u64);
        // A page whose set in the table is full may be stored again.
        let copies = shared.data_pages - distinct.len() as u64;
        prop_assert!((copies - copies / 50..=copies).contains(&shared.shared_pages), "{shared:?}, {copies} copies");
        prop_assert_eq!(
            Written { bytes: 0, shared_pages: 0, ..shared },
            Written { bytes: 0, shared_pages: 0, ..unshared }
        );
        let output = open(&one).unwrap();
        prop_assert!(!output.source.incomplete);
        for &(pfn, content) in contents.iter().filter(|(pfn, _)| ![6, 8].contains(pfn)) {
            let (state, bytes) = page_of(&output, pfn);
            prop_assert_eq!(state, content.stored(), "page {}", pfn);
            prop_assert!(bytes == content.page(page.len()).1, "page {}", pfn);
        }
    }
}

/// Memory of equal pages that reads otherwise, or not at all, from the second time on.
struct Fickle {
    pages: Pages,
    reads: Vec<AtomicU64>,
    then: PageState,
}

impl PhysicalMemory for Fickle {
    fn map(&self) -> &MemoryMap {
        self.pages.map()
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        let state = self.pages.read_page(pfn, page)?;
        if self.reads[pfn.0 as usize].fetch_add(1, Ordering::Relaxed) == 0 {
            return Ok(state);
        }
        page[17] ^= 1;
        Ok(self.then)
    }
}

#[test]
fn a_page_that_cannot_be_compared_is_stored_however_its_hash_looks() {
    for then in [PageState::Present, PageState::Lost, PageState::Absent] {
        let contents: Vec<_> = (0..600).map(|pfn| (pfn, Content::Text(3))).collect();
        let mut input = dump(machine("x86_64"), PageSize::K4, &contents);
        let map = input.memory.map().clone();
        let pages = contents.iter().map(|&(pfn, content)| (pfn, content.page(4096))).collect();
        let reads = contents.iter().map(|_| AtomicU64::new(0)).collect();
        input.memory = Box::new(Fickle { pages: Pages { map, pages }, reads, then });
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmcore");
        let written = write_shared(&path, &input, &without(&input, &[]), Some(Method::Zlib), 2);
        assert_eq!((written.data_pages, written.shared_pages), (600, 0));
        let output = open(&path).unwrap();
        assert!(contents.iter().all(|&(pfn, content)| page_of(&output, pfn) == content.page(4096)));
    }
}

/// A disk that takes so many writes before it is full.
struct Full<'a>(&'a OutputFile, AtomicU64);

impl crate::output::Sink for Full<'_> {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), crate::Error> {
        let room = |left: u64| left.checked_sub(1);
        if self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return Err(crate::Error::Cancelled);
        }
        self.0.write_at(offset, bytes)
    }

    fn sync(&self) -> Result<(), crate::Error> {
        self.0.sync()
    }
}

#[test]
fn pages_that_were_placed_and_not_written_are_not_shared_later() {
    let contents: Vec<_> = (0..3000u64).map(|pfn| (pfn, Content::Noise((pfn % 200) as u8))).collect();
    let input = dump(machine("x86_64"), PageSize::K4, &contents);
    let whole = without(&input, &[]);
    let dir = tempfile::tempdir().unwrap();
    // The header, the sub header, two bitmaps and the page of zeros are written before the first page.
    for fails in 5..9 {
        let path = dir.path().join(fails.to_string());
        let file = OutputFile::create(&path, false).unwrap();
        let out = Full(&file, AtomicU64::new(fails));
        let options = Options { method: Choice::One(Some(Method::Zlib)), dedup: true, ..Options::default() };
        let facts = facts(input.machine);
        let mut writer = Writer::begin(&input, &whole, &facts, &options, &out).unwrap();
        let part = |from: u64, to: u64| {
            let mut part = Selection::new(whole.map().clone(), DumpLevel::ALL, None);
            let mut chunk = Chunk::empty();
            chunk.set(from, to, true);
            part.push(0, chunk, &ReasonCounts::default()).unwrap();
            part
        };
        assert!(writer.write(&part(0, 1500), &Progress::default()).is_err());
        out.1.store(u64::MAX, Ordering::Relaxed);
        writer.write(&part(1500, 3000), &Progress::default()).unwrap();
        let written = writer.finish().unwrap();
        assert!(written.unwritten_pages >= 1500 - 512, "{written:?}");
        let output = open(&file.commit().unwrap()).unwrap();
        for &(pfn, content) in &contents {
            let (state, bytes) = page_of(&output, pfn);
            assert!(pfn < 1500 || state == PageState::Present, "page {pfn}");
            assert!(state == PageState::Lost || bytes == content.page(4096).1, "page {pfn}");
        }
    }
}
