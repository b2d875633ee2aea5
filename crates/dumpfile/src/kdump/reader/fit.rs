//! What must fit in a file that carries no checksums.
//!
//! Every writer that was seen (makedumpfile, QEMU, hadump 0.1.0) puts the bytes of pages right behind the descriptors, first
//! of all a page of zeros. So a bit that is missing in the second bitmap, or one too many, which gives each later page the
//! bytes of its neighbour, shows: the descriptors then end elsewhere than pages begin.

use super::memory::PartFile;
use crate::input::Input;
use crate::kdump::header::{Geometry, Headers};
use crate::kdump::layout::{PAGE_DESC_LEN, PageDesc};
use vmcore::{ByteOrder, ReadError};

/// How many descriptors are read at once.
const READ: u64 = 4096;
/// The unit in which hadump 0.1.0 left out zeros of bitmaps.
const HOLE: u64 = 4096;

/// Says what does not fit in a whole file, whose part of the pages is `within`, of `total`.
pub(super) fn problems(
    file: &PartFile,
    headers: &Headers,
    geometry: &Geometry,
    strays: u64,
    total: u64,
) -> Result<Vec<String>, ReadError> {
    let mut problems = missing(&file.input, headers, geometry, strays, file.within);
    // Files of the diskdump patches have one bitmap of which not all pages need be there; parts have room for all pages or
    // for their own.
    if !headers.diskdump && !headers.skeleton && headers.part().is_none() && problems.is_empty() {
        problems.extend(misplaced(file, headers, total)?);
    }
    Ok(problems)
}

/// Says which parts of a flattened file did not arrive although its end did.
fn missing(input: &Input, headers: &Headers, geometry: &Geometry, strays: u64, pages: u64) -> Vec<String> {
    let mut problems = Vec::new();
    let mut lacks = |what: &str, start: u64, end: u64, is_left_out: &dyn Fn(u64, u64) -> bool| {
        let gap = input.gaps(start, end).find(|gap| !is_left_out(gap.start, gap.end));
        if let Some(gap) = gap {
            problems.push(format!(
                "bytes {:#x} to {:#x} of {what} did not arrive, although the stream has its end",
                gap.start, gap.end
            ));
        }
    };
    let never = |_, _| false;
    let block = headers.page_size.bytes();
    lacks("its header", 0, headers.layout.header_len() as u64, &never);
    if !headers.diskdump {
        lacks("its sub header", block, block + headers.layout.sub_header_len() as u64, &never);
        let (offset, len) = (headers.sub.offset_note, headers.sub.size_note);
        lacks("its notes", offset, offset.saturating_add(len), &never);
    }
    let one = geometry.max_pfn.div_ceil(8);
    for (start, what) in [(geometry.exist, "the first bitmap"), (geometry.kept, "the second bitmap")] {
        // Zeros were left out of streams in whole holes. A hole in the first bitmap has no pages.
        let left_out = |from: u64, to: u64| {
            let whole = |at: u64| (at - start).is_multiple_of(HOLE) || at >= start + one;
            whole(from) && whole(to) && strays == 0
        };
        lacks(what, start, start + one, &left_out);
    }
    let descriptors = geometry.descriptors;
    lacks("the page descriptors", descriptors, descriptors + pages * PAGE_DESC_LEN as u64, &never);
    problems
}

/// Says how the place of the first page contradicts the number of pages, if it does.
fn misplaced(file: &PartFile, headers: &Headers, total: u64) -> Result<Option<String>, ReadError> {
    let order = headers.layout.order;
    let Some(end) = total
        .checked_mul(PAGE_DESC_LEN as u64)
        .and_then(|len| file.descriptors.checked_add(len))
        .filter(|&end| end <= file.input.len())
    else {
        return Ok(None);
    };
    let page = headers.page_size.bytes();
    if total == 0 {
        let rest = file.input.len().saturating_sub(end + page);
        let text = format!("its second bitmap is empty, and {rest} bytes follow as of pages");
        return Ok((rest > 0).then_some(text));
    }
    // Pages are in the order of memory in nearly all files, and the first then tells.
    let mut first = lowest(file, order, 0, total.min(READ))?;
    let fits = |first: u64| first == end || file.zero_page == Some(end) && first >= end + page;
    if first.is_none_or(|first| !fits(first)) {
        first = lowest(file, order, 0, total)?;
    }
    let Some(first) = first.filter(|&first| !fits(first)) else { return Ok(None) };
    // The shared page of zeros is there whether a page shares it or not.
    let mut zeros = vec![0; page as usize];
    let behind_zeros = first.checked_sub(page).filter(|&at| {
        at >= file.descriptors && file.input.read_at(at, &mut zeros).is_ok() && vmcore::is_zero(&zeros)
    });
    let begin = behind_zeros.unwrap_or(first);
    let len = begin.saturating_sub(file.descriptors);
    let pages = len / PAGE_DESC_LEN as u64;
    // Somebody else's gap, of which nothing is known, is none of bits.
    let by_descriptors = len.is_multiple_of(PAGE_DESC_LEN as u64) && pages <= 2 * total + 64;
    let says = format!(
        "its second bitmap is damaged: it has {total} pages, whose descriptors end at {end:#x}, and the bytes of pages begin \
         at {begin:#x}, as in a file of {pages}; pages may be taken for their neighbours"
    );
    Ok((begin != end && (begin < end || by_descriptors)).then_some(says))
}

/// The lowest place of a page among the descriptors from number `from` to `to`.
fn lowest(file: &PartFile, order: ByteOrder, from: u64, to: u64) -> Result<Option<u64>, ReadError> {
    let mut lowest: Option<u64> = None;
    let mut bytes = Vec::new();
    for first in (from..to).step_by(READ as usize) {
        bytes.resize(READ.min(to - first) as usize * PAGE_DESC_LEN, 0);
        file.input.read_at(file.descriptors + first * PAGE_DESC_LEN as u64, &mut bytes)?;
        let places = bytes.as_chunks().0.iter().map(|desc| PageDesc::decode(desc, order).offset);
        lowest = places.filter(|&offset| offset != 0).chain(lowest).min();
    }
    Ok(lowest)
}
