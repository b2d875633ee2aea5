//! Writing a kdump-compressed file.
//!
//! The header is the first thing in the file and says "incomplete" (status bit 0x8) until the last page is written;
//! then its block is written once more without that bit. So a file that is cut off at any moment, by a full disk or by
//! a second crash, opens as what it is: the bitmaps are there, descriptors that were not reached are holes of zeros,
//! which readers know as lost pages, and nobody takes it for a whole dump. A header written last would leave nothing
//! of use. A stream takes no byte twice; there the missing end of the stream tells.

use super::layout::{Header, Layout, PAGE_DESC_LEN, PageDesc, STATUS_INCOMPLETE, SubHeader, VERSION};
use crate::codec::{Encoder, Method};
use crate::output::Sink;
use crate::pipeline::{self, Batch, PageJob};
use crate::{Error, Facts, Progress, Written};
use std::io::IoSlice;
use vmcore::{ByteOrder, CHUNK_FRAMES, Chunk, Dump, PageSize, PageState, Selection, Utsname};

/// How pages are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The compression; `None` stores pages as they are.
    pub method: Option<Method>,
    /// The method's level, when not its default.
    pub level: Option<i32>,
}

/// Writes the pages of `selection` as a kdump-compressed file, version 6, in the dump's own byte order and word size.
///
/// All zero pages share one stored page, which is the first of the data. Pages that cannot be read, or that an
/// earlier filter left out, get a descriptor of zeros and make the file incomplete. The same input and options give the
/// same bytes on any number of threads.
///
/// # Errors
///
/// When the method or level cannot be used, the output cannot be written, the input is damaged, or `progress`
/// asks to stop. What was written until then is an incomplete dump, see the module.
pub fn write(
    dump: &Dump,
    selection: &Selection,
    facts: &Facts,
    options: &Options,
    out: &dyn Sink,
    progress: &Progress,
) -> Result<Written, Error> {
    let plan = Plan::new(dump, selection, facts, options, out)?;
    let order = dump.machine.order;
    let page_size = dump.page_size();
    let header = |incomplete: bool| {
        let mut header = plan.header.clone();
        header.status |= if incomplete { STATUS_INCOMPLETE } else { 0 };
        header.encode(plan.layout)
    };
    out.write_at(0, &header(!out.is_stream()))?;
    out.write_at(page_size.bytes(), &plan.sub_header)?;
    write_bitmaps(selection, &plan, out)?;
    out.write_at(plan.zero_page, &vec![0; page_size.len()])?;

    let job = Job { options: *options, page_size, order, plan: &plan, out };
    let cursor = Cursor {
        next_index: 0,
        next_offset: plan.zero_page + page_size.bytes(),
        written: Written::default(),
    };
    let cursor = pipeline::run(&job, &*dump.memory, selection, cursor, progress)?;

    let lost = cursor.written.lost_pages + cursor.written.missing_pages > 0;
    let incomplete = lost || dump.source.incomplete;
    if incomplete || !out.is_stream() {
        out.write_at(0, &header(incomplete))?;
    }
    Ok(Written { bytes: cursor.next_offset, ..cursor.written })
}

/// Where everything goes that is known before the first page is read.
struct Plan {
    layout: Layout,
    header: Header,
    /// The sub header with the notes behind it.
    sub_header: Vec<u8>,
    /// Where the first bitmap starts, and the length in bytes of each.
    bitmaps: u64,
    bitmap_len: u64,
    descriptors: u64,
    /// Where the shared page of zeros lies: right behind the descriptors, where `makedumpfile --reassemble` looks for it
    /// in files whose dump level has bit 0.
    zero_page: u64,
}

