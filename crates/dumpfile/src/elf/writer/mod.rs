//! Writing an ELF core.

mod builder;
mod plan;

use super::headers;
use super::layout::{PROGRAM_HEADER_LEN, Places, Stretch};
use super::lost::Lost;
use super::note::OwnNote;
use crate::notes::write_far;
use crate::output::Sink;
use crate::pipeline::{self, Batch, PageJob, Slot, Source};
use crate::{Error, Facts, Progress, Room, Written};
use builder::{Builder, Span, spans_of};
use plan::Plan;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use vmcore::{Dump, DumpLevel, PageSize, PageState, Pfn, Range, Selection};

/// Writes the pages of `selection` as an ELF core in the dump's own byte order, of 64 bits unless everything fits 32.
///
/// Memory is described as `/proc/vmcore` describes it: one PT_NOTE, then a PT_LOAD for each stretch of kept pages at
/// its address in the direct map, then once more for the kernel image where the input maps that elsewhere too. Long
/// runs of zeros take no place in the file (`p_memsz > p_filesz`), short ones are holes. Pages that are excluded,
/// lost or absent are in no PT_LOAD. A note of hadump's own says what the tails mean, where there is memory that is in
/// no PT_LOAD, and what of that is lost.
///
/// # Errors
///
/// When the output cannot be written, the input is damaged, the pages to keep are in too many separate runs, or
/// `progress` asks to stop. What was written until then is not a dump: for that see [`Writer::finish`].
pub fn write(
    dump: &Dump,
    selection: &Selection,
    facts: &Facts,
    out: &dyn Sink,
    progress: &Progress,
) -> Result<Written, Error> {
    let mut writer = Writer::begin(dump, selection, facts, out)?;
    writer.write(progress)?;
    writer.finish()
}

/// What a core of some pages of `dump` takes besides their bytes.
///
/// # Errors
///
/// When the memory of `dump` is in more pieces than a core can have.
pub fn room(dump: &Dump, facts: &Facts) -> Result<Room, Error> {
    let none = Selection::new(dump.memory.map().clone(), DumpLevel::default(), None);
    let own = OwnNote::new(dump, &none, facts);
    let notes = headers::notes(dump, facts, own.encode(OwnNote::MOST_LOST, dump.machine.order));
    let Places { data_at, addresses, .. } = Plan::new(dump, &none, notes.total(), Path::new("-"))?.places;
    // Each page may be a segment of its own, and one more wherever else it is mapped; the table has a 65th more room, for
    // zeros. Pages begin at a whole one.
    let each = (PROGRAM_HEADER_LEN + 1) * (1 + addresses.aliases.len() as u64);
    Ok(Room { fixed: data_at + dump.page_size().bytes(), each })
}

/// An ELF core being written.
///
/// Headers are written last, when it is known which segments there are: until then the file is not a dump.
pub struct Writer<'d> {
    core: Core<'d>,
    builder: Builder,
    marks: Mutex<VecDeque<Mark>>,
}

/// How far a core is written: the pages up to a frame.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// The first frame that is not written.
    end: Pfn,
    /// Where in the file the bytes of the next page would go.
    offset: u64,
    written: Written,
}

/// How many batches, of up to 1 MiB of bytes each, are given up at most to make room for the headers of a core on a full
/// disk. The headers of a core with as many segments as there may be take 29 MiB.
const MAX_MARKS: usize = 64;

impl<'d> Writer<'d> {
    /// Lays out a core of the pages of `selection`.
    ///
    /// # Errors
    ///
    /// When the pages to keep are in too many separate runs, or the output cannot be written.
    pub fn begin(
        dump: &'d Dump,
        selection: &'d Selection,
        facts: &'d Facts,
        out: &'d dyn Sink,
    ) -> Result<Self, Error> {
        let own = OwnNote::new(dump, selection, facts);
        let lost_room = OwnNote::lost_room(selection);
        let notes = headers::notes(dump, facts, own.encode(lost_room, dump.machine.order));
        let plan = Plan::new(dump, selection, notes.total(), out.path())?;
        out.blank(0, plan.places.data_at)?;
        write_far(&notes, plan.places.notes_at, out)?;
        let mark = Mark { offset: plan.places.data_at, ..Mark::default() };
        let builder = Builder::new(&plan, Lost::with_room(lost_room));
        let core = Core { dump, facts, selection, out, plan, own, lost_room };
        Ok(Self { core, builder, marks: Mutex::new(VecDeque::from([mark])) })
    }

