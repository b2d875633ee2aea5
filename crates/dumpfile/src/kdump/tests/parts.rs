//! Pages written in parts, in any order; and files whose writer was interrupted.

use super::*;
use crate::kdump::{Checkpoint, Unfinished, Writer};
use crate::output::Sink;
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::Mutex;

/// The pages of `whole` whose number leaves remainder `part` when a mix of it is divided by `parts`.
fn part_of(whole: &Selection, part: u64, parts: u64) -> Selection {
    let mut selection = Selection::new(whole.map().clone(), whole.level(), None);
    for position in 0..whole.chunk_count() {
        let (first, chunk) = whole.chunk(position).unwrap();
        let mut some = Chunk::empty();
        for i in chunk.runs().flatten() {
            // Runs of a few pages.
            if ((first.0 + i) / 3).wrapping_mul(0x9e37_79b9) / 16 % parts == part {
                some.set(i, i + 1, true);
            }
        }
        selection.push(first.0 / CHUNK_FRAMES, some, &ReasonCounts::default()).unwrap();
    }
    selection
}

fn contents(pages: u64) -> Vec<(u64, Content)> {
    let content = |pfn: u64| match pfn % 7 {
        0 | 1 => Content::Zeros,
        2 => Content::Noise(pfn as u8),
        _ => Content::Text(pfn as u8),
    };
    // Two chunks, so that ranks start over.
    (0..pages)
        .map(|i| if i < pages / 2 { i } else { CHUNK_FRAMES - 20 + i })
        .map(|p| (p, content(p)))
        .collect()
}

