//! Page descriptors: what they say of pages, and which stored pages are read together.

use super::{KdumpMemory, PartFile, Scratch};
use crate::codec::Method;
use crate::damage::chain;
use crate::kdump::layout::{PAGE_DESC_LEN, PageDesc};
use vmcore::{PageState, Pfn, ReadError};

/// The most stored bytes that are read at once.
const MAX_READ: u64 = 1 << 20;
/// Stored pages that lie this close are read together, gap included: a system call costs as much as copying it.
const MAX_GAP: u64 = 4096;

/// A page whose bytes are in a file.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// The number of the file.
    pub(super) file: usize,
    /// Its position in the run.
    pub(super) at: usize,
    pub(super) offset: u64,
    size: u64,
    pub(super) method: Option<Method>,
}

impl Wanted {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.size
    }
}

impl KdumpMemory {
    /// Sets the states of frames below `max_pfn`, and lists those whose bytes are to be read.
    pub(super) fn read_descriptors(
        &self,
        scratch: &mut Scratch,
        first: u64,
        states: &mut [PageState],
    ) -> Result<(), ReadError> {
        let count = states.len() as u64;
        let (mut rank, skip) = self.index.look_up(self.bitmaps(), first, count, &mut scratch.bits)?;
        for (i, state) in states.iter_mut().enumerate() {
            let bit = skip + i as u64;
            *state = if scratch.bits[(bit / 8) as usize] >> (bit % 8) & 1 != 0 {
                // Until a file turns out to have it.
                PageState::Lost
            } else if self.map.frames().contains(Pfn(first + i as u64)) {
                PageState::Excluded
            } else {
                PageState::Absent
            };
        }
        // What is not trusted stays lost.
        let trusted = self.trusted.saturating_sub(first).min(count) as usize;
        for state in &mut states[trusted..] {
            if *state == PageState::Excluded {
                *state = PageState::Lost;
            }
        }
        let (states, count) = (&mut states[..trusted], trusted as u64);
        let mut done = 0;
        let next = self.files.partition_point(|file| file.end <= first);
        for (n, file) in self.files.iter().enumerate().skip(next) {
            if file.start >= first + count {
                break;
            }
            let start = (file.start.max(first) - first) as usize;
            let end = (file.end.min(first + count) - first) as usize;
            rank += lost(&states[done..start]);
            let kept = lost(&states[start..end]);
            self.read_list(
                scratch,
                (n, file),
                rank,
                kept,
                first + start as u64,
                &mut states[start..end],
                start,
            );
            rank += kept;
            done = end;
        }
        Ok(())
    }

