//! A small machine, and its dumps in every format.

use dumpfile::codec::{Choice, Method};
use dumpfile::output::Sink;
use dumpfile::{Error, Facts, Progress, elf, kdump};
use std::path::Path;
use std::sync::Mutex;
use vmcore::{
    Dump, DumpLevel, Machine, MemoryMap, Note, Notes, PageSize, PageState, Pfn, PhysicalMemory, Range,
    ReadError, Selection, Source,
};

/// Frames of the sample machine: two ranges.
const FRAMES: [(u64, u64); 2] = [(0, 20), (70, 90)];

/// Which pages of the sample machine are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// All of them.
    All,
    /// All but every seventh, which is lost.
    Most,
}

/// Memory in which every third page is zero.
struct Memory(MemoryMap, Pages);

impl PhysicalMemory for Memory {
    fn map(&self) -> &MemoryMap {
        &self.0
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        page.fill(0);
        if !self.0.frames().contains(pfn) {
            return Ok(PageState::Absent);
        }
        Ok(match pfn.0 {
            n if n % 3 == 0 => PageState::Zero,
            n if n % 7 == 0 && self.1 == Pages::Most => PageState::Lost,
            n => {
                // Text that shrinks, or noise that does not.
                let mut x = n;
                for (i, byte) in page.iter_mut().enumerate() {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n | 1);
                    *byte = if n % 2 == 0 { (x >> 56) as u8 } else { (i / 50) as u8 };
                }
                PageState::Present
            }
        })
    }
}

/// The frames of the sample machine.
pub(crate) fn frames() -> impl Iterator<Item = u64> {
    FRAMES.into_iter().flat_map(|(start, end)| start..end)
}

/// The sample machine's dump.
pub(crate) fn dump(machine: &str, page_size: PageSize) -> Dump {
    dump_with(machine, page_size, Pages::Most)
}

/// The sample machine's dump with these of its pages.
pub(crate) fn dump_with(machine: &str, page_size: PageSize, pages: Pages) -> Dump {
    let machine = Machine::from_name(machine).expect("a machine that hadump knows");
    let range = |&(start, end): &(u64, u64)| Range::new(page_size.addr(Pfn(start)), page_size.addr(Pfn(end)));
    let map = MemoryMap::new(page_size, FRAMES.iter().map(range).collect());
    let mut notes = Notes::default();
    notes.push(Note { name: b"CORE".into(), kind: Notes::PRSTATUS, desc: vec![1; 336] }, machine.order);
    let text = format!(
        "OSRELEASE=6.1.0\nPAGESIZE={}\nCRASHTIME=1700000000\nNUMBER(phys_base)=0\n",
        page_size.bytes()
    );
    notes.push(Note { name: b"VMCOREINFO".into(), kind: 0, desc: text.into_bytes() }, machine.order);
    Dump {
        machine,
        memory: Box::new(Memory(map, pages)),
        vmcoreinfo: Dump::find_vmcoreinfo(&notes),
        notes,
        virt: Vec::new(),
        elf_flags: 0,
        source: Source::default(),
    }
}

/// A sink in memory.
#[derive(Default)]
struct Bytes(Mutex<Vec<u8>>);

impl Sink for Bytes {
    fn path(&self) -> &Path {
        Path::new("bytes")
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut all = self.0.lock().expect("no writer panics");
        let end = offset as usize + bytes.len();
        if all.len() < end {
            all.resize(end, 0);
        }
        all[end - bytes.len()..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn written(write: impl FnOnce(&Selection, &dyn Sink), dump: &Dump) -> Vec<u8> {
    let selection =
        Selection::everything(&*dump.memory, DumpLevel::ALL, None).expect("the sample can be read");
    let sink = Bytes::default();
    write(&selection, &sink);
    sink.0.into_inner().expect("no writer panics")
}

/// The sample as a kdump-compressed file, or a part of a split set with these frames.
pub(crate) fn kdump(dump: &Dump, method: Option<Method>, part: Option<Range<Pfn>>) -> Vec<u8> {
    kdump_as(dump, kdump::Options { method: Choice::One(method), part, ..kdump::Options::default() })
}

/// As [`kdump`] with checksums.
pub(crate) fn kdump_with_checksums(dump: &Dump, method: Option<Method>, part: Option<Range<Pfn>>) -> Vec<u8> {
    kdump_as(
        dump,
        kdump::Options { method: Choice::One(method), part, checksums: true, ..kdump::Options::default() },
    )
}

fn kdump_as(dump: &Dump, options: kdump::Options) -> Vec<u8> {
    let facts = Facts { phys_base: 0x1000, ..Facts::default() };
    let write = |selection: &Selection, sink: &dyn Sink| {
        kdump::write(dump, selection, &facts, &options, sink, &Progress::default())
            .expect("the sample can be written");
    };
    written(write, dump)
}

/// The sample as an ELF core.
pub(crate) fn elf(dump: &Dump) -> Vec<u8> {
    let write = |selection: &Selection, sink: &dyn Sink| {
        elf::write(dump, selection, &Facts::default(), sink, &Progress::default())
            .expect("the sample can be written");
    };
    written(write, dump)
}
