//! Bytes cut into pieces that a few threads write at once.

use super::BLOCK;
use crate::Error;
use std::io::IoSlice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The most bytes of one write.
pub(super) const PIECE: usize = 1 << 20;

/// Room for a piece, at an address that disks take.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    aligned: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        let bytes = vec![0; PIECE + BLOCK];
        let aligned = bytes.as_ptr().align_offset(BLOCK);
        Self { bytes, aligned }
    }

    fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.aligned..][..PIECE]
    }
}

/// Parts one after another.
pub(super) struct Stream<'a> {
    parts: Vec<&'a [u8]>,
    /// Where each of them begins.
    starts: Vec<usize>,
    len: usize,
}

impl<'a> Stream<'a> {
    pub(super) fn new(first: &'a [u8], others: &'a [IoSlice<'_>]) -> Self {
        let others = others.iter().map(|part| &**part);
        let parts: Vec<&[u8]> =
            std::iter::once(first).chain(others).filter(|part| !part.is_empty()).collect();
        let mut len = 0;
        let mut starts = Vec::with_capacity(parts.len());
        for part in &parts {
            starts.push(len);
            len += part.len();
        }
        Self { parts, starts, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Copies the bytes from `at` on, which are there.
    pub(super) fn copy(&self, at: usize, mut to: &mut [u8]) {
        let index = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        let mut skip = at - self.starts.get(index).copied().unwrap_or(at);
        for part in self.parts.iter().skip(index) {
            if to.is_empty() {
                return;
            }
            let part = &part[skip..];
            let (now, later) = to.split_at_mut(part.len().min(to.len()));
            now.copy_from_slice(&part[..now.len()]);
            (to, skip) = (later, 0);
        }
    }
}

/// Gives the pieces of `stream` to `put`, each with its place in the stream, zeros up to the end of its last block, and its length
/// without them. There are as many threads as there are buffers, of which this one is the first; when this returns none of
/// them is at work. The order of the pieces is any.
///
/// # Errors
///
/// That of the first piece in the stream that `put` failed with, after which no further piece is begun.
pub(super) fn spread(
    stream: &Stream<'_>,
    buffers: &mut [Buffer],
    put: impl Fn(usize, &[u8], usize) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<(usize, Error)>> = Mutex::default();
    let work = |buffer: &mut Buffer| {
        loop {
            let at = next.fetch_add(PIECE, Ordering::Relaxed);
            if at >= stream.len() {
                return;
            }
            let len = PIECE.min(stream.len() - at);
            let blocks = &mut buffer.room()[..len.next_multiple_of(BLOCK)];
            stream.copy(at, &mut blocks[..len]);
            blocks[len..].fill(0);
            if let Err(error) = put(at, blocks, len) {
                next.fetch_max(stream.len(), Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.as_ref().is_none_or(|(first, _)| at < *first) {
                    *failed = Some((at, error));
                }
                return;
            }
        }
    };
    let Some((own, others)) = buffers.split_first_mut() else { return Ok(()) };
    std::thread::scope(|scope| {
        let work = &work;
        for buffer in others {
            let writer = std::thread::Builder::new().name("write".to_owned());
            if writer.spawn_scoped(scope, move || work(buffer)).is_err() {
                // The system grants no more threads (`ulimit -u`): those that there are write everything.
                break;
            }
        }
        work(own);
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), |(_, error)| Err(error))
}