impl Plan {
    fn new(
        dump: &Dump,
        selection: &Selection,
        facts: &Facts,
        options: &Options,
        out: &dyn Sink,
    ) -> Result<Self, Error> {
        let layout = Layout::of(dump.machine);
        let block = dump.page_size().bytes();
        let mut notes = dump.notes.clone();
        facts.notes.iter().for_each(|note| notes.push(note.clone(), dump.machine.order));
        let notes_at = block + layout.sub_header_len() as u64;
        let vmcoreinfo = notes.desc_position("VMCOREINFO").unwrap_or(0..0);
        let max_mapnr = selection.map().max_pfn().0;
        let sub_header = SubHeader {
            phys_base: facts.phys_base,
            dump_level: selection.level().bits().into(),
            offset_vmcoreinfo: if vmcoreinfo.is_empty() { 0 } else { notes_at + vmcoreinfo.start as u64 },
            size_vmcoreinfo: vmcoreinfo.len() as u64,
            offset_note: if notes.raw().is_empty() { 0 } else { notes_at },
            size_note: notes.raw().len() as u64,
            max_mapnr_64: max_mapnr,
            ..SubHeader::default()
        };
        let mut sub_header = sub_header.encode(layout);
        sub_header.extend(notes.raw());

        let too_large = || Error::Unsupported {
            path: out.path().to_owned(),
            what: format!(
                "memory up to frame {max_mapnr:#x} does not fit the kdump format; write an ELF file"
            ),
        };
        let sub_blocks = (sub_header.len() as u64).div_ceil(block);
        let bitmap_blocks = max_mapnr.div_ceil(8).div_ceil(block);
        let bitmaps = (1 + sub_blocks) * block;
        let header = Header {
            version: VERSION,
            utsname: complete_utsname(dump, &facts.utsname),
            tv_sec: dump.vmcoreinfo.as_ref().and_then(|v| v.crash_time()).unwrap_or(0),
            tv_usec: 0,
            status: options.method.map_or(0, Method::flag),
            block_size: block as u32,
            sub_hdr_size: u32::try_from(sub_blocks).map_err(|_| too_large())?,
            bitmap_blocks: u32::try_from(2 * bitmap_blocks).map_err(|_| too_large())?,
            max_mapnr: u32::try_from(max_mapnr).unwrap_or(u32::MAX),
            unused: [0; 4],
            nr_cpus: dump.cpus().max(1) as u32,
        };
        let descriptors = bitmaps + 2 * bitmap_blocks * block;
        let zero_page = (PAGE_DESC_LEN as u64)
            .checked_mul(selection.kept())
            .and_then(|len| len.checked_add(descriptors))
            .ok_or_else(too_large)?;
        let bitmap_len = bitmap_blocks * block;
        Ok(Self { layout, header, sub_header, bitmaps, bitmap_len, descriptors, zero_page })
    }
}

/// The strings of the header, with what readers insist on filled in: libkdumpfile ignores all of them when one
/// of these four is empty, and then knows no architecture.
fn complete_utsname(dump: &Dump, given: &Utsname) -> Utsname {
    let or = |string: &str, other: &str| if string.is_empty() { other.to_owned() } else { string.to_owned() };
    let release = dump.vmcoreinfo.as_ref().and_then(|v| v.release()).unwrap_or("unknown");
    Utsname {
        sysname: or(&given.sysname, "Linux"),
        release: or(&given.release, release),
        version: or(&given.version, "unknown"),
        machine: or(&given.machine, dump.machine.name()),
        ..given.clone()
    }
}

/// The unit in which zeros of a bitmap are left out, so that they become holes of the file.
const HOLE: usize = 4096;

/// Writes both bitmaps chunk by chunk; parts without a bit are left as holes.
fn write_bitmaps(selection: &Selection, plan: &Plan, out: &dyn Sink) -> Result<(), Error> {
    let mut bytes = Vec::with_capacity((CHUNK_FRAMES / 8) as usize);
    let mut put = |bitmap: u64, first: u64, chunk: &Chunk| {
        bytes.clear();
        // Bit `pfn & 7` of byte `pfn >> 3`, whatever the byte order of numbers.
        bytes.extend(chunk.words().iter().flat_map(|word| word.to_le_bytes()));
        let at = first / 8;
        bytes.truncate(usize::try_from(plan.bitmap_len - at).unwrap_or(usize::MAX));
        write_sparsely(out, bitmap + at, &bytes)
    };
    for index in selection.chunk_indices() {
        put(plan.bitmaps, index * CHUNK_FRAMES, &Chunk::of_map(selection.map(), index))?;
    }
    for position in 0..selection.chunk_count() {
        let (first, chunk) = selection.chunk(position)?;
        put(plan.bitmaps + plan.bitmap_len, first.0, &chunk)?;
    }
    Ok(())
}

/// Writes `bytes` but for those [`HOLE`]-sized pieces that are zero.
fn write_sparsely(out: &dyn Sink, offset: u64, bytes: &[u8]) -> Result<(), Error> {
    let mut at = 0;
    for same in bytes.chunks(HOLE).collect::<Vec<_>>().chunk_by(|a, b| is_hole(a) == is_hole(b)) {
        let len: usize = same.iter().map(|piece| piece.len()).sum();
        if !is_hole(same[0]) {
            out.write_at(offset + at as u64, &bytes[at..at + len])?;
        }
        at += len;
    }
    Ok(())
}

fn is_hole(piece: &[u8]) -> bool {
    piece.iter().all(|&b| b == 0)
}

/// What became of a page.
#[derive(Clone, Copy, Debug)]
enum Entry {
    /// It is all zeros, and shares the one stored page.
    Zero,
    /// Its bytes could not be had.
    Lost,
    /// These many bytes of it follow those of the page before.
    Stored { size: u32, flags: u32 },
}

