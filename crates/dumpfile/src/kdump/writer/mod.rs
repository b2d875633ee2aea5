//! Writing a kdump-compressed file.
//!
//! The header is the first thing in the file and says "incomplete" (status bit 0x8) until the last page is durable;
//! then its block is written once more without that bit. So a file that is cut off at any moment, by a full disk or by
//! a second crash, opens as what it is: the bitmaps are there, descriptors that were not reached are zeros, which
//! readers take for lost pages, and it is not taken for a whole dump. A header written last would leave nothing
//! of use. A stream takes no byte twice; there the missing end of the stream is the mark.
//!
//! The position of a page's descriptor is the page's rank among all pages of the file; its bytes are anywhere. So a
//! [`Writer`] takes the pages in parts, of any order, the most valuable ones first, and reports between them how far
//! the file is durable. An unfinished file can be resumed: see [`Unfinished`].

mod auto;
mod dedup;
mod job;
mod plan;
mod unfinished;

pub use unfinished::Unfinished;

use super::layout::{PAGE_DESC_LEN, STATUS_INCOMPLETE};
use super::sums::{self, SumsWriter};
use crate::codec::Choice;
use crate::output::Sink;
use crate::pipeline::{self, Ranks, Source};
use crate::{Error, Facts, Progress, Room, Written};
use auto::Auto;
use dedup::Table;
use job::{Cursor, Job};
use plan::Plan;
use std::io::IoSlice;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use vmcore::{Dump, DumpLevel, Pfn, Range, Selection};

/// How pages are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How pages are compressed.
    pub method: Choice,
    /// The method's level, when not its default; of use only with one method.
    pub level: Option<i32>,
    /// The frames whose pages are written, when the file is a part of a split set. The file describes the pages of the
    /// whole set all the same.
    pub part: Option<Range<Pfn>>,
    /// Whether equal pages are stored once, as far as a table of 16 MiB remembers them; see [`Written::shared_pages`]. The
    /// input has to give the same bytes for a page each time it is read, or none.
    pub dedup: bool,
    /// Whether the file carries checksums that prove it bit for bit: 4 bytes for each 16 KiB, and 4 for each page of zstd.
    pub checksums: bool,
    /// How many other files are written at the same time, which share the memory there is.
    pub beside: usize,
}

/// Writes the pages of `selection` as a kdump-compressed file, version 6, in the dump's own byte order and word size.
///
/// All zero pages share one stored page, which is the first of the data. Pages that cannot be read, or that an
/// earlier filter left out, get a descriptor of zeros and make the file incomplete. The same input and options give the
/// same bytes on any number of threads, but with [`Choice::Auto`].
///
/// # Errors
///
/// When the method or level cannot be used, the output cannot be written, the input is damaged, or `progress`
/// asks to stop. What was written until then is an incomplete dump, see [`Writer`].
pub fn write(
    dump: &Dump,
    selection: &Selection,
    facts: &Facts,
    options: &Options,
    out: &dyn Sink,
    progress: &Progress,
) -> Result<Written, Error> {
    let mut writer = Writer::begin(dump, selection, facts, options, out)?;
    writer.write(selection, progress)?;
    writer.finish()
}

/// What a file of some pages of `dump` takes besides their bytes, written without a pause.
///
/// # Errors
///
/// When memory is too large for the format.
pub fn room(dump: &Dump, facts: &Facts, options: &Options) -> Result<Room, Error> {
    let none = Selection::new(dump.memory.map().clone(), DumpLevel::default(), None);
    let (plan, _) = plan::plan(dump, &none, &Ranks::new(&none)?, facts, options, Path::new("-"))?;
    let each =
        PAGE_DESC_LEN as u64 + if options.checksums { sums::each_page(plan.page_size.bytes()) } else { 0 };
    // The places of checksums are rounded up.
    Ok(Room { fixed: plan.data() + 64, each })
}

fn auto_of(options: &Options) -> Option<Auto> {
    match options.method {
        Choice::One(_) => None,
        Choice::Auto(methods) => Some(Auto::new(methods)),
    }
}

/// The most bytes of descriptors that are cleared at once.
const MAX_CLEARED: usize = 4096 * PAGE_DESC_LEN;

/// Writes the zeros that a sum counts up to the end of its chunk, as a device holds older content there.
fn write_zeros(out: &dyn Sink, sums: &SumsWriter, from: u64, to: u64) -> Result<(), Error> {
    if from == to {
        return Ok(());
    }
    let zeros = vec![0; (to - from) as usize];
    let parts = [IoSlice::new(&zeros)];
    out.append_at(from, &parts)?;
    sums.add_data(out, from, &parts)
}

/// How far an unfinished file is durable.
///
/// A save that is to be resumed after a crash of the machine keeps it somewhere durable, for [`Unfinished::open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Bytes of pages that lie below this offset of the file are durable, and so are their descriptors.
    pub next_offset: u64,
    /// What had been written by then.
    pub written: Written,
}

