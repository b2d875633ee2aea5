//! The report of a kernel on each machine: its types, symbols, tasks, stacks, modules, counters and slab caches.
//!
//! An input is the machine's number and what lies in the kernel's image; page tables and the rest of memory are sound.

use super::{Seed, Target};
use kernel::Kernel;
use phyp_model::synth::dump::{self, catalogue};
use phyp_model::synth::running::linux::Layout;
use phyp_model::synth::running::story::story;
use std::hint::black_box;
use std::sync::OnceLock;
use triage::{Options, Stacks, examine};
use vmcore::{
    Dump, Machine, MemoryMap, Notes, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, Range, ReadError,
    Source, VmcoreInfo,
};

pub(super) const TARGET: Target = Target { name: "report", seeds, run };

const MACHINES: [(&str, Layout); 7] = [
    ("x86_64-4k-vmemmap-6.12", Layout::NEW),
    ("x86_64-4k-vmemmap-4.14", Layout::OLD),
    ("aarch64-4k-48-6.12", Layout::NEW),
    ("riscv64-4k-sv39-6.12", Layout::NEW),
    ("loongarch64-16k-3level-6.12", Layout::NEW),
    ("ppc64-4k-hash-6.12", Layout::OLD),
    ("s390x-4k-identity0-6.12", Layout::NEW),
];

/// The dumps of all machines, with what lies in the kernel's image.
fn dumps() -> &'static [(dump::Dump, Vec<u8>)] {
    static DUMPS: OnceLock<Vec<(dump::Dump, Vec<u8>)>> = OnceLock::new();
    DUMPS.get_or_init(|| {
        let made = |&(name, layout): &(&str, Layout)| {
            let mut made = catalogue::build(name).expect("the catalogue's specs can be built");
            let story = story(made.spec.mmu.arch(), made.spec.order, made.image.0, layout);
            made.put(&story.laid, &story.registers).expect("the kernel is small");
            (made, story.laid.bytes)
        };
        MACHINES.iter().map(made).collect()
    })
}

/// A machine's memory with another image.
struct Ram {
    map: MemoryMap,
    dump: &'static dump::Dump,
    image: Vec<u8>,
}

impl PhysicalMemory for Ram {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        page.fill(0);
        if !self.map.frames().contains(pfn) {
            return Ok(PageState::Absent);
        }
        let at = self.map.page_size().addr(pfn).0;
        self.dump.memory.read(at, page).expect("memory that the map has");
        if let Some(rest) = at.checked_sub(self.dump.image.1).and_then(|at| self.image.get(at as usize..)) {
            let len = rest.len().min(page.len());
            page[..len].copy_from_slice(&rest[..len]);
        }
        Ok(PageState::Present)
    }
}

fn seeds() -> Vec<Seed> {
    let seed = |(number, (_, image)): (u8, &(dump::Dump, Vec<u8>))| Seed {
        bytes: [&[number][..], image].concat(),
        hot: vec![1..image.len() + 1],
    };
    (0..).zip(dumps()).map(seed).collect()
}

fn run(bytes: Vec<u8>) -> bool {
    let Some((number, image)) = bytes.split_first() else { return false };
    let (made, sound) = &dumps()[usize::from(*number) % MACHINES.len()];
    let range = |extent: &phyp_model::Extent| Range::new(PhysAddr(extent.start), PhysAddr(extent.end()));
    let size = PageSize::new(made.spec.page_size).expect("the catalogue's page sizes");
    let map = MemoryMap::new(size, made.loads.iter().map(|load| range(&load.physical)).collect());
    let machine = Machine::from_name(made.spec.mmu.arch().name(made.spec.order)).expect("a known machine");
    // What is longer would lie over page tables, which are sound.
    let image = image[..image.len().min(sound.len())].to_vec();
    let dump = Dump {
        machine,
        memory: Box::new(Ram { map, dump: made, image }),
        vmcoreinfo: Some(VmcoreInfo::parse(made.vmcoreinfo.as_bytes())),
        notes: Notes::parse(&made.notes, machine.order).unwrap_or_default(),
        virt: Vec::new(),
        elf_flags: 0,
        source: Source::default(),
    };
    let Ok(kernel) = Kernel::open(&dump) else { return false };
    let report = examine(&dump, Some(&kernel), None, &Options { stacks: Stacks::All });
    black_box(format!("{report:?}").len());
    !report.tasks.is_empty()
}
