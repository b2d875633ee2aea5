//! The plausibility gate on real dumps: what is damaged is noticed and costs no page, what is healthy passes.

mod support;

use corpus::{NAMES, X86_64};
use kernel::{Gate, Kernel, KernelMemory, Outcome, Selected};
use std::collections::BTreeMap;
use support::with_dump;
use vmcore::{
    CHUNK_FRAMES, Chunk, Dump, DumpLevel, MemoryMap, PageState, Pfn, PhysicalMemory, ReadError, VirtAddr,
    VmcoreInfo,
};

/// Memory with some pages overwritten.
struct Overlay {
    inner: Box<dyn PhysicalMemory>,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl PhysicalMemory for Overlay {
    fn map(&self) -> &MemoryMap {
        self.inner.map()
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        match self.pages.get(&pfn.0) {
            Some(bytes) => {
                page.copy_from_slice(bytes);
                Ok(PageState::Present)
            }
            None => self.inner.read_page(pfn, page),
        }
    }

    fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
        self.inner.drop_excluded(first, chunk)
    }
}

/// A real dump and the pages that it must keep at level 31.
struct Subject {
    real: corpus::Dump,
    truth: Vec<u8>,
}

fn with_subject(name: &'static str, test: impl FnOnce(&Subject)) {
    let Some(real) = corpus::dump(name) else { return };
    let truth = real.bitmap(31);
    test(&Subject { real, truth });
}

impl Subject {
    fn open(&self) -> Dump {
        dumpfile::open(&self.real.elf).unwrap()
    }

    /// The dump with `pages` in place of its own.
    fn with_pages(&self, pages: BTreeMap<u64, Vec<u8>>) -> Dump {
        let mut dump = self.open();
        let inner = std::mem::replace(&mut dump.memory, Box::new(Nothing));
        dump.memory = Box::new(Overlay { inner, pages });
        dump
    }

    /// The dump with other values in its VMCOREINFO.
    fn with_info(&self, changes: &[(&str, &str)]) -> Dump {
        let mut dump = self.open();
        let text = dump.vmcoreinfo.as_ref().unwrap().text().to_vec();
        let mut text = String::from_utf8(text).unwrap();
        for (key, value) in changes {
            text.push_str(&format!("{key}={value}\n"));
        }
        dump.vmcoreinfo = Some(VmcoreInfo::parse(text.as_bytes()));
        dump
    }

    /// The frames of the dump's mem_map, in the order of what they are about.
    fn mem_map(&self) -> Vec<u64> {
        self.mem_map_pages().into_iter().map(|(_, frame)| frame).collect()
    }

    /// The same, each behind the first frame that it is about.
    fn mem_map_pages(&self) -> Vec<(u64, u64)> {
        let dump = self.open();
        let kernel = Kernel::open(&dump).unwrap();
        let roots = kernel.info().symbol("mem_section").unwrap();
        let root = kernel.read_word(roots).unwrap();
        // Section 0 has its array's address in the first word, with flags in the low bits.
        let base = kernel.read_word(VirtAddr(root)).unwrap() & !0xfff;
        let per_page = dump.page_size().bytes() / 64;
        let mut frames = Vec::new();
        for range in dump.memory.map().frames().iter() {
            for first in (range.start.0 / per_page..range.end.0.div_ceil(per_page)).map(|i| i * per_page) {
                let phys = kernel.translate(VirtAddr(base + first * 64)).unwrap();
                let frame = dump.page_size().pfn(phys).0;
                if frames.last().is_none_or(|(_, last)| *last != frame) {
                    frames.push((first, frame));
                }
            }
        }
        frames
    }

    /// The pages that should have been kept and were not.
    fn lost(&self, selected: &Selected) -> Vec<u64> {
        let selection = &selected.selection;
        let mut kept = vec![0u8; self.truth.len()];
        for position in 0..selection.chunk_count() {
            let (first, chunk) = selection.chunk(position).unwrap();
            for pfn in (0..CHUNK_FRAMES).filter(|&i| chunk.contains(i)).map(|i| first.0 + i) {
                kept[(pfn >> 3) as usize] |= 1 << (pfn & 7);
            }
        }
        let frames = 0..self.truth.len() as u64 * 8;
        frames
            .filter(|&pfn| (self.truth[(pfn / 8) as usize] & !kept[(pfn / 8) as usize]) >> (pfn % 8) & 1 != 0)
            .collect()
    }

