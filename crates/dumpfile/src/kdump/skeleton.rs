//! A file without its pages, for a writer that cannot read what it wrote.
//!
//! A save that encrypts what it writes has no key to read it with. What it needs to be resumed after an interruption is
//! kept beside it, unencrypted: the headers, VMCOREINFO, the dump's identity, the bitmaps and the descriptors, which show how many bytes each
//! page takes and nothing of their content. The registers and all other notes are left out: there are zeros in their
//! place.

use super::header::Headers;
use super::layout::{PAGE_DESC_LEN, SKELETON_SIGNATURE};
use super::outline::is_identity;
use super::{reader, sums};
use crate::Error;
use crate::input::Input;
use crate::output::{OutputFile, Sink, write_error};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vmcore::Notes;

/// All of a kdump-compressed file except its pages and registers: as long as the file, with holes for what is left out.
///
/// It is written with the writes that make the file, in their order, and
/// [`Unfinished::open`](super::Unfinished::open) reads it in place of the file. Its signature differs, so other readers
/// reject it.
///
/// Writes to it must be durable before the same writes to the file, except those that
/// [`Writer::resume`](super::Writer::resume) makes first, until it makes them durable: an old descriptor must not be
/// cleared here while it is still in the file.
#[derive(Debug)]
pub struct Skeleton {
    out: OutputFile,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Where the pages start.
    pages: u64,
    front: Front,
    /// The length of the file.
    len: u64,
}

/// How far the writer of a new file is.
#[derive(Debug)]
enum Front {
    Nothing,
    /// The main header came; the sub header and the notes are next.
    Header(Vec<u8>),
    /// The notes came, without their secrets; those that are too large to be held come later, if at all, and lie there.
    Notes(Range<u64>),
}

impl Skeleton {
    /// Begins the skeleton of a new file, which a [`Writer`](super::Writer) writes.
    pub fn new(out: OutputFile) -> Self {
        Self { out, state: Mutex::new(State { pages: 0, front: Front::Nothing, len: 0 }) }
    }

    /// Opens a skeleton to resume its save.
    ///
    /// # Errors
    ///
    /// When it is damaged or cannot be read.
    pub fn reopen(out: OutputFile) -> Result<Self, Error> {
        let path = out.path().to_owned();
        let file = out.file().try_clone().map_err(|source| Error::Open { path: path.clone(), source })?;
        let file = reader::File::read(Input::of_file(file, &path)?)?;
        let (total, _) = reader::pages(&file)?;
        let pages = file.geometry.descriptors + total * PAGE_DESC_LEN as u64;
        let front = Front::Notes(secrets(&file.headers));
        Ok(Self { out, state: Mutex::new(State { pages, front, len: file.input.len() }) })
    }

    /// Gives it its final name: it is no longer needed for resuming.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::commit`].
    pub fn commit(self) -> Result<PathBuf, Error> {
        self.out.commit()
    }

    /// Makes it durable as it is.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::keep_incomplete`].
    pub fn keep(self) -> Result<PathBuf, Error> {
        self.sync()?;
        self.out.keep_incomplete()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Skeleton {
    fn path(&self) -> &Path {
        self.out.path()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut state = self.lock();
        state.len = state.len.max(offset + bytes.len() as u64);
        if offset >= state.pages {
            return Ok(());
        }
        if offset == 0 {
            let mut header = bytes.to_vec();
            header.iter_mut().zip(SKELETON_SIGNATURE).for_each(|(byte, other)| *byte = *other);
            if matches!(state.front, Front::Nothing) {
                state.front = Front::Header(header.clone());
            }
            return self.out.write_at(0, &header);
        }
        if let Front::Header(header) = &state.front {
            let (clean, secrets) = without_registers(header, offset, bytes, self.path())?;
            state.front = Front::Notes(secrets);
            return self.out.write_at(offset, &clean);
        }
        if let Front::Notes(secrets) = &state.front
            && secrets.contains(&offset)
        {
            return Ok(());
        }
        drop(state);
        self.out.write_at(offset, bytes)
    }

    fn sync(&self) -> Result<(), Error> {
        let len = self.lock().len;
        self.out.extend(len)?;
        self.out.sync()
    }

    /// Learns where the pages start: a writer blanks what is before them.
    fn blank(&self, offset: u64, len: u64) -> Result<(), Error> {
        let mut state = self.lock();
        state.pages = state.pages.max(offset + len);
        Ok(())
    }
}

/// Where the notes are.
fn secrets(headers: &Headers) -> Range<u64> {
    let start = headers.sub.offset_note;
    start..start.saturating_add(headers.sub.size_note)
}

/// The sub header at `block`, with the notes after it that are held, and zeros in place of what these hold but for
/// VMCOREINFO and the dump's identity; and where all notes lie.
fn without_registers(
    header: &[u8],
    block: u64,
    bytes: &[u8],
    path: &Path,
) -> Result<(Vec<u8>, Range<u64>), Error> {
    let mut front = header.to_vec();
    front.resize(block as usize, 0);
    front.extend(bytes);
    let len = front.len();
    front.resize(len.next_multiple_of(block as usize), 0);
    // Notes that are not held come with later writes.
    let input = Input::of_beginning(path, front.clone(), u64::MAX);
    let headers = Headers::read(&input)?;
    let secrets = secrets(&headers);
    let raw = front.get_mut(secrets.start as usize..(secrets.end as usize).min(len));
    let unknown = || write_error(path, "find the notes of the dump", std::io::ErrorKind::InvalidData);
    let raw = raw.ok_or_else(unknown)?;
    let order = headers.layout.order;
    let notes = Notes::parse(raw, order).or_else(|error| Notes::parse(&raw[..error.offset], order));
    // Made from what was understood, so that nothing else remains.
    let mut clean = Notes::default();
    for note in notes.unwrap_or_default().iter() {
        let mut note = note.clone();
        if note.name != b"VMCOREINFO" && !is_identity(&note) && !sums::is_note(&note) {
            note.desc.fill(0);
        }
        clean.push(note, order);
    }
    raw.fill(0);
    let fit = clean.raw().len().min(raw.len());
    raw[..fit].copy_from_slice(&clean.raw()[..fit]);
    front.truncate(len);
    front.drain(..block as usize);
    Ok((front, secrets))
}
