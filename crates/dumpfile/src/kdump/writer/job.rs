//! Storing the pages of a kdump-compressed file.

use super::plan::Plan;
use super::{Options, PAGE_DESC_LEN};
use crate::codec::Encoder;
use crate::kdump::layout::PageDesc;
use crate::output::Sink;
use crate::pipeline::{Batch, PageJob};
use crate::{Error, Written};
use std::io::IoSlice;
use std::sync::{Mutex, PoisonError};
use vmcore::{PageSize, PageState};

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
pub(super) struct Record {
    entries: Vec<Entry>,
    /// Stored bytes of all pages, one behind the other, in the first `len` bytes. Without a compression they are not
    /// copied here, and only `len` says how many there are.
    data: Vec<u8>,
    len: usize,
    counts: Written,
    /// Where the data goes.
    offset: u64,
    descriptors: Vec<u8>,
}

/// What is done with the pages of one call.
pub(super) struct Job<'a> {
    pub(super) options: Options,
    pub(super) plan: &'a Plan,
    pub(super) out: &'a dyn Sink,
    /// What is in the file.
    pub(super) done: &'a Mutex<Written>,
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
    /// Where in the file the next bytes go.
    type Layout = u64;

    fn worker(&self) -> Result<Self::Worker, Error> {
        let make = |method| Encoder::new(method, self.options.level, self.plan.page_size);
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
            let room = batch.len() * self.plan.page_size.len() + encoder.out_len();
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

    fn place(&self, next_offset: &mut u64, _: &Batch, record: &mut Record) -> Result<(), Error> {
        record.offset = *next_offset;
        *next_offset += record.len as u64;
        Ok(())
    }

    fn write(&self, batch: &Batch, record: &mut Record) -> Result<(), Error> {
        // Data before descriptors: a descriptor on the disk never points past the end of a file that was cut off.
        if self.options.method.is_some() {
            if record.len > 0 {
                self.out.write_at(record.offset, &record.data[..record.len])?;
            }
        } else {
            self.out.write_parts_at(record.offset, &present_parts(batch, self.plan.page_size))?;
        }
        self.write_descriptors(batch, record)?;
        // Descriptors of lost pages are zeros, which the file has there anyway.
        self.done.lock().unwrap_or_else(PoisonError::into_inner).add(&record.counts);
        Ok(())
    }
}

impl Job<'_> {
    /// Writes the descriptors of a batch, those of neighbours at once.
    fn write_descriptors(&self, batch: &Batch, record: &mut Record) -> Result<(), Error> {
        let page_len = self.plan.page_size.bytes() as u32;
        let mut offset = record.offset;
        let mut entries = record.entries.iter();
        // The rank of the first of the descriptors at hand, and the rank behind the last one.
        let (mut first, mut next) = (0, 0);
        record.descriptors.clear();
        for run in batch.runs() {
            if run.rank != next {
                self.put_descriptors(first, &record.descriptors)?;
                record.descriptors.clear();
                (first, next) = (run.rank, run.rank);
            }
            for &entry in entries.by_ref().take(run.states.len()) {
                let desc = match entry {
                    Entry::Zero => PageDesc { offset: self.plan.zero_page, size: page_len, flags: 0 },
                    Entry::Lost => PageDesc::default(),
                    Entry::Stored { size, flags } => {
                        let desc = PageDesc { offset, size, flags };
                        offset += u64::from(size);
                        desc
                    }
                };
                record.descriptors.extend(desc.encode(self.plan.layout.order));
                next += 1;
            }
        }
        self.put_descriptors(first, &record.descriptors)
    }

    /// Writes descriptors of which the first belongs to the page of this rank.
    fn put_descriptors(&self, rank: u64, descriptors: &[u8]) -> Result<(), Error> {
        if descriptors.is_empty() {
            return Ok(());
        }
        let index = rank - self.plan.first_rank;
        self.out.write_at(self.plan.descriptors + index * PAGE_DESC_LEN as u64, descriptors)
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