/// A kdump-compressed file being written, its pages in any order.
pub struct Writer<'d> {
    dump: &'d Dump,
    options: Options,
    plan: Plan,
    ranks: Ranks<'d>,
    out: &'d dyn Sink,
    cursor: Cursor,
    /// The pages that later ones may share: from the first page to the last, as other parts of a set need the memory.
    table: Option<Mutex<Table>>,
    /// What is known of disk and processors when they decide on the compression.
    auto: Option<Auto>,
    sums: Option<SumsWriter>,
    done: Mutex<Written>,
}

impl<'d> Writer<'d> {
    /// Begins the file: everything but the pages of `selection`, the header marked incomplete unless `out` is a stream.
    ///
    /// # Errors
    ///
    /// When the output cannot be written or memory is too large for the format.
    pub fn begin(
        dump: &'d Dump,
        selection: &'d Selection,
        facts: &Facts,
        options: &Options,
        out: &'d dyn Sink,
    ) -> Result<Self, Error> {
        let ranks = Ranks::new(selection)?;
        let (plan, front) = plan::plan(dump, selection, &ranks, facts, options, out.path())?;
        let sums = plan.sums.map(SumsWriter::new);
        out.blank(0, plan.zero_page)?;
        out.write_at(0, &plan.header(!out.is_stream()))?;
        front.write(selection, out, sums.as_ref())?;
        if out.is_stream() {
            // What arrived of a stream that is cut off has the bitmaps, which show which pages are missing.
            out.sync()?;
        }
        out.write_at(plan.zero_page, &vec![0; plan.page_size.len()])?;
        if let Some(sums) = &sums {
            sums.add_front(0, &plan.header);
            sums.write_front(out)?;
        }
        if out.is_stream() {
            out.sync()?;
        }
        let cursor = Cursor::new(plan.data());
        let (table, auto, done) = (None, auto_of(options), Mutex::default());
        Ok(Self { dump, options: *options, plan, ranks, out, cursor, table, auto, sums, done })
    }

    /// Resumes an unfinished file, which `out` writes to: its pages that are done stay, and `pages` of
    /// [`Unfinished::remaining`] can be written. The headers, notes and bitmaps are those that the file has.
    ///
    /// Descriptors that an interrupted writer left and that are not to be trusted are cleared before anything else: new
    /// pages take the place of the bytes that they point at.
    ///
    /// # Errors
    ///
    /// When `dump` is not the one that the file was begun from, as far as the machine, page size and VMCOREINFO (which
    /// holds the time of the crash) show; when `options` ask for another method; when the file cannot be read or
    /// written. Which part of a split set the file is, and whether it has checksums, the file says, not `options`.
    pub fn resume(
        dump: &'d Dump,
        unfinished: &'d Unfinished,
        options: &Options,
        out: &'d dyn Sink,
    ) -> Result<Self, Error> {
        unfinished.check(dump, options)?;
        let plan = unfinished.plan();
        let sums = plan.sums.map(SumsWriter::new);
        out.write_at(0, &plan.header(true))?;
        if let Some(sums) = &sums {
            sums.unseal(out)?;
        }
        unfinished.clear_rest(out)?;
        // Else the system might write a page before it clears the descriptor that points there.
        out.sync()?;
        // What no descriptor points at any more only takes room.
        out.cut_off(unfinished.next_offset());
        unfinished.repeat_zeros(out)?;
        let mut next_offset = unfinished.next_offset();
        if let Some(sums) = &sums {
            unfinished.add_to(sums)?;
            let begin = sums.resume_at(next_offset);
            write_zeros(out, sums, next_offset, begin)?;
            next_offset = begin;
        }
        Ok(Self {
            dump,
            options: Options { checksums: sums.is_some(), ..*options },
            ranks: Ranks::new(unfinished.whole())?,
            out,
            cursor: Cursor::new(next_offset),
            table: None,
            auto: auto_of(options),
            sums,
            done: Mutex::new(*unfinished.done()),
            plan,
        })
    }

    /// Writes `pages`, as far as they belong to the file. No page may be written twice.
    ///
    /// After an error the file is what it was before, with some of the pages added; the writer can still be used.
    ///
    /// # Errors
    ///
    /// When the method or level cannot be used, the output cannot be written, the input is damaged, or `progress`
    /// asks to stop.
    pub fn write(&mut self, pages: &Selection, progress: &Progress) -> Result<(), Error> {
        let Self { dump, options, plan, ranks, out, cursor, table, auto, sums, done } = self;
        let memory = &*dump.memory;
        if let Some(auto) = auto {
            auto.start();
        }
        if options.dedup && table.is_none() {
            *table = Some(Mutex::new(Table::new(plan.pages)));
        }
        let (table, sums) = (table.as_ref(), sums.as_ref());
        if let Some(sums) = sums {
            // What an earlier call gave a place and did not write has none; and up to a new chunk there are zeros.
            let (end, next) = (sums.end(), sums.next_offset());
            write_zeros(*out, sums, end, next)?;
            cursor.next_offset = next;
        }
        let job = Job { options: *options, plan, memory, out: *out, table, auto: auto.as_ref(), sums, done };
        let source = Source::new(memory, pages, options.beside).ranked(ranks, plan.frames);
        let result = pipeline::run(&job, source, cursor, progress);
        // After an error some of the pages it knows had their places and were not written there.
        if result.is_err() || self.written().unwritten_pages == 0 {
            self.table = None;
        }
        result
    }