    /// What `dump` makes of level 31: nothing is lost, and the gate held something back.
    #[track_caller]
    fn noticed(&self, what: &str, dump: &Dump) -> Gate {
        let kernel = Kernel::open(dump).unwrap();
        let selected = kernel.select(DumpLevel::ALL, None).unwrap();
        let lost = self.lost(&selected);
        println!("{}: {what}: closed {}, {:?}", self.real.name, selected.gate.closed, selected.remarks);
        for check in &selected.gate.checks {
            println!("    {}: {}: {}", check.name, check.outcome.name(), check.text);
        }
        assert_eq!(lost.len(), 0, "{}: {what}: {:?}", self.real.name, &lost[..lost.len().min(10)]);
        assert!(selected.gate.held_back(), "{}: {what}: nothing was held back", self.real.name);
        assert!(!selected.remarks.is_empty());
        let level = if selected.gate.closed { 1 } else { 31 };
        assert_eq!(selected.selection.level().bits(), level);
        selected.gate
    }
}

struct Nothing;

impl PhysicalMemory for Nothing {
    fn map(&self) -> &MemoryMap {
        unreachable!("it is only in the place of memory for a moment")
    }

    fn read_page(&self, _: Pfn, _: &mut [u8]) -> Result<PageState, ReadError> {
        unreachable!("it is only in the place of memory for a moment")
    }
}

/// A page of what people write.
fn text(len: usize) -> Vec<u8> {
    let line = b"Four score and seven years ago our fathers brought forth on this continent a new nation.\n";
    line.iter().copied().cycle().take(len).collect()
}

#[test]
fn healthy_dumps_pass_at_every_level() {
    for name in NAMES {
        with_dump(name, |_, dump| {
            let kernel = Kernel::open(dump).unwrap();
            for level in 0..32 {
                let level = DumpLevel::new(level).unwrap();
                let selected = kernel.select(level, None).unwrap();
                let gate = &selected.gate;
                assert!(!gate.held_back(), "{name}, level {level}: {gate:?}");
                assert_eq!(selected.remarks, [""; 0]);
                if level == DumpLevel::ALL {
                    for check in &gate.checks {
                        println!("{name}: {}: {}: {}", check.name, check.outcome.name(), check.text);
                        assert_eq!(check.outcome, Outcome::Passed, "{name}: {check:?}");
                    }
                    assert_eq!(gate.checks.len(), 8);
                }
                let unchecked = kernel.select_unchecked(level, None).unwrap();
                assert_eq!(unchecked.selection.kept(), selected.selection.kept());
            }
        });
    }
}

#[test]
fn a_mem_map_with_text_in_it_costs_no_page() {
    for name in NAMES {
        with_subject(name, |subject| {
            let (mem_map, size) = (subject.mem_map(), subject.open().page_size().len());
            for (every, at) in [(usize::MAX, 0), (usize::MAX, 3), (97, 5), (7, 2), (2, 1), (1, 0)] {
                let pages = mem_map.iter().skip(at).step_by(every);
                let pages: BTreeMap<u64, Vec<u8>> = pages.map(|frame| (*frame, text(size))).collect();
                let what = format!("text in {} of {} pages of mem_map", pages.len(), mem_map.len());
                if !pages.is_empty() {
                    subject.noticed(&what, &subject.with_pages(pages));
                }
            }
        });
    }
}

