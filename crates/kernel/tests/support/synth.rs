//! Dumps of synthetic kernels (`phyp_model::synth::dump`) as the library sees them, without a file.

use phyp_model::Memory;
use phyp_model::synth::dump::{self, catalogue};
use vmcore::{
    CHUNK_FRAMES, Chunk, Dump, Machine, MemoryMap, Notes, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory,
    Range, ReadError, Selection, Source, VirtAddr, VirtSegment, VmcoreInfo,
};

/// The memory of a synthetic dump.
struct Ram {
    map: MemoryMap,
    memory: Memory,
}

impl PhysicalMemory for Ram {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        if !self.map.frames().contains(pfn) {
            page.fill(0);
            return Ok(PageState::Absent);
        }
        self.memory.read(self.map.page_size().addr(pfn).0, page).unwrap();
        Ok(PageState::Present)
    }

    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        let last = Pfn(first.0 + states.len() as u64 - 1);
        let whole = self.map.frames().iter().any(|run| run.contains(first) && run.contains(last));
        if whole {
            self.memory.read(self.map.page_size().addr(first).0, pages).unwrap();
            states.fill(PageState::Present);
            return Ok(());
        }
        let size = self.map.page_size().len();
        for (n, (page, state)) in pages.chunks_exact_mut(size).zip(states).enumerate() {
            *state = self.read_page(Pfn(first.0 + n as u64), page)?;
        }
        Ok(())
    }
}

/// Builds the dump of this name in the catalogue.
pub(crate) fn build(name: &str) -> dump::Dump {
    catalogue::build(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The dump as the library takes it.
pub(crate) fn open(made: &dump::Dump) -> Dump {
    let spec = &made.spec;
    let range = |extent: &phyp_model::Extent| Range::new(PhysAddr(extent.start), PhysAddr(extent.end()));
    let bytes = made.loads.iter().map(|load| range(&load.physical)).collect();
    let map = MemoryMap::new(PageSize::new(spec.page_size).unwrap(), bytes);
    let machine = Machine::from_name(spec.mmu.arch().name(spec.order)).unwrap();
    Dump {
        machine,
        memory: Box::new(Ram { map, memory: made.memory.clone() }),
        notes: Notes::parse(&made.notes, machine.order).unwrap(),
        vmcoreinfo: Some(VmcoreInfo::parse(made.vmcoreinfo.as_bytes())),
        virt: made
            .loads
            .iter()
            .map(|load| VirtSegment { virt: VirtAddr(load.address), phys: range(&load.physical) })
            .collect(),
        elf_flags: 0,
        source: Source::default(),
    }
}

/// The runs of frames that a selection leaves out: first frame and number.
pub(crate) fn dropped(selection: &Selection) -> Vec<(u64, u64)> {
    let mut out: Vec<(u64, u64)> = Vec::new();
    let mut push = |frame: u64, count: u64| match out.last_mut() {
        Some((first, so_far)) if *first + *so_far == frame => *so_far += count,
        _ => out.push((frame, count)),
    };
    for position in 0..selection.chunk_count() {
        let (first, kept) = selection.chunk(position).unwrap();
        let all = Chunk::of_map(selection.map(), first.0 / CHUNK_FRAMES);
        for (n, (all, kept)) in all.words().iter().zip(kept.words()).enumerate() {
            let frame = first.0 + n as u64 * 64;
            let gone = all & !kept;
            match gone {
                0 => {}
                u64::MAX => push(frame, 64),
                _ => (0..64).filter(|bit| gone >> bit & 1 != 0).for_each(|bit| push(frame + bit, 1)),
            }
        }
    }
    out
}
