//! Storing the pages of a kdump-compressed file.

use super::auto::{self, Auto, Begun, Queued};
use super::dedup::{self, Known, Table};
use super::plan::Plan;
use super::{Options, PAGE_DESC_LEN};
use crate::codec::{CodecError, Encoder, Method};
use crate::kdump::layout::PageDesc;
use crate::kdump::sums::SumsWriter;
use crate::output::Sink;
use crate::pipeline::{self, Batch, PageJob, Slot};
use crate::{Error, Written};
use std::io::IoSlice;
use std::sync::{Mutex, PoisonError};
use vmcore::{PageState, PhysicalMemory};

/// What became of a page.
#[derive(Clone, Copy, Debug)]
enum Entry {
    /// It is all zeros, and shares the one stored page.
    Zero,
    /// Its bytes could not be had.
    Lost,
    /// These many bytes of it follow those of the page before.
    Stored { size: u32, flags: u32 },
    /// It shares the bytes of an earlier page.
    Shared { offset: u64, size: u32, flags: u32 },
}

/// A batch on its way into the file.
#[derive(Default)]
pub(super) struct Record {
    entries: Vec<Entry>,
    /// How its pages are compressed.
    method: Option<Method>,
    /// Stored bytes of all pages, one after another, in the first `len` bytes. Without a compression they are not
    /// copied here, and only `len` says how many there are.
    data: Vec<u8>,
    len: usize,
    counts: Written,
    /// Where the data goes.
    offset: u64,
    descriptors: Vec<u8>,
    /// Of each page that is stored its hash, and an earlier page that it equals, if one is known; empty when equal pages
    /// are not looked for.
    hashes: Vec<(u64, Option<u64>)>,
    /// What the chooser of the compression counts as waiting to be written.
    queued: Queued,
}

/// What is done with the pages of one call.
pub(super) struct Job<'a> {
    pub(super) options: Options,
    pub(super) plan: &'a Plan,
    pub(super) memory: &'a dyn PhysicalMemory,
    pub(super) out: &'a dyn Sink,
    /// The pages that later ones may share, when they are to.
    pub(super) table: Option<&'a Mutex<Table>>,
    /// Chooses how each batch is compressed, when they differ in that.
    pub(super) auto: Option<&'a Auto>,
    /// The checksums, when the file has them.
    pub(super) sums: Option<&'a SumsWriter>,
    /// What is in the file.
    pub(super) done: &'a Mutex<Written>,
}

/// Stores one page that has content, and returns how.
fn store(encoder: Option<&mut (Method, Encoder)>, page: &[u8], record: &mut Record) -> Entry {
    let raw = Entry::Stored { size: page.len() as u32, flags: 0 };
    record.counts.data_pages += 1;
    let Some((method, encoder)) = encoder else {
        record.len += page.len();
        return raw;
    };
    let room = &mut record.data[record.len..];
    match encoder.encode(page, room) {
        Some(size) => {
            record.len += size;
            record.counts.compressed_pages[method.index()] += 1;
            Entry::Stored { size: size as u32, flags: method.flag() }
        }
        None => {
            room[..page.len()].copy_from_slice(page);
            record.len += page.len();
            record.counts.raw_pages += 1;
            raw
        }
    }
}

/// Where the next batch goes.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// Where in the file the next bytes go.
    pub(super) next_offset: u64,
    /// Room for a page.
    room: Vec<u8>,
}

impl Cursor {
    /// The cursor of a file that is continued at `next_offset`.
    pub(super) fn new(next_offset: u64) -> Self {
        Self { next_offset, room: Vec::new() }
    }
}

/// The tools of a thread.
pub(super) struct Worker {
    /// One of each method, the quickest first.
    encoders: Vec<(Method, Encoder)>,
    /// Room for a page.
    room: Vec<u8>,
}

