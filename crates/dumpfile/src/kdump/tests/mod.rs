//! What is written is read back; what is damaged is an error or a lost page; what others write is understood.

mod auto;
mod cut;
mod damage;
mod dedup;
mod fit;
mod foreign;
mod large_notes;
mod mark;
mod parts;
mod round_trip;
mod split;
mod streams;
mod sums;
mod writers;

use super::{Options, write};
use crate::codec::{Choice, Method};
use crate::input::Input;
use crate::output::OutputFile;
use crate::{Facts, Progress, Written};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use vmcore::{
    CHUNK_FRAMES, Chunk, Dump, DumpLevel, Machine, MemoryMap, Note, Notes, PageSize, PageState, Pfn,
    PhysicalMemory, Range, ReadError, ReasonCounts, Selection, Source, Utsname,
};

/// Memory made of single pages.
struct Pages {
    map: MemoryMap,
    pages: BTreeMap<u64, (PageState, Vec<u8>)>,
}

impl PhysicalMemory for Pages {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        page.fill(0);
        let Some((state, content)) = self.pages.get(&pfn.0) else { return Ok(PageState::Absent) };
        page.copy_from_slice(content);
        Ok(*state)
    }
}

/// What is in a page of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Zeros,
    Text(u8),
    Noise(u8),
    Lost,
    Excluded,
}

impl Content {
    fn page(self, len: usize) -> (PageState, Vec<u8>) {
        let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
        match self {
            Self::Zeros => (PageState::Present, vec![0; len]),
            Self::Text(seed) => (PageState::Present, (0..len).map(|i| (i / 97) as u8 ^ seed | 1).collect()),
            Self::Noise(seed) => {
                let mut next = || {
                    noise =
                        noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(u64::from(seed) * 2 + 1);
                    (noise >> 33) as u8
                };
                (PageState::Present, (0..len).map(|_| next()).collect())
            }
            Self::Lost => (PageState::Lost, vec![0; len]),
            Self::Excluded => (PageState::Excluded, vec![0; len]),
        }
    }

    /// The state that a file holds of it when it is kept.
    fn stored(self) -> PageState {
        match self {
            Self::Zeros => PageState::Zero,
            Self::Text(_) | Self::Noise(_) => PageState::Present,
            Self::Lost | Self::Excluded => PageState::Lost,
        }
    }
}

const INFO: &[u8] = b"OSRELEASE=6.1.0-test\nPAGESIZE=4096\nCRASHTIME=1795388515\n";

fn machine(name: &str) -> Machine {
    Machine::from_name(name).unwrap()
}

/// A dump of `machine` with these pages.
fn dump(machine: Machine, page_size: PageSize, contents: &[(u64, Content)]) -> Dump {
    let frame =
        |&(pfn, _): &(u64, Content)| Range::new(page_size.addr(Pfn(pfn)), page_size.addr(Pfn(pfn + 1)));
    let map = MemoryMap::new(page_size, contents.iter().map(frame).collect());
    let pages = contents.iter().map(|&(pfn, content)| (pfn, content.page(page_size.len()))).collect();
    let mut notes = Notes::default();
    for cpu in 0..2u8 {
        notes.push(Note { name: b"CORE".into(), kind: Notes::PRSTATUS, desc: vec![cpu; 504] }, machine.order);
    }
    let info = String::from_utf8_lossy(INFO).replace("4096", &page_size.bytes().to_string());
    notes.push(Note { name: b"VMCOREINFO".into(), kind: 0, desc: info.into_bytes() }, machine.order);
    Dump {
        machine,
        memory: Box::new(Pages { map, pages }),
        vmcoreinfo: Dump::find_vmcoreinfo(&notes),
        notes,
        virt: Vec::new(),
        elf_flags: 0,
        source: Source::default(),
    }
}

fn facts(machine: Machine) -> Facts {
    let text = |s: &str| s.to_owned();
    Facts {
        utsname: Utsname {
            sysname: text("Linux"),
            nodename: text("node"),
            release: text("6.1.0-test"),
            version: text("#1 SMP"),
            machine: text(machine.name()),
            domainname: text("(none)"),
        },
        phys_base: 0x1000,
        notes: vec![Note { name: b"HADUMP".into(), kind: 7, desc: b"own".into() }],
    }
}

/// All pages but those in `out`.
fn without(dump: &Dump, out: &[u64]) -> Selection {
    let mut selection = Selection::new(dump.memory.map().clone(), DumpLevel::ALL, None);
    for index in selection.chunk_indices() {
        let mut chunk = Chunk::of_map(dump.memory.map(), index);
        for pfn in out.iter().filter(|pfn| **pfn / CHUNK_FRAMES == index) {
            chunk.remove(pfn % CHUNK_FRAMES, pfn % CHUNK_FRAMES + 1);
        }
        selection.push(index, chunk, &ReasonCounts::default()).unwrap();
    }
    selection
}

fn write_to(
    path: &Path,
    dump: &Dump,
    selection: &Selection,
    method: Option<Method>,
    threads: usize,
) -> Written {
    write_with(path, dump, selection, Options { method: Choice::One(method), ..Options::default() }, threads)
}

fn write_with(path: &Path, dump: &Dump, selection: &Selection, options: Options, threads: usize) -> Written {
    let out = OutputFile::create(path, true).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let facts = facts(dump.machine);
    let written =
        pool.install(|| write(dump, selection, &facts, &options, &out, &Progress::default())).unwrap();
    out.commit().unwrap();
    written
}

fn open(path: &Path) -> Result<Dump, crate::Error> {
    super::open(vec![Input::open(path)?], &crate::Assume::default())
}

fn page_of(dump: &Dump, pfn: u64) -> (PageState, Vec<u8>) {
    let mut page = vec![0xaa; dump.page_size().len()];
    let state = dump.memory.read_page(Pfn(pfn), &mut page).unwrap();
    (state, page)
}

fn any_method() -> impl Strategy<Value = Option<Method>> {
    prop::sample::select(any_methods())
}

/// All ways of storing a page that this build can read.
fn any_methods() -> Vec<Option<Method>> {
    let mut methods: Vec<_> = Method::ALL.map(Some).into();
    if cfg!(not(feature = "lzo")) {
        methods.retain(|m| *m != Some(Method::Lzo));
    }
    methods.push(None);
    methods
}
