//! hadump's own note in the ELF files it writes: what ELF cannot say.
//!
//! ELF has one way to say that memory has no bytes in the file, `p_memsz > p_filesz`, and its writers mean two things
//! by it: makedumpfile an excluded page, all others zeros. hadump's files mean zeros, and say so here. Memory that is
//! in no PT_LOAD is no memory to other readers; whether it was left out on purpose, was lost or never was, is said here.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | version, 2 |
//! | 4 | 4 | the dump level that was applied |
//! | 8 | 4 | flags: bit 0, the dump is incomplete; bit 1, there is memory above that of the ranges; bit 2, pages above those of the lost ranges are lost too; bit 3, lost ranges have zeros in the file |
//! | 12 | 4 | 0 |
//! | 16 | 8 | the sum of `p_memsz - p_filesz` over all PT_LOADs |
//! | 24 | 8 | pages that were to be kept and could not be read or written |
//! | 32 | 8 | `phys_base` of the kdump sub header, a signed number; 0 also when it is not known |
//! | 40 | 4 | the number of memory ranges, M |
//! | 44 | 4 | the number of lost ranges, L |
//! | 48 | 6 × 65 | the strings of `uname`, each ended by a 0: sysname, nodename, release, version, machine, domainname |
//! | 438 | 2 | 0 |
//! | 440 | 16 M | where the machine had memory |
//! | 440 + 16 M | 16 L | of that, the pages that should be in the file and are not |
//!
//! Numbers are in the dump's byte order. A range is two physical addresses in bytes, the first and that past the last;
//! ranges are ascending and do not overlap. What follows the last of them is room that was not needed. `max_mapnr` of a
//! kdump file is the frame past the last memory range. Memory that is neither in a PT_LOAD nor lost was left out.
//!
//! Version 1 ends at offset 32. Fields may follow in later files; the version changes when a field changes its meaning.
//! The sum ties the note to its file: another tool that filters the dump again hands the note on, and then its tails
//! must not be taken for ours, nor what it left out for lost.

use super::limits::{MAX_ADDRESS, MAX_MEMORY};
use super::lost::Lost;
use crate::Facts;
use crate::kdump::layout::{UTSNAME_LEN, decode_utsname, encode_utsname};
use vmcore::{ByteOrder, Dump, Note, Notes, PhysAddr, Range, Selection, Utsname};

const NAME: &str = "HADUMP";
const KIND: u32 = 1;
const VERSION: u32 = 2;
const INCOMPLETE: u32 = 1;
const MORE_MEMORY: u32 = 2;
const MORE_LOST: u32 = 4;
const LOST_IN_PLACE: u32 = 8;
/// Bytes of the note of version 1.
const FIRST_LEN: usize = 32;
/// Where the strings and the ranges start.
const UTSNAME_AT: usize = 48;
const RANGES_AT: usize = (UTSNAME_AT + UTSNAME_LEN).next_multiple_of(8);
const RANGE_LEN: usize = 16;

/// The most memory ranges of a note: 2 MiB. Firmware's maps have dozens; files with a bitmap may have any number.
const MAX_MEMORY_RANGES: usize = 1 << 17;

/// The most lost ranges of a note: as many as segments have room to be cut by.
const MAX_LOST_RANGES: u64 = super::limits::UNFORESEEN;

/// The content of the note.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnNote {
    pub(super) dump_level: u32,
    pub(super) incomplete: bool,
    /// The sum of `p_memsz - p_filesz` over all PT_LOADs, in bytes.
    pub(super) tails: u64,
    pub(super) lost_pages: u64,
    pub(super) phys_base: u64,
    pub(super) utsname: Utsname,
    /// Where the machine had memory; none in a note of version 1.
    pub(super) memory: Vec<Range<PhysAddr>>,
    /// There is memory above.
    pub(super) more_memory: bool,
    /// Memory that should be in the file and is not.
    pub(super) lost: Vec<Range<PhysAddr>>,
    /// Pages above are lost as well.
    pub(super) more_lost: bool,
    /// What is lost has a place in a PT_LOAD, where its bytes are zeros.
    pub(super) lost_in_place: bool,
}

impl OwnNote {
    /// Where the flags stand in the descriptor.
    pub(super) const FLAGS_AT: u64 = 8;
    /// The length in bytes of the name and of the descriptor up to the end of the flags.
    pub(super) const NAME_AND_FLAGS: usize = 8 + 12;

    /// The flags of an incomplete dump for a note of this kind that begins with `start`, if it is hadump's.
    pub(super) fn incomplete_flags(
        kind: u32,
        start: &[u8; Self::NAME_AND_FLAGS],
        order: ByteOrder,
    ) -> Option<u32> {
        let ours = kind == KIND && start.starts_with(NAME.as_bytes()) && start[NAME.len()..8] == [0, 0];
        ours.then(|| order.u32(&start[8 + Self::FLAGS_AT as usize..]) | INCOMPLETE)
    }

    /// What is known before the first page is read.
    pub(super) fn new(dump: &Dump, selection: &Selection, facts: &Facts) -> Self {
        let memory = selection.map().bytes();
        Self {
            dump_level: selection.level().bits().into(),
            incomplete: dump.source.incomplete,
            phys_base: facts.phys_base,
            utsname: facts.utsname.clone(),
            memory: memory.iter().take(MAX_MEMORY_RANGES).collect(),
            more_memory: memory.len() > MAX_MEMORY_RANGES,
            ..Self::default()
        }
    }

    /// The most lost ranges that have room.
    pub(super) const MOST_LOST: usize = MAX_LOST_RANGES as usize;

