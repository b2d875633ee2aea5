//! What a file says of itself, without a look at its pages.

use super::layout::STATUS_INCOMPLETE;
use super::reader;
use crate::Error;
use crate::input::Input;
use std::fs::File;
use std::path::Path;
use vmcore::{DumpLevel, Note, PageSize};

/// Owner and type of the note that says which dump a file was saved from.
const OWNER: &[u8] = b"HADUMP";
const IDENTITY: u32 = 0x111;

/// What the headers and notes of a kdump-compressed file or a [`Skeleton`](super::Skeleton) say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The page size of the dumped kernel.
    pub page_size: PageSize,
    /// The dump level that was applied.
    pub level: DumpLevel,
    /// Whether it was written to its end and has every page.
    pub complete: bool,
    /// What its note calls the dump that it was saved from.
    pub identity: Option<u64>,
}

impl Outline {
    /// Reads headers and notes of `file`, which messages call `path`.
    ///
    /// # Errors
    ///
    /// When it is neither, is shorter than its bitmaps, or cannot be read.
    pub fn of(file: File, path: &Path) -> Result<Self, Error> {
        Self::read(Input::of_file(file, path)?)
    }

    /// As [`Outline::of`], of what is at `path`, which may be a block device.
    ///
    /// # Errors
    ///
    /// As [`Outline::of`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::read(Input::open(path)?)
    }

    fn read(input: Input) -> Result<Self, Error> {
        let reader::File { input, mut headers, .. } = reader::File::read(input)?;
        let (notes, _) = reader::read_notes(&input, &mut headers)?;
        Ok(Self {
            page_size: headers.page_size,
            level: DumpLevel::new(headers.sub.dump_level).unwrap_or_default(),
            complete: headers.header.status & STATUS_INCOMPLETE == 0,
            identity: notes.iter().rfind(|note| is_identity(note)).and_then(identity),
        })
    }
}

/// The note that says that a file was saved from the dump `identity`: 16 hexadecimal digits.
pub fn identity_note(identity: u64) -> Note {
    Note { name: OWNER.into(), kind: IDENTITY, desc: format!("{identity:016x}").into_bytes() }
}

pub(super) fn is_identity(note: &Note) -> bool {
    note.name == OWNER && note.kind == IDENTITY
}

fn identity(note: &Note) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(note.desc.get(..16)?).ok()?, 16).ok()
}
