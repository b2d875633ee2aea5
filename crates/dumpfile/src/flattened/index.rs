//! Where each byte of the dump file is in a flattened one.

use super::Covered;
use super::record::{Bad, HEADER_LEN, RECORD_LEN, Record, check_header};
use crate::Error;
use crate::input::Input;
use std::collections::BinaryHeap;
use std::io;
use vmcore::ReadError;

/// The most pieces that are kept in mind, 16 bytes each. makedumpfile makes about two pieces for 64 KiB, so that this is
/// a file of 130 GiB; a larger one has to be put in order first.
const MAX_PIECES: usize = 1 << 22;

/// The length of the longest stretch that one [`Entry`] describes.
const MAX_LEN: u64 = u32::MAX as u64;

/// How much is read at once while looking for records: pieces are seldom shorter.
const WINDOW: usize = 4096;

/// A stretch of the dump file: 48 bits each of where it is there and in the flattened file, 32 bits of length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry(u64, u64);

impl Entry {
    /// `start` and `position` are below 2^48, `len` below 2^32.
    fn new(start: u64, position: u64, len: u64) -> Self {
        Self(start << 16 | len >> 16, position << 16 | len & 0xffff)
    }

    fn start(self) -> u64 {
        self.0 >> 16
    }

    fn position(self) -> u64 {
        self.1 >> 16
    }

    fn len(self) -> u64 {
        (self.0 & 0xffff) << 16 | self.1 & 0xffff
    }

    fn end(self) -> u64 {
        self.start() + self.len()
    }
}

/// The pieces of a flattened file as a table in the order of the dump file.
#[derive(Debug)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    len: u64,
    gaps: bool,
    /// There is no end record.
    cut: bool,
    remark: Option<String>,
}

impl Index {
    /// Reads the record of every piece of `input`, whose signature is right.
    ///
    /// # Errors
    ///
    /// When a record lies, or there are no pieces, or more than can be kept in mind. A file without its end is none.
    pub(crate) fn read(input: &Input) -> Result<Self, Error> {
        if input.len() < HEADER_LEN as u64 {
            return Err(input.cut_off(HEADER_LEN as u64, "its headers"));
        }
        let damaged = |at: u64, bad: Bad| input.damaged(bad.field, at + bad.offset, bad.found, bad.expected);
        let mut header = [0; HEADER_LEN];
        input.read_at(0, &mut header)?;
        check_header(&header).map_err(|bad| damaged(0, bad))?;

        let mut window = Window { input, at: 0, bytes: Vec::new() };
        let mut entries = Vec::new();
        let mut at = HEADER_LEN as u64;
        let (cut, remark) = loop {
            let Some(record) = window.record(at)? else {
                break (
                    true,
                    Some(if at == input.len() {
                        format!("the flattened file ends at {at:#x} without an end record: it was cut off")
                    } else {
                        format!("the flattened file was cut off at {:#x}, inside a piece", input.len())
                    }),
                );
            };
            let (mut offset, size) = match Record::decode(&record).map_err(|bad| damaged(at, bad))? {
                Record::End if at + RECORD_LEN as u64 == input.len() => break (false, None),
                Record::End => {
                    let rest = input.len() - at - RECORD_LEN as u64;
                    let remark =
                        format!("{rest} bytes after the end record of the flattened file were ignored");
                    break (false, Some(remark));
                }
                Record::Piece { offset, size } => (offset, size),
            };
            at += RECORD_LEN as u64;
            let mut left = size.min(input.len() - at);
            while left > 0 {
                let len = left.min(MAX_LEN);
                entries.push(Entry::new(offset, at, len));
                (offset, at, left) = (offset + len, at + len, left - len);
            }
            if entries.len() > MAX_PIECES {
                let what = format!(
                    "a flattened dump of more than {MAX_PIECES} pieces; put it in order first: hadump receive -o \
                     DUMPFILE < {}",
                    input.path().display()
                );
                return Err(Error::Unsupported { path: input.path().to_owned(), what });
            }
        };
        if entries.is_empty() {
            let found = remark.unwrap_or_else(|| "none".into());
            return Err(input.damaged("the pieces", HEADER_LEN as u64, found, "at least one").into());
        }
        entries.shrink_to_fit();
        let entries = resolve(entries);
        let len = entries.last().map_or(0, |e| e.end());
        let covered: u64 = entries.iter().map(|e| e.len()).sum();
        Ok(Self { gaps: covered < len, len, entries, cut, remark })
    }

    /// The pieces of a stream that were written to their places in a file.
    pub(crate) fn of_covered(covered: &Covered) -> Self {
        let mut entries = Vec::new();
        for stretch in covered.iter() {
            let mut at = stretch.start;
            while at < stretch.end {
                let len = (stretch.end - at).min(MAX_LEN);
                entries.push(Entry::new(at, at, len));
                at += len;
            }
        }
        let len = entries.last().map_or(0, |e| e.end());
        let covered: u64 = entries.iter().map(|e| e.len()).sum();
        Self { gaps: covered < len, len, entries, cut: false, remark: None }
    }

