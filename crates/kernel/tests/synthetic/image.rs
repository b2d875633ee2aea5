//! Physical memory that is mostly zeros, and the VMCOREINFO that goes with it.

use kernel::{Error, Kernel, Selected};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use vmcore::{
    ByteOrder, CHUNK_FRAMES, Chunk, Dump, DumpLevel, Machine, MemoryMap, Notes, PageSize, PageState, Pfn,
    PhysAddr, PhysicalMemory, Range, ReadError, Source, VirtSegment, VmcoreInfo,
};

/// Memory of which only the frames that were written take room.
#[derive(Clone)]
pub(crate) struct Ram {
    map: MemoryMap,
    frames: BTreeMap<u64, Vec<u8>>,
    /// Frames that the dump does not hold, and how that reads.
    pub(crate) gone: BTreeMap<u64, PageState>,
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
        if let Some(state) = self.gone.get(&pfn.0) {
            return Ok(*state);
        }
        Ok(match self.frames.get(&pfn.0) {
            Some(bytes) => {
                page.copy_from_slice(bytes);
                PageState::Present
            }
            None => PageState::Zero,
        })
    }

    fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
        let inside = self.gone.range(first.0..first.0 + CHUNK_FRAMES);
        let excluded = inside.filter(|(_, state)| **state == PageState::Excluded);
        Ok(excluded.map(|(pfn, _)| chunk.remove(pfn - first.0, pfn - first.0 + 1)).sum())
    }
}

/// A kernel being made.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) machine: Machine,
    pub(crate) page: PageSize,
    pub(crate) ram: Ram,
    pub(crate) virt: Vec<VirtSegment>,
    info: String,
    /// Where the next table goes, growing downwards from the end of memory.
    free: u64,
}

impl Image {
    /// A machine (`uname -m`) with `frames` frames of zeros.
    pub(crate) fn new(machine: &str, page: PageSize, frames: u64) -> Self {
        Self::with_banks(machine, page, &[(0, frames * page.bytes())])
    }

    /// A machine with memory at several places, each given as start and length. Tables go to the first.
    pub(crate) fn with_banks(machine: &str, page: PageSize, banks: &[(u64, u64)]) -> Self {
        let end = banks[0].0 + banks[0].1;
        let bytes = banks.iter().map(|&(at, len)| Range::new(PhysAddr(at), PhysAddr(at + len))).collect();
        let map = MemoryMap::new(page, bytes);
        let ram = Ram { map, frames: BTreeMap::new(), gone: BTreeMap::new() };
        let info = format!("OSRELEASE=6.0-synthetic\nPAGESIZE={}\n", page.bytes());
        Self { machine: Machine::from_name(machine).unwrap(), page, ram, virt: Vec::new(), info, free: end }
    }

    pub(crate) fn order(&self) -> ByteOrder {
        self.machine.order
    }

    /// Appends a line to VMCOREINFO; a key that is there already gets the new value.
    pub(crate) fn key(&mut self, key: &str, value: impl Display) -> &mut Self {
        self.info.push_str(&format!("{key}={value}\n"));
        self
    }

    pub(crate) fn symbol(&mut self, name: &str, addr: u64) -> &mut Self {
        self.key(&format!("SYMBOL({name})"), format_args!("{addr:x}"))
    }

    /// Takes every line with this key out of VMCOREINFO.
    pub(crate) fn without(&mut self, key: &str) -> &mut Self {
        let prefix = format!("{key}=");
        let kept = self.info.lines().filter(|line| !line.starts_with(&prefix));
        self.info = kept.map(|line| format!("{line}\n")).collect();
        self
    }

    /// Room for `len` bytes at the end of memory, aligned to `align`.
    pub(crate) fn alloc(&mut self, len: u64, align: u64) -> u64 {
        self.free = (self.free - len) / align * align;
        self.free
    }

    pub(crate) fn write(&mut self, phys: u64, bytes: &[u8]) {
        for (i, &byte) in bytes.iter().enumerate() {
            let at = phys + i as u64;
            let len = self.page.len();
            let frame = self.ram.frames.entry(at >> self.page.shift()).or_insert_with(|| vec![0; len]);
            frame[self.page.offset(at)] = byte;
        }
    }

    pub(crate) fn put64(&mut self, phys: u64, value: u64) {
        self.write(phys, &self.order().put_u64(value));
    }

    pub(crate) fn put32(&mut self, phys: u64, value: u32) {
        self.write(phys, &self.order().put_u32(value));
    }

    pub(crate) fn get64(&self, phys: u64, order: ByteOrder) -> u64 {
        let mut bytes = [0; 8];
        let _ = self.ram.read(PhysAddr(phys), &mut bytes).unwrap();
        order.u64(&bytes)
    }

    /// Writes the kernel's name at `phys`, to be found at `virt`.
    pub(crate) fn name(&mut self, virt: u64, phys: u64) {
        let name_offset = 4;
        for (i, text) in ["Linux", "host", "6.0-synthetic", "#1", "machine", "(none)"].iter().enumerate() {
            self.write(phys + name_offset + 65 * i as u64, text.as_bytes());
        }
        self.symbol("init_uts_ns", virt).key("OFFSET(uts_namespace.name)", name_offset);
    }

    /// The frames that were written.
    pub(crate) fn written(&self) -> Vec<u64> {
        self.ram.frames.keys().copied().collect()
    }

    /// The number of frames.
    pub(crate) fn ram_frames(&self) -> u64 {
        self.ram.map.frames().total()
    }

    pub(crate) fn dump(&self) -> Dump {
        Dump {
            machine: self.machine,
            memory: Box::new(self.ram.clone()),
            notes: Notes::default(),
            vmcoreinfo: Some(VmcoreInfo::parse(self.info.as_bytes())),
            virt: self.virt.clone(),
            elf_flags: 0,
            source: Source::default(),
        }
    }

    /// Selects at `level`, believing what the struct pages say: images mark pages as tests need them, the kernel's own
    /// among them.
    pub(crate) fn select(&self, level: u32) -> Result<Selected, Error> {
        let dump = self.dump();
        Kernel::open(&dump)?.select_unchecked(DumpLevel::new(level).unwrap(), None)
    }

    /// The frames that `level` leaves out.
    pub(crate) fn dropped(&self, level: u32) -> BTreeSet<u64> {
        dropped(&self.select(level).unwrap())
    }
}

/// The frames that a selection leaves out.
pub(crate) fn dropped(selected: &Selected) -> BTreeSet<u64> {
    let selection = &selected.selection;
    let mut dropped = BTreeSet::new();
    for position in 0..selection.chunk_count() {
        let (first, kept) = selection.chunk(position).unwrap();
        let all = Chunk::of_map(selection.map(), first.0 / CHUNK_FRAMES);
        dropped
            .extend((0..CHUNK_FRAMES).filter(|&i| all.contains(i) && !kept.contains(i)).map(|i| first.0 + i));
    }
    assert_eq!(dropped.len() as u64, selection.reasons().total(), "reasons add up to what is left out");
    dropped
}
