//! Marking a file as incomplete after its stream was cut off.
//!
//! makedumpfile's flattened stream has headers and bitmaps first, then descriptors and pages side by side. What is left
//! of a stream that was cut off is a dump in which some descriptors are missing, which readers take for lost pages, and
//! others may point at pages that did not arrive, at which crash stops and libkdumpfile aborts. Nor is it marked
//! incomplete.

use super::header::Headers;
use super::layout::{PAGE_DESC_LEN, PageDesc, STATUS_INCOMPLETE};
use super::reader::{self, File as Kdump};
use crate::Error;
use crate::input::Input;
use crate::output::write_error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Descriptors are looked at this many at a time.
const BATCH: u64 = 4096;

/// What [`mark_incomplete`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// Pages that the file should have.
    pub pages: u64,
    /// Those among them that did not arrive.
    pub lost: u64,
    /// Those among the lost whose descriptor had arrived and was cleared.
    pub cleared: u64,
}

/// Marks a kdump-compressed file of which only the beginning arrived as incomplete (status bit 0x8), and clears those
/// descriptors that point past its end. Doing it again changes nothing. `path` is for messages.
///
/// `file` must be open for reading and writing. It is extended where it ends inside of its descriptors, so that readers
/// find zeros there. It is not made durable.
///
/// # Errors
///
/// When headers or bitmaps did not arrive whole, so that nothing of the file is of use; the error says what is missing.
/// When the file cannot be read or written.
pub fn mark_incomplete(file: &File, path: &Path) -> Result<Marked, Error> {
    let clone = file.try_clone().map_err(|source| Error::Open { path: path.to_owned(), source })?;
    let input = Input::of_file(clone, path)?;
    let end = input.len();
    let mut kdump = Kdump::read(input)?;
    let (pages, within) = reader::pages(&kdump)?;
    let Kdump { input, headers, geometry } = &mut kdump;
    let order = headers.layout.order;
    let failed = |action: &str, source| write_error(path, action, source);
    flag(file, path, headers)?;

    let mut marked = Marked { pages, lost: pages - within, cleared: 0 };
    let there = (end.saturating_sub(geometry.descriptors) / PAGE_DESC_LEN as u64).min(within);
    let table_end = geometry.descriptors + within * PAGE_DESC_LEN as u64;
    if end < table_end {
        // A descriptor that arrived in part does not count.
        file.set_len(geometry.descriptors + there * PAGE_DESC_LEN as u64)
            .and_then(|()| file.set_len(table_end))
            .map_err(|e| failed("extend it", e))?;
    }
    marked.lost += within - there;
    let mut index = 0;
    let mut bytes = Vec::new();
    while index < there {
        // What was never written is a hole, and a lost page.
        let next =
            input.next_data(geometry.descriptors + index * PAGE_DESC_LEN as u64) - geometry.descriptors;
        let hole = (next / PAGE_DESC_LEN as u64).min(there).saturating_sub(index);
        marked.lost += hole;
        index += hole;
        let count = BATCH.min(there - index);
        let at = geometry.descriptors + index * PAGE_DESC_LEN as u64;
        bytes.resize(count as usize * PAGE_DESC_LEN, 0);
        input.read_at(at, &mut bytes)?;
        let mut cleared = 0;
        for desc in bytes.as_chunks_mut().0 {
            let PageDesc { offset, size, .. } = PageDesc::decode(desc, order);
            if offset == 0 {
                marked.lost += 1;
            } else if offset.checked_add(size.into()).is_none_or(|stored| stored > end) {
                *desc = [0; PAGE_DESC_LEN];
                cleared += 1;
            }
        }
        if cleared > 0 {
            file.write_all_at(&bytes, at).map_err(|e| failed("clear page descriptors", e))?;
        }
        marked.cleared += cleared;
        marked.lost += cleared;
        index += count;
    }
    Ok(marked)
}

/// Sets status bit 0x8 of a file, and nothing else.
///
/// # Errors
///
/// When its header is damaged, or the file cannot be read or written.
pub(crate) fn flag_incomplete(file: &File, path: &Path) -> Result<(), Error> {
    let clone = file.try_clone().map_err(|source| Error::Open { path: path.to_owned(), source })?;
    flag(file, path, &Headers::read(&Input::of_file(clone, path)?)?)
}

fn flag(file: &File, path: &Path, headers: &Headers) -> Result<(), Error> {
    let status = headers.header.status | STATUS_INCOMPLETE;
    let at = headers.layout.status_offset() as u64;
    file.write_all_at(&headers.layout.order.put_u32(status), at)
        .map_err(|e| write_error(path, "mark it as incomplete", e))
}
