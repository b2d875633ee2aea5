//! Writing an ELF core.

use super::layout::{Builder, Load, Plan, Span, Stretch, spans_of};
use super::note::OwnNote;
use super::reader::{FLAG_INCOMPLETE, has_free_flags};
use crate::output::Sink;
use crate::pipeline::{self, Batch, PageJob, Source};
use crate::{Error, Facts, Progress, Written};
use object::write::elf::{Encoder, FileHeader, FileHeaderLayout, ProgramHeader};
use object::{Endianness, elf};
use std::io::IoSlice;
use vmcore::{ByteOrder, Dump, Notes, PageSize, PageState, Pfn, Selection};

/// Writes the pages of `selection` as an ELF core in the dump's own byte order, of 64 bits unless everything fits 32.
///
/// Memory is described as `/proc/vmcore` describes it: one PT_NOTE, then a PT_LOAD for each stretch of kept pages at
/// its address in the direct map, then once more for the kernel image where the input maps that elsewhere too. Long
/// runs of zeros take no place in the file (`p_memsz > p_filesz`), short ones are holes. Pages that are excluded,
/// lost or absent are in no PT_LOAD. A note of hadump's own says what the tails mean.
///
/// Headers are written last: until then the file is no dump.
///
/// # Errors
///
/// When the output cannot be written, the input is damaged, the pages to keep are in too many separate runs, or
/// `progress` asks to stop.
pub fn write(
    dump: &Dump,
    selection: &Selection,
    facts: &Facts,
    out: &dyn Sink,
    progress: &Progress,
) -> Result<Written, Error> {
    let order = dump.machine.order;
    let mut own = OwnNote { dump_level: selection.level().bits().into(), ..OwnNote::default() };
    let notes = |own: &OwnNote| {
        let mut notes: Notes = dump.notes.clone();
        facts.notes.iter().for_each(|note| notes.push(note.clone(), order));
        notes.push(own.encode(order), order);
        notes
    };
    let plan = Plan::new(dump, selection, notes(&own).raw().len() as u64, out.path())?;
    let job = Job { page_size: plan.page_size, out };
    let mut cursor = Cursor { builder: Builder::new(&plan), written: Written::default() };
    pipeline::run(&job, Source::new(&*dump.memory, selection), &mut cursor, progress)?;
    let Cursor { builder, written } = cursor;
    let (mut stretches, mut end) = builder.finish();
    if let [only] = &mut stretches[..]
        && only.data == 0
    {
        // A single segment without any bytes: crash would read the file's end for it.
        out.write_at(end, &vec![0; plan.page_size.len()])?;
        only.data = 1;
        end += plan.page_size.bytes();
    }

    if written.data_pages == 0 && end > plan.notes_at + plan.notes_len {
        // Segments without bytes stand at the end of the file as well; it has to reach that far.
        out.write_at(end - 1, &[0])?;
    }

    let mut headers = 1;
    plan.loads(&stretches, |load| {
        headers += 1;
        own.tails += load.memsz - load.filesz;
    });
    debug_assert!(headers <= plan.max_headers, "{headers} program headers, room for {}", plan.max_headers);
    own.lost_pages = written.lost_pages;
    own.incomplete = written.lost_pages > 0 || dump.source.incomplete;
    out.write_at(plan.notes_at, notes(&own).raw())?;
    write_headers(dump, &plan, &stretches, headers as u32, own.incomplete, out)?;
    Ok(Written { bytes: end, ..written })
}

