use super::*;
use crate::pattern::Typed;
use crate::pattern::machine;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use vmcore::{ByteOrder, Chunk, MemoryMap, PhysicalMemory, ReadError};

/// Where memory begins: not where a piece does.
const BASE: u64 = (1 << 20) - 0x10000;

/// Memory of which each frame has a state of its own.
struct Made {
    map: MemoryMap,
    bytes: Vec<u8>,
    states: Vec<PageState>,
    reads: AtomicU64,
}

impl Made {
    fn new(page: PageSize, states: Vec<PageState>) -> Self {
        let bytes = vec![0; states.len() * page.len()];
        let all = Range::new(PhysAddr(BASE), PhysAddr(BASE + bytes.len() as u64));
        let map = MemoryMap::new(page, [all].into_iter().collect());
        Self { map, bytes, states, reads: AtomicU64::new(0) }
    }

    fn state(&self, addr: u64) -> PageState {
        let frame = (addr - BASE) as usize / self.map.page_size().len();
        self.states.get(frame).copied().unwrap_or(PageState::Absent)
    }

    /// Writes `bytes` where pages have content, and says whether all of it is so.
    fn plant(&mut self, at: u64, bytes: &[u8]) -> bool {
        let mut whole = true;
        for (addr, &byte) in (at..).zip(bytes) {
            match self.state(addr) {
                PageState::Present => self.bytes[(addr - BASE) as usize] = byte,
                _ => whole = false,
            }
        }
        whole
    }

    /// The stretches of known bytes inside of `within`.
    fn stretches(&self, within: Range<u64>) -> Vec<(u64, &[u8])> {
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for addr in within.start.max(BASE)..within.end.min(BASE + self.bytes.len() as u64) {
            match stretches.last_mut() {
                _ if !self.state(addr).is_known() => {}
                Some(last) if last.1 == addr => last.1 += 1,
                _ => stretches.push((addr, addr + 1)),
            }
        }
        let place = |addr: u64| (addr - BASE) as usize;
        stretches.into_iter().map(|(start, end)| (start, &self.bytes[place(start)..place(end)])).collect()
    }
}

impl PhysicalMemory for Made {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let state = self.state(self.map.page_size().addr(pfn).0);
        let start = (self.map.page_size().addr(pfn).0 - BASE) as usize;
        match state {
            PageState::Present => page.copy_from_slice(&self.bytes[start..start + page.len()]),
            _ => page.fill(0),
        }
        Ok(state)
    }

    fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
        let start = self.map.page_size().pfn(PhysAddr(BASE)).0 - first.0;
        let excluded = (start..).zip(&self.states).filter(|(_, state)| **state == PageState::Excluded);
        Ok(excluded.map(|(frame, _)| chunk.remove(frame, frame + 1)).sum())
    }

    fn lost_run(&self, first: Pfn, limit: u64) -> u64 {
        let frame = (first.0 - self.map.page_size().pfn(PhysAddr(BASE)).0) as usize;
        let lost = self.states[frame..].iter().take_while(|state| **state == PageState::Lost);
        // An input need not know of all of them before it reads.
        if frame.is_multiple_of(2) { (lost.count() as u64).min(limit) } else { 0 }
    }
}

fn pattern(typed: &str, order: ByteOrder) -> Pattern {
    Pattern::new(&Typed::parse(typed.as_bytes()).unwrap(), machine(order), &|_| None).unwrap()
}

/// All hits, on so many threads.
fn found(area: &Area<'_>, pattern: &Pattern, threads: usize) -> (Vec<(u64, u64)>, Searched) {
    let mut hits = Vec::new();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let searched = pool.install(|| {
        scan(area, pattern, |event| {
            if let Event::Hit(hit) = event {
                hits.push((hit.at.0, hit.len));
            }
            Ok::<_, Error>(ControlFlow::Continue(()))
        })
    });
    (hits, searched.unwrap())
}

