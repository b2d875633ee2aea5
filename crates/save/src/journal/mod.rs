//! What is durable and what was released, on the disk before anything depends on it.
//!
//! A record is appended and made durable before the next is written, so a crash tears at most the last one, and a torn last
//! record was never acted upon: it is dropped. A bad record before a good one cannot be the result of a crash. It is damage,
//! and refused: a journal that forgets what was released would make a tool read pages that the running system uses by now.
//!
//! [`Record`] has the format.

mod history;
mod record;
#[cfg(test)]
mod tests;

pub use history::History;
pub use record::{Begin, Record};

use crate::{Error, trust};
use dumpfile::output::sync_directory;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The most bytes of a journal: a save of 100 TiB writes a tenth of that.
const MAX_LEN: u64 = 256 << 20;

/// Where records go. Tests substitute a faulty disk.
pub trait Storage: Send {
    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// Returns the I/O error of the system.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything appended durable.
    ///
    /// # Errors
    ///
    /// Returns the I/O error of the system.
    fn sync(&mut self) -> io::Result<()>;
}

impl Storage for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        dumpfile::output::sync_file(self)
    }
}

/// Discards everything.
struct Nowhere;

impl Storage for Nowhere {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A journal to write to.
pub struct Journal {
    path: PathBuf,
    storage: Box<dyn Storage>,
    next: u64,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("path", &self.path).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Journal {
    /// Begins a journal in a new file at `path`, readable by its owner alone, and locks it.
    ///
    /// # Errors
    ///
    /// When the file exists, or the system refuses.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.append(true).create_new(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits() as i32);
        let file = options.open(path).map_err(journal_error(path, "create it"))?;
        lock(&file, path)?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_directory(parent).map_err(journal_error(path, "make its name durable"))?;
        }
        Ok(Self::over(path, Box::new(file)))
    }

    /// Begins a journal in `storage`, which is empty; `path` names it in messages.
    pub fn over(path: &Path, storage: Box<dyn Storage>) -> Self {
        Self { path: path.to_owned(), storage, next: 0 }
    }

    /// A journal that is kept nowhere, for a save that cannot be resumed.
    pub fn nowhere() -> Self {
        Self::over(Path::new("-"), Box::new(Nowhere))
    }

    /// The same journal with `wrap` around its storage.
    #[must_use]
    pub fn wrapped(self, wrap: impl FnOnce(Box<dyn Storage>) -> Box<dyn Storage>) -> Self {
        Self { storage: wrap(self.storage), ..self }
    }

    /// Opens the journal at `path` to append to it: locks it, reads it, cuts off a torn last record. There is no history
    /// unless the first record is whole.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is damaged, is no journal or may be another user's, or another process has locked it.
    pub fn resume(path: &Path) -> Result<(Self, Option<History>), Error> {
        let file = open(path, OFlags::RDWR | OFlags::APPEND)?;
        lock(&file, path)?;
        let (history, good) = read(&file, path)?;
        if history.is_none() && !is_torn_begin(&file, path)? {
            return Err(Error::NotAJournal { path: path.to_owned() });
        }
        file.set_len(good).map_err(journal_error(path, "cut off its torn end"))?;
        dumpfile::output::sync_file(&file).map_err(journal_error(path, "make it durable"))?;
        let next = history.as_ref().map_or(0, |history| history.records);
        Ok((Self { path: path.to_owned(), storage: Box::new(file), next }, history))
    }

    /// Reads the journal at `path`, which is left as it is and may be another process's. There is no history unless the
    /// first record is whole.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is damaged or may be another user's.
    pub fn read(path: &Path) -> Result<Option<History>, Error> {
        Ok(read(&open(path, OFlags::RDONLY)?, path)?.0)
    }

    /// Whether the file at `path` cannot be what a save left: it is no journal, and no crash tore it.
    pub fn is_foreign(path: &Path) -> bool {
        let Ok(file) = open(path, OFlags::RDONLY) else { return false };
        match read(&file, path) {
            Err(Error::NotAJournal { .. }) => true,
            Ok((None, _)) => matches!(is_torn_begin(&file, path), Ok(false)),
            _ => false,
        }
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record and makes it durable.
    ///
    /// # Errors
    ///
    /// When the system refuses. The record may or may not be there then.
    pub fn append(&mut self, record: &Record) -> Result<(), Error> {
        let line = record::encode(self.next, record);
        let done = self.storage.append(line.as_bytes()).and_then(|()| self.storage.sync());
        done.map_err(journal_error(&self.path, "append to it"))?;
        self.next += 1;
        Ok(())
    }
}

/// Opens a journal that nobody else can have made.
fn open(path: &Path, flags: OFlags) -> Result<File, Error> {
    let file = trust::open(path, flags)?;
    file.ok_or_else(|| journal_error(path, "open it")(io::ErrorKind::NotFound.into()))
}

fn journal_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Journal { path, action, source }
}

/// What a journal says, and how many bytes of it are good records.
fn read(file: &File, path: &Path) -> Result<(Option<History>, u64), Error> {
    if len_of(file, path)? > MAX_LEN {
        return Err(Error::NotAJournal { path: path.to_owned() });
    }
    History::read(path, &mut BufReader::new(file))
}

fn len_of(file: &File, path: &Path) -> Result<u64, Error> {
    Ok(file.metadata().map_err(journal_error(path, "look at it"))?.len())
}

/// Whether a crash can have left this file without a whole record.
fn is_torn_begin(file: &File, path: &Path) -> Result<bool, Error> {
    if len_of(file, path)? > record::MAX_BEGIN {
        return Ok(false);
    }
    let mut text = vec![0; record::MAX_BEGIN as usize];
    let have = file.read_at(&mut text, 0).map_err(journal_error(path, "read it"))?;
    Ok(record::is_torn_begin(&text[..have]))
}

fn lock(file: &File, path: &Path) -> Result<(), Error> {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::AGAIN) => Err(Error::Busy { path: path.to_owned() }),
        // Not every file system has locks.
        _ => Ok(()),
    }
}
