//! The modelled machine as the libraries see it.

use super::disk::Steps;
use phyp::region::Reading;
use phyp::system::System;
use phyp_model::live::Live;
use phyp_model::release::{Handler, Written};
use phyp_model::root::{self, RootOptions};
use phyp_model::scenario::{self, Dirt, Event, Run};
use phyp_model::{Machine, Options};
use save::release::{Ground, ReleaseFile};
use std::io;
use std::sync::{Arc, Mutex};
use vmcore::{
    CHUNK_FRAMES, Chunk, Dump, DumpLevel, MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory,
    Range, ReadError, ReasonCounts, Selection,
};

/// A crashed machine of 2008 in its second boot, with the directory that its root would be.
pub struct Patient {
    pub live: Arc<Mutex<Live>>,
    root: tempfile::TempDir,
}

impl Patient {
    /// A machine of 48 MiB, 16 of which were copied aside, with `pages` pages of content.
    pub fn new(pages: usize, handler: Handler) -> Self {
        let mut machine = Machine::new(Options::small_phyp()).unwrap();
        machine.scatter(pages).unwrap();
        Self::of(scenario::run(machine, Event::CRASH, &[], Dirt::Whole).unwrap(), handler)
    }

    pub fn of(run: Run, handler: Handler) -> Self {
        let root = tempfile::tempdir().unwrap();
        let options = RootOptions { memory: false, vmcore: false, ..RootOptions::default() };
        root::write(&run, root.path(), &options).unwrap();
        Self { live: Arc::new(Mutex::new(Live::new(run, handler))), root }
    }

    /// The dump as the leavings give it now.
    pub fn dump(&self) -> Dump {
        let system = self.system();
        let size = self.live.lock().unwrap().run().memory.size();
        let ram = [Range::new(PhysAddr(0), PhysAddr(size))].into_iter().collect();
        let memory = LiveMemory { live: Arc::clone(&self.live), map: MemoryMap::new(PageSize::K4, ram) };
        phyp::assemble(&system.leavings, Box::new(memory), &phyp::Options::default()).unwrap().0
    }

    /// What its root shows.
    pub fn system(&self) -> System {
        System::look(self.root.path()).unwrap()
    }

    pub fn ground(&self) -> Ground {
        Ground::of(&self.system(), Reading::AddressLength, 4096).unwrap()
    }

    /// The file to release memory through; it dies with the tool.
    pub fn release_file(&self, counts: bool, steps: &Arc<Steps>) -> Box<dyn ReleaseFile> {
        Box::new(LiveRelease { live: Arc::clone(&self.live), counts, steps: Arc::clone(steps) })
    }
}

struct LiveMemory {
    live: Arc<Mutex<Live>>,
    map: MemoryMap,
}

impl PhysicalMemory for LiveMemory {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        let read = self.live.lock().unwrap().read(pfn.0 << 12, page);
        Ok(read.map_or(PageState::Absent, |()| PageState::Present))
    }
}

struct LiveRelease {
    live: Arc<Mutex<Live>>,
    counts: bool,
    steps: Arc<Steps>,
}

impl ReleaseFile for LiveRelease {
    fn release(&mut self, start: PhysAddr, len: u64) -> io::Result<()> {
        self.steps.take()?;
        match self.live.lock().unwrap().write_release_region(&format!("{:#x} {len:#x}\n", start.0)).unwrap() {
            Written::Accepted => Ok(()),
            Written::Invalid => Err(io::ErrorKind::InvalidInput.into()),
            other => panic!("the kernel says {other:?} to {start} {len:#x}"),
        }
    }

    fn memory_total(&mut self) -> Option<u64> {
        self.counts.then(|| self.live.lock().unwrap().memory_total())
    }
}

/// Some of the pages of `dump`: runs of up to forty kept or left out, by chance.
pub fn some_pages(dump: &Dump, random: &mut Random) -> Selection {
    let mut all = Selection::new(dump.memory.map().clone(), DumpLevel::ALL, None);
    for index in all.chunk_indices() {
        let mut chunk = Chunk::of_map(dump.memory.map(), index);
        let mut at = 0;
        while at < CHUNK_FRAMES {
            let (keep, end) = (random.below(3) > 0, (at + 1 + random.below(40)).min(CHUNK_FRAMES));
            if !keep {
                chunk.set(at, end, false);
            }
            at = end;
        }
        all.push(index, chunk, &ReasonCounts::default()).unwrap();
    }
    all
}

/// Splits a selection in two, by chance.
pub fn two_parts(whole: &Selection, random: &mut Random) -> Vec<Selection> {
    let mut parts = [0, 1].map(|_| Selection::new(whole.map().clone(), whole.level(), None));
    for position in 0..whole.chunk_count() {
        let (first, chunk) = whole.chunk(position).unwrap();
        let mut halves = [chunk.clone(), chunk.clone()];
        for run in chunk.runs() {
            halves[random.below(2) as usize].set(run.start, run.end, false);
        }
        for (part, half) in parts.iter_mut().zip(halves) {
            part.push(first.0 / CHUNK_FRAMES, half, &ReasonCounts::default()).unwrap();
        }
    }
    parts.into()
}

/// Chance that can be had again by its seed (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Fails unless `a` and `b` have the same pages: the same frames in the same states with the same bytes.
#[track_caller]
pub fn same_pages(a: &Dump, b: &Dump) {
    let size = a.page_size();
    assert_eq!(size, b.page_size());
    assert_eq!(a.memory.map().frames(), b.memory.map().frames());
    let (mut one, mut two) = (vec![0; size.len()], vec![0; size.len()]);
    for pfn in a.memory.map().frames().iter().flat_map(|r| r.start.0..r.end.0).map(Pfn) {
        let states = (a.memory.read_page(pfn, &mut one).unwrap(), b.memory.read_page(pfn, &mut two).unwrap());
        assert_eq!(states.0, states.1, "frame {pfn}");
        assert!(one == two, "frame {pfn} has other bytes");
    }
}