impl PageJob for Job<'_> {
    type Worker = Worker;
    type Record = Record;
    type Layout = Cursor;

    fn worker(&self) -> Result<Worker, Error> {
        let make = |method| {
            let encoder = Encoder::new(method, self.options.level, self.plan.page_size)?;
            let encoder = if self.options.checksums { encoder.with_checksum()? } else { encoder };
            Ok((method, encoder))
        };
        let encoders: Result<_, CodecError> = self.options.method.methods().map(make).collect();
        let encoders = encoders
            .map_err(|e| Error::Unsupported { path: self.out.path().to_owned(), what: e.to_string() })?;
        Ok(Worker { encoders, room: Vec::new() })
    }

    fn encode(&self, worker: &mut Worker, batch: &Batch, record: &mut Record) -> Result<(), Error> {
        let Worker { encoders, room: page_room } = worker;
        record.entries.clear();
        (record.len, record.counts) = (0, Written { lost_pages: batch.lost(), ..Written::default() });
        let chosen = self.auto.map(|auto| choose(auto, encoders, batch, page_room));
        record.method = match &chosen {
            Some(chosen) => chosen.method,
            None => self.options.method.strongest(),
        };
        let mut encoder = encoders.iter_mut().find(|(method, _)| Some(*method) == record.method);
        if let Some((_, encoder)) = &encoder {
            // Room for the case that nothing shrinks, and for the last page's compressor to find that out.
            let room = batch.len() * self.plan.page_size.len() + encoder.out_len();
            if record.data.len() < room {
                // Not `resize`, which would touch all of it: most of the room is never used.
                record.data = vec![0; room];
            }
        }
        for page in batch.pages() {
            let entry = match page.state {
                PageState::Present => store(encoder.as_deref_mut(), page.bytes, record),
                PageState::Zero => {
                    record.counts.zero_pages += 1;
                    Entry::Zero
                }
                PageState::Lost => {
                    record.counts.lost_pages += 1;
                    Entry::Lost
                }
                PageState::Excluded | PageState::Absent => {
                    record.counts.missing_pages += 1;
                    Entry::Lost
                }
            };
            record.entries.push(entry);
        }
        if let (Some(auto), Some(Chosen { begun, by_sample, .. })) = (self.auto, chosen) {
            if record.method.is_none() && self.options.method.flags() != 0 {
                record.counts.raw_pages = record.counts.data_pages;
            }
            record.queued = auto.end(begun, record.len, !by_sample);
        }
        if let Some(table) = self.table {
            self.look_ahead(table, batch, record, page_room);
        }
        Ok(())
    }

    fn place(&self, cursor: &mut Cursor, batch: &Batch, record: &mut Record) -> Result<(), Error> {
        record.offset = cursor.next_offset;
        if let Some(table) = self.table {
            self.share(&mut dedup::lock(table), batch, record, &mut cursor.room);
        }
        cursor.next_offset += record.len as u64;
        Ok(())
    }

    fn waits(&self) -> bool {
        self.out.waits()
    }

    fn write(&self, slots: &mut [Box<Slot<Record>>]) -> Result<(), Error> {
        pipeline::together_or_alone(slots, self.out, |slots| {
            let Some(auto) = self.auto else { return self.write_batches(slots) };
            let bytes = slots.iter().map(|slot| slot.record.len).sum();
            let queued: Vec<Queued> =
                slots.iter_mut().map(|slot| std::mem::take(&mut slot.record.queued)).collect();
            auto.writing(bytes, queued, || self.write_batches(slots))
        })
    }
}

/// How a batch is compressed when that is chosen for each.
struct Chosen {
    begun: Begun,
    method: Option<Method>,
    /// It is stored as it is because a sample of it does not shrink.
    by_sample: bool,
}

/// Chooses how `batch` is compressed, with `room` for a page.
fn choose(auto: &Auto, encoders: &mut [(Method, Encoder)], batch: &Batch, room: &mut Vec<u8>) -> Chosen {
    let content = || batch.pages().filter(|page| page.state == PageState::Present).map(|page| page.bytes);
    let (begun, method) = auto.begin(content().map(<[u8]>::len).sum());
    // The quickest method finds that out in as little time as a sample would take. What it cannot shrink another one may.
    let slow = encoders.iter().skip(1).any(|(slow, _)| Some(*slow) == method);
    let tries = if slow { &mut *encoders } else { &mut [] };
    let tries = tries.iter_mut().enumerate().filter(|(n, (tried, _))| *n == 0 || Some(*tried) == method);
    let by_sample = slow && !tries.map(|(_, (_, e))| e).any(|e| auto::shrinks(e, content(), room));
    Chosen { begun, method: if by_sample { None } else { method }, by_sample }
}

