use super::*;
use std::time::Duration;
use vmcore::{
    CHUNK_FRAMES, Chunk, DumpLevel, MemoryMap, PageSize, PageState, Pfn, PhysAddr, Range, ReadError,
    ReasonCounts, Selection,
};

/// Memory whose page `n` holds the number `n` at its start; every seventh page is zero, every eleventh lost.
struct Numbers {
    map: MemoryMap,
    /// Frames below this one are all readable.
    sound: u64,
}

impl Numbers {
    fn new(frames: &[(u64, u64)], sound: u64) -> Self {
        let page = PageSize::K4;
        let bytes = frames.iter().map(|&(s, e)| Range::new(page.addr(Pfn(s)), page.addr(Pfn(e)))).collect();
        Self { map: MemoryMap::new(page, bytes), sound }
    }
}

fn fill(pfn: u64, page: &mut [u8]) {
    page.fill(0);
    if !pfn.is_multiple_of(7) {
        page[..8].copy_from_slice(&pfn.to_le_bytes());
    }
}

impl PhysicalMemory for Numbers {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        fill(pfn.0, page);
        if pfn.0 >= self.sound && pfn.0.is_multiple_of(11) {
            page.fill(0);
            return Ok(PageState::Lost);
        }
        Ok(PageState::Present)
    }
}

/// Collects what it sees; slow on some batches, and failing or panicking where told to.
#[derive(Default)]
struct Collect {
    fail_at: Option<u64>,
    panic_at: Option<u64>,
    slow: bool,
    written: Mutex<Vec<Pfn>>,
}

#[derive(Default)]
struct Record {
    pages: Vec<(Pfn, PageState, u64)>,
}

fn first_of(batch: &Batch) -> Pfn {
    batch.runs().next().unwrap().first
}

impl PageJob for Collect {
    type Worker = ();
    type Record = Record;
    type Layout = Vec<(Pfn, PageState, u64)>;

    fn worker(&self) -> Result<(), Error> {
        Ok(())
    }

    fn encode(&self, _: &mut (), batch: &Batch, record: &mut Record) -> Result<(), Error> {
        let first = first_of(batch).0;
        assert!(self.panic_at.is_none_or(|at| first < at), "told to");
        if self.fail_at.is_some_and(|at| first >= at) {
            return Err(Error::Missing { what: "luck".into(), format: "the test" });
        }
        if self.slow && (first / 128).is_multiple_of(5) {
            std::thread::sleep(Duration::from_millis(3));
        }
        record.pages.clear();
        let pfns = batch.runs().flat_map(|run| (run.first.0..).take(run.states.len()).map(Pfn));
        let content = |page: &[u8]| u64::from_le_bytes(*page.first_chunk().unwrap());
        record.pages.extend(pfns.zip(batch.pages()).map(|(pfn, p)| (pfn, p.state, content(p.bytes))));
        Ok(())
    }

    fn place(&self, layout: &mut Self::Layout, _: &Batch, record: &mut Record) -> Result<(), Error> {
        layout.append(&mut record.pages);
        Ok(())
    }

    fn waits(&self) -> bool {
        true
    }

    fn write(&self, slots: &mut [Box<Slot<Record>>]) -> Result<(), Error> {
        self.written.lock().unwrap().extend(slots.iter().map(|slot| first_of(&slot.batch)));
        Ok(())
    }
}

/// What `job` collects of all pages of `selection`.
fn collect(
    job: &Collect,
    memory: &Numbers,
    selection: &Selection,
    progress: &Progress,
) -> Result<Vec<(Pfn, PageState, u64)>, Error> {
    let mut pages = Vec::new();
    run(job, Source::new(memory, selection, 0), &mut pages, progress).map(|()| pages)
}

fn on_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

fn every_other_run(map: &MemoryMap) -> Selection {
    let mut selection = Selection::new(map.clone(), DumpLevel::ALL, None);
    for index in selection.chunk_indices() {
        let mut chunk = Chunk::of_map(map, index);
        for start in (0..CHUNK_FRAMES).step_by(50) {
            chunk.remove(start, (start + start % 37).min(CHUNK_FRAMES));
        }
        selection.push(index, chunk, &ReasonCounts::default()).unwrap();
    }
    selection
}

