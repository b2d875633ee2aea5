//! A file mapped into memory: the only place in the workspace with `unsafe`.
//!
//! Reading through a mapping costs no copy, but a mapping has no way to say that a byte cannot be had: a bad sector
//! or a file that was cut short meanwhile ends the process with SIGBUS. So nothing is lent before the kernel
//! has read it into memory and said so (`MADV_POPULATE_READ`, Linux 5.14); where it cannot, the caller uses `pread`,
//! which reports errors.
//!
//! What this does not cover: somebody truncates the file between that moment and the caller's read, or the kernel
//! evicts a clean page in between and the disk fails when it is read a second time. Both still end in SIGBUS.
//! A dump that is being read must not be truncated; [`Input`](crate::input::Input) maps only regular files of
//! local file systems, where nobody else can pull the bytes away.

#![expect(unsafe_code, reason = "a mapping is only as stable as the file behind it, which no type can say")]

use memmap2::{Advice, Mmap, MmapOptions, UncheckedAdvice};
use std::fs::File;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// A fault maps more than its own page: 64 KiB around it, since Linux 6.18 the whole folio of the page cache, up to the
/// size of a huge page (`filemap_map_pages`, `mm/filemap.c`). What is dropped is rounded to that, or the rest of a
/// folio, mapped once more by a neighbour after its own reader was done, would stay resident for ever.
const FAULT_AROUND: usize = 2 << 20;

/// How much may be resident and no longer needed before it is dropped. Dropping also takes the pages that other readers
/// are at, who then fault on them again, so it is not done after every read.
const DROP_AT: usize = 8 << 20;

/// A regular file, mapped read-only in whole.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: Mmap,
    done: Mutex<Done>,
}

/// What was read since pages were dropped last.
#[derive(Debug, Default)]
struct Done {
    /// From the lowest to the highest byte, in steps of [`FAULT_AROUND`].
    span: Range<usize>,
    /// The sum of all lengths, each in steps of [`FAULT_AROUND`].
    sum: usize,
}

impl Done {
    /// Adds a range, and answers the span to drop when it is time.
    fn add(&mut self, range: Range<usize>) -> Option<Range<usize>> {
        self.sum = self.sum.saturating_add(range.len());
        self.span = if self.span.is_empty() {
            range
        } else {
            self.span.start.min(range.start)..self.span.end.max(range.end)
        };
        // Readers that follow each other fill the span; scattered ones leave most of it unmapped.
        (self.sum.min(self.span.len()) >= DROP_AT).then(|| std::mem::take(self).span)
    }
}

impl Mapping {
    /// Maps the first `len` bytes of `file`; `None` when the system has no room or no support for that.
    pub(crate) fn new(file: &File, len: u64) -> Option<Self> {
        let len = usize::try_from(len).ok().filter(|&len| len > 0)?;
        // SAFETY: the mapping is read-only and never handed out as a whole; `lend` says under which conditions the
        // bytes of the file stay put, and the module's documentation who has to see to them.
        let map = unsafe { MmapOptions::new().len(len).map(file) }.ok()?;
        Some(Self { map, done: Mutex::default() })
    }

    /// Lends `len` bytes from `offset` on once they are in memory, `None` when the system cannot put them there.
    pub(crate) fn lend(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.map.get(start..start.checked_add(len)?)?;
        // EINVAL before Linux 5.14; EFAULT, EHWPOISON or EIO where a plain access would have been a SIGBUS.
        self.map.advise_range(Advice::PopulateRead, start, len).ok()?;
        Some(bytes)
    }

    /// Says that `len` bytes from `offset` on, lent before, are not needed any more. Now and then this takes what was
    /// read out of the process's resident memory; it stays in the page cache.
    pub(crate) fn drop_behind(&self, offset: u64, len: u64) {
        let end = self.map.len();
        let start = usize::try_from(offset).unwrap_or(end).min(end) / FAULT_AROUND * FAULT_AROUND;
        let stop = usize::try_from(offset.saturating_add(len)).unwrap_or(end).min(end);
        let stop = stop.checked_next_multiple_of(FAULT_AROUND).unwrap_or(end).min(end);
        if start >= stop {
            return;
        }
        let due = self.done.lock().unwrap_or_else(PoisonError::into_inner).add(start..stop);
        if let Some(span) = due {
            // SAFETY: the mapping is shared and read-only, so the pages hold the file's bytes; whoever reads them
            // again finds the same bytes, read anew.
            let dropped =
                unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, span.start, span.len()) };
            debug_assert!(dropped.is_ok(), "the range lies inside the mapping");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = status.lines().find(|l| l.starts_with("Pss_File:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_lent_is_the_file_and_leaves_memory_when_dropped() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..32u32 << 20).map(|i| (i >> 12) as u8).collect();
        file.write_all(&bytes).unwrap();
        let map = Mapping::new(&file, bytes.len() as u64).unwrap();
        let before = resident_kib();
        let Some(lent) = map.lend(4097, 30 << 20) else {
            eprintln!("skipped: this kernel has no MADV_POPULATE_READ");
            return;
        };
        assert!(lent == &bytes[4097..][..30 << 20]);
        assert!(resident_kib() >= before + (25 << 10));
        map.drop_behind(4097, 30 << 20);
        assert!(resident_kib() <= before + (5 << 10));
        assert!(map.lend(bytes.len() as u64 - 1, 2).is_none());
        assert!(map.lend(u64::MAX, 2).is_none());
    }

    #[test]
    fn a_file_that_was_cut_short_lends_nothing() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let map = Mapping::new(&file, 1 << 20).unwrap();
        file.set_len(4096).unwrap();
        assert!(map.lend(512 << 10, 4096).is_none());
    }

    #[test]
    fn readers_side_by_side_and_scattered_ones_both_get_to_the_point_of_dropping() {
        let step = FAULT_AROUND;
        let mut one_after_another = Done::default();
        let due =
            (0..).find_map(|i| one_after_another.add(i / 2 * step..(i / 2 + 1) * step).map(|span| (i, span)));
        assert_eq!(due, Some((DROP_AT / step * 2 - 2, 0..DROP_AT)));
        let mut scattered = Done::default();
        let due = (0..).find_map(|i| scattered.add(i * 100 * step..(i * 100 + 1) * step).map(|_| i));
        assert_eq!(due, Some(DROP_AT / step - 1));
        assert!(scattered.span.is_empty() && scattered.sum == 0);
    }
}
