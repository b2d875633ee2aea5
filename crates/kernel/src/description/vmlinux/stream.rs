//! A section of a vmlinux, read from its start and unpacked on the way.

use super::failed;
use crate::Error;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file from some offset on, without its cursor.
pub(super) struct At<'a> {
    pub(super) file: &'a File,
    pub(super) offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.offset)?;
        self.offset = self.offset.saturating_add(read as u64);
        Ok(read)
    }
}

pub(super) enum Bytes<'a> {
    Plain(At<'a>),
    Packed(Box<dyn Read + 'a>),
}

impl Read for Bytes<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(at) => at.read(bytes),
            Self::Packed(decoder) => decoder.read(bytes),
        }
    }
}

/// A section being read.
pub(crate) struct SectionStream<'a> {
    pub(super) path: &'a Path,
    pub(super) bytes: Bytes<'a>,
    pub(super) position: u64,
    pub(super) size: u64,
}

impl SectionStream<'_> {
    /// Where the next byte comes from.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that are left, as the section's header has it.
    pub(crate) fn left(&self) -> u64 {
        self.size - self.position
    }

    /// Reads some bytes; none at the end.
    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Error> {
        let len = usize::try_from(self.left()).unwrap_or(usize::MAX).min(bytes.len());
        let read = self.bytes.read(&mut bytes[..len]);
        let read = read.map_err(|e| failed(self.path, "a section cannot be read", e))?;
        self.position += read as u64;
        Ok(read)
    }

    /// Appends `len` bytes, or as many as there are. Room grows with what is really read.
    pub(crate) fn append(&mut self, len: u64, to: &mut Vec<u8>) -> Result<u64, Error> {
        let mut limited = (&mut self.bytes).take(len.min(self.size - self.position));
        let read = limited.read_to_end(to).map_err(|e| failed(self.path, "a section cannot be read", e))?;
        self.position += read as u64;
        Ok(read as u64)
    }

    /// Goes forward by `len` bytes.
    pub(crate) fn skip(&mut self, len: u64) -> Result<(), Error> {
        let len = len.min(self.left());
        if let Bytes::Plain(at) = &mut self.bytes {
            at.offset = at.offset.saturating_add(len);
        } else {
            let skipped = io::copy(&mut (&mut self.bytes).take(len), &mut io::sink());
            skipped.map_err(|e| failed(self.path, "a section cannot be unpacked", e))?;
        }
        self.position += len;
        Ok(())
    }
}
