//! What a journal says about a save.

use super::record::{self, Begin, Record};
use crate::Error;
use dumpfile::kdump::Checkpoint;
use std::io::{BufRead, Read};
use std::path::Path;
use vmcore::{PhysAddr, RangeSet};

/// The longest line that is one: it lists memory in pieces of 1 GiB.
const MAX_LINE: u64 = 16 << 20;

/// What a journal says about a save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// What is being saved.
    pub begin: Begin,
    /// The last boot that worked on it.
    pub boot: String,
    /// The last durable state of the output; without one the save starts over.
    pub checkpoint: Option<Checkpoint>,
    /// What was released, or may have been: it must not be read.
    pub gone: RangeSet<PhysAddr>,
    /// What was certainly released, in [`History::boot`].
    pub released: RangeSet<PhysAddr>,
    /// Whether the output was complete when it was about to get its name, if it was.
    pub finished: Option<bool>,
    pub(super) records: u64,
}

impl History {
    /// Parses the bytes of the journal at `path`. Returns the history, unless not even the first record is whole, and how many
    /// bytes are good records: those of a torn last one are not.
    ///
    /// # Errors
    ///
    /// [`Error::JournalDamaged`] when a good record follows a bad one, or records are not in order.
    pub fn parse(path: &Path, mut text: &[u8]) -> Result<(Option<Self>, usize), Error> {
        let (history, good) = Self::read(path, &mut text)?;
        Ok((history, good as usize))
    }

    /// As [`History::parse`], of what `text` reads; a line at a time is in memory.
    pub(super) fn read(path: &Path, text: &mut dyn BufRead) -> Result<(Option<Self>, u64), Error> {
        let damaged = |history: &Option<Self>, offset: u64, found: &str, expected: &'static str| {
            let dump = history.as_ref().map(|history| history.begin.dump);
            let (path, found) = (path.to_owned(), found.to_owned());
            Error::JournalDamaged { path, dump, offset, found, expected }
        };
        let mut history: Option<Self> = None;
        let (mut good, mut at, mut torn) = (0, 0, None);
        let mut line = Vec::new();
        loop {
            line.clear();
            let failed = |source| Error::Journal { path: path.to_owned(), action: "read it", source };
            if (&mut *text).take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            let start = at;
            at += line.len() as u64;
            let expected = history.as_ref().map_or(0, |h| h.records);
            let Some((number, record)) = record::decode(&line) else {
                torn.get_or_insert(start);
                continue;
            };
            if let Some(torn) = torn {
                return Err(damaged(
                    &history,
                    torn,
                    "a record with a wrong checksum",
                    "good records before the last one",
                ));
            }
            if number != expected {
                let found = format!("record {number}");
                return Err(damaged(&history, start, &found, "records numbered one by one"));
            }
            match (&mut history, record) {
                (None, Record::Begin(begin)) => history = Some(Self::new(begin)),
                (Some(known), record) => {
                    if !known.apply(record) {
                        let found = "a begin record after a checkpoint";
                        return Err(damaged(&history, start, found, "one begin record"));
                    }
                }
                (None, _) => return Err(damaged(&history, start, "another record", "a begin record")),
            }
            good = at;
        }
        Ok((history, good))
    }

    fn new(begin: Begin) -> Self {
        Self {
            boot: begin.boot.clone(),
            begin,
            checkpoint: None,
            gone: RangeSet::default(),
            released: RangeSet::default(),
            finished: None,
            records: 1,
        }
    }

    /// Whether `boot` is the last boot that worked on the save; no boot is where it is not known.
    pub fn is_of(&self, boot: &str) -> bool {
        !boot.is_empty() && boot == self.boot
    }

    /// What is certainly released in the boot `boot`.
    pub fn released_in(&self, boot: &str) -> RangeSet<PhysAddr> {
        if self.is_of(boot) { self.released.clone() } else { RangeSet::default() }
    }

    fn apply(&mut self, record: Record) -> bool {
        match record {
            // Nothing was durable, and the save started over.
            Record::Begin(begin) if self.checkpoint.is_none() && self.gone.is_empty() => {
                self.boot = begin.boot.clone();
                self.begin = begin;
            }
            Record::Begin(_) => return false,
            Record::Boot(boot) => {
                // A new boot reserves everything again, but what was overwritten stays overwritten.
                if boot != self.boot || boot.is_empty() {
                    self.released = RangeSet::default();
                }
                self.boot = boot;
            }
            Record::Checkpoint(checkpoint) => self.checkpoint = Some(checkpoint),
            Record::Release(ranges) => ranges.into_iter().for_each(|r| self.gone.insert(r)),
            Record::Released(ranges) => ranges.into_iter().for_each(|r| self.released.insert(r)),
            Record::Finished { complete } => self.finished = Some(complete),
        }
        self.records += 1;
        true
    }
}
