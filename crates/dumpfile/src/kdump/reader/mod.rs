//! Reading a kdump-compressed file.
//!
//! Versions 1 to 6, any byte order and word size on any host, one bitmap or two, pages in any order and of any of the
//! five encodings, several descriptors for one stored page, gaps. What breaks a rule that some reader depends on
//! but does not hide the pages is tolerated and told in [`vmcore::Source::remarks`].

mod cache;
mod index;
mod memory;

use super::header::{Geometry, Headers};
use super::layout::{PAGE_DESC_LEN, PageDesc, STATUS_EXCLUDED_VMEMMAP, STATUS_INCOMPLETE};
use crate::Error;
use crate::codec::Method;
use crate::input::Input;
use index::Bitmaps;
use memory::{KdumpMemory, Part};
use vmcore::{
    Dump, DumpLevel, MemoryMap, Note, Notes, Range, ReadError, Source, Utsname, VmcoreInfo, is_zero,
};

/// The most bytes of notes or VMCOREINFO that are believed; 10,000 CPUs have 5 MB.
const MAX_NOTES: u64 = 64 << 20;

/// Opens a kdump-compressed file.
///
/// # Errors
///
/// When the headers or bitmaps are damaged or cut off, or nothing tells which machine the dump is of.
pub(crate) fn open(input: Input) -> Result<Dump, Error> {
    let mut headers = Headers::read(&input)?;
    let geometry = headers.geometry(&input)?;
    let mut notes = read_notes(&input, &mut headers)?;
    let machine = headers.machine(&input, &notes)?;
    let vmcoreinfo = find_vmcoreinfo(&input, &mut headers, &mut notes)?;
    let bitmaps = Bitmaps::read(&input, &geometry)?;
    if bitmaps.strays > 0 {
        let strays = bitmaps.strays;
        headers
            .remarks
            .push(format!("{strays} pages are in the file whose frames the first bitmap calls absent"));
    }
    check_what_readers_need(&mut headers, vmcoreinfo.as_ref());

    let page_size = headers.page_size;
    let bytes =
        bitmaps.frames.iter().map(|r| Range::new(page_size.addr(r.start), page_size.addr(r.end))).collect();
    let map = MemoryMap::new(page_size, bytes);
    let part = find_part(&input, &mut headers, &bitmaps)?;
    let incomplete = headers.header.status & STATUS_INCOMPLETE != 0
        || ends_early(&input, &headers, &geometry, &bitmaps, &part)?;
    let source = Source {
        format: format(&headers),
        dump_level: dump_level(&mut headers),
        incomplete,
        utsname: Some(headers.header.utsname.clone()).filter(|u| *u != Utsname::default()),
        remarks: std::mem::take(&mut headers.remarks),
    };
    let zero_page = find_zero_page(&input, page_size.len(), geometry.descriptors, bitmaps.index.total());
    let memory = KdumpMemory::new(input, machine.order, map, bitmaps.index, &geometry, part, zero_page);
    Ok(Dump { machine, memory: Box::new(memory), notes, vmcoreinfo, virt: Vec::new(), elf_flags: 0, source })
}

/// The format for people.
fn format(headers: &Headers) -> String {
    let methods: Vec<_> =
        Method::ALL.into_iter().filter(|m| headers.header.status & m.flag() != 0).map(Method::name).collect();
    let methods = if methods.is_empty() { "uncompressed".to_owned() } else { methods.join(", ") };
    format!("kdump-compressed v{} ({methods})", headers.header.version)
}

fn dump_level(headers: &mut Headers) -> Option<DumpLevel> {
    let bits = headers.sub.dump_level;
    let level = DumpLevel::new(bits);
    if level.is_none() {
        headers.remarks.push(format!("dump_level is {bits}, which no dump level is"));
    }
    level
}