/// Every page of `path` is what it was made of, or in `missing`.
fn check(path: &Path, contents: &[(u64, Content)], out: &[u64], missing: &Selection) {
    let output = open(path).unwrap();
    let missing: Vec<u64> = (0..missing.chunk_count())
        .flat_map(|i| {
            let (first, chunk) = missing.chunk(i).unwrap();
            chunk.runs().flatten().map(|i| first.0 + i).collect::<Vec<_>>()
        })
        .collect();
    for &(pfn, content) in contents {
        let (state, bytes) = page_of(&output, pfn);
        if out.contains(&pfn) {
            assert_eq!(state, PageState::Excluded, "page {pfn}");
        } else if missing.contains(&pfn) {
            assert_eq!(state, PageState::Lost, "page {pfn}");
        } else {
            assert_eq!(state, content.stored(), "page {pfn}");
            assert!(bytes == content.page(4096).1, "page {pfn}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn parts_in_any_order_make_the_file_that_one_part_makes(
        parts in 1u64..6, order in Just([0u64, 1, 2, 3, 4]).prop_shuffle(), threads in 1usize..4, method in any_method(),
    ) {
        let contents = contents(700);
        let input = dump(machine("ppc64"), PageSize::K4, &contents);
        let out = [5, 6, 17, 200];
        let whole = without(&input, &out);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parts");
        let sink = OutputFile::create(&path, false).unwrap();
        let options = Options { method: Choice::One(method), ..Options::default() };
        let facts = facts(input.machine);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let written = pool.install(|| {
            let mut writer = Writer::begin(&input, &whole, &facts, &options, &sink).unwrap();
            for part in order.into_iter().filter(|&part| part < parts) {
                writer.write(&part_of(&whole, part, parts), &Progress::default()).unwrap();
            }
            writer.finish().unwrap()
        });
        sink.commit().unwrap();
        let once = dir.path().join("once");
        prop_assert_eq!(write_to(&once, &input, &whole, method, 2), written);
        let nothing = Selection::new(input.memory.map().clone(), DumpLevel::ALL, None);
        check(&path, &contents, &out, &nothing);
        prop_assert!(!open(&path).unwrap().source.incomplete);
        // All but the descriptors and the order of the bytes is the same.
        let (path, once) = (std::fs::read(path).unwrap(), std::fs::read(once).unwrap());
        prop_assert_eq!(path.len(), once.len());
        let differing = path.iter().zip(&once).position(|(a, b)| a != b);
        prop_assert!(differing.is_none_or(|at| at >= 2 * 4096 + 2 * 32768));
    }
}

#[test]
fn pages_outside_the_selection_are_not_written() {
    let contents = contents(100);
    let input = dump(machine("x86_64"), PageSize::K4, &contents);
    let (all, whole) = (without(&input, &[]), without(&input, &[3, 4, 40]));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    let out = OutputFile::create(&path, false).unwrap();
    let facts = facts(input.machine);
    let mut writer = Writer::begin(&input, &whole, &facts, &Options::default(), &out).unwrap();
    assert_eq!(writer.written().unwritten_pages, 97);
    writer.write(&all, &Progress::default()).unwrap();
    let written = writer.finish().unwrap();
    assert!(written.is_whole());
    assert_eq!(written.data_pages + written.zero_pages, 97);
    out.commit().unwrap();
    check(&path, &contents, &[3, 4, 40], &Selection::new(all.map().clone(), DumpLevel::ALL, None));
}

#[test]
fn a_file_that_is_ended_before_its_last_page_stays_marked_and_says_what_it_lacks() {
    let contents = contents(300);
    let input = dump(machine("x86_64"), PageSize::K4, &contents);
    let whole = without(&input, &[]);
    let dir = tempfile::tempdir().unwrap();
    let out = OutputFile::create_resumable(&dir.path().join("vmcore"), false).unwrap();
    let facts = facts(input.machine);
    let options = Options { method: Choice::One(Some(Method::Zlib)), ..Options::default() };
    let mut writer = Writer::begin(&input, &whole, &facts, &options, &out).unwrap();
    let first = part_of(&whole, 1, 3);
    writer.write(&first, &Progress::default()).unwrap();
    let written = writer.finish().unwrap();
    assert_eq!(written.unwritten_pages, 300 - first.kept());
    assert!(!written.is_whole());
    let kept = out.keep_incomplete().unwrap();
    assert!(open(&kept).unwrap().source.incomplete);
    let mut rest = Selection::new(whole.map().clone(), DumpLevel::ALL, None);
    for position in 0..whole.chunk_count() {
        let (at, mut chunk) = whole.chunk(position).unwrap();
        for run in first.chunk(position).unwrap().1.runs() {
            chunk.set(run.start, run.end, false);
        }
        rest.push(at.0 / CHUNK_FRAMES, chunk, &ReasonCounts::default()).unwrap();
    }
    check(&kept, &contents, &[], &rest);
}

/// A disk on which only what was made durable is certain.
struct Disk {
    path: PathBuf,
    writes: Mutex<Vec<Event>>,
    /// After this many events the machine is without power.
    power: usize,
}

#[derive(Clone)]
enum Event {
    Write(u64, Vec<u8>),
    Sync,
}

impl Disk {
    fn new(path: &Path, power: usize) -> Self {
        Self { path: path.to_owned(), writes: Mutex::default(), power }
    }

    fn push(&self, event: Event) -> Result<(), crate::Error> {
        let mut writes = self.writes.lock().unwrap();
        if writes.len() >= self.power {
            return Err(crate::Error::Cancelled);
        }
        writes.push(event);
        Ok(())
    }

    /// Puts onto the disk what was durable, and of the rest what `seed` says: some writes, some torn between two
    /// sectors, in another order.
    fn settle(self, seed: u64) {
        use std::os::unix::fs::FileExt;
        let events = self.writes.into_inner().unwrap();
        let synced = events.iter().rposition(|e| matches!(e, Event::Sync)).map_or(0, |i| i + 1);
        let file =
            std::fs::File::options().write(true).create(true).truncate(false).open(&self.path).unwrap();
        let mut random = seed.wrapping_mul(2).wrapping_add(1);
        let mut next = |n: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % n
        };
        let mut after: Vec<(u64, Vec<u8>)> = Vec::new();
        for (i, event) in events.iter().enumerate() {
            let Event::Write(offset, bytes) = event else { continue };
            if i < synced {
                file.write_all_at(bytes, *offset).unwrap();
                continue;
            }
            // Sectors reach the disk or do not, each on its own.
            let mut at = 0;
            let mood = next(3);
            while at < bytes.len() {
                let end = (512 - (*offset as usize + at) % 512 + at).min(bytes.len());
                if mood == 0 || mood == 1 && next(2) == 0 {
                    after.push((offset + at as u64, bytes[at..end].to_vec()));
                }
                at = end;
            }
        }
        // The disk's own order matters only where two writes meet; the later one may be the one that is lost.
        while !after.is_empty() {
            let (offset, bytes) = after.swap_remove(next(after.len() as u64) as usize);
            file.write_all_at(&bytes, offset).unwrap();
        }
    }
}

impl Sink for Disk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), crate::Error> {
        self.push(Event::Write(offset, bytes.to_vec()))
    }

    fn sync(&self) -> Result<(), crate::Error> {
        self.push(Event::Sync)
    }
}

