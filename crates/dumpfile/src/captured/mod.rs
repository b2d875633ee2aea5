//! Memory that forensic tools captured on a running machine: LiME and AVML.
//!
//! Both write a file of records, each a header and the memory of one range of addresses. What they lack: the machine, which
//! the user names; registers and notes, of which there are none; and one moment, because memory changes while it is copied.
//! VMCOREINFO may be found in memory, as in that of a raw image. LiME's other forms have no headers: `padded` is a raw image,
//! and `raw` puts ranges together without saying where they were, so that nobody can read it.

mod compressed;
mod record;

use crate::Error;
use crate::input::Input;
use crate::open::Assume;
use crate::segments::{Content, Piece, SegmentMemory, Table};
use compressed::{CompressedMemory, Run};
use record::{Format, Record};
use vmcore::{
    Dump, MemoryMap, Notes, PageSize, PageSizeBy, PhysAddr, PhysicalMemory, Range, RangeSet, Source,
};

/// How the first record of a file begins: LiME's has the byte order of the machine.
pub(crate) const MAGICS: [&[u8]; 3] = [b"EMiL", b"LiME", b"AVML"];

/// The most records: AVML begins one for each 16 MiB.
const MOST_RECORDS: usize = 1 << 19;
/// The end of the highest memory: as for ELF cores.
const HIGHEST: u64 = 1 << 56;
/// The most memory: 256 TiB.
const MOST_MEMORY: u64 = 1 << 48;

/// Opens a captured image, of which `assume` names the machine.
///
/// # Errors
///
/// When no machine is named, the file is damaged, or of a version that is not known.
pub(crate) fn open(input: Input, assume: &Assume) -> Result<Dump, Error> {
    let Some(first) = Record::read(&input, 0)? else {
        return Err(input.cut_off(record::HEADER, "the first record's header"));
    };
    let Some(machine) = assume.machine else {
        let what = format!(
            "a memory image of {}, which does not say of what machine: name it with --machine (as uname -m prints it)",
            first.format.name()
        );
        return Err(Error::Unsupported { path: input.path().to_owned(), what });
    };
    let Found { records, runs, problem } = find(&input, first.format)?;
    let bytes: RangeSet<PhysAddr> =
        records.iter().map(|r| Range::new(PhysAddr(r.start), PhysAddr(r.end))).collect();
    if bytes.total() > MOST_MEMORY {
        let found = format!("{:#x} bytes of memory", bytes.total());
        return Err(input.damaged("the records' ranges", 0, found, "at most 256 TiB").into());
    }
    let there: RangeSet<PhysAddr> = match first.format {
        Format::Lime => records.iter().map(Record::memory_there).collect(),
        Format::Avml => runs.iter().map(Run::memory).collect(),
    };
    let lost = bytes.subtract(&there).total();
    if input.cannot_lack(lost) {
        let found = format!("{lost:#x} bytes that the file does not have");
        return Err(input
            .damaged("the records' ranges", 0, found, "memory that an image of this size can be of")
            .into());
    }
    let known = Dump::only_page_size(machine.arch).or(assume.page_size);
    let map = MemoryMap::new(known.unwrap_or(PageSize::K4), bytes);
    let source = Source {
        format: first.format.described().into(),
        compression: (first.format == Format::Avml).then_some("snappy"),
        incomplete: problem.is_some(),
        problems: problem.into_iter().collect(),
        page_size_by: if known.is_none() { PageSizeBy::Nobody } else { PageSizeBy::Input },
        ..Source::default()
    };
    let memory: Box<dyn PhysicalMemory> = match first.format {
        Format::Lime => Box::new(SegmentMemory::new(input, table(&records), map)),
        Format::Avml => Box::new(CompressedMemory::new(input, runs, map)?),
    };
    Ok(Dump {
        machine,
        memory,
        notes: Notes::default(),
        vmcoreinfo: None,
        virt: Vec::new(),
        elf_flags: 0,
        source,
    })
}

/// What a file is made of.
#[derive(Default)]
struct Found {
    records: Vec<Record>,
    /// Where compressed memory is.
    runs: Vec<Run>,
    /// What ended the file before its end, in a sentence.
    problem: Option<String>,
}

/// Steps through all records.
fn find(input: &Input, format: Format) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut at = 0;
    while at < input.len() {
        let Some(record) = Record::read(input, at)? else {
            found.problem = Some(format!("the file ends inside of a record's header at offset {at:#x}"));
            break;
        };
        let number = found.records.len();
        if record.format != format || record.end > HIGHEST || number == MOST_RECORDS {
            let found = format!(
                "one of {} with memory up to {:#x}, number {number}",
                record.format.name(),
                record.end
            );
            let expected = "one of the same kind, with memory below 2^56, and no more than 524,288";
            return Err(input.damaged("a record", at, found, expected).into());
        }
        found.records.push(record);
        let len = record.end - record.start;
        let next = match format {
            Format::Lime => (len <= record.there).then_some(record.data.saturating_add(len)),
            Format::Avml => compressed::walk(input, &record, &mut found.runs)?,
        };
        let Some(next) = next else {
            found.problem = Some(format!("the file ends inside of the memory from {:#x} on", record.start));
            break;
        };
        at = next;
    }
    Ok(found)
}

/// Where the memory of LiME's records is in the file; what is behind the file's end is lost.
fn table(records: &[Record]) -> Table {
    let mut pieces = Vec::with_capacity(records.len());
    for (rank, record) in (0..).zip(records) {
        let there = record.memory_there().end.0;
        let piece = |start, end, content| Piece { start, end, offset: record.data, content, rank };
        pieces.push(piece(record.start, there, Content::Data));
        pieces.push(piece(there, record.end, Content::Lost));
    }
    Table::resolve(pieces)
}

#[cfg(test)]
mod tests;