    /// Writes all pages, once.
    ///
    /// # Errors
    ///
    /// When the output cannot be written, the input is damaged, or `progress` asks to stop. The pages that were written
    /// until then can still become a dump, by [`Writer::finish`].
    pub fn write(&mut self, progress: &Progress) -> Result<(), Error> {
        let Core { dump, selection, out, plan, .. } = &self.core;
        let job = Job { page_size: plan.places.page_size, out: *out, marks: &self.marks };
        pipeline::run(&job, Source::new(&*dump.memory, selection, 0), &mut self.builder, progress)
    }

    /// Writes the headers of what was written, which makes the file a dump; one marked incomplete when pages are missing.
    ///
    /// On a full disk the last pages are given up until there is room for the headers.
    ///
    /// # Errors
    ///
    /// When the output cannot be written; the file is not a dump then.
    pub fn finish(self) -> Result<Written, Error> {
        let Self { core, builder, marks } = self;
        let mut marks = marks.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (mut stretches, met) = builder.finish();
        let mut mark = marks.pop_back().unwrap_or_default();
        loop {
            let mut lost = met.clone();
            mark.written.unwritten_pages = core.selection.kept().saturating_sub(mark.written.seen());
            if mark.written.unwritten_pages > 0 {
                cut(&mut stretches, mark, core.plan.places.page_size);
                // Part of a batch may be after it.
                core.out.cut_off(mark.offset);
                lost.cut(mark.end);
                add_unwritten(&mut lost, core.selection, mark.end);
            }
            match (core.finish(&mut stretches, mark, &lost), marks.pop_back()) {
                (Err(error), Some(earlier)) if is_full(&error) && core.out.cut_off(earlier.offset) => {
                    mark = earlier;
                }
                (result, _) => return result,
            }
        }
    }
}

/// Reports whether an error says that there is no more room.
fn is_full(error: &Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error, Error::Write { source, .. } if [FileTooLarge, QuotaExceeded, StorageFull].contains(&source.kind()))
}

/// Drops what is not in the file that ends at `mark`.
fn cut(stretches: &mut Vec<Stretch>, mark: Mark, page_size: PageSize) {
    stretches.truncate(stretches.partition_point(|stretch| stretch.first < mark.end.0));
    if let Some(last) = stretches.last_mut() {
        last.frames = last.frames.min(mark.end.0 - last.first);
        // Zeros at the end were to be a hole before bytes that did not come.
        let bytes = mark.offset.saturating_sub(last.offset);
        last.data = last.data.min(last.frames).min(bytes / page_size.bytes());
    }
}

/// Adds the pages of `selection` from `from` on.
fn add_unwritten(lost: &mut Lost, selection: &Selection, from: Pfn) {
    for position in 0..selection.chunk_count() {
        // What was written is worth more than to know which pages were not.
        let Ok((first, chunk)) = selection.chunk(position) else {
            lost.more = true;
            return;
        };
        for run in chunk.runs() {
            let (start, end) = (Pfn(first.0 + run.start), Pfn(first.0 + run.end));
            lost.add(Range::new(start.max(from), end));
        }
        if lost.more {
            return;
        }
    }
}

/// What a core is made of, and where it goes.
struct Core<'d> {
    dump: &'d Dump,
    facts: &'d Facts,
    selection: &'d Selection,
    out: &'d dyn Sink,
    plan: Plan,
    /// What is known of hadump's note beforehand.
    own: OwnNote,
    lost_room: usize,
}

impl Core<'_> {
    /// Writes the headers of a core of `stretches` that ends at `mark` and lacks the pages `lost`.
    fn finish(&self, stretches: &mut [Stretch], mark: Mark, lost: &Lost) -> Result<Written, Error> {
        let Self { dump, facts, out, plan, lost_room, .. } = self;
        let Mark { offset: mut end, written, .. } = mark;
        if let [only] = &mut stretches[..]
            && only.data == 0
        {
            // A single segment without any bytes: crash would read the file's end for it.
            out.write_at(end, &vec![0; plan.places.page_size.len()])?;
            only.data = 1;
            end += plan.places.page_size.bytes();
        }
        if written.data_pages == 0 && end > plan.places.notes_at + plan.places.notes_len {
            // Segments without bytes are at the end of the file as well; it has to reach that far.
            out.write_at(end - 1, &[0])?;
        }
        let mut own = self.own.clone();
        let mut headers = 1;
        plan.places.loads(stretches, |load| {
            headers += 1;
            own.tails += load.memsz - load.filesz;
        });
        debug_assert!(
            headers <= plan.places.max_headers,
            "{headers} program headers, room for {}",
            plan.places.max_headers
        );
        own.lost_pages = written.lost_pages + written.unwritten_pages;
        own.incomplete |= own.lost_pages > 0;
        own.set_lost(lost, plan.places.page_size);
        let note = own.encode(*lost_room, dump.machine.order);
        out.write_at(plan.places.notes_at, headers::notes(dump, facts, note).raw())?;
        headers::encode(dump, &plan.places, stretches, headers as u32, own.incomplete, |at, bytes| {
            out.write_at(at, bytes)
        })?;
        Ok(Written { bytes: end, ..written })
    }
}