/// Writes `parts` parts of the pages that are left, with a checkpoint after each, until it is done or the power goes.
fn run_once(
    input: &Dump,
    whole: &Selection,
    path: &Path,
    journal: &mut Option<Checkpoint>,
    (parts, power, seed): (u64, usize, u64),
) -> bool {
    let options = Options { method: Choice::One(Some(Method::Zlib)), ..Options::default() };
    let facts = facts(input.machine);
    let disk = Disk::new(path, power);
    let unfinished = journal.map(|checkpoint| Unfinished::open(path, &checkpoint, || Ok(None)).unwrap());
    let mut work = || -> Result<(), crate::Error> {
        let (mut writer, left) = match &unfinished {
            None => (Writer::begin(input, whole, &facts, &options, &disk)?, whole),
            Some(unfinished) => (Writer::resume(input, unfinished, &options, &disk)?, unfinished.remaining()),
        };
        *journal = Some(writer.checkpoint()?);
        for part in 0..parts {
            // Another order each time.
            let part = (part + seed) % parts;
            writer.write(&part_of(left, part, parts), &Progress::default())?;
            *journal = Some(writer.checkpoint()?);
        }
        let written = writer.finish()?;
        assert!(written.is_whole());
        assert_eq!((written.zero_pages, written.raw_pages), counts(whole));
        disk.sync()
    };
    let done = work().is_ok();
    disk.settle(seed);
    done
}

/// How many pages of [`contents`] are zero, and how many do not shrink.
fn counts(whole: &Selection) -> (u64, u64) {
    let mut counts = (0, 0);
    for position in 0..whole.chunk_count() {
        let (first, chunk) = whole.chunk(position).unwrap();
        for pfn in chunk.runs().flatten().map(|i| first.0 + i) {
            counts.0 += u64::from(pfn % 7 < 2);
            counts.1 += u64::from(pfn % 7 == 2);
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_file_is_whole_in_the_end_however_often_the_power_went(
        cuts in prop::collection::vec((0usize..60, any::<u64>(), 1u64..8), 1..5), last in any::<u64>(),
    ) {
        let contents = contents(400);
        let input = dump(machine("ppc64le"), PageSize::K4, &contents);
        let whole = without(&input, &[7, 8, 9]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmcore");
        let mut journal = None;
        let mut done = false;
        for (power, seed, parts) in cuts {
            if !done {
                done = run_once(&input, &whole, &path, &mut journal, (parts, power, seed));
            }
        }
        if !done {
            prop_assert!(run_once(&input, &whole, &path, &mut journal, (3, usize::MAX, last)));
        }
        let nothing = Selection::new(whole.map().clone(), DumpLevel::ALL, None);
        check(&path, &contents, &[7, 8, 9], &nothing);
        prop_assert!(!open(&path).unwrap().source.incomplete);
    }
}