/// Whatever a page of mem_map is overwritten with, no page is lost but by a struct page that was overwritten by what looks
/// like another one.
#[test]
fn whatever_overwrites_mem_map_costs_no_page() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    // Bytes of all sorts; words of the kind that kernel memory is full of: zeros, small numbers, pointers, patterns.
    let word = prop_oneof![
        any::<u64>(),
        0u64..0x1_0000,
        Just(0),
        Just(u64::MAX),
        (0u64..1 << 30).prop_map(|offset| 0xffff_8880_0000_0000 | offset << 3),
        (0u64..1 << 30).prop_map(|offset| 0xc000_0000_0000_0000 | offset << 3),
        any::<u8>().prop_map(|byte| u64::from_ne_bytes([byte; 8])),
    ];
    let pages =
        prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(word, 1..40)), 1..12);
    for name in NAMES {
        with_subject(name, |subject| {
            let (mem_map, size) = (subject.mem_map(), subject.open().page_size().len());
            // Always the same cases: of others, about one in a hundred still costs pages.
            let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
            let mut runner =
                TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
            let outcome = runner.run(&pages, |pages| {
                let overwritten = pages.iter().map(|(index, words)| {
                    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                    (*index.get(&mem_map), bytes.iter().copied().cycle().take(size).collect())
                });
                let dump = subject.with_pages(overwritten.collect());
                let kernel = Kernel::open(&dump).unwrap();
                let selected = kernel.select(DumpLevel::ALL, None).unwrap();
                prop_assert_eq!(subject.lost(&selected), Vec::<u64>::new());
                Ok(())
            });
            outcome.unwrap();
        });
    }
}

/// The VMCOREINFO of one kernel with the numbers, offsets and sizes of another, and its own symbols.
fn mixed(own: &VmcoreInfo, other: &VmcoreInfo) -> String {
    let text = |info: &VmcoreInfo| String::from_utf8(info.text().to_vec()).unwrap();
    let is_layout = |line: &&str| {
        ["NUMBER(", "OFFSET(", "SIZE(", "LENGTH("].iter().any(|kind| line.starts_with(kind))
            // Where things are is no matter of the version.
            && !["phys_base", "VMALLOC_START", "RADIX_MMU", "_BITS", "mem_section", "pgtable", "sme_mask", "uts_namespace"]
                .iter()
                .any(|name| line.contains(name))
    };
    let (own, other) = (text(own), text(other));
    let kept = own.lines().filter(|line| !is_layout(line));
    kept.chain(other.lines().filter(is_layout)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn numbers_of_another_kernel_cost_no_page() {
    let mut infos = BTreeMap::new();
    for name in NAMES {
        with_subject(name, |subject| {
            infos.insert(name, subject.open().vmcoreinfo.unwrap());
        });
    }
    for name in NAMES.into_iter().filter(|name| infos.contains_key(name)) {
        with_subject(name, |subject| {
            for (other, info) in infos.iter().filter(|(other, _)| **other != name) {
                let mut dump = subject.open();
                let text = mixed(&infos[name], info);
                dump.vmcoreinfo = Some(VmcoreInfo::parse(text.as_bytes()));
                // Two kernels of the same version differ in where things are, not in what flags mean.
                let alike = [name, other].iter().all(|name| *name != X86_64);
                if !alike {
                    subject.noticed(&format!("layouts of {other}"), &dump);
                }
            }
        });
    }
}

#[test]
fn wrong_numbers_cost_no_page() {
    for name in NAMES {
        with_subject(name, |subject| {
            let info = subject.open().vmcoreinfo.unwrap();
            let number = |key: &str| info.number(key).unwrap();
            let shifted = |key: &str, by: i64| (format!("NUMBER({key})"), (number(key) + by).to_string());
            let mut changes = vec![
                shifted("PG_lru", 1),
                shifted("PG_lru", -1),
                shifted("PG_lru", 2),
                shifted("PG_private", 1),
                shifted("PG_private", -1),
                ("NUMBER(PG_head_mask)".to_owned(), (number("PG_head_mask") << 1).to_string()),
                ("NUMBER(PG_head_mask)".to_owned(), (number("PG_head_mask") >> 1).to_string()),
            ];
            let buddy = number("PAGE_BUDDY_MAPCOUNT_VALUE");
            let others =
                if buddy == -129 { [-128, -257, -130] } else { [buddy + (1 << 24), buddy - (1 << 24), -129] };
            changes.extend(
                others.map(|value| ("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)".to_owned(), value.to_string())),
            );
            for size in [40, 48, 56, 72, 80, 128] {
                changes.push(("SIZE(page)".to_owned(), size.to_string()));
            }
            for (key, value) in &changes {
                let dump = subject.with_info(&[(key, value)]);
                subject.noticed(&format!("{key}={value}"), &dump);
            }
        });
    }
}

/// A page of `mem_map` whose struct pages the kernel did not make: memory that was never brought online, or went offline.
#[test]
fn struct_pages_that_the_kernel_did_not_make_are_no_nonsense() {
    with_subject(X86_64, |subject| {
        let dump = subject.open();
        let page = dump.page_size().len();
        let keeps = |pfn: u64| subject.truth[(pfn / 8) as usize] >> (pfn % 8) & 1 != 0;
        let healthy = Kernel::open(&dump).unwrap().select(DumpLevel::ALL, None).unwrap();
        // Struct pages of pages that no counter of the kernel is about, so that only the ones in them are new.
        let frames = dump.memory.map().frames();
        let mut pages = BTreeMap::new();
        let mut about = 0;
        for (pfn, frame) in subject.mem_map_pages() {
            let all = (pfn..pfn + 64).all(|pfn| keeps(pfn) && frames.contains(Pfn(pfn)));
            if all && pages.len() < 24 {
                pages.insert(frame, vec![0xff; page]);
                about += 64;
            }
        }
        assert!(about > 512, "{about}");
        let dump = subject.with_pages(pages);
        let selected = Kernel::open(&dump).unwrap().select(DumpLevel::ALL, None).unwrap();
        for check in &selected.gate.checks {
            println!("    {}: {}: {}", check.name, check.outcome.name(), check.text);
        }
        assert!(!selected.gate.held_back(), "{:?}", selected.remarks);
        assert_eq!(subject.lost(&selected), [0; 0]);
        assert_eq!(selected.undecided, healthy.undecided, "what the kernel did not make is no doubt");
        let ungated = Kernel::open(&dump).unwrap().select_unchecked(DumpLevel::ALL, None).unwrap();
        assert_eq!(subject.lost(&ungated), [0; 0]);
    });
}

#[test]
fn a_symbol_at_the_end_of_the_address_space_is_only_wrong() {
    with_subject(X86_64, |subject| {
        let dump = subject.with_info(&[("SYMBOL(_stext)", "ffffffffffffff00")]);
        let selected = Kernel::open(&dump).unwrap().select(DumpLevel::ALL, None).unwrap();
        assert_eq!(subject.lost(&selected), [0; 0]);
    });
}

/// Memory of which most is not there.
struct Huge {
    inner: Box<dyn PhysicalMemory>,
    map: MemoryMap,
}

impl PhysicalMemory for Huge {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        if self.inner.map().frames().contains(pfn) {
            return self.inner.read_page(pfn, page);
        }
        page.fill(0);
        Ok(PageState::Zero)
    }

    fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
        self.inner.drop_excluded(first, chunk)
    }
}