#[test]
fn pages_come_in_frame_order_for_any_number_of_threads() {
    let far = 5 * CHUNK_FRAMES;
    let memory = Numbers::new(&[(0, 3000), (CHUNK_FRAMES - 100, CHUNK_FRAMES + 100), (far, far + 1)], 1500);
    let selection = every_other_run(memory.map());
    let expected: Vec<_> = (0..selection.chunk_count())
        .flat_map(|i| {
            let (first, chunk) = selection.chunk(i).unwrap();
            chunk.runs().flatten().map(move |i| Pfn(first.0 + i)).collect::<Vec<_>>()
        })
        .map(|pfn| {
            let (state, content) = match pfn.0 {
                n if n >= 1500 && n.is_multiple_of(11) => (PageState::Lost, 0),
                n if n.is_multiple_of(7) => (PageState::Zero, 0),
                n => (PageState::Present, n),
            };
            (pfn, state, content)
        })
        .collect();
    for threads in [1, 2, 3, 8] {
        let progress = Progress::default();
        let job = Collect { slow: true, ..Collect::default() };
        let got = on_threads(threads, || collect(&job, &memory, &selection, &progress)).unwrap();
        assert_eq!(got.len() as u64, selection.kept());
        assert_eq!(got, expected, "{threads} threads");
        assert_eq!(progress.pages(), selection.kept());
    }
}

#[test]
fn batches_are_written_in_order_by_one_thread_at_a_time() {
    let memory = Numbers::new(&[(0, 20_000)], 20_000);
    let selection = Selection::everything(&memory, DumpLevel::default(), None).unwrap();
    let job = Collect { slow: true, ..Collect::default() };
    on_threads(4, || collect(&job, &memory, &selection, &Progress::default())).unwrap();
    let written = job.written.into_inner().unwrap();
    assert!(written.is_sorted());
}

#[test]
fn the_first_error_stops_all_workers() {
    let memory = Numbers::new(&[(0, 1 << 20)], 0);
    let selection = Selection::everything(&memory, DumpLevel::default(), None).unwrap();
    for threads in [1, 4] {
        let job = Collect { fail_at: Some(1000), ..Collect::default() };
        let error = on_threads(threads, || collect(&job, &memory, &selection, &Progress::default()));
        assert!(matches!(error, Err(Error::Missing { .. })));
        assert!(job.written.into_inner().unwrap().len() < 100);
    }
}

#[test]
fn a_panic_reaches_the_caller_and_nobody_waits_for_ever() {
    let memory = Numbers::new(&[(0, 10_000)], 0);
    let selection = Selection::everything(&memory, DumpLevel::default(), None).unwrap();
    for threads in [1, 4] {
        let job = Collect { panic_at: Some(5000), slow: true, ..Collect::default() };
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            on_threads(threads, || collect(&job, &memory, &selection, &Progress::default()))
        }));
        assert!(caught.is_err());
    }
}

#[test]
fn a_cancelled_run_says_so() {
    let memory = Numbers::new(&[(0, 10_000)], 0);
    let selection = Selection::everything(&memory, DumpLevel::default(), None).unwrap();
    let progress = Progress::default();
    progress.cancel();
    let result = collect(&Collect::default(), &memory, &selection, &progress);
    assert!(matches!(result, Err(Error::Cancelled)));
}

#[test]
fn an_empty_selection_is_done_at_once() {
    let memory = Numbers::new(&[], 0);
    let selection = Selection::everything(&memory, DumpLevel::default(), None).unwrap();
    assert_eq!(PhysAddr(0), PhysAddr(memory.map().max_pfn().0));
    let pages = on_threads(2, || collect(&Collect::default(), &memory, &selection, &Progress::default()));
    assert!(pages.unwrap().is_empty());
}

#[test]
fn many_more_threads_than_batches_do_not_stand_in_each_others_way() {
    let memory = Numbers::new(&[(0, 200_000)], 0);
    let selection = every_other_run(memory.map());
    let started = std::time::Instant::now();
    let job = Collect::default();
    let count = on_threads(200, || collect(&job, &memory, &selection, &Progress::default())).unwrap().len();
    assert_eq!(count as u64, selection.kept());
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
