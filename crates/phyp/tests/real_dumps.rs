//! The real POWER dumps: what phyp makes of memory and `ibm,kernel-dump` is what Linux showed as `/proc/vmcore`.

use corpus::{POWER, POWER_BE};
use phyp::{Leavings, Options, assemble};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use vmcore::{
    ByteOrder, Dump, MemoryMap, Notes, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, Range, ReadError,
};

/// A file whose byte `n` is physical address `n`.
struct Raw {
    file: File,
    map: MemoryMap,
}

impl PhysicalMemory for Raw {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        let at = self.map.page_size().addr(pfn).0;
        match self.file.read_exact_at(page, at) {
            Ok(()) => Ok(PageState::Present),
            Err(_) => Ok(PageState::Absent),
        }
    }
}

/// The parts of a `/proc/vmcore` that are compared: it is small enough to be read by hand.
struct Vmcore {
    file: File,
    notes: Notes,
    /// Physical address, length and file offset of each PT_LOAD.
    loads: Vec<(u64, u64, u64)>,
}

fn vmcore(path: &Path, order: ByteOrder) -> Vmcore {
    let file = File::open(path).unwrap();
    let read = |at: u64, len: usize| {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    };
    let header = read(0, 64);
    let count = order.u16(&header[56..]);
    let (mut notes, mut loads) = (Notes::default(), Vec::new());
    for i in 0..u64::from(count) {
        let ph = read(64 + i * 56, 56);
        let (offset, len) = (order.u64(&ph[8..]), order.u64(&ph[32..]));
        match order.u32(&ph) {
            4 => notes = Notes::parse(&read(offset, len as usize), order).unwrap(),
            1 => loads.push((order.u64(&ph[24..]), len, offset)),
            other => panic!("program header of type {other}"),
        }
    }
    Vmcore { file, notes, loads }
}

fn open(path: &Path, page: PageSize) -> Box<Raw> {
    let file = File::open(path).unwrap();
    let end = PhysAddr(file.metadata().unwrap().len());
    let map = MemoryMap::new(page, [Range::new(PhysAddr(0), end)].into_iter().collect());
    Box::new(Raw { file, map })
}

fn put_together(real: &corpus::Dump, page: PageSize) -> (Dump, phyp::Findings) {
    let kernel_dump = fs::read(real.kernel_dump()).unwrap();
    let leavings = Leavings { kernel_dump: Some(kernel_dump), ..Leavings::default() };
    assemble(&leavings, open(&real.memory(), page), &Options::default()).unwrap()
}

fn compare(name: &'static str, order: ByteOrder, page: PageSize) {
    let Some(real) = corpus::dump(name) else { return };
    let (dump, findings) = put_together(&real, page);
    let real = vmcore(&real.elf, order);
    assert!(!findings.has_damage(), "{findings:#?}");
    assert_eq!(dump.machine.order, order);
    assert_eq!(dump.page_size(), page);

    // Memory: the same ranges, and the same bytes in them.
    let ranges = |r: Range<PhysAddr>| (r.start.0, r.len());
    let ours: Vec<(u64, u64)> = dump.memory.map().bytes().iter().map(ranges).collect();
    let theirs: Vec<(u64, u64)> = real.loads.iter().map(|&(paddr, len, _)| (paddr, len)).collect();
    assert_eq!(ours, theirs);
    let mut run = vec![0; 256 * page.len()];
    let mut expected = run.clone();
    for frames in dump.memory.map().frames().iter() {
        let mut first = frames.start.0;
        while first < frames.end.0 {
            let count = (frames.end.0 - first).min(256) as usize;
            let mut states = vec![PageState::Absent; count];
            let run = &mut run[..count * page.len()];
            dump.memory.read_run(Pfn(first), run, &mut states).unwrap();
            assert!(states.iter().all(|s| s.is_known()));
            let expected = &mut expected[..count * page.len()];
            expected.fill(0);
            let (start, end) = (first * page.bytes(), (first + count as u64) * page.bytes());
            for &(paddr, len, offset) in &real.loads {
                let (from, to) = (paddr.max(start), (paddr + len).min(end));
                if from < to {
                    let part = &mut expected[(from - start) as usize..(to - start) as usize];
                    real.file.read_exact_at(part, offset + from - paddr).unwrap();
                }
            }
            assert!(run == expected, "frames {first:#x}..{:#x} differ", first + count as u64);
            first += count as u64;
        }
    }

    // Notes: Linux's own, byte for byte and in their order; ours between and after them.
    let kept = |notes: &Notes| {
        let known = |n: &&vmcore::Note| (n.name == b"CORE" && n.kind == 1) || n.name == b"VMCOREINFO";
        notes.iter().filter(known).cloned().collect::<Vec<_>>()
    };
    assert_eq!(kept(&dump.notes), kept(&real.notes));
    assert_eq!(kept(&real.notes).len(), real.notes.iter().count());
    assert_eq!(dump.cpus(), 2);
}

#[test]
fn the_radix_64k_little_endian_dump_equals_its_vmcore() {
    compare(POWER, ByteOrder::Little, PageSize::K64);
}

#[test]
fn the_hash_4k_big_endian_dump_equals_its_vmcore() {
    compare(POWER_BE, ByteOrder::Big, PageSize::K4);
}
