//! Memory in AVML's compressed records: a stream in snappy's frame format each, and its length in eight bytes behind it.
//!
//! A stream is made of chunks of 64 KiB of memory. Where each of them is, is known only by the lengths of those before it, so
//! the first of every 256 is remembered when the file is opened, and the others are stepped over when memory is read.

use super::record::{Format, Record};
use crate::Error;
use crate::damage::DamageLog;
use crate::input::Input;
use snap::read::FrameDecoder;
use std::io::Read;
use vmcore::{
    Damage, MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, Range, RangeSet, ReadError,
};

/// The first chunk of a stream, its identifier (snappy's `framing_format.txt`).
const IDENTIFIER: [u8; 10] = *b"\xff\x06\0\0sNaPpY";
/// Bytes of memory in a chunk; the last one of a record may have less.
const CHUNK: u64 = 1 << 16;
/// The most bytes of a chunk in the file: it is stored as it is, or takes less.
const MOST_STORED: u64 = CHUNK + 4 + 4;
/// Chunks of a run.
const RUN: u64 = 256;

/// Memory side by side, in chunks that follow each other in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    start: u64,
    end: u64,
    /// Where the first chunk is in the file.
    offset: u64,
}

impl Run {
    /// The memory that it has.
    pub(super) fn memory(&self) -> Range<PhysAddr> {
        Range::new(PhysAddr(self.start), PhysAddr(self.end))
    }
}

/// Steps over the chunks of a compressed record, adds where they are to `runs`, and returns where the next record begins; `None`
/// where the file ends before this one does.
pub(super) fn walk(input: &Input, record: &Record, runs: &mut Vec<Run>) -> Result<Option<u64>, ReadError> {
    debug_assert_eq!(record.format, Format::Avml);
    let Some(identifier) = read(input, record.data)? else { return Ok(None) };
    if identifier != IDENTIFIER {
        let found = format!("{identifier:02x?}");
        return Err(input.damaged(
            "the compressed stream's identifier",
            record.data,
            found,
            "ff 06 00 00 sNaPpY",
        ));
    }
    let mut at = record.data + IDENTIFIER.len() as u64;
    let mut addr = record.start;
    while addr < record.end {
        let Some((len, memory)) = chunk(input, at)? else { return Ok(None) };
        let rest = record.end - addr;
        if memory != rest.min(CHUNK) {
            let found = format!("{memory} bytes of memory");
            return Err(input.damaged(
                "a compressed chunk",
                at,
                found,
                "64 KiB, or what is left of the record",
            ));
        }
        match runs.last_mut() {
            Some(last) if last.end == addr && addr != record.start && last.end - last.start < RUN * CHUNK => {
                last.end += memory;
            }
            _ => runs.push(Run { start: addr, end: addr + memory, offset: at }),
        }
        (at, addr) = (at + len, addr + memory);
    }
    let Some(length) = read(input, at)? else { return Ok(None) };
    let (said, length) = (u64::from_le_bytes(length), at - record.data);
    if said != length {
        return Err(input.damaged(
            "the compressed stream's length",
            at,
            said.to_string(),
            length.to_string(),
        ));
    }
    Ok(Some(at + 8))
}

/// Whether the file has `len` bytes at `at`.
fn is_there(input: &Input, at: u64, len: u64) -> bool {
    at.checked_add(len).is_some_and(|end| end <= input.len()) && input.has(at, len)
}

/// Bytes at `at`; `None` where the file ends before them.
fn read<const N: usize>(input: &Input, at: u64) -> Result<Option<[u8; N]>, ReadError> {
    let mut bytes = [0; N];
    if !is_there(input, at, N as u64) {
        return Ok(None);
    }
    input.read_at(at, &mut bytes)?;
    Ok(Some(bytes))
}

/// The bytes that the chunk at `at` takes in the file, and those of memory that it holds.
fn chunk(input: &Input, at: u64) -> Result<Option<(u64, u64)>, ReadError> {
    let Some(header) = read::<4>(input, at)? else { return Ok(None) };
    let len = 4 + u64::from(u32::from_le_bytes(header) >> 8);
    if !is_there(input, at, len) {
        return Ok(None);
    }
    // Behind the header are four bytes of a checksum.
    let memory = match (header[0], len) {
        (0, 9..=MOST_STORED) => {
            let mut start = [0; 5];
            let there = (len as usize - 8).min(start.len());
            input.read_at(at + 8, &mut start[..there])?;
            snap::raw::decompress_len(&start[..there]).unwrap_or(0) as u64
        }
        (1, 9..=MOST_STORED) => len - 8,
        _ => {
            let found = format!("of kind {:#x} and {len} bytes", header[0]);
            return Err(input.damaged("a compressed chunk", at, found, "one with up to 64 KiB of data"));
        }
    };
    Ok(Some((len, memory)))
}