    /// Sets the states of those frames of `file` from `first` on that are in it, which are [`PageState::Lost`] as yet:
    /// `kept` pages, the first of which is number `rank` of the whole dump. `at` is where in the run they start.
    #[expect(
        clippy::too_many_arguments,
        reason = "one step of read_descriptors, which would be unreadable in one"
    )]
    fn read_list(
        &self,
        scratch: &mut Scratch,
        (number, file): (usize, &PartFile),
        rank: u64,
        kept: u64,
        first: u64,
        states: &mut [PageState],
        at: usize,
    ) {
        let index = rank.saturating_sub(file.before);
        let there = file.descriptors_there().saturating_sub(index).min(kept);
        let list_at = file.descriptors + index * PAGE_DESC_LEN as u64;
        let bytes = &mut scratch.descriptors;
        bytes.clear();
        bytes.resize(there as usize * PAGE_DESC_LEN, 0);
        if let Err(error) = file.input.read_at(list_at, bytes) {
            self.damage
                .note(first, || format!("page descriptors from page {first:#x} on: {}", chain(&error)));
            return;
        }
        let len = bytes.len() as u64;
        let bad = file.sums.as_ref().map_or(Ok(Vec::new()), |s| s.bad_descriptors(&file.input, list_at, len));
        // Where there are no sums to be had, nothing fits.
        let bad = bad.unwrap_or_else(|_| std::iter::once(list_at..list_at + len).collect());
        let bytes = &scratch.descriptors;
        let list = bytes.as_chunks().0.iter().enumerate();
        let wanted = states.iter_mut().enumerate().filter(|(_, state)| **state == PageState::Lost);
        for ((i, state), (n, desc)) in wanted.zip(list) {
            let desc = PageDesc::decode(desc, self.order);
            let pfn = first + i as u64;
            let at_desc = list_at + (n * PAGE_DESC_LEN) as u64;
            let ours = at_desc..at_desc + PAGE_DESC_LEN as u64;
            if let Some(chunk) = bad.iter().find(|bad| bad.start < ours.end && ours.start < bad.end) {
                self.damage.note(pfn, || {
                    let field = format!("page_desc of page {pfn:#x}");
                    let found = format!("in bytes {:#x} to {:#x}, which do not fit", chunk.start, chunk.end);
                    file.input.damaged(field, at_desc, found, "bytes that fit their checksum").to_string()
                });
                continue;
            }
            *state = match self.judge(file, desc) {
                Ok(Stored::Lost) => PageState::Lost,
                Ok(Stored::Zero) => PageState::Zero,
                Ok(Stored::At(offset, method)) => {
                    let size = desc.size.into();
                    scratch.wanted.push(Wanted { file: number, at: at + i, offset, size, method });
                    PageState::Present
                }
                Err((field, found, expected)) => {
                    self.damage.note(pfn, || {
                        let field = format!("page_desc.{field} of page {pfn:#x}");
                        file.input.damaged(field, at_desc, found, expected).to_string()
                    });
                    PageState::Lost
                }
            };
        }
    }

    /// What a descriptor says of its page; a field that makes no sense, what it is, and what it could be.
    fn judge(&self, file: &PartFile, desc: PageDesc) -> Result<Stored, (&'static str, String, String)> {
        let PageDesc { offset, size, flags } = desc;
        let page_len = self.page_size().bytes();
        if offset == 0 {
            return Ok(Stored::Lost);
        }
        // Bits that are no method mean nothing; of several the first counts, as for all readers.
        let method = Method::ALL.into_iter().find(|m| flags & m.flag() != 0);
        if method.is_none() && u64::from(size) != page_len {
            return Err(("size", size.to_string(), format!("{page_len} as the page is not compressed")));
        }
        if size == 0 || u64::from(size) > page_len {
            return Err(("size", size.to_string(), format!("1 to {page_len}")));
        }
        if offset < file.descriptors {
            let expected = format!("an offset after the bitmaps, from {:#x} on", file.descriptors);
            return Err(("offset", format!("{offset:#x}"), expected));
        }
        let end = offset.checked_add(size.into()).filter(|&end| end <= file.input.len());
        let Some(end) = end else { return Ok(Stored::Lost) };
        if method.is_none() && file.zero_page == Some(offset) {
            return Ok(Stored::Zero);
        }
        if let Some(data) = file.sums.as_ref().map(|sums| sums.data())
            && (offset < data.start || end > data.end)
        {
            let expected = format!("{:#x} to {:#x}, where the bytes of pages are", data.start, data.end);
            return Err(("offset", format!("{offset:#x}"), expected));
        }
        Ok(Stored::At(offset, method))
    }
}

/// What a descriptor says.
enum Stored {
    /// The page is not in the file.
    Lost,
    /// It is the page of zeros.
    Zero,
    /// Its bytes start here and are stored so.
    At(u64, Option<Method>),
}

/// How many of the states are as yet, or for good, [`PageState::Lost`].
fn lost(states: &[PageState]) -> u64 {
    states.iter().filter(|state| **state == PageState::Lost).count() as u64
}

/// How many of the first pages are best read with one call.
pub(super) fn together(wanted: &[Wanted]) -> usize {
    let (mut start, mut end) = (wanted[0].offset, wanted[0].end());
    for (i, w) in wanted.iter().enumerate().skip(1) {
        let (low, high) = (start.min(w.offset), end.max(w.end()));
        let close = w.offset <= end.saturating_add(MAX_GAP) && start <= w.end().saturating_add(MAX_GAP);
        if !close || high - low > MAX_READ || w.file != wanted[0].file {
            return i;
        }
        (start, end) = (low, high);
    }
    wanted.len()
}