/// Writes the ELF header and the table behind it.
fn write_headers(
    dump: &Dump,
    plan: &Plan,
    stretches: &[Stretch],
    count: u32,
    incomplete: bool,
    out: &dyn Sink,
) -> Result<(), Error> {
    let endian = match dump.machine.order {
        ByteOrder::Little => Endianness::Little,
        ByteOrder::Big => Endianness::Big,
    };
    let e_machine = elf::Machine(dump.machine.arch.e_machine());
    let encoder = Encoder::new(endian, plan.is_64, e_machine);
    // On POWER the flags are the number of the ABI, and only hadump's note says that the dump is incomplete.
    let free = has_free_flags(dump.machine.arch);
    let flag = if incomplete && free { FLAG_INCOMPLETE } else { 0 };
    let e_phoff = encoder.file_header_size();
    let many = count >= elf::PN_XNUM.into();
    let layout = FileHeaderLayout {
        e_phoff,
        segment_num: count,
        e_shoff: if many { e_phoff + u64::from(count) * encoder.program_header_size() } else { 0 },
        section_num: many.into(),
        shstrtab_index: 0,
    };
    let header = FileHeader {
        e_type: elf::ET_CORE,
        e_machine,
        e_flags: elf::FileFlags(dump.elf_flags | flag),
        ..FileHeader::default()
    };
    let mut bytes = Vec::with_capacity(2 * HEADER_BYTES);
    encoder.file_header(&mut bytes, &header, &layout).expect("section header 0 is there when it is needed");
    let note =
        Load { paddr: 0, vaddr: 0, offset: plan.notes_at, filesz: plan.notes_len, memsz: plan.notes_len };
    encoder.program_header(&mut bytes, &program_header(elf::PT_NOTE, note));
    let mut at = 0;
    let mut result = Ok(());
    plan.loads(stretches, |load| {
        encoder.program_header(&mut bytes, &program_header(elf::PT_LOAD, load));
        if bytes.len() >= HEADER_BYTES && result.is_ok() {
            result = out.write_at(at, &bytes);
            at += bytes.len() as u64;
            bytes.clear();
        }
    });
    result?;
    if many {
        encoder.null_section_header(&mut bytes, &layout);
    }
    out.write_at(at, &bytes)
}

/// Program headers are written in pieces of this size.
const HEADER_BYTES: usize = 64 << 10;

fn program_header(p_type: elf::ProgramType, load: Load) -> ProgramHeader {
    let is_load = p_type == elf::PT_LOAD;
    ProgramHeader {
        p_type,
        p_flags: if is_load { elf::PF_R | elf::PF_W | elf::PF_X } else { elf::ProgramFlags(0) },
        p_offset: load.offset,
        p_vaddr: load.vaddr,
        p_paddr: load.paddr,
        p_filesz: load.filesz,
        p_memsz: load.memsz,
        // As in /proc/vmcore: crash takes aligned segments with another value for a netdump.
        p_align: if is_load { 0 } else { 4 },
    }
}

/// Where the next batch goes.
struct Cursor {
    builder: Builder,
    written: Written,
}

struct Job<'a> {
    page_size: PageSize,
    out: &'a dyn Sink,
}

impl PageJob for Job<'_> {
    type Worker = ();
    type Record = Vec<Span>;
    type Layout = Cursor;

    fn worker(&self) -> Result<(), Error> {
        Ok(())
    }

    fn encode(&self, _: &mut (), batch: &Batch, spans: &mut Vec<Span>) -> Result<(), Error> {
        spans_of(batch, spans);
        Ok(())
    }

    fn place(&self, cursor: &mut Cursor, batch: &Batch, spans: &mut Vec<Span>) -> Result<(), Error> {
        let Cursor { builder, written } = cursor;
        written.lost_pages += batch.lost();
        let mut spans = spans.iter_mut();
        for run in batch.runs() {
            let mut pfn = run.first;
            let end = Pfn(run.first.0 + run.states.len() as u64);
            while pfn < end {
                let Some(span) = spans.next() else { break };
                let counter = match span.state {
                    PageState::Present => {
                        span.offset = builder.data(pfn, span.count);
                        if span.offset.is_some() { &mut written.data_pages } else { &mut written.lost_pages }
                    }
                    PageState::Zero => match builder.zeros(pfn, span.count) {
                        Some(()) => &mut written.zero_pages,
                        None => &mut written.lost_pages,
                    },
                    PageState::Lost => &mut written.lost_pages,
                    PageState::Excluded | PageState::Absent => &mut written.missing_pages,
                };
                *counter += span.count;
                pfn.0 += span.count;
            }
        }
        Ok(())
    }

    fn write(&self, batch: &Batch, spans: &mut Vec<Span>) -> Result<(), Error> {
        let mut parts: Vec<IoSlice<'_>> = Vec::new();
        // Where the first of `parts` goes, and where the next one would have to, to be written along with it.
        let (mut at, mut next) = (0, 0);
        let mut spans = spans.iter();
        for run in batch.runs() {
            let mut rest = run.bytes;
            while !rest.is_empty() {
                let Some(span) = spans.next() else { break };
                let (bytes, later) = rest.split_at(span.count as usize * self.page_size.len());
                rest = later;
                let Some(offset) = span.offset else { continue };
                if offset != next && !parts.is_empty() {
                    self.out.write_parts_at(at, &parts)?;
                    parts.clear();
                }
                if parts.is_empty() {
                    at = offset;
                }
                parts.push(IoSlice::new(bytes));
                next = offset + bytes.len() as u64;
            }
        }
        if parts.is_empty() { Ok(()) } else { self.out.write_parts_at(at, &parts) }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