/// Physical memory in compressed records.
pub(super) struct CompressedMemory {
    input: Input,
    /// By address, and disjoint.
    runs: Vec<Run>,
    /// What the file should have and has not.
    lost: RangeSet<PhysAddr>,
    map: MemoryMap,
    damage: DamageLog,
}

impl CompressedMemory {
    /// Memory at `map`, as far as there are `runs` of it.
    ///
    /// # Errors
    ///
    /// When two runs have the same memory.
    pub(super) fn new(input: Input, mut runs: Vec<Run>, map: MemoryMap) -> Result<Self, Error> {
        runs.sort_unstable_by_key(|run| run.start);
        if let Some(pair) = runs.windows(2).find(|pair| pair[1].start < pair[0].end) {
            let found = format!("memory at {:#x} that an earlier one has, too", pair[1].start);
            return Err(input.damaged("a record", pair[1].offset, found, "memory of its own").into());
        }
        let lost = map.bytes().subtract(&runs.iter().map(Run::memory).collect());
        Ok(Self { input, runs, lost, map, damage: DamageLog::default() })
    }

    /// Shows `each` the chunks of `run` that have something of `wanted`: where their memory begins, and the bytes of it or why
    /// there are none.
    fn chunks(
        &self,
        run: &Run,
        wanted: Range<u64>,
        mut each: impl FnMut(u64, Result<&[u8], String>),
    ) -> Result<(), ReadError> {
        let (mut at, mut addr) = (run.offset, run.start);
        let mut stored = Vec::new();
        let mut memory = vec![0; CHUNK as usize];
        while addr < run.end.min(wanted.end) {
            let len = (run.end - addr).min(CHUNK);
            // It was there when the file was opened.
            let Some((stored_len, _)) = chunk(&self.input, at)? else {
                return Err(self.input.damaged(
                    "a compressed chunk",
                    at,
                    "the end of the file",
                    "64 KiB of memory",
                ));
            };
            if addr + len > wanted.start {
                stored.clear();
                stored.extend_from_slice(&IDENTIFIER);
                stored.resize(IDENTIFIER.len() + stored_len as usize, 0);
                self.input.read_at(at, &mut stored[IDENTIFIER.len()..])?;
                // It compares the checksum.
                let memory = &mut memory[..len as usize];
                let decoded = FrameDecoder::new(&stored[..]).read_exact(memory);
                each(addr, decoded.map(|()| &*memory).map_err(|error| error.to_string()));
            }
            (at, addr) = (at + stored_len, addr + len);
        }
        Ok(())
    }
}

impl PhysicalMemory for CompressedMemory {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        let page = self.map.page_size();
        pages.fill(0);
        states.fill(PageState::Absent);
        let from = page.addr(first).0;
        let wanted = Range::new(from, from.saturating_add(pages.len() as u64));
        let mut tell = |part: Range<u64>, state: PageState| {
            let frames = page.pfn(PhysAddr(part.start)).0..=page.pfn(PhysAddr(part.end - 1)).0;
            for frame in frames {
                let whole = &mut states[(frame - first.0) as usize];
                *whole = whole.of_whole(state);
            }
        };
        let begin = self.runs.partition_point(|run| run.end <= wanted.start);
        for run in self.runs[begin..].iter().take_while(|run| run.start < wanted.end) {
            self.chunks(run, wanted, |addr, memory| {
                let len = memory.as_ref().map_or(CHUNK.min(run.end - addr), |memory| memory.len() as u64);
                let part = Range::new(addr, addr + len).intersect(&wanted);
                match memory {
                    Ok(memory) => {
                        let source = (part.start - addr) as usize..(part.end - addr) as usize;
                        let target = (part.start - from) as usize..(part.end - from) as usize;
                        pages[target].copy_from_slice(&memory[source]);
                        tell(part, PageState::Present);
                    }
                    Err(why) => {
                        let frames = page.pfn(PhysAddr(part.start)).0..=page.pfn(PhysAddr(part.end - 1)).0;
                        frames.for_each(|pfn| self.damage.note(pfn, || format!("frame {pfn:#x}: {why}")));
                        tell(part, PageState::Lost);
                    }
                }
            })?;
        }
        for part in self.lost.within(Range::new(PhysAddr(wanted.start), PhysAddr(wanted.end))) {
            tell(Range::new(part.start.0, part.end.0), PageState::Lost);
        }
        for (page, state) in pages.chunks_exact_mut(page.len()).zip(states) {
            if *state == PageState::Lost {
                page.fill(0);
            }
        }
        Ok(())
    }

    fn lost_run(&self, first: Pfn, limit: u64) -> u64 {
        let page = self.map.page_size();
        let lost = self.lost.find(page.addr(first));
        lost.map_or(0, |lost| ((lost.end.0 - page.addr(first).0) / page.bytes()).min(limit))
    }

    fn set_page_size(&mut self, size: PageSize) -> bool {
        self.map = MemoryMap::new(size, self.map.bytes().clone());
        true
    }

    fn damage(&self) -> Damage {
        self.damage.get()
    }
}
