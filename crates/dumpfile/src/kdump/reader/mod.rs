//! Reading a kdump-compressed file.
//!
//! Versions 1 to 6, any byte order and word size on any host, one bitmap or two, pages in any order and of any of the
//! five encodings, several descriptors for one stored page, gaps. What breaks a rule that some reader depends on
//! but does not hide the pages is tolerated and told in [`vmcore::Source::remarks`].

mod cache;
mod fit;
mod index;
mod memory;
mod part;
mod repair;

use super::header::{Geometry, Headers};
use super::layout::{STATUS_EXCLUDED_VMEMMAP, STATUS_INCOMPLETE};
use super::sums;
use crate::codec::Method;
use crate::input::Input;
use crate::notes::NoteReader;
use crate::{Assume, Error};
use index::Bitmaps;
use memory::KdumpMemory;
use part::Member;
use vmcore::{
    Arch, Dump, DumpLevel, MemoryMap, Note, NotePlace, Notes, Range, ReadError, Source, VmcoreInfo,
};

/// The most bytes of VMCOREINFO or eraseinfo that are believed. The kernel's page of VMCOREINFO has 64 KiB at most, and a
/// line of eraseinfo some 50 bytes for each range that was erased.
const MAX_TEXT: u64 = 64 << 20;

/// A file's headers, and where its parts lie.
pub(super) struct File {
    pub(super) input: Input,
    pub(super) headers: Headers,
    pub(super) geometry: Geometry,
}

impl File {
    /// Reads the headers.
    ///
    /// # Errors
    ///
    /// When they are damaged or cut off, or the bitmaps are.
    pub(super) fn read(input: Input) -> Result<Self, Error> {
        let mut headers = Headers::read(&input)?;
        let geometry = headers.geometry(&input)?;
        Ok(Self { input, headers, geometry })
    }
}

/// Opens a kdump-compressed file, or the files of a split set in any order.
///
/// # Errors
///
/// When the headers or bitmaps are damaged or cut off, nothing says which machine the dump is of, or the files do not
/// belong together. A missing part is not an error: its pages are lost, with a remark.
pub(crate) fn open(inputs: Vec<Input>, assume: &Assume) -> Result<Dump, Error> {
    open_with(inputs, assume, true)
}

/// As [`open`] for a file whose writer was interrupted: what it has of checksums may be of any time.
///
/// # Errors
///
/// As [`open`].
pub(super) fn open_unfinished(input: Input) -> Result<Dump, Error> {
    open_with(vec![input], &Assume::default(), false)
}

fn open_with(inputs: Vec<Input>, assume: &Assume, checked: bool) -> Result<Dump, Error> {
    let files = inputs.into_iter().map(File::read).collect::<Result<Vec<_>, _>>()?;
    let mut files = part::in_order(files)?;
    let erase_info = read_erase_info(&mut files)?;
    let first = &mut files[0];
    let (input, headers) = (&first.input, &mut first.headers);
    let (mut notes, notes_left_out) = read_notes(input, headers)?;
    sums::take_note(&mut notes);
    let vmcoreinfo = find_vmcoreinfo(input, headers, &mut notes)?;
    let machine = headers.machine(input, &notes, assume.machine)?;
    let bitmaps = Bitmaps::read(input, &first.geometry)?;
    if bitmaps.strays > 0 {
        let strays = bitmaps.strays;
        headers
            .remarks
            .push(format!("{strays} pages are in the file whose frames the first bitmap calls absent"));
    }
    check_what_readers_need(headers, vmcoreinfo.as_ref());
    let utsname = repair::utsname(headers, machine, vmcoreinfo.as_ref());
    let (header, level) = (headers.header.clone(), dump_level(headers));
    let phys_base = (!headers.diskdump).then_some(headers.sub.phys_base);
    let (format, page_size) = (format(headers), headers.page_size);

    let bytes =
        bitmaps.frames.iter().map(|r| Range::new(page_size.addr(r.start), page_size.addr(r.end))).collect();
    let map = MemoryMap::new(page_size, bytes);
    let compression = methods(headers.header.status).last();
    let Member { files, mut remarks, problems, trusted, mut incomplete } =
        part::members(files, &bitmaps, checked)?;
    incomplete |= notes_left_out || header.status & STATUS_INCOMPLETE != 0 || !problems.is_empty();
    if incomplete && let Some(from) = repair::unreached(&bitmaps) {
        remarks.push(format!(
            "no page from frame {from:#x} on is in the file, whose writer did not finish: they may be lost instead of \
             left out on purpose"
        ));
    }
    let memory = KdumpMemory::new(files, machine.order, map, bitmaps.index, trusted);
    let source = Source {
        format,
        compression,
        dump_level: level,
        incomplete,
        utsname: Some(utsname),
        phys_base,
        erase_info,
        problems,
        remarks,
        ..Source::default()
    };
    let only = Dump::only_page_size(machine.arch).filter(|_| !matches!(machine.arch, Arch::Other(_)));
    let stated = vmcoreinfo.as_ref().and_then(VmcoreInfo::page_size);
    let kernels = assume.page_size.or(stated.filter(|&size| only.is_none_or(|only| only == size)));
    let memory = Box::new(memory);
    let mut dump = Dump { machine, memory, notes, vmcoreinfo, virt: Vec::new(), elf_flags: 0, source };
    if let Some(size) = kernels {
        dump.set_page_size(size);
    }
    Ok(dump)
}

