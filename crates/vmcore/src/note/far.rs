//! Notes that are too large to be held: they stay in the input until they are written again.
//!
//! The device dump of one network adapter has 32 MiB and more (`NT_VMCOREDD`, kernel: `fs/proc/vmcore.c`), and a machine
//! has several. No part of hadump reads them; they only have to reach the output.

use super::{HEADER, padded};
use crate::ReadError;
use std::fmt;
use std::sync::Arc;

/// Where notes lie, so that they can be read once more when they are written.
pub trait NoteSource: Send + Sync {
    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    ///
    /// When the source does not have them.
    fn read_note(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError>;
}

/// How much of it is in memory at once while it is copied.
const PIECE: u64 = 1 << 20;

/// A note, or many small ones in a row, whose bytes are still in the input.
#[derive(Clone)]
pub struct Far {
    /// The note's name and type; `None` for many notes in a row.
    pub id: Option<(Vec<u8>, u32)>,
    /// Bytes of its content, or of all notes in the row with their headers.
    pub len: u64,
    /// What goes before the content: a note's header and name.
    pub(super) head: Vec<u8>,
    pub(super) offset: u64,
    pub(super) source: Arc<dyn NoteSource>,
}

impl Far {
    /// A row of whole notes at `offset`, still without length.
    pub(super) fn row(source: &Arc<dyn NoteSource>, offset: u64) -> Self {
        Self { id: None, len: 0, head: Vec::new(), offset, source: Arc::clone(source) }
    }

    /// Bytes in a PT_NOTE segment, padding included.
    pub fn size(&self) -> u64 {
        self.head.len() as u64 + padded(self.len)
    }

    /// Fills `bytes`, which are no more than the content has, with the content from `offset` on.
    ///
    /// # Errors
    ///
    /// When the input cannot be read.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        self.source.read_note(self.offset + offset, bytes)
    }

    /// Fills `bytes`, which are no more than there are, with what goes into a PT_NOTE segment, from `offset` on.
    ///
    /// # Errors
    ///
    /// When the input cannot be read.
    pub(super) fn read_stored_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        let head = self.head.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        let (of_head, rest) = bytes.split_at_mut(head.len().min(bytes.len()));
        of_head.copy_from_slice(&head[..of_head.len()]);
        let at = (offset + of_head.len() as u64).saturating_sub(self.head.len() as u64);
        let there = self.len.saturating_sub(at).min(rest.len() as u64);
        let (content, padding) = rest.split_at_mut(there as usize);
        padding.fill(0);
        if content.is_empty() { Ok(()) } else { self.read_at(at, content) }
    }

    /// Hands the content to `each`, piece by piece.
    ///
    /// # Errors
    ///
    /// As [`Far::copy`].
    pub fn content<E: From<ReadError>>(&self, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut bytes = vec![0; self.len.min(PIECE) as usize];
        let mut done = 0;
        while done < self.len {
            let part = &mut bytes[..(self.len - done).min(PIECE) as usize];
            self.read_at(done, part)?;
            each(part)?;
            done += part.len() as u64;
        }
        Ok(())
    }

    /// Hands what goes into a PT_NOTE segment to `each`, piece by piece.
    ///
    /// # Errors
    ///
    /// Those of `each`, and when the input cannot be read.
    pub fn copy<E: From<ReadError>>(&self, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if !self.head.is_empty() {
            each(&self.head)?;
        }
        self.content(&mut each)?;
        let padding = (padded(self.len) - self.len) as usize;
        if padding > 0 {
            each(&[0; 4][..padding])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, len, offset, .. } = self;
        f.debug_struct("Far")
            .field("id", id)
            .field("len", len)
            .field("offset", offset)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Far {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head
            && self.len == other.len
            && self.offset == other.offset
            && Arc::ptr_eq(&self.source, &other.source)
    }
}

impl Eq for Far {}

const _: () = assert!(HEADER.is_multiple_of(4));