    /// How many lost ranges have room: no more than can be.
    pub(super) fn lost_room(selection: &Selection) -> usize {
        selection.kept().min(MAX_LOST_RANGES) as usize
    }

    /// Says which pages are lost.
    pub(super) fn set_lost(&mut self, lost: &Lost, page_size: vmcore::PageSize) {
        let bytes = |r: &Range<vmcore::Pfn>| Range::new(page_size.addr(r.start), page_size.addr(r.end));
        self.lost = lost.ranges().iter().map(bytes).collect();
        self.more_lost = lost.more;
    }

    /// Reports whether a note is one of these.
    pub(super) fn is(note: &Note) -> bool {
        note.name == NAME.as_bytes() && note.kind == KIND
    }

    /// The note of the file itself: the last one, as those before it came with the input of an earlier run.
    ///
    /// What of it cannot be is not used, and `remarks` say so.
    pub(super) fn find(notes: &Notes, order: ByteOrder, remarks: &mut Vec<String>) -> Option<Self> {
        let desc = &notes.iter().rfind(|n| Self::is(n))?.desc[..];
        let version = desc.get(..4).map_or(0, |d| order.u32(d));
        let len = match version {
            1 => FIRST_LEN,
            VERSION => RANGES_AT,
            _ => {
                remarks.push(format!(
                    "hadump's note is of version {version}; 1 and 2 are known, and it was ignored: memory without \
                     bytes in the file is taken for left out. Use the hadump that wrote the file, or a later one"
                ));
                return None;
            }
        };
        let Some(fixed) = desc.get(..len) else {
            remarks.push(format!("hadump's note has {} of at least {len} bytes and was ignored", desc.len()));
            return None;
        };
        let flags = order.u32(&fixed[8..]);
        let mut own = Self {
            dump_level: order.u32(&fixed[4..]),
            incomplete: flags & INCOMPLETE != 0,
            tails: order.u64(&fixed[16..]),
            lost_pages: order.u64(&fixed[24..]),
            ..Self::default()
        };
        if version == VERSION {
            own.phys_base = order.u64(&fixed[32..]);
            own.utsname = decode_utsname(&fixed[UTSNAME_AT..]);
            let counts = [order.u32(&fixed[40..]), order.u32(&fixed[44..])];
            match ranges(&desc[len..], counts, order) {
                Ok([memory, lost]) => {
                    (own.memory, own.lost) = (memory, lost);
                    own.more_memory = flags & MORE_MEMORY != 0;
                    own.more_lost = flags & MORE_LOST != 0;
                    own.lost_in_place = flags & LOST_IN_PLACE != 0;
                }
                Err(why) => remarks.push(format!(
                    "hadump's note {why}: where memory was and which pages are lost is not known, as far as they are \
                     not in the file"
                )),
            }
        }
        Some(own)
    }

    /// The note as it goes into a file, with room for `lost_room` lost ranges; its length depends on nothing else that
    /// is not known beforehand.
    pub(super) fn encode(&self, lost_room: usize, order: ByteOrder) -> Note {
        let flag = |is: bool, bit: u32| if is { bit } else { 0 };
        let flags = flag(self.incomplete, INCOMPLETE)
            | flag(self.more_memory, MORE_MEMORY)
            | flag(self.more_lost, MORE_LOST)
            | flag(self.lost_in_place, LOST_IN_PLACE);
        let len = RANGES_AT + (self.memory.len() + lost_room) * RANGE_LEN;
        let mut desc = Vec::with_capacity(len);
        for word in [VERSION, self.dump_level, flags, 0] {
            desc.extend(order.put_u32(word));
        }
        for number in [self.tails, self.lost_pages, self.phys_base] {
            desc.extend(order.put_u64(number));
        }
        let lost = &self.lost[..self.lost.len().min(lost_room)];
        for count in [self.memory.len(), lost.len()] {
            desc.extend(order.put_u32(count as u32));
        }
        desc.extend(encode_utsname(&self.utsname));
        desc.resize(RANGES_AT, 0);
        for range in self.memory.iter().chain(lost) {
            desc.extend(order.put_u64(range.start.0));
            desc.extend(order.put_u64(range.end.0));
        }
        desc.resize(len, 0);
        Note { name: NAME.into(), kind: KIND, desc }
    }
}

/// Takes two lists of ranges of these lengths from `bytes`, or says what is wrong with them.
fn ranges(bytes: &[u8], counts: [u32; 2], order: ByteOrder) -> Result<[Vec<Range<PhysAddr>>; 2], String> {
    let mut pairs = bytes.as_chunks::<RANGE_LEN>().0;
    let mut lists = [Vec::new(), Vec::new()];
    for ((list, count), what) in lists.iter_mut().zip(counts).zip(["memory", "lost"]) {
        let Some((these, rest)) = pairs.split_at_checked(count as usize) else {
            return Err(format!("has {count} {what} ranges and room for {}", pairs.len()));
        };
        pairs = rest;
        let (mut low, mut total) = (0, 0u64);
        list.reserve_exact(these.len());
        for pair in these {
            let (start, end) = (order.u64(pair), order.u64(&pair[8..]));
            if start < low || end <= start || end > MAX_ADDRESS {
                return Err(format!(
                    "has a {what} range {start:#x}..{end:#x}, where one from {low:#x} on is expected that ends by \
                     {MAX_ADDRESS:#x}"
                ));
            }
            list.push(Range::new(PhysAddr(start), PhysAddr(end)));
            (low, total) = (end, total + (end - start));
        }
        if total > MAX_MEMORY {
            return Err(format!("has {what} ranges of {total:#x} bytes, more than 256 TiB"));
        }
    }
    Ok(lists)
}

#[cfg(test)]
#[path = "note_tests.rs"]
mod tests;