    /// What was written until now; pages that are still to be written count as unwritten.
    pub fn written(&self) -> Written {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let unwritten_pages = self.plan.pages.saturating_sub(done.seen());
        Written { bytes: self.cursor.next_offset, unwritten_pages, ..*done }
    }

    /// Makes the file durable as it is, and says how far that is. A stream only sends what it holds back.
    ///
    /// # Errors
    ///
    /// When the system cannot do that.
    pub fn checkpoint(&self) -> Result<Checkpoint, Error> {
        if let Some(sums) = &self.sums {
            sums.write_until_now(self.out)?;
        }
        // Also after a write that failed: a descriptor is written after the bytes that it points at, and no byte below
        // this offset will be given to another page.
        match &self.auto {
            Some(auto) => auto.syncing(|| self.out.sync())?,
            None => self.out.sync()?,
        }
        let next_offset = self.sums.as_ref().map_or(self.cursor.next_offset, SumsWriter::end);
        Ok(Checkpoint { next_offset, written: self.written() })
    }

    /// Takes `pages` back, all that were written since `checkpoint`: they are not in the file any more, and count as unwritten.
    /// Made durable with the next [`Writer::checkpoint`].
    ///
    /// # Errors
    ///
    /// When the bitmaps cannot be read back or the output cannot be written: then some may still be in the file.
    pub fn take_back(&mut self, pages: &Selection, checkpoint: &Checkpoint) -> Result<(), Error> {
        let mut cleared = Vec::new();
        let mut next = None;
        for position in 0..pages.chunk_count() {
            let (first, chunk) = pages.chunk(position)?;
            for pfn in chunk.runs().flatten().map(|i| Pfn(first.0 + i)) {
                if !self.plan.frames.contains(pfn) {
                    continue;
                }
                let index = self.ranks.rank(pfn)? - self.plan.first_rank;
                if next.is_some_and(|next| next != index) || cleared.len() >= MAX_CLEARED {
                    self.clear(next.unwrap_or(index), &mut cleared)?;
                }
                cleared.extend([0; PAGE_DESC_LEN]);
                next = Some(index + 1);
            }
        }
        if let Some(next) = next {
            self.clear(next, &mut cleared)?;
        }
        if let Some(sums) = &self.sums {
            sums.take_back();
        }
        self.table = None;
        self.cursor = Cursor::new(checkpoint.next_offset);
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = checkpoint.written;
        Ok(())
    }

    /// Writes the descriptors before the one with the number `end`.
    fn clear(&self, end: u64, cleared: &mut Vec<u8>) -> Result<(), Error> {
        let at = self.plan.descriptors + end * PAGE_DESC_LEN as u64 - cleared.len() as u64;
        let written = self.out.write_at(at, cleared);
        cleared.clear();
        written
    }

    /// Ends the file: it is no longer marked incomplete if every page of it was written, and the input was complete.
    ///
    /// A file that is cut short on purpose ends here as well; [`Written::unwritten_pages`] says what it lacks.
    ///
    /// # Errors
    ///
    /// When the output cannot be written.
    pub fn finish(self) -> Result<Written, Error> {
        self.finish_in_set(true)
    }

    /// As [`Writer::finish`] for a part of a split set, which stays marked incomplete when another part is: the headers of
    /// all parts have to be the same.
    ///
    /// # Errors
    ///
    /// As [`Writer::finish`].
    pub fn finish_in_set(self, set_is_whole: bool) -> Result<Written, Error> {
        let written = self.written();
        let incomplete = !written.is_whole() || !set_is_whole || self.dump.source.incomplete;
        if let Some(sums) = &self.sums {
            match sums.finish(self.out, self.ranks.total(), incomplete) {
                // What is incomplete often is so because the disk is full.
                Err(error) if incomplete => tracing::warn!("the dump is kept without its checksums: {error}"),
                finished => finished?,
            }
        }
        if self.out.is_stream() {
            if incomplete {
                self.out.write_at(0, &self.plan.header(true))?;
            }
        } else if !incomplete {
            // A header that promises pages must not be on the disk before them; a seal is behind them already.
            if self.sums.is_none() {
                self.out.sync()?;
            }
            self.out.write_at(0, &self.plan.header(false))?;
        }
        Ok(written)
    }
}
