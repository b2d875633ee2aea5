//! What all of a file says of itself: by its checksums, or where it has none by what must fit together.

use super::{KdumpMemory, PartFile};
use crate::codec::Method;
use crate::kdump::layout::{PAGE_DESC_LEN, PageDesc};
use std::collections::BTreeMap;
use std::ops::Range;
use vmcore::{ByteOrder, Check, ReadError};

/// How many descriptors are compared with each other at once: 32 MiB.
const WINDOW: u64 = 1 << 21;
/// How many are read at once.
const READ: u64 = 1 << 14;
/// How many stretches are described.
const MAX_TEXTS: usize = 8;

/// Reads all of the files.
pub(super) fn check(memory: &KdumpMemory) -> Result<Check, ReadError> {
    let mut check = Check { proved: true, ..Check::default() };
    let several = memory.files.len() > 1;
    for file in &memory.files {
        let problems = match &file.sums {
            Some(sums) => {
                let bad = sums.all_bad(&file.input)?;
                let text = |bad: &Range<u64>| {
                    format!("bytes {:#x} to {:#x} of the file do not fit their checksum", bad.start, bad.end)
                };
                texts(bad.len(), bad.iter().map(text))
            }
            None => {
                check.proved = false;
                plausible(file, memory.order)?
            }
        };
        count_methods(file, memory.order, &mut check.stored)?;
        check.problems.extend(problems.into_iter().map(|text| named(file, text, several)));
    }
    Ok(check)
}

/// What cannot be in those of the files that have no checksums.
pub(super) fn contradictions(memory: &KdumpMemory) -> Result<Vec<String>, ReadError> {
    let several = memory.files.len() > 1;
    let mut all = Vec::new();
    for file in memory.files.iter().filter(|file| file.sums.is_none()) {
        let found = plausible(file, memory.order)?;
        all.extend(found.into_iter().map(|text| named(file, text, several)));
    }
    Ok(all)
}

/// A text about one of several files names it.
fn named(file: &PartFile, text: String, several: bool) -> String {
    if several { format!("{}: {text}", file.input.path().display()) } else { text }
}

/// Counts the pages of `file` that have content by the way in which they are stored.
fn count_methods(
    file: &PartFile,
    order: ByteOrder,
    stored: &mut BTreeMap<&'static str, u64>,
) -> Result<(), ReadError> {
    let total = file.descriptors_there();
    let mut bytes = Vec::new();
    for first in (0..total).step_by(READ as usize) {
        read_descriptors(file, first, READ.min(total - first), &mut bytes)?;
        for desc in bytes.as_chunks().0 {
            let PageDesc { offset, flags, .. } = PageDesc::decode(desc, order);
            if offset != 0 && Some(offset) != file.zero_page {
                *stored.entry(Method::from_flag(flags).map_or("none", Method::name)).or_default() += 1;
            }
        }
    }
    Ok(())
}

/// Reads `count` descriptors from number `first` on.
fn read_descriptors(file: &PartFile, first: u64, count: u64, bytes: &mut Vec<u8>) -> Result<(), ReadError> {
    bytes.resize(count as usize * PAGE_DESC_LEN, 0);
    file.input.read_at(file.descriptors + first * PAGE_DESC_LEN as u64, bytes)
}

/// The first of some texts, and how many there are when these are not all.
fn texts(count: usize, texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut first: Vec<String> = texts.take(MAX_TEXTS).collect();
    if count > first.len() {
        first.push(format!("{} more stretches of bytes are damaged", count - first.len()));
    }
    first
}

/// Where a page's bytes are, and how they are stored. Several descriptors may say the same.
type Stored = (u64, u32, u32);

/// Looks for pages whose bytes overlap, which no writer makes, and for bytes that did not arrive.
fn plausible(file: &PartFile, order: ByteOrder) -> Result<Vec<String>, ReadError> {
    let mut found: Vec<String> = Vec::new();
    let mut count = 0;
    let mut note = |text: String| {
        count += 1;
        if found.len() < MAX_TEXTS {
            found.push(text);
        }
    };
    let total = file.descriptors_there();
    let mut stored: Vec<Stored> = Vec::new();
    let mut bytes = Vec::new();
    for window in (0..total).step_by(WINDOW as usize) {
        stored.clear();
        let end = total.min(window + WINDOW);
        for first in (window..end).step_by(READ as usize) {
            read_descriptors(file, first, READ.min(end - first), &mut bytes)?;
            for desc in bytes.as_chunks().0 {
                let PageDesc { offset, size, flags } = PageDesc::decode(desc, order);
                // What points past the end is lost, and told when it is read.
                if offset != 0 && offset.checked_add(size.into()).is_some_and(|end| end <= file.input.len()) {
                    stored.push((offset, size, flags));
                }
            }
        }
        stored.sort_unstable();
        stored.dedup();
        let mut last: Stored = (0, 0, 0);
        for &page in &stored {
            if page.0 < last.0 + u64::from(last.1) {
                note(format!(
                    "pages overlap: one has {} bytes at {:#x}, another one {} bytes at {:#x}",
                    last.1, last.0, page.1, page.0
                ));
            }
            if !file.input.has(page.0, page.1.into()) {
                note(format!("{} bytes at {:#x}, which are a page's, are not there", page.1, page.0));
            }
            last = page;
        }
    }
    if count > found.len() {
        found.push(format!("{} more pages do not fit", count - found.len()));
    }
    Ok(found)
}
