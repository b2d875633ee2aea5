//! The parts of a split set: whether they belong together, and which has which pages.

use super::index::Bitmaps;
use super::memory::PartFile;
use super::{File, fit};
use crate::Error;
use crate::input::Input;
use crate::kdump::header::{Geometry, Headers};
use crate::kdump::layout::{PAGE_DESC_LEN, PageDesc, STATUS_INCOMPLETE};
use crate::kdump::sums::{self, Found, Sums};
use std::path::Path;
use vmcore::{ByteOrder, ReadError, is_zero};

/// How much of two bitmaps is compared at once.
const COMPARED: u64 = 64 << 10;

/// The files of a dump, ready to be read, and what is to be said of them.
pub(super) struct Member {
    pub(super) files: Vec<PartFile>,
    pub(super) remarks: Vec<String>,
    /// What is damaged besides pages.
    pub(super) problems: Vec<String>,
    /// The first frame of which the bitmaps are damaged: from there on nobody knows which page is whose.
    pub(super) trusted: u64,
    pub(super) incomplete: bool,
}

/// Checks that `files` belong together and sorts them by their frames.
pub(super) fn in_order(mut files: Vec<File>) -> Result<Vec<File>, Error> {
    if files.len() < 2 {
        return Ok(files);
    }
    if let Some(file) = files.iter().find(|file| file.headers.part().is_none()) {
        let what = "no part of a split set; it is a dump of its own".to_owned();
        return Err(Error::Unsupported { path: file.input.path().to_owned(), what });
    }
    let range = |file: &File| file.headers.part().unwrap_or_default();
    files.sort_by_key(range);
    let (first, others) = files.split_at_mut(1);
    for other in &mut *others {
        belongs(&first[0], other)?;
    }
    // makedumpfile makes empty parts when there are more files than blocks of pages.
    let is_empty = |file: &File| range(file).0 >= range(file).1;
    if files.iter().all(is_empty) {
        files.truncate(1);
    }
    if files.len() > 1 {
        files.retain(|file| !is_empty(file));
    }
    for pair in files.windows(2) {
        let [(start, end), (next, next_end)] = [range(&pair[0]), range(&pair[1])];
        if next < end {
            let what = format!(
                "it has the frames {next:#x} to {next_end:#x}, of which {} has {start:#x} to {end:#x} already",
                pair[0].input.path().display()
            );
            return Err(Error::Unsupported { path: pair[1].input.path().to_owned(), what });
        }
    }
    Ok(files)
}

/// Checks that `other` is a part of the same set as `first`.
fn belongs(first: &File, other: &mut File) -> Result<(), Error> {
    let fail = |path: &Path, what: String| {
        let what = format!("not of one set with {}: {what}", first.input.path().display());
        Err(Error::Unsupported { path: path.to_owned(), what })
    };
    let path = other.input.path().to_owned();
    let (a, b) = (&first.headers, &other.headers);
    if a.layout != b.layout || a.diskdump != b.diskdump {
        return fail(&path, "it has another byte order or word size".into());
    }
    let numbers = |file: &File| {
        let (h, s) = (&file.headers.header, &file.headers.sub);
        [
            ("header_version", h.version.into()),
            ("tv_sec", h.tv_sec),
            ("tv_usec", h.tv_usec),
            ("block_size", h.block_size.into()),
            ("bitmap_blocks", h.bitmap_blocks.into()),
            ("max_mapnr", file.geometry.max_pfn),
            ("nr_cpus", h.nr_cpus.into()),
            ("dump_level", s.dump_level.into()),
            ("phys_base", s.phys_base),
        ]
    };
    for ((name, ours), (_, theirs)) in numbers(first).into_iter().zip(numbers(other)) {
        if ours != theirs {
            return fail(&path, format!("{name} is {theirs:#x} instead of {ours:#x}"));
        }
    }
    if a.header.utsname != b.header.utsname {
        return fail(&path, format!("utsname is {:?} instead of {:?}", b.header.utsname, a.header.utsname));
    }
    if let Some(frame) = other_bits(first, other)? {
        return fail(&path, format!("its bitmaps differ near frame {frame:#x}"));
    }
    if (a.header.status ^ b.header.status) & !STATUS_INCOMPLETE != 0 {
        let (ours, theirs) = (a.header.status, b.header.status);
        other.headers.remarks.push(format!(
            "the part's status is {theirs:#x}, that of the first {ours:#x}: crash and makedumpfile refuse such a set"
        ));
    }
    Ok(())
}

