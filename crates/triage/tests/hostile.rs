//! A dump is hostile input: whatever lies where the report looks, it comes to an end, soon, and says what it lacks.

use kernel::Kernel;
use kernel::overlay::{Content, Overlay};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use triage::{Options, Report, Stacks, examine};
use vmcore::{Damage, Dump, MemoryMap, PageState, Pfn, PhysAddr, PhysicalMemory, ReadError};

/// How many damaged copies of each dump are looked at; `HADUMP_HOSTILE` names another number.
const ROUNDS: u64 = 40;

/// The most pages that a report may read of a dump of some hundred megabytes, however damaged, each as often as it likes.
const MOST: u64 = 1 << 23;

/// Memory that notes which frames were read, and how many in all.
struct Watched {
    inner: Box<dyn PhysicalMemory>,
    seen: Arc<Mutex<(BTreeSet<Pfn>, u64)>>,
}

impl PhysicalMemory for Watched {
    fn map(&self) -> &MemoryMap {
        self.inner.map()
    }

    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        let frames = (0..states.len() as u64).map(|i| Pfn(first.0 + i));
        let mut seen = self.seen.lock().unwrap();
        seen.0.extend(frames);
        seen.1 += states.len() as u64;
        self.inner.read_run(first, pages, states)
    }

    fn damage(&self) -> Damage {
        self.inner.damage()
    }
}

/// Memory without any.
struct Nothing(MemoryMap);

impl PhysicalMemory for Nothing {
    fn map(&self) -> &MemoryMap {
        &self.0
    }

    fn read_page(&self, _: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        page.fill(0);
        Ok(PageState::Absent)
    }
}

fn nothing_of(dump: &Dump) -> Nothing {
    Nothing(dump.memory.map().clone())
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 29) ^ (self.0 << 40)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 8) as usize % end.max(1)
    }
}

/// Watches a dump from here on.
fn watch(dump: &mut Dump) -> Arc<Mutex<(BTreeSet<Pfn>, u64)>> {
    let seen = Arc::new(Mutex::default());
    let nothing = Box::new(nothing_of(dump));
    let inner = std::mem::replace(&mut dump.memory, nothing);
    dump.memory = Box::new(Watched { inner, seen: Arc::clone(&seen) });
    seen
}

fn report(dump: &Dump) -> Option<Report> {
    let kernel = Kernel::open(dump).ok()?;
    // A debugger sees no more threads than the report has tasks, and CPUs besides.
    let threads = triage::threads::threads(dump, &kernel, None);
    let report = examine(dump, Some(&kernel), None, &Options { stacks: Stacks::All });
    assert!(threads.threads.len() <= report.tasks.len() + report.cpus.len().max(dump.cpus()));
    Some(report)
}

/// Words of the pages that a report reads, changed to what leads astray: other words of such pages, so that lists run in
/// circles and stacks into each other, small and huge numbers, and noise.
fn damage(dump: &mut Dump, frames: &[Pfn], random: &mut Random) {
    let size = dump.page_size();
    let mut page = vec![0; size.len()];
    let mut word = |random: &mut Random, memory: &dyn PhysicalMemory| {
        let frame = frames[random.below(frames.len())];
        let _ = memory.read_page(frame, &mut page);
        let at = random.below(page.len() / 8) * 8;
        <[u8; 8]>::try_from(&page[at..at + 8]).unwrap()
    };
    let mut changes = Vec::new();
    let few = random.below(2) == 0;
    for _ in 0..1 + random.below(if few { 4 } else { 400 }) {
        let at = size.addr(frames[random.below(frames.len())]).0 + 8 * random.below(size.len() / 8) as u64;
        for i in 0..1 + random.below(512) as u64 {
            let bytes = match random.below(6) {
                0 => 0u64.to_ne_bytes(),
                1 => u64::MAX.to_ne_bytes(),
                2 => random.next().to_ne_bytes(),
                3 => (random.next() % 70_000).to_ne_bytes(),
                _ => word(random, &*dump.memory),
            };
            changes.push((PhysAddr(at + 8 * i), bytes));
        }
    }
    let nothing = Box::new(nothing_of(dump));
    let mut overlay = Overlay::new(std::mem::replace(&mut dump.memory, nothing));
    for (at, bytes) in changes {
        overlay.put(at, &Content::Bytes(bytes.to_vec()));
    }
    dump.memory = Box::new(overlay);
}

#[test]
fn a_report_of_a_dump_that_is_damaged_where_it_looks_ends_soon_and_without_a_panic() {
    let rounds = std::env::var("HADUMP_HOSTILE").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    for name in [corpus::X86_64_DEBIAN, corpus::ARM64, corpus::X86_64, corpus::POWER] {
        let Some(real) = corpus::dump(name) else { continue };
        let mut dump = dumpfile::open(&real.elf).unwrap();
        let seen = watch(&mut dump);
        assert!(report(&dump).is_some(), "{name}");
        let frames: Vec<Pfn> = seen.lock().unwrap().0.iter().copied().collect();
        let mut opened = 0;
        for round in 0..rounds {
            let mut dump = dumpfile::open(&real.elf).unwrap();
            damage(&mut dump, &frames, &mut Random(round + 1));
            let seen = watch(&mut dump);
            opened += u64::from(report(&dump).is_some());
            let pages = seen.lock().unwrap().1;
            assert!(pages < MOST, "{name}, round {round}: {pages} pages");
        }
        assert!(opened * 4 > rounds, "{name}: only {opened} of {rounds} were more than a damaged name");
    }
}