/// What is to be found, by the simplest means: every place of every stretch is looked at.
fn naive(made: &Made, within: Range<u64>, typed: &str, order: ByteOrder) -> Vec<(u64, u64)> {
    let mut hits = Vec::new();
    for (start, bytes) in made.stretches(within) {
        let every = |len: usize, step: u64, fits: &dyn Fn(&[u8]) -> bool| {
            let at = (start..).zip(bytes.windows(len)).filter(|(at, part)| at % step == 0 && fits(part));
            at.map(|(at, _)| (at, len as u64)).collect::<Vec<_>>()
        };
        let word = |part: &[u8]| order.u64(part);
        match Typed::parse(typed.as_bytes()).unwrap() {
            Typed::Bytes { value, mask } => hits.extend(every(value.len(), 1, &|part| {
                part.iter().zip(&mask).zip(&value).all(|((byte, mask), value)| byte & mask == value & mask)
            })),
            Typed::Word { size: Some(4), value, mask } => {
                hits.extend(every(4, 4, &|part| u64::from(order.u32(part)) & mask == value & mask));
            }
            Typed::Word { value, mask, .. } => {
                hits.extend(every(8, 8, &|part| word(part) & mask == value & mask));
            }
            Typed::Pointer(span) => {
                let (first, last) = span.resolve(&|_| None).unwrap();
                hits.extend(every(8, 8, &|part| (first..=last).contains(&word(part))));
            }
            Typed::Regex(text) => {
                let regex = regex::bytes::RegexBuilder::new(&text).unicode(false).build().unwrap();
                hits.extend(regex.find_iter(bytes).map(|m| (start + m.start() as u64, m.len() as u64)));
            }
        }
    }
    hits
}

/// What is planted, and the pattern that it is found by.
fn planted() -> impl Strategy<Value = (Vec<u8>, String)> {
    let long: String = ('a'..='z').cycle().take(9000).collect();
    let cases: Vec<(Vec<u8>, String)> = vec![
        (b"needle".to_vec(), "needle".into()),
        (b"abababab".to_vec(), "abab".into()),
        (b"\xde\xad\x07\xef".to_vec(), "hex:de ad ?7 ef".into()),
        (b"\x5a\xc3".to_vec(), "hex:5? ?3".into()),
        (b"\x00\x00\x01".to_vec(), "hex:000001".into()),
        // Three pages of 4 KiB.
        (long.clone().into_bytes(), format!("text:{long}")),
        (vec![0xc0, 0, 0, 0, 1, 2, 3, 0x44, 0, 0, 0, 0xc0, 1, 2, 3, 0x44], "word:0x44/0xff".into()),
        (vec![0x11, 0x22, 0x33, 0x44], "u32:0x11223344".into()),
        (vec![0xc0, 0, 0, 0, 1, 2, 3, 0x44], "pointer:0xc000000000000000+0x100000000".into()),
        (b"7777777777".to_vec(), "regex:7{3}".into()),
        (b"key=12345;".to_vec(), "regex:\\bkey=[0-9]{1,9};?$?".into()),
        (b"line\n".to_vec(), "regex:(?m)^[a-z]{4}$".into()),
    ];
    prop::sample::select(cases)
}