    /// The length of the dump file, as far as its pieces are there.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reports whether there are stretches that no piece covers.
    pub(crate) fn has_gaps(&self) -> bool {
        self.gaps
    }

    /// What was odd about the stream of pieces.
    pub(crate) fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    /// Reports whether the file ends without an end record.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    fn first_past(&self, offset: u64) -> usize {
        self.entries.partition_point(|e| e.end() <= offset)
    }

    /// The first offset at or after `offset` that a piece covers.
    pub(crate) fn next_data(&self, offset: u64) -> u64 {
        self.entries.get(self.first_past(offset)).map_or(self.len, |e| e.start()).max(offset)
    }

    /// The stretches of `start..end` that no piece covers.
    pub(crate) fn gaps(&self, start: u64, end: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
        let mut at = start;
        let mut rest = self.entries[self.first_past(start)..].iter();
        std::iter::from_fn(move || {
            while at < end {
                let gap = at;
                let entry = rest.next();
                let next = entry.map_or(end, |entry| entry.start().min(end));
                at = entry.map_or(end, |entry| entry.end());
                if gap < next {
                    return Some(gap..next);
                }
            }
            None
        })
    }

    /// Reports whether pieces cover all of the `len` bytes from `offset` on.
    pub(crate) fn covers(&self, offset: u64, len: u64) -> bool {
        let mut at = offset;
        let end = offset.saturating_add(len);
        let mut rest = self.entries[self.first_past(offset)..].iter();
        while at < end {
            match rest.next() {
                Some(e) if e.start() <= at => at = e.end(),
                _ => return false,
            }
        }
        true
    }

    /// Fills `bytes` from `offset` on of the dump file.
    ///
    /// # Errors
    ///
    /// As [`Input::read_at`].
    pub(crate) fn read_at(&self, input: &Input, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        let end = offset.checked_add(bytes.len() as u64).filter(|&end| end <= self.len).ok_or_else(|| {
            let source = io::ErrorKind::UnexpectedEof.into();
            ReadError::Io { path: input.path().to_owned(), offset, len: bytes.len() as u64, source }
        })?;
        let mut at = offset;
        let mut next = self.first_past(offset);
        let mut rest = bytes;
        while at < end {
            let entry = self.entries.get(next).filter(|e| e.start() <= at);
            let until = match entry {
                Some(e) => e.end(),
                None => self.entries.get(next).map_or(end, |e| e.start()),
            };
            let (now, later) = std::mem::take(&mut rest).split_at_mut((until.min(end) - at) as usize);
            match entry {
                Some(e) => {
                    input.read_at(e.position() + (at - e.start()), now)?;
                    next += 1;
                }
                None => now.fill(0),
            }
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }
}

/// Reads records one after another, many with one call where they lie close.
struct Window<'a> {
    input: &'a Input,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The record at `at`, if the file has all of it.
    fn record(&mut self, at: u64) -> Result<Option<[u8; RECORD_LEN]>, ReadError> {
        if self.input.len().saturating_sub(at) < RECORD_LEN as u64 {
            return Ok(None);
        }
        let inside = |w: &Self| {
            let skip = usize::try_from(at.checked_sub(w.at)?).ok()?;
            w.bytes.get(skip..)?.first_chunk().copied()
        };
        if let Some(record) = inside(self) {
            return Ok(Some(record));
        }
        self.bytes.resize((self.input.len() - at).min(WINDOW as u64) as usize, 0);
        self.at = at;
        self.input.read_at(at, &mut self.bytes)?;
        Ok(inside(self))
    }
}

/// Sorts entries, and where they overlap keeps what is later in the flattened file.
fn resolve(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_unstable();
    if entries.windows(2).all(|w| w[0].end() <= w[1].start()) {
        return entries;
    }
    let mut resolved: Vec<Entry> = Vec::with_capacity(entries.len());
    // Those that began, by position; those that ended are removed when they come to the top.
    let mut open: BinaryHeap<(u64, usize)> = BinaryHeap::new();
    let mut next = 0;
    let mut at = 0;
    loop {
        while let Some(&(_, i)) = open.peek()
            && entries[i].end() <= at
        {
            open.pop();
        }
        if open.is_empty() {
            let Some(entry) = entries.get(next) else { break };
            at = at.max(entry.start());
        }
        while let Some(entry) = entries.get(next)
            && entry.start() <= at
        {
            open.push((entry.position(), next));
            next += 1;
        }
        let Some(&(_, best)) = open.peek() else { break };
        let entry = entries[best];
        let until = entries.get(next).map_or(entry.end(), |e| e.start().min(entry.end()));
        if at < until {
            let position = entry.position() + (at - entry.start());
            match resolved.last_mut() {
                Some(last)
                    if last.end() == at
                        && last.position() + last.len() == position
                        && last.len() + (until - at) <= MAX_LEN =>
                {
                    *last = Entry::new(last.start(), last.position(), until - last.start());
                }
                _ => resolved.push(Entry::new(at, position, until - at)),
            }
            at = until;
        }
    }
    resolved
}