impl Job<'_> {
    /// Writes batches that follow each other in the file.
    fn write_batches(&self, slots: &mut [Box<Slot<Record>>]) -> Result<(), Error> {
        let mut parts = Vec::new();
        for Slot { batch, record, .. } in slots.iter().map(|slot| &**slot) {
            match record.method {
                Some(_) => parts.push(IoSlice::new(&record.data[..record.len])),
                None => add_stored_parts(batch, &record.entries, &mut parts),
            }
        }
        // Data comes before descriptors: a descriptor on the disk never points past the end of a file that was cut off.
        if let Some(first) = slots.first()
            && parts.iter().any(|part| !part.is_empty())
        {
            self.out.append_at(first.record.offset, &parts)?;
            if let Some(sums) = self.sums {
                sums.add_data(self.out, first.record.offset, &parts)?;
            }
        }
        self.write_all_descriptors(slots)?;
        // Descriptors of lost pages are zeros, which the file has there anyway.
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().for_each(|slot| done.add(&slot.record.counts));
        Ok(())
    }
}

impl Job<'_> {
    /// Writes the descriptors of these batches.
    fn write_all_descriptors(&self, slots: &mut [Box<Slot<Record>>]) -> Result<(), Error> {
        let write = |offset, bytes: &[u8]| self.out.write_at(offset, bytes);
        let written = self.for_all_descriptors(slots, write);
        let Some(sums) = self.sums else { return written };
        if written.is_ok() {
            return self.for_all_descriptors(slots, |offset, bytes| {
                sums.add_meta(offset, bytes);
                Ok(())
            });
        }
        // A full disk may have taken some, which are in no sum: their pages count as unwritten, and are written again by
        // whoever tries that. The system takes zeros wherever it took something else.
        let _ = self.for_all_descriptors(slots, |offset, bytes| {
            let mut at = offset;
            let end = offset + bytes.len() as u64;
            while at < end {
                let next = (at + 1).next_multiple_of(4096).min(end);
                let _ = self.out.write_at(at, &[0; 4096][..(next - at) as usize]);
                at = next;
            }
            Ok(())
        });
        written
    }

    /// Passes the descriptors of these batches to `put`, with the offset of the first of each call.
    fn for_all_descriptors(
        &self,
        slots: &mut [Box<Slot<Record>>],
        mut put: impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        slots.iter_mut().try_for_each(|slot| self.for_descriptors(&slot.batch, &mut slot.record, &mut put))
    }

    /// Passes the descriptors of a batch to `put`, those of neighbours at once.
    fn for_descriptors(
        &self,
        batch: &Batch,
        record: &mut Record,
        put: &mut impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let page_len = self.plan.page_size.bytes() as u32;
        let mut offset = record.offset;
        let mut entries = record.entries.iter();
        // The rank of the first of the descriptors at hand, and the rank after the last one.
        let (mut first, mut next) = (0, 0);
        record.descriptors.clear();
        for run in batch.runs() {
            if run.rank != next {
                self.put_descriptors(first, &record.descriptors, put)?;
                record.descriptors.clear();
                (first, next) = (run.rank, run.rank);
            }
            for &entry in entries.by_ref().take(run.states.len()) {
                let desc = match entry {
                    Entry::Zero => PageDesc { offset: self.plan.zero_page, size: page_len, flags: 0 },
                    Entry::Lost => PageDesc::default(),
                    Entry::Stored { size, flags } => {
                        let desc = PageDesc { offset, size, flags };
                        offset += u64::from(size);
                        desc
                    }
                    Entry::Shared { offset, size, flags } => PageDesc { offset, size, flags },
                };
                record.descriptors.extend(desc.encode(self.plan.layout.order));
                next += 1;
            }
        }
        self.put_descriptors(first, &record.descriptors, put)
    }

    /// Passes on descriptors of which the first belongs to the page of this rank.
    fn put_descriptors(
        &self,
        rank: u64,
        descriptors: &[u8],
        put: &mut impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if descriptors.is_empty() {
            return Ok(());
        }
        let index = rank - self.plan.first_rank;
        put(self.plan.descriptors + index * PAGE_DESC_LEN as u64, descriptors)
    }
}