fn states() -> impl Strategy<Value = PageState> {
    prop_oneof![
        12 => Just(PageState::Present),
        4 => Just(PageState::Zero),
        1 => Just(PageState::Excluded),
        1 => Just(PageState::Lost),
        1 => Just(PageState::Absent),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn everything_that_is_there_is_found_once_and_in_order_for_any_number_of_threads(
        (small, states) in (any::<bool>(), prop::collection::vec(states(), 36..44)),
        (bytes, typed) in planted(),
        places in prop::collection::vec((0u64..40, -9010i64..20), 1..12),
        big in any::<bool>(),
        cut in (0u64..0x2000, 0u64..0x2000),
    ) {
        let (page, times) = if small { (PageSize::K4, 16) } else { (PageSize::K64, 1) };
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        // Runs of small pages, so that pieces of 1 MiB meet in both.
        let mut each: Vec<PageState> =
            states.iter().flat_map(|state| std::iter::repeat_n(*state, times)).collect();
        if small {
            each.iter_mut().zip(states.iter().cycle()).step_by(7).for_each(|(state, other)| *state = *other);
        }
        let mut made = Made::new(page, each);
        let end = BASE + made.bytes.len() as u64;
        for (frame, offset) in places {
            let at = (BASE + frame * 0x10000).saturating_add_signed(offset).max(BASE);
            made.plant(at, &bytes);
        }
        // At the ends of memory and of the first piece.
        for at in [BASE, end - bytes.len() as u64, (1 << 20) - 3, 2 << 20] {
            made.plant(at, &bytes);
        }
        let within = Range::new(BASE + cut.0, end - cut.1);
        let expected = naive(&made, within, &typed, order);
        let pattern = pattern(&typed, order);
        let mut area = Area::all(&made);
        area.within = Range::new(PhysAddr(within.start), PhysAddr(within.end));
        for threads in [1, 3] {
            let (hits, searched) = found(&area, &pattern, threads);
            prop_assert_eq!(&hits, &expected, "{}", typed);
            prop_assert!(!searched.stopped);
            let of = |wanted: fn(&PageState) -> bool| {
                let frames = page.pfn(PhysAddr(within.start)).0..=page.pfn(PhysAddr(within.end - 1)).0;
                frames.filter(|&pfn| wanted(&made.state(page.addr(Pfn(pfn)).0))).count() as u64
            };
            prop_assert_eq!(searched.pages, of(|state| state.is_known()));
            prop_assert_eq!(searched.excluded, of(|state| *state == PageState::Excluded));
            prop_assert_eq!(searched.lost, of(|state| *state == PageState::Lost));
        }
    }
}

#[test]
fn what_crosses_into_a_page_that_is_not_searched_is_no_match() {
    let mut made = Made::new(PageSize::K4, vec![PageState::Present; 600]);
    let border = 1 << 20;
    assert!(made.plant(border - 3, b"needle") && made.plant(border + 0x3000, b"needle"));
    let skipped = PageSize::K4.pfn(PhysAddr(border));
    let only = |first: Pfn, chunk: &mut Chunk| {
        chunk.set(skipped.0 - first.0, skipped.0 - first.0 + 1, false);
        Ok(())
    };
    let needle = pattern("needle", ByteOrder::Little);
    let mut area = Area::all(&made);
    assert_eq!(found(&area, &needle, 2).0, [(border - 3, 6), (border + 0x3000, 6)]);
    area.only = Some(&only);
    let (hits, searched) = found(&area, &needle, 2);
    assert_eq!((hits, searched.pages), (vec![(border + 0x3000, 6)], 599));
}

#[test]
fn words_are_aligned_in_memory_also_where_the_range_is_not() {
    let mut made = Made::new(PageSize::K4, vec![PageState::Present; 2]);
    made.bytes.fill(7);
    assert!(made.plant(BASE + 0x10, &[0x11, 0, 0, 0]) && made.plant(BASE + 0x22, &[0x11, 0, 0, 0]));
    let mut area = Area::all(&made);
    for start in 1..=0x10 {
        area.within = Range::new(PhysAddr(BASE + start), PhysAddr(BASE + 0x1000));
        assert_eq!(found(&area, &pattern("u32:0x11", ByteOrder::Little), 1).0, [(BASE + 0x10, 4)], "{start}");
    }
    area.within = Range::new(PhysAddr(BASE + 1), PhysAddr(BASE + 3));
    assert_eq!(found(&area, &pattern("u32:0x11", ByteOrder::Little), 1).0, []);
}

#[test]
fn bytes_of_a_frame_that_are_not_there_are_not_zeros() {
    let mut made = Made::new(PageSize::K4, vec![PageState::Present; 2]);
    let half = Range::new(PhysAddr(BASE), PhysAddr(BASE + 0x1800));
    made.map = MemoryMap::new(PageSize::K4, [half].into_iter().collect());
    made.bytes.fill(7);
    assert!(made.plant(BASE + 0x17f8, &[0; 16]));
    let (hits, _) = found(&Area::all(&made), &pattern("hex:00000000 000000", ByteOrder::Little), 1);
    assert_eq!(hits, [(BASE + 0x17f8, 7), (BASE + 0x17f9, 7)]);
}

#[test]
fn an_expression_without_end_ends_with_the_piece_behind_which_no_match_is_longer() {
    let mut made = Made::new(PageSize::K4, vec![PageState::Present; 1024]);
    made.bytes.fill(b'x');
    let (hits, _) = found(&Area::all(&made), &pattern("regex:x+", ByteOrder::Little), 2);
    // One behind the other, and none left out between.
    assert!(hits.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0));
    assert_eq!(hits.iter().map(|hit| hit.1).sum::<u64>(), made.bytes.len() as u64);
    assert!(hits.iter().all(|hit| hit.1 <= (1 << 20) + crate::pattern::LONGEST as u64));
}

#[test]
fn a_search_that_is_stopped_reads_little_more() {
    let mut made = Made::new(PageSize::K4, vec![PageState::Present; 16384]);
    made.bytes.fill(b'x');
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let searched = pool.install(|| {
        scan(&Area::all(&made), &pattern("xyz", ByteOrder::Little), |event| {
            let stop = matches!(event, Event::Frames(_));
            Ok::<_, Error>(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
    });
    assert!(searched.unwrap().stopped);
    assert!(made.reads.load(Ordering::Relaxed) < 5 * 256);
}
