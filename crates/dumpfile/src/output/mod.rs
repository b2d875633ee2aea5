//! Where bytes go.
//!
//! Writers know only [`Sink`], positional writes that several threads make at once. [`OutputFile`] is the sink that
//! is a file, [`RawDevice`] the one that is a disk without a file system.

mod contents;
mod device;
mod direct;
mod file;
mod gathered;
mod over;

pub use device::RawDevice;
#[cfg(test)]
pub(crate) use direct::disk::OnDisk;
pub use file::OutputFile;
pub use gathered::Gathered;
pub use over::directory_of;

use crate::Error;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes the bytes of a dump, each at its offset in the file.
///
/// Methods take `&self`: worker threads write different parts at once. What is never written reads as zero.
pub trait Sink: Send + Sync {
    /// What the bytes go to, for messages.
    fn path(&self) -> &Path;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    ///
    /// [`Error::Write`], with the offset, when the system refuses; part of the bytes may be written then.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error>;

    /// Writes `parts` one after another from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`Sink::write_at`].
    fn write_parts_at(&self, mut offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        for part in parts {
            self.write_at(offset, part)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// As [`Sink::write_parts_at`], for the bulk of a dump, one call at a time: nothing follows these bytes yet, and
    /// there may be up to 4095 zeros until something does.
    ///
    /// # Errors
    ///
    /// As [`Sink::write_at`].
    fn append_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        self.write_parts_at(offset, parts)
    }

    /// Makes durable what was written; a stream sends what it holds back.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] when the system cannot say that everything is durable, and ever after: it tells of lost bytes
    /// only once.
    fn sync(&self) -> Result<(), Error>;

    /// Makes sure that `len` bytes from `offset` on, of which nothing was written yet, read as zero. Only a sink that holds
    /// older content has anything to do.
    ///
    /// # Errors
    ///
    /// As [`Sink::write_at`].
    fn blank(&self, _offset: u64, _len: u64) -> Result<(), Error> {
        Ok(())
    }

    /// Gives up what was written from `len` on, so that a full disk has room again, and reports whether it has. A sink without
    /// a length of its own does nothing.
    fn cut_off(&self, _len: u64) -> bool {
        false
    }

    /// Reports whether what was written can not be written again, as in a pipe. Writers then write in an order that
    /// does not depend on the number of threads, and every byte once where they can.
    fn is_stream(&self) -> bool {
        false
    }

    /// Reports whether a write lasts until a disk or somebody else has taken the bytes, so that a processor has time for other
    /// things meanwhile. Where the system only copies them a write is work like any other.
    fn waits(&self) -> bool {
        true
    }
}

macro_rules! sink_behind {
    ($($pointer:ty),*) => {$(
        impl<S: Sink + ?Sized> Sink for $pointer {
            fn path(&self) -> &Path {
                (**self).path()
            }

            fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
                (**self).write_at(offset, bytes)
            }

            fn write_parts_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
                (**self).write_parts_at(offset, parts)
            }

            fn append_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
                (**self).append_at(offset, parts)
            }

            fn sync(&self) -> Result<(), Error> {
                (**self).sync()
            }

            fn blank(&self, offset: u64, len: u64) -> Result<(), Error> {
                (**self).blank(offset, len)
            }

            fn cut_off(&self, len: u64) -> bool {
                (**self).cut_off(len)
            }

            fn is_stream(&self) -> bool {
                (**self).is_stream()
            }

            fn waits(&self) -> bool {
                (**self).waits()
            }
        }
    )*};
}

sink_behind!(Box<S>, &S);

/// An empty file without a name in `directory`, for data that outgrows memory.
///
/// # Errors
///
/// When the directory takes no more files.
pub fn work_file(directory: &Path) -> io::Result<File> {
    let flags = (OFlags::TMPFILE | OFlags::EXCL).bits() as i32;
    let unnamed = OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags).open(directory);
    // Not every file system has files without a name; this one loses its name at once.
    unnamed.or_else(|_| Ok(tempfile::NamedTempFile::new_in(directory)?.into_file()))
}

fn len_of(parts: &[IoSlice<'_>]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// Wraps a system's refusal.
pub(crate) fn write_error(path: &Path, action: impl Into<String>, source: impl Into<io::Error>) -> Error {
    Error::Write { path: path.to_owned(), action: action.into(), source: source.into() }
}

/// Writes all of `bytes` to `file`, which messages call `path`.
fn write_all(file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), Error> {
    file.write_all_at(bytes, offset)
        .map_err(|e| write_error(path, format!("write {} bytes at offset {offset:#x}", bytes.len()), e))
}

/// Writes `parts` to `file` with as few system calls as it takes.
fn write_parts(file: &File, path: &Path, mut offset: u64, mut parts: &[IoSlice<'_>]) -> Result<(), Error> {
    while let Some(first) = parts.first() {
        // The system takes at most IOV_MAX parts, and may take fewer bytes than given.
        let some = &parts[..parts.len().min(1024)];
        let written = match rustix::io::pwritev(file, some, offset) {
            Err(Errno::INTR) => continue,
            Ok(0) if first.is_empty() => Ok(0),
            Ok(0) => Err(Errno::IO),
            other => other,
        };
        let mut written =
            written.map_err(|e| write_error(path, format!("write at offset {offset:#x}"), e))?;
        offset += written as u64;
        while let Some(part) = parts.first() {
            if written < part.len() {
                break;
            }
            written -= part.len();
            parts = &parts[1..];
        }
        if written > 0 {
            let rest = &parts[0][written..];
            write_all(file, path, offset, rest)?;
            offset += rest.len() as u64;
            parts = &parts[1..];
        }
    }
    Ok(())
}

/// Makes a file durable. Where its file system has no way to sync one file, all of it is synced.
///
/// # Errors
///
/// When the system cannot say that everything is durable.
pub fn sync_file(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(e) if has_no_sync(&e) => Ok(rustix::fs::syncfs(file)?),
        other => other,
    }
}

/// Makes the names in `directory` durable, if its file system can.
///
/// # Errors
///
/// Returns the I/O error of the system.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        Err(e) if has_no_sync(&e) => Ok(()),
        other => other,
    }
}

/// Reports whether the system refused to sync because the file system, network or FUSE, or the device has no such call.
fn has_no_sync(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS))
}

/// Makes files durable, as long as that can be believed.
#[derive(Debug, Default)]
struct Syncing {
    /// The system forgets what it could not write, and finds all well the next time.
    failed: AtomicBool,
}

impl Syncing {
    fn sync(&self, file: &File, path: &Path) -> Result<(), Error> {
        let synced = match self.failed.load(Ordering::Relaxed) {
            true => Err(Errno::IO.into()),
            false => sync_file(file),
        };
        synced.map_err(|e| {
            self.failed.store(true, Ordering::Relaxed);
            write_error(path, "write it out to the disk", e)
        })
    }
}