impl Job<'_> {
    /// Hashes the pages that are stored, and compares those that look like an earlier one with it.
    fn look_ahead(&self, table: &Mutex<Table>, batch: &Batch, record: &mut Record, room: &mut Vec<u8>) {
        record.hashes.clear();
        let stored = || {
            let pages = batch.pages().zip(&record.entries);
            pages.filter(|(_, entry)| matches!(entry, Entry::Stored { .. })).map(|(page, _)| page.bytes)
        };
        record.hashes.extend(stored().map(|page| (dedup::hash(page), None)));
        let known = dedup::lock(table);
        for (hash, earlier) in &mut record.hashes {
            *earlier = known.find(*hash).map(|known| known.pfn);
        }
        drop(known);
        for ((_, earlier), page) in record.hashes.iter_mut().zip(stored()) {
            *earlier = earlier.filter(|&pfn| dedup::is_equal(self.memory, pfn, page, room));
        }
    }

    /// Makes pages that equal an earlier one share its bytes, and closes the gaps in those of the batch.
    fn share(&self, table: &mut Table, batch: &Batch, record: &mut Record, room: &mut Vec<u8>) {
        let mut hashes = record.hashes.iter();
        // Where the bytes of the next page are, and where they go.
        let (mut from, mut to) = (0, 0);
        let pfns = batch.runs().flat_map(|run| (run.first.0..).take(run.states.len()));
        for ((entry, page), pfn) in record.entries.iter_mut().zip(batch.pages()).zip(pfns) {
            let &mut Entry::Stored { size, flags } = entry else { continue };
            let Some(&(hash, equal)) = hashes.next() else { break };
            let bytes = from..from + size as usize;
            from = bytes.end;
            let earlier = table.find(hash).filter(|known| {
                equal == Some(known.pfn) || dedup::is_equal(self.memory, known.pfn, page.bytes, room)
            });
            if let Some(known) = earlier {
                let counts = &mut record.counts;
                counts.shared_pages += 1;
                if let Some(method) = Method::from_flag(flags) {
                    counts.compressed_pages[method.index()] -= 1;
                }
                if let Some(method) = Method::from_flag(known.flags) {
                    counts.compressed_pages[method.index()] += 1;
                }
                if self.options.method.flags() != 0 {
                    counts.raw_pages += u64::from(known.flags == 0);
                    counts.raw_pages -= u64::from(flags == 0);
                }
                let Known { offset, size, flags, .. } = known;
                *entry = Entry::Shared { offset, size, flags };
                table.put(known);
                continue;
            }
            table.put(Known { hash, pfn, offset: record.offset + to as u64, size, flags });
            if record.method.is_some() && to < bytes.start {
                record.data.copy_within(bytes, to);
            }
            to += size as usize;
        }
        record.len = to;
    }
}

/// Adds the bytes of the pages that are stored, where they already are.
fn add_stored_parts<'b>(batch: &'b Batch, entries: &[Entry], parts: &mut Vec<IoSlice<'b>>) {
    let mut entries = entries;
    for run in batch.runs() {
        let (mine, later) = entries.split_at(run.states.len());
        let page = run.bytes.len() / run.states.len().max(1);
        let mut at = 0;
        let is_stored = |entry: &Entry| matches!(entry, Entry::Stored { .. });
        for same in mine.chunk_by(|a, b| is_stored(a) == is_stored(b)) {
            let len = same.len() * page;
            if is_stored(&same[0]) {
                parts.push(IoSlice::new(&run.bytes[at..at + len]));
            }
            at += len;
        }
        entries = later;
    }
}