struct Job<'a> {
    page_size: PageSize,
    out: &'a dyn Sink,
    /// How far the file is written, as of the last few batches.
    marks: &'a Mutex<VecDeque<Mark>>,
}

/// A batch on its way into the file.
#[derive(Default)]
struct Record {
    spans: Vec<Span>,
    counts: Written,
    /// Where in the file pages of zeros between others lie, and their bytes.
    holes: Vec<(u64, u64)>,
    /// Where in the file the bytes after the batch go.
    offset: u64,
}

impl PageJob for Job<'_> {
    type Worker = ();
    type Record = Record;
    type Layout = Builder;

    fn worker(&self) -> Result<(), Error> {
        Ok(())
    }

    fn encode(&self, _: &mut (), batch: &Batch, record: &mut Record) -> Result<(), Error> {
        spans_of(batch, &mut record.spans);
        Ok(())
    }

    fn place(&self, builder: &mut Builder, batch: &Batch, record: &mut Record) -> Result<(), Error> {
        let mut counts = Written { lost_pages: batch.lost(), ..Written::default() };
        record.holes.clear();
        builder.lose(batch.lost_frames());
        let mut spans = record.spans.iter_mut();
        for run in batch.runs() {
            let mut pfn = run.first;
            let end = Pfn(run.first.0 + run.states.len() as u64);
            while pfn < end {
                let Some(span) = spans.next() else { break };
                let placed = match span.state {
                    PageState::Present => {
                        let end = builder.end();
                        span.offset = builder.data(pfn, span.count);
                        record.holes.extend(span.offset.filter(|at| *at > end).map(|at| (end, at - end)));
                        span.offset.map(|_| &mut counts.data_pages)
                    }
                    PageState::Zero => builder.zeros(pfn, span.count).map(|()| &mut counts.zero_pages),
                    PageState::Lost => None,
                    PageState::Excluded | PageState::Absent => Some(&mut counts.missing_pages),
                };
                let lost = placed.is_none();
                let counter = placed.unwrap_or(&mut counts.lost_pages);
                *counter += span.count;
                let next = Pfn(pfn.0 + span.count);
                if lost {
                    builder.lose(Range::new(pfn, next));
                }
                pfn = next;
            }
        }
        (record.counts, record.offset) = (counts, builder.end());
        Ok(())
    }

    fn waits(&self) -> bool {
        self.out.waits()
    }

    fn write(&self, slots: &mut [Box<Slot<Record>>]) -> Result<(), Error> {
        pipeline::together_or_alone(slots, self.out, |slots| self.write_batches(slots))
    }
}

impl Job<'_> {
    /// Writes batches, and notes how far the core is written then.
    fn write_batches(&self, slots: &[Box<Slot<Record>>]) -> Result<(), Error> {
        for &(offset, len) in slots.iter().flat_map(|slot| &slot.record.holes) {
            self.out.blank(offset, len)?;
        }
        self.write_pages(slots)?;
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        for Slot { batch, record, .. } in slots.iter().map(|slot| &**slot) {
            let mut mark = marks.back().copied().unwrap_or_default();
            (mark.end, mark.offset) = (batch.end(), record.offset);
            mark.written.add(&record.counts);
            if marks.len() == MAX_MARKS {
                marks.pop_front();
            }
            marks.push_back(mark);
        }
        Ok(())
    }

    /// Writes the pages that have a place.
    fn write_pages(&self, slots: &[Box<Slot<Record>>]) -> Result<(), Error> {
        let mut parts: Vec<IoSlice<'_>> = Vec::new();
        // Where the first of `parts` goes, and where the next one would have to, to be written along with it.
        let (mut at, mut next) = (0, 0);
        for Slot { batch, record, .. } in slots.iter().map(|slot| &**slot) {
            let mut spans = record.spans.iter();
            for run in batch.runs() {
                let mut rest = run.bytes;
                while !rest.is_empty() {
                    let Some(span) = spans.next() else { break };
                    let (bytes, later) = rest.split_at(span.count as usize * self.page_size.len());
                    rest = later;
                    let Some(offset) = span.offset else { continue };
                    if offset != next && !parts.is_empty() {
                        self.out.append_at(at, &parts)?;
                        parts.clear();
                    }
                    if parts.is_empty() {
                        at = offset;
                    }
                    parts.push(IoSlice::new(bytes));
                    next = offset + bytes.len() as u64;
                }
            }
        }
        if parts.is_empty() { Ok(()) } else { self.out.append_at(at, &parts) }
    }
}

#[cfg(test)]
mod tests;