/// Says what other readers of the file stumble over.
fn check_what_readers_need(headers: &mut Headers, vmcoreinfo: Option<&VmcoreInfo>) {
    let (header, remarks) = (&headers.header, &mut headers.remarks);
    let uts = &header.utsname;
    if [&uts.sysname, &uts.release, &uts.version, &uts.machine].iter().any(|s| s.is_empty()) {
        remarks.push("utsname is not filled in: libkdumpfile and drgn refuse the file".into());
    }
    if header.status != 0 && header.tv_usec.is_power_of_two() && (4096..=262_144).contains(&header.tv_usec) {
        remarks.push(format!("tv_usec is {}, which libkdumpfile takes for a block size", header.tv_usec));
    }
    if header.nr_cpus == 0 {
        remarks.push("nr_cpus is 0: crash refuses the file".into());
    }
    if header.status & STATUS_EXCLUDED_VMEMMAP != 0 {
        remarks.push("parts of the mem_map were left out of the file".into());
    }
    if headers.sub.size_eraseinfo != 0 {
        remarks.push(format!("{} bytes tell what was erased from memory", headers.sub.size_eraseinfo));
    }
    if let Some(size) = vmcoreinfo.and_then(VmcoreInfo::page_size)
        && size != headers.page_size
    {
        remarks.push(format!("VMCOREINFO says that pages have {size}, block_size {}", headers.page_size));
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
    if len > MAX_NOTES || offset.checked_add(len).is_none_or(|end| end > input.len()) {
        headers.remarks.push(format!("{what} of {len} bytes at offset {offset:#x} lie outside the file"));
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; len as usize];
    input.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

fn read_notes(input: &Input, headers: &mut Headers) -> Result<Notes, Error> {
    let (offset, size) = (headers.sub.offset_note, headers.sub.size_note);
    let bytes = read_pointed(input, headers, "notes", offset, size)?;
    let order = headers.layout.order;
    Notes::parse(&bytes, order).or_else(|error| {
        headers.remarks.push(format!("{error}; it and what follows was ignored"));
        Ok(Notes::parse(&bytes[..error.offset], order).unwrap_or_default())
    })
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
    headers.remarks.push("VMCOREINFO is no note of the file, only the sub header points at it".into());
    Ok(Some(info))
}

/// Which of the pages are in this part of a split set.
fn find_part(input: &Input, headers: &mut Headers, bitmaps: &Bitmaps) -> Result<Option<Part>, Error> {
    let Some((start, end)) = headers.part() else { return Ok(None) };
    headers.remarks.push(format!(
        "a part of a split set, with frames {start:#x} to {end:#x}; pages of the other parts count as lost"
    ));
    let before = bitmaps.index.rank(input, start)?;
    let within = bitmaps.index.rank(input, end)?.saturating_sub(before);
    Ok(Some(Part { start, end, before, within }))
}

/// Looks whether the file ends before what its last descriptors point at. Writers place pages in order, so the end
/// of the list is where a cut shows; pages elsewhere are found out when they are read.
fn ends_early(
    input: &Input,
    headers: &Headers,
    geometry: &Geometry,
    bitmaps: &Bitmaps,
    part: &Option<Part>,
) -> Result<bool, ReadError> {
    let count = part.as_ref().map_or(bitmaps.index.total(), |part| part.within);
    let end = geometry.descriptors + count * PAGE_DESC_LEN as u64;
    if end > input.len() {
        return Ok(true);
    }
    let len = count.min(4096) as usize * PAGE_DESC_LEN;
    let mut bytes = vec![0; len];
    input.read_at(end - len as u64, &mut bytes)?;
    Ok(bytes.as_chunks().0.iter().any(|desc| {
        let desc = PageDesc::decode(desc, headers.layout.order);
        desc.offset.checked_add(desc.size.into()).is_none_or(|end| end > input.len())
    }))
}

/// The page of zeros that zero pages share: where makedumpfile puts it, when it is there.
fn find_zero_page(input: &Input, page_len: usize, descriptors: u64, total: u64) -> Option<u64> {
    let offset = descriptors + total * PAGE_DESC_LEN as u64;
    let mut page = vec![0; page_len];
    input.read_at(offset, &mut page).ok().filter(|()| is_zero(&page)).map(|()| offset)
}
