//! Where a dump goes no further than allowed.

use dumpfile::Error;
use dumpfile::output::Sink;
use rustix::io::Errno;
use std::io::IoSlice;
use std::path::Path;

/// Hands on what lies below a limit and refuses the rest, as a full disk does.
pub(super) struct Limited<'s> {
    pub(super) sink: &'s dyn Sink,
    /// In bytes.
    pub(super) limit: u64,
}

impl Limited<'_> {
    fn check(&self, offset: u64, len: u64) -> Result<(), Error> {
        if offset.checked_add(len).is_some_and(|end| end <= self.limit) {
            return Ok(());
        }
        let action = format!("write more than the {} bytes that -L allows", self.limit);
        Err(Error::Write { path: self.sink.path().to_owned(), action, source: Errno::FBIG.into() })
    }
}

impl Sink for Limited<'_> {
    fn path(&self) -> &Path {
        self.sink.path()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.check(offset, bytes.len() as u64)?;
        self.sink.write_at(offset, bytes)
    }

    fn write_parts_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        self.check(offset, parts.iter().map(|part| part.len() as u64).sum())?;
        self.sink.write_parts_at(offset, parts)
    }

    fn append_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        self.check(offset, parts.iter().map(|part| part.len() as u64).sum())?;
        self.sink.append_at(offset, parts)
    }

    fn sync(&self) -> Result<(), Error> {
        self.sink.sync()
    }

    fn blank(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.check(offset, len)?;
        self.sink.blank(offset, len)
    }

    fn cut_off(&self, len: u64) -> bool {
        self.sink.cut_off(len)
    }

    fn is_stream(&self) -> bool {
        self.sink.is_stream()
    }

    fn waits(&self) -> bool {
        self.sink.waits()
    }
}
