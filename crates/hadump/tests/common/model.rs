//! Modelled machines after their second boot, and what hadump's libraries make of them.

use super::run::Scratch;
use phyp::system::System;
use phyp::{Findings, Options};
use phyp_model::invariants::{self, Counts, Seen, Violation};
use phyp_model::root::{self, RootOptions};
use phyp_model::scenario::{Run, Truth};
use phyp_model::{Extent, Memory, extent};
use vmcore::{Dump, MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, Range, ReadError};

/// The machine's memory in its second boot, as `/dev/mem` would show it.
struct Now {
    memory: Memory,
    map: MemoryMap,
}

impl PhysicalMemory for Now {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        let address = self.map.page_size().addr(pfn).0;
        Ok(self.memory.read(address, page).map_or(PageState::Absent, |()| PageState::Present))
    }
}

/// The machine's root, with its memory in `dev/mem`.
pub fn root(run: &Run) -> Scratch {
    root_with(run, &RootOptions { vmcore: false, ..RootOptions::default() })
}

pub fn root_with(run: &Run, options: &RootOptions) -> Scratch {
    let scratch = Scratch::new("machine");
    root::write(run, scratch.path(), options).expect("a root directory");
    scratch
}

/// What `phyp` makes of the root, with memory read from the model itself.
pub fn assembled(run: &Run, options: &RootOptions) -> Result<(Dump, Findings), phyp::Error> {
    let options = RootOptions { vmcore: false, memory: false, ..options.clone() };
    let root = root_with(run, &options);
    let system = System::look(root.path())?;
    let ram = [Range::new(PhysAddr(0), PhysAddr(run.memory.size()))].into_iter().collect();
    let memory = Now { memory: run.memory.clone(), map: MemoryMap::new(PageSize::K4, ram) };
    let page_size = PageSize::new(run.options.page_size);
    phyp::assemble(&system.leavings, Box::new(memory), &Options { page_size, ..Options::default() })
}

/// What a dump says of the page at `address`.
pub fn seen(dump: &Dump, address: u64, page: &mut [u8]) -> Seen {
    let pfn = dump.page_size().pfn(PhysAddr(address));
    match dump.memory.read_page(pfn, page).expect("memory can be read") {
        PageState::Present => Seen::Bytes,
        PageState::Zero => Seen::Zero,
        PageState::Absent => Seen::Absent,
        PageState::Lost | PageState::Excluded => Seen::Lost,
    }
}

/// Every page is what the truth says. Of machines with gigabytes of memory only what lies around the edges of its parts
/// is looked at.
pub fn pages_are_right(run: &Run, dump: &Dump) -> Result<Counts, Violation> {
    const WINDOW: u64 = 4 << 20;
    let mut truth = run.truth.clone();
    if run.options.ram_end() > 256 << 20 {
        let edges = [0, 1 << 32, run.options.boot_top, run.layout.reserved.start, run.layout.reserved.end()];
        let edges = edges.into_iter().chain([run.options.ram_end()]);
        let windows = edges.map(|edge| Extent::between(edge.saturating_sub(WINDOW), edge + WINDOW)).collect();
        truth.ram = extent::intersect(&truth.ram, &extent::merged(windows));
    }
    let page_size = run.options.page_size;
    let view = |address: u64, page: &mut [u8]| {
        let here = Extent::new(address, page_size);
        if extent::intersect(&truth.ram, &[here]).is_empty() {
            Seen::Absent
        } else {
            seen(dump, address, page)
        }
    };
    invariants::check_pages(&truth, page_size, view).expect("the image can be read")
}

/// No page has other bytes than at the crash, whatever is said to be lost or absent. The reserved area is left out: it
/// can be known only where the leavings name it.
pub fn nothing_is_wrong(truth: &Truth, dump: &Dump) -> Result<u64, String> {
    let page_size = dump.page_size().bytes();
    let (mut page, mut expected) = (vec![0; page_size as usize], vec![0; page_size as usize]);
    let mut present = 0;
    for address in (0..truth.ram.iter().map(|r| r.end()).max().unwrap_or(0)).step_by(page_size as usize) {
        let here = Extent::new(address, page_size);
        if !extent::intersect(&truth.reserved, &[here]).is_empty()
            || extent::total(&extent::intersect(&truth.ram, &[here])) < page_size
            || !matches!(seen(dump, address, &mut page), Seen::Bytes | Seen::Zero)
        {
            continue;
        }
        truth.image.read(address, &mut expected).expect("the image can be read");
        if page != expected {
            return Err(format!("the page at {address:#x} has other bytes than at the crash"));
        }
        present += 1;
    }
    Ok(present)
}

/// The CPUs that a dump has registers of.
pub fn cpus(dump: &Dump) -> Vec<u32> {
    let listing = phyp::registers(&dump.notes, dump.machine.order).expect("sound notes");
    listing.iter().map(|cpu| cpu.cpu).collect()
}