/// The number of pages of the whole dump, and of those in this file.
pub(super) fn pages(file: &File) -> Result<(u64, u64), Error> {
    let Bitmaps { index, .. } = Bitmaps::read(&file.input, &file.geometry)?;
    let Some((start, end)) = file.headers.part() else { return Ok((index.total(), index.total())) };
    let before = index.rank(&file.input, start)?;
    Ok((index.total(), index.rank(&file.input, end)?.saturating_sub(before)))
}

/// The format for people.
fn format(headers: &Headers) -> String {
    let methods: Vec<_> = methods(headers.header.status).collect();
    let methods = if methods.is_empty() { "uncompressed".to_owned() } else { methods.join(", ") };
    let name = if headers.diskdump { "diskdump" } else { "kdump-compressed" };
    format!("{name} v{} ({methods})", headers.header.version)
}

/// The compressions that a header's status names.
fn methods(status: u32) -> impl Iterator<Item = &'static str> {
    Method::ALL.into_iter().filter(move |method| status & method.flag() != 0).map(Method::name)
}

fn dump_level(headers: &mut Headers) -> Option<DumpLevel> {
    let bits = headers.sub.dump_level;
    let level = DumpLevel::new(bits);
    if level.is_none() {
        headers.remarks.push(format!("dump_level is {bits}, which no dump level is"));
    }
    level
}

/// What the files say was erased inside of pages, one after another.
fn read_erase_info(files: &mut [File]) -> Result<Vec<u8>, ReadError> {
    let mut all = Vec::new();
    for File { input, headers, .. } in files {
        let (offset, size) = (headers.sub.offset_eraseinfo, headers.sub.size_eraseinfo);
        let text = read_pointed(input, headers, "eraseinfo", offset, size)?;
        if !text.is_empty() {
            headers.remarks.push(format!("{} bytes of text say what was erased from memory", text.len()));
        }
        // Each part of a set repeats it, or has that of its own pages.
        if !all.ends_with(&text) && all.len() as u64 + size <= MAX_TEXT {
            all.extend(text);
        }
    }
    Ok(all)
}

/// Says what other readers of the file stumble over.
fn check_what_readers_need(headers: &mut Headers, vmcoreinfo: Option<&VmcoreInfo>) {
    let (header, remarks) = (&headers.header, &mut headers.remarks);
    if header.status != 0 && header.tv_usec.is_power_of_two() && (4096..=262_144).contains(&header.tv_usec) {
        remarks.push(format!("tv_usec is {}, which libkdumpfile takes for a block size", header.tv_usec));
    }
    if header.nr_cpus == 0 {
        remarks.push("nr_cpus is 0: crash refuses the file".into());
    }
    if header.status & STATUS_EXCLUDED_VMEMMAP != 0 {
        remarks.push("parts of the mem_map were left out of the file".into());
    }
    if let Some(size) = vmcoreinfo.and_then(VmcoreInfo::page_size)
        && size != headers.page_size
    {
        remarks.push(format!(
            "the kernel's pages have {size} and the file's blocks {}; memory is read in the kernel's",
            headers.page_size
        ));
    }
}

/// Reads what a sub header's pair of offset and length points at, when that can be.
fn read_pointed(
    input: &Input,
    headers: &mut Headers,
    what: &str,
    offset: u64,
    len: u64,
) -> Result<Vec<u8>, ReadError> {
    if len == 0 || offset == 0 {
        return Ok(Vec::new());
    }
    if is_outside(input, headers, what, offset, len) {
        return Ok(Vec::new());
    }
    if len > MAX_TEXT {
        headers.remarks.push(format!("{what} has {len} bytes, more than {MAX_TEXT}; it was ignored"));
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; len as usize];
    input.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// Reports whether a pair of offset and length leads out of the file, and says so.
fn is_outside(input: &Input, headers: &mut Headers, what: &str, offset: u64, len: u64) -> bool {
    let outside = len > input.stored() || offset.checked_add(len).is_none_or(|end| end > input.len());
    if outside {
        headers.remarks.push(format!("{what} of {len} bytes at offset {offset:#x} lie outside the file"));
    }
    outside
}

/// The notes, and whether there was no room for all of them.
pub(super) fn read_notes(input: &Input, headers: &mut Headers) -> Result<(Notes, bool), Error> {
    let (offset, len) = (headers.sub.offset_note, headers.sub.size_note);
    if offset == 0 || len == 0 || is_outside(input, headers, "notes", offset, len) {
        return Ok(Default::default());
    }
    let mut reader = NoteReader::new(input, headers.layout.order);
    let (notes, _) = reader.read(NotePlace { offset, len, align: 4 })?;
    headers.remarks.append(&mut reader.remarks);
    Ok((notes, reader.incomplete))
}

/// VMCOREINFO from its note, else from where the sub header points; then a note is made of it, so that whoever
/// writes the dump again writes one.
fn find_vmcoreinfo(
    input: &Input,
    headers: &mut Headers,
    notes: &mut Notes,
) -> Result<Option<VmcoreInfo>, Error> {
    let (offset, size) = (headers.sub.offset_vmcoreinfo, headers.sub.size_vmcoreinfo);
    if let Some(info) = Dump::find_vmcoreinfo(notes) {
        if offset == 0 || size == 0 {
            headers
                .remarks
                .push("the sub header does not point at VMCOREINFO: makedumpfile refuses the file".into());
        }
        return Ok(Some(info));
    }
    let desc = read_pointed(input, headers, "VMCOREINFO", offset, size)?;
    if desc.is_empty() {
        return Ok(None);
    }
    let info = VmcoreInfo::parse(&desc);
    notes.push(Note { name: b"VMCOREINFO".into(), kind: 0, desc }, headers.layout.order);
    headers
        .remarks
        .push("VMCOREINFO is not among the notes of the file; only the sub header points at it".into());
    Ok(Some(info))
}