/// A batch on its way into the file.
#[derive(Default)]
struct Record {
    entries: Vec<Entry>,
    /// Stored bytes of all pages, one behind the other, in the first `len` bytes. Without a compression they are not
    /// copied here, and only `len` says how many there are.
    data: Vec<u8>,
    len: usize,
    counts: Written,
    /// The number of the first page's descriptor, and where the data goes.
    index: u64,
    offset: u64,
    descriptors: Vec<u8>,
}

/// Where the next batch goes.
struct Cursor {
    next_index: u64,
    next_offset: u64,
    written: Written,
}

struct Job<'a> {
    options: Options,
    page_size: PageSize,
    order: ByteOrder,
    plan: &'a Plan,
    out: &'a dyn Sink,
}

impl Job<'_> {
    /// Stores one page that has content, and answers how.
    fn store(&self, encoder: Option<&mut Encoder>, page: &[u8], record: &mut Record) -> Entry {
        let raw = Entry::Stored { size: page.len() as u32, flags: 0 };
        record.counts.data_pages += 1;
        let (Some(encoder), Some(method)) = (encoder, self.options.method) else {
            record.len += page.len();
            return raw;
        };
        let room = &mut record.data[record.len..];
        match encoder.encode(page, room) {
            Some(size) => {
                record.len += size;
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
}

impl PageJob for Job<'_> {
    type Worker = Option<Encoder>;
    type Record = Record;
    type Layout = Cursor;

    fn worker(&self) -> Result<Self::Worker, Error> {
        let make = |method| Encoder::new(method, self.options.level, self.page_size);
        self.options
            .method
            .map(make)
            .transpose()
            .map_err(|e| Error::Unsupported { path: self.out.path().to_owned(), what: e.to_string() })
    }

    fn encode(&self, encoder: &mut Self::Worker, batch: &Batch, record: &mut Record) -> Result<(), Error> {
        record.entries.clear();
        (record.len, record.counts) = (0, Written { lost_pages: batch.lost(), ..Written::default() });
        if let Some(encoder) = encoder {
            // Room for the case that nothing shrinks, and for the last page's compressor to find that out.
            let room = batch.len() * self.page_size.len() + encoder.out_len();
            if record.data.len() < room {
                record.data.resize(room, 0);
            }
        }
        for page in batch.pages() {
            let entry = match page.state {
                PageState::Present => self.store(encoder.as_mut(), page.bytes, record),
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
        Ok(())
    }

    fn place(&self, cursor: &mut Cursor, batch: &Batch, record: &mut Record) -> Result<(), Error> {
        (record.index, record.offset) = (cursor.next_index, cursor.next_offset);
        cursor.next_index += record.entries.len() as u64 + batch.lost();
        cursor.next_offset += record.len as u64;
        let (all, new) = (&mut cursor.written, &record.counts);
        all.data_pages += new.data_pages;
        all.zero_pages += new.zero_pages;
        all.raw_pages += new.raw_pages;
        all.lost_pages += new.lost_pages;
        all.missing_pages += new.missing_pages;
        Ok(())
    }

    fn write(&self, batch: &Batch, record: &mut Record) -> Result<(), Error> {
        if record.entries.is_empty() {
            // The descriptors of lost pages are zeros, which a hole in the file is.
            return Ok(());
        }
        // Data before descriptors: a descriptor on the disk never points past the end of a file that was cut off.
        if self.options.method.is_some() {
            self.out.write_at(record.offset, &record.data[..record.len])?;
        } else {
            self.out.write_parts_at(record.offset, &present_parts(batch, self.page_size))?;
        }
        let mut offset = record.offset;
        record.descriptors.clear();
        for &entry in &record.entries {
            let desc = match entry {
                Entry::Zero => {
                    PageDesc { offset: self.plan.zero_page, size: self.page_size.bytes() as u32, flags: 0 }
                }
                Entry::Lost => PageDesc::default(),
                Entry::Stored { size, flags } => {
                    let desc = PageDesc { offset, size, flags };
                    offset += u64::from(size);
                    desc
                }
            };
            record.descriptors.extend(desc.encode(self.order));
        }
        let at = self.plan.descriptors + record.index * PAGE_DESC_LEN as u64;
        self.out.write_at(at, &record.descriptors)
    }
}

/// The bytes of the pages with content, where they already are.
fn present_parts<'b>(batch: &'b Batch, page_size: PageSize) -> Vec<IoSlice<'b>> {
    let mut parts = Vec::new();
    for run in batch.runs() {
        let mut at = 0;
        for same in run.states.chunk_by(|a, b| a == b) {
            let len = same.len() * page_size.len();
            if same[0] == PageState::Present {
                parts.push(IoSlice::new(&run.bytes[at..at + len]));
            }
            at += len;
        }
    }
    parts
}
