//! What stays between two appends, and how an append reaches the file.

use super::spread::{Buffer, PIECE, Stream, spread};
use super::{BLOCK, LEAST};
use crate::Error;
use crate::output::len_of;
use rustix::io::{self, Errno};
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file that is written in two ways.
pub(super) trait Target: Sync {
    /// Writes some of `bytes`, which are whole blocks at an address that is a multiple of them, past the page cache.
    fn direct(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` in the usual way.
    fn cached(&self, bytes: &[u8], offset: u64) -> Result<(), Error>;

    /// Reads what is before an append; what is past the end of the file is zeros.
    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), Error>;

    /// Makes the file `len` bytes long if it is shorter, and returns how long it was if that can be undone: file systems let
    /// several writers only into what is within a file.
    fn lengthen(&self, len: u64) -> Option<u64>;

    /// Makes the file as long as it was.
    fn shorten(&self, len: u64);
}

/// Bytes on their way.
#[derive(Debug)]
pub(super) struct Stage {
    /// How many threads write at once.
    pub(super) writers: usize,
    buffers: Vec<Buffer>,
    /// The last bytes of an append, those that do not fill a block, to be written again with what follows them.
    held: Vec<u8>,
    /// Where in the file the first of them goes, a multiple of [`BLOCK`].
    start: u64,
    /// Where in the file the bytes after them go, between two appends.
    next: Option<u64>,
    /// The system takes no such writes after all.
    refused: bool,
}

impl Stage {
    pub(super) fn new(writers: usize) -> Self {
        Self { writers, buffers: Vec::new(), held: Vec::new(), start: 0, next: None, refused: false }
    }

    /// As [`super::Direct::append`]. No write is on its way when it returns, whatever it returns.
    pub(super) fn append(
        &mut self,
        target: &impl Target,
        offset: u64,
        parts: &[IoSlice<'_>],
    ) -> Result<bool, Error> {
        if self.refused || len_of(parts) < LEAST {
            return Ok(false);
        }
        if self.next.take() != Some(offset) {
            self.held.resize((offset % BLOCK as u64) as usize, 0);
            self.start = offset - self.held.len() as u64;
            target.read(&mut self.held, self.start)?;
        }
        let stream = Stream::new(&self.held, parts);
        let (start, len) = (self.start, stream.len());
        let writers = self.writers.min(len.div_ceil(PIECE)).max(1);
        while self.buffers.len() < writers {
            self.buffers.push(Buffer::new());
        }
        let before = if writers > 1 {
            target.lengthen((start + len as u64).next_multiple_of(BLOCK as u64))
        } else {
            None
        };
        let refused = AtomicBool::new(false);
        let written = spread(&stream, &mut self.buffers[..writers], |at, blocks, len| {
            let offset = start + at as u64;
            if write_whole(target, blocks, offset) {
                return Ok(());
            }
            // The other way works, or says what is wrong.
            refused.store(true, Ordering::Relaxed);
            target.cached(&blocks[..len], offset)
        });
        self.refused |= refused.into_inner();
        if written.is_err()
            && let Some(before) = before
        {
            // On a full disk later pieces may have the room that earlier ones need.
            target.shorten(before);
        }
        written?;
        let mut rest = vec![0; len % BLOCK];
        stream.copy(len - rest.len(), &mut rest);
        self.held = rest;
        self.start = start + (len - self.held.len()) as u64;
        self.next = Some(start + len as u64);
        Ok(true)
    }

    /// Notes that bytes up to `end` changed in another way.
    pub(super) fn touch(&mut self, end: u64) {
        if end > self.start {
            self.next = None;
        }
    }
}

/// Writes all of `bytes` in whole blocks; reports whether that succeeded.
fn write_whole(target: &impl Target, mut bytes: &[u8], mut offset: u64) -> bool {
    while !bytes.is_empty() {
        match target.direct(bytes, offset) {
            Err(Errno::INTR) => (),
            Ok(written) if written > 0 && written.is_multiple_of(BLOCK) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            _ => return false,
        }
    }
    true
}
