//! What every writer takes and answers, whatever the format.

use crate::codec::Method;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use vmcore::{Note, Utsname};

/// What a file says of its kernel besides memory and the input's notes.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The six strings of `uname`. Readers of kdump files need `sysname`, `release`, `version` and `machine`.
    pub utsname: Utsname,
    /// Where the kernel's link address 0 lies in physical memory, for the kdump sub header. The bits of a signed
    /// number: x86_64 kernels relocated downwards have a negative one.
    pub phys_base: u64,
    /// Notes of hadump's own; they follow those of the input.
    pub notes: Vec<Note>,
}

/// What a file takes at most besides the bytes of its pages: for who has to stay below a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of a file without pages.
    pub fixed: u64,
    /// Bytes more for each page.
    pub each: u64,
}

/// How far a writer is, read from another thread, and the wish to stop it.
#[derive(Debug, Default)]
pub struct Progress {
    pages: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// The pages done.
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Counts pages as done.
    pub fn add(&self, pages: u64) {
        self.pages.fetch_add(pages, Ordering::Relaxed);
    }

    /// Asks the writer to stop at the next batch.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Reports whether the writer was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// What a writer wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The file's length in bytes, holes included; of a file that was cut short, where it would continue.
    pub bytes: u64,
    /// Pages with content that are in the file.
    pub data_pages: u64,
    /// Pages of zeros.
    pub zero_pages: u64,
    /// Of the data pages, those stored as they are because compression did not shrink them, or was left out on purpose where
    /// it is chosen as time allows.
    pub raw_pages: u64,
    /// Of the data pages, those compressed by each of [`Method::ALL`].
    pub compressed_pages: [u64; Method::ALL.len()],
    /// Of the data pages, those that share the bytes of an equal one; of a resumed file, those that the last
    /// writer found.
    pub shared_pages: u64,
    /// Pages that were to be kept and could not be read.
    pub lost_pages: u64,
    /// Pages of the selection that an earlier filter had left out of the input.
    pub missing_pages: u64,
    /// Pages of the selection that the writer was not asked to write, or that it could not write.
    pub unwritten_pages: u64,
}

impl Written {
    /// Reports whether every page of the selection is in the file.
    pub fn is_whole(&self) -> bool {
        self.lost_pages + self.missing_pages + self.unwritten_pages == 0
    }

    /// The pages that the writer went over, whatever became of them.
    pub fn seen(&self) -> u64 {
        self.data_pages + self.zero_pages + self.lost_pages + self.missing_pages
    }

    /// Adds the counts of pages, as of another part of a split set.
    pub fn add(&mut self, other: &Self) {
        self.data_pages += other.data_pages;
        self.zero_pages += other.zero_pages;
        self.raw_pages += other.raw_pages;
        for (pages, more) in self.compressed_pages.iter_mut().zip(other.compressed_pages) {
            *pages += more;
        }
        self.shared_pages += other.shared_pages;
        self.lost_pages += other.lost_pages;
        self.missing_pages += other.missing_pages;
        self.unwritten_pages += other.unwritten_pages;
    }
}