/// Compares the bitmaps of two files, and returns a frame near which they differ.
fn other_bits(a: &File, b: &File) -> Result<Option<u64>, ReadError> {
    let len = a.geometry.max_pfn.div_ceil(8);
    let mut buffers = [vec![0; COMPARED as usize], vec![0; COMPARED as usize]];
    for bitmap in [|file: &File| file.geometry.exist, |file: &File| file.geometry.kept] {
        let mut at = 0;
        while at < len {
            let next = |file: &File| file.input.next_data(bitmap(file) + at) - bitmap(file);
            // Holes of both files are zeros in both.
            at = next(a).min(next(b)) / 8 * 8;
            if at >= len {
                break;
            }
            let here = COMPARED.min(len - at) as usize;
            for (buffer, file) in buffers.iter_mut().zip([a, b]) {
                file.input.read_at(bitmap(file) + at, &mut buffer[..here])?;
            }
            if let Some(byte) = (0..here).find(|&i| buffers[0][i] != buffers[1][i]) {
                return Ok(Some((at + byte as u64) * 8));
            }
            at += here as u64;
        }
    }
    Ok(None)
}

/// Works out which pages each file has, and which no file has. Unless `checked`, nothing is compared with what must fit.
pub(super) fn members(files: Vec<File>, bitmaps: &Bitmaps, checked: bool) -> Result<Member, Error> {
    let index = &bitmaps.index;
    let mut member = Member {
        files: Vec::new(),
        remarks: Vec::new(),
        problems: Vec::new(),
        trusted: u64::MAX,
        incomplete: false,
    };
    let mut gaps = Vec::new();
    let mut done = (0, 0);
    for (n, File { input, headers, geometry }) in files.into_iter().enumerate() {
        let split = headers.part();
        let (start, end) = split.unwrap_or((0, u64::MAX));
        let bits = match member.files.first() {
            Some(first) => &first.input,
            None => &input,
        };
        let before = index.rank(bits, start)?;
        let after = index.rank(bits, end)?.max(before);
        gaps.push((done.0, start, before.saturating_sub(done.1)));
        done = (end, after);
        let marked = headers.header.status & STATUS_INCOMPLETE != 0 || input.is_cut();
        let mut problems = Vec::new();
        let found =
            if checked { sums::find(&input, &headers, &geometry, index.total())? } else { Found::None };
        let sums = match found {
            Found::Sums(sums) => {
                let checked = check_front(&input, &headers, &geometry, &sums, index.total(), &mut problems)?;
                member.trusted = member.trusted.min(checked);
                Some(sums)
            }
            // A writer that was interrupted did not come to its checksums.
            Found::Broken(_) if marked => None,
            Found::Broken(why) => {
                problems.push(why);
                None
            }
            Found::None => None,
        };
        let descriptors = geometry.descriptors;
        let page = headers.page_size;
        let zero_page = match &sums {
            Some(sums) => Some(sums.zero_page(page.bytes())),
            None => find_zero_page(&input, page.len(), descriptors, index.total()),
        };
        let within = after - before;
        let file = PartFile { input, descriptors, zero_page, start, end, before, within, sums };
        let ends_early = ends_early(&file, headers.layout.order)?;
        if checked && ends_early && !marked {
            problems
                .push("it ends before the bytes of its last pages do, and is not marked incomplete".into());
        }
        if checked && file.sums.is_none() && problems.is_empty() && !marked && !ends_early {
            problems.extend(fit::problems(&file, &headers, &geometry, bitmaps.strays, index.total())?);
        }
        member.incomplete |= marked || ends_early;
        let name = |text| match split {
            Some(_) => format!("{}: {text}", file.input.path().display()),
            None => text,
        };
        member.problems.extend(problems.into_iter().map(name));
        for remark in headers.remarks {
            if n == 0 {
                member.remarks.push(remark);
            } else if !member.remarks.contains(&remark) {
                member.remarks.push(format!("{}: {remark}", file.input.path().display()));
            }
        }
        member.files.push(file);
    }
    gaps.push((done.0, index.max_pfn(), index.total().saturating_sub(done.1)));
    gaps.retain(|&(_, _, pages)| pages > 0);
    if let ([only], false) = (&member.files[..], gaps.is_empty()) {
        let (start, end) = (only.start, only.end);
        member
            .remarks
            .push(format!("a part of a split set, with frames {start:#x} to {end:#x}; give the others too"));
    }
    for (start, end, pages) in gaps {
        member.incomplete = true;
        member
            .remarks
            .push(format!("frames {start:#x} to {end:#x} are in no part given: {pages} pages are lost"));
    }
    Ok(member)
}