/// A file of some megabytes can claim 256 TiB, and one array of struct pages for all of it.
#[test]
fn memory_that_nobody_has_takes_no_time() {
    with_subject(X86_64, |subject| {
        let mut dump = subject.open();
        let text = String::from_utf8(dump.vmcoreinfo.as_ref().unwrap().text().to_vec()).unwrap();
        let text = text.replace("SYMBOL(mem_section)", "SYMBOL(mem_map)");
        dump.vmcoreinfo = Some(VmcoreInfo::parse(text.as_bytes()));
        let page_size = dump.page_size();
        let inner = std::mem::replace(&mut dump.memory, Box::new(Nothing));
        let first = inner.map().bytes().iter().next().unwrap().start;
        let all = [vmcore::Range::new(first, vmcore::PhysAddr(0x7ff0_0000_0000))].into_iter().collect();
        let map = MemoryMap::new(page_size, all);
        dump.memory = Box::new(Huge { inner, map });
        let began = std::time::Instant::now();
        let selected = Kernel::open(&dump).unwrap().select(DumpLevel::ALL, None);
        let (took, selected) = (began.elapsed(), selected.unwrap());
        println!("{took:?}: {:?}", selected.remarks);
        // A walk of all frames would take hours; what is needed takes seconds, and a minute on a busy machine.
        assert!(took.as_secs() < 120, "{took:?}");
        assert!(selected.gate.closed && selected.selection.kept() > 1 << 34);
    });
}
