//! A core that is written nowhere: its headers are made, and where which memory is in it is known.
//!
//! What is read of it are the pages themselves, whenever somebody asks for them. So no page is looked at beforehand: a page of
//! zeros takes its room in the file, as any other, and each run of frames is one segment. A page that turns out to be lost is
//! in its segment all the same; of those that are known to be, hadump's note says so.

use super::header::MAX_HEADERS;
use super::headers;
use super::layout::{Places, Stretch};
use super::lost::Lost;
use super::note::OwnNote;
use crate::{Error, Facts};
use std::path::Path;
use vmcore::{Dump, Notes, Pfn, PhysAddr, PhysicalMemory, Range, ReadError, Selection};

/// How many frames are asked about at least whether they are known to be lost.
const PROBES: u64 = 1 << 16;

/// The frames of `run` that are known to be lost, but for stretches shorter than `step` that are beside others: parts of a set that
/// are missing, and what is behind the end of a file that was cut, are longer.
fn lost_in(memory: &dyn PhysicalMemory, run: Range<Pfn>, step: u64) -> impl Iterator<Item = Range<Pfn>> {
    let lost = move |at: u64| memory.lost_run(Pfn(at), run.end.0 - at);
    let mut at = run.start.0;
    std::iter::from_fn(move || {
        while at < run.end.0 {
            if let len @ 1.. = lost(at) {
                let start = Pfn(at);
                at += len;
                return Some(Range::new(start, Pfn(at)));
            }
            let next = at.saturating_add(step).min(run.end.0 - 1);
            if next == at {
                break;
            }
            // From the last that is there to the first that is not.
            let (mut there, mut gone) = (at, next);
            if lost(next) > 0 {
                while there + 1 < gone {
                    let middle = there + (gone - there) / 2;
                    if lost(middle) > 0 { gone = middle } else { there = middle }
                }
            }
            at = gone;
        }
        None
    })
}

/// A core of some pages of a dump.
///
/// Memory: 88 bytes for each run of frames, of which there are less than half a million, and the notes.
#[derive(Debug)]
pub struct Image {
    /// The ELF header and the program headers.
    head: Vec<u8>,
    notes: Notes,
    places: Places,
    stretches: Vec<Stretch>,
}

impl Image {
    /// Lays out a core of the pages of `selection`, which messages call `path`. No page is read.
    ///
    /// # Errors
    ///
    /// When the pages are in too many separate runs, or the selection cannot be read.
    pub fn new(dump: &Dump, selection: &Selection, facts: &Facts, path: &Path) -> Result<Self, Error> {
        let (mut stretches, mut frames) = (Vec::<Stretch>::new(), 0);
        let lost_room = OwnNote::lost_room(selection);
        let (mut lost, mut lost_pages) = (Lost::with_room(lost_room), 0);
        let addresses = Places::addresses(dump);
        let too_many = || Error::Unsupported {
            path: path.to_owned(),
            what: format!(
                "its pages are in more than {MAX_HEADERS} separate runs, more than the segments that a core can reasonably \
                 have"
            ),
        };
        let step = (selection.kept() / PROBES).clamp(64, 4096);
        for position in 0..selection.chunk_count() {
            let (first, chunk) = selection.chunk(position)?;
            for run in chunk.runs() {
                let run = Range::new(Pfn(first.0 + run.start), Pfn(first.0 + run.end));
                match stretches.last_mut() {
                    Some(last) if last.first + last.frames == run.start.0 => last.frames += run.len(),
                    _ => {
                        stretches.push(Stretch { first: run.start.0, data: 0, frames: run.len(), offset: 0 });
                    }
                }
                if stretches.len() as u64 >= MAX_HEADERS {
                    return Err(too_many());
                }
                for gone in lost_in(&*dump.memory, run, step) {
                    lost.add(gone);
                    lost_pages += gone.len();
                }
            }
        }
        for stretch in &mut stretches {
            (stretch.data, stretch.offset) = (stretch.frames, frames * dump.page_size().bytes());
            frames += stretch.frames;
        }
        let mut count = 1;
        addresses.loads(dump.page_size(), &stretches, |_| count += 1);
        if count > MAX_HEADERS {
            return Err(too_many());
        }
        let mut own = OwnNote::new(dump, selection, facts);
        own.lost_in_place = true;
        own.lost_pages = lost_pages;
        own.incomplete |= lost_pages > 0;
        own.set_lost(&lost, dump.page_size());
        let notes = headers::notes(dump, facts, own.encode(lost_room, dump.machine.order));
        let places = Places::new(dump, selection.map(), addresses, frames, count, notes.total());
        for stretch in &mut stretches {
            stretch.offset += places.data_at;
        }
        let mut head = Vec::new();
        headers::encode(dump, &places, &stretches, count as u32, own.incomplete, |_, bytes| {
            head.extend(bytes);
            Ok(())
        })?;
        Ok(Self { head, notes, places, stretches })
    }

    /// The length of the file in bytes.
    pub fn len(&self) -> u64 {
        let end = |s: &Stretch| s.offset + s.frames * self.places.page_size.bytes();
        self.stretches.last().map_or(self.places.data_at, end)
    }

    /// Reports whether the file has no byte, which is never so: it has headers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the pages start; before them are headers and notes.
    pub fn pages_at(&self) -> u64 {
        self.places.data_at
    }

    /// Fills `bytes`, which end before the pages start, from `offset` on.
    ///
    /// # Errors
    ///
    /// When a note that is still in the input cannot be read.
    pub fn read_head(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        bytes.fill(0);
        let head = self.head.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        let some = head.len().min(bytes.len());
        bytes[..some].copy_from_slice(&head[..some]);
        let skip = self.places.notes_at.saturating_sub(offset).min(bytes.len() as u64);
        let at = offset + skip - self.places.notes_at.min(offset + skip);
        let rest = &mut bytes[skip as usize..];
        let some = self.notes.total().saturating_sub(at).min(rest.len() as u64);
        self.notes.read_at(at, &mut rest[..some as usize])
    }

    /// The memory that is in the file from `offset` on, up to the end of its run; `None` past the end of the file, and where no
    /// pages are.
    pub fn memory_at(&self, offset: u64) -> Option<Range<PhysAddr>> {
        let size = self.places.page_size;
        let next = self.stretches.partition_point(|s| s.offset <= offset);
        let stretch = self.stretches.get(next.checked_sub(1)?)?;
        let start = size.addr(Pfn(stretch.first)).0.checked_add(offset - stretch.offset)?;
        let end = size.addr(Pfn(stretch.first + stretch.frames)).0;
        (start < end).then(|| Range::new(PhysAddr(start), PhysAddr(end)))
    }

    /// The memory of the core, a range for each run of frames.
    pub fn memory(&self) -> impl Iterator<Item = Range<PhysAddr>> {
        let addr = |frame| self.places.page_size.addr(Pfn(frame));
        self.stretches.iter().map(move |s| Range::new(addr(s.first), addr(s.first + s.frames)))
    }
}