/// Checks what a file with checksums has besides descriptors and pages: says what is damaged, and returns the first frame
/// that the bitmaps cannot be trusted for.
fn check_front(
    input: &Input,
    headers: &Headers,
    geometry: &Geometry,
    sums: &Sums,
    pages: u64,
    problems: &mut Vec<String>,
) -> Result<u64, ReadError> {
    if !sums.front_is_good(input, headers)? {
        problems.push("its headers or notes are damaged: they do not fit their checksum".into());
    }
    let mut trusted = u64::MAX;
    for bad in sums.bad_bitmaps(input)? {
        let bitmap = if bad.end > geometry.kept {
            trusted = trusted.min(bad.start.saturating_sub(geometry.kept) * 8);
            "second bitmap, which says whose each page is,"
        } else {
            "first bitmap"
        };
        problems.push(format!(
            "its {bitmap} is damaged: bytes {:#x} to {:#x} of the file do not fit their checksum",
            bad.start, bad.end
        ));
    }
    if trusted == u64::MAX && sums.pages() != pages {
        trusted = 0;
        problems.push(format!("its bitmaps count {pages} pages, its checksums {}", sums.pages()));
    }
    if trusted != u64::MAX {
        problems
            .push(format!("all pages from frame {trusted:#x} on are lost, as nothing says whose they are"));
    }
    Ok(trusted)
}

/// Looks whether a file ends before what its last descriptors point at. Writers place pages in order, so the end of the
/// list is where a cut shows; pages elsewhere are found out when they are read.
fn ends_early(file: &PartFile, order: ByteOrder) -> Result<bool, ReadError> {
    let end = file.descriptors.saturating_add(file.within.saturating_mul(PAGE_DESC_LEN as u64));
    if end > file.input.len() {
        return Ok(true);
    }
    let len = file.within.min(4096) as usize * PAGE_DESC_LEN;
    let mut bytes = vec![0; len];
    file.input.read_at(end - len as u64, &mut bytes)?;
    Ok(bytes.as_chunks().0.iter().any(|desc| {
        let desc = PageDesc::decode(desc, order);
        desc.offset.checked_add(desc.size.into()).is_none_or(|end| end > file.input.len())
    }))
}

/// The page of zeros that zero pages share: where makedumpfile puts it, when it is there.
fn find_zero_page(input: &Input, page_len: usize, descriptors: u64, total: u64) -> Option<u64> {
    let offset = descriptors.checked_add(total.checked_mul(PAGE_DESC_LEN as u64)?)?;
    let mut page = vec![0; page_len];
    input.read_written_at(offset, &mut page).ok().filter(|()| is_zero(&page)).map(|()| offset)
}
