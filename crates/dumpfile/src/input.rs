//! An input file: positional reads, and the holes of a sparse file.
//!
//! Input is read, not mapped. Mapping, in the way that is safe against a file that is cut short meanwhile (populate, use,
//! drop), takes 1.2 times the CPU of `pread` for compressed output and 1.4 to 1.8 times for plain output
//! (docs/performance.md), for the work on page tables that it means; and a bad sector under a mapping is a signal.

use crate::Error;
use rustix::fs::{OFlags, SeekFrom};
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use vmcore::ReadError;

/// A file opened for reading at any position, by any number of threads.
#[derive(Debug)]
pub(crate) struct Input {
    path: PathBuf,
    file: File,
    len: u64,
    /// Whether the file has fewer blocks than its length needs, so that asking for its holes pays.
    sparse: bool,
}

impl Input {
    /// Opens a regular file (`/proc/vmcore` among them) or a block device.
    ///
    /// # Errors
    ///
    /// When it is something else, which is named, or cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Self::open_kind(path, None)
    }

    /// As [`Input::open`], and takes a character device too, such as `/dev/mem`, as a file of `device_len` bytes.
    ///
    /// # Errors
    ///
    /// As [`Input::open`].
    pub(crate) fn open_device(path: &Path, device_len: u64) -> Result<Self, Error> {
        Self::open_kind(path, Some(device_len))
    }

    fn open_kind(path: &Path, device_len: Option<u64>) -> Result<Self, Error> {
        let failed = |source| Error::Open { path: path.to_owned(), source };
        let unfit = |what: &str| Error::Unsupported { path: path.to_owned(), what: what.into() };
        // The kind is asked before the file is opened: opening a tape or a watchdog does things.
        check_kind(&std::fs::metadata(path).map_err(failed)?, device_len.is_some()).map_err(unfit)?;
        // Without NONBLOCK a FIFO that came in between would block until somebody writes.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        check_kind(&meta, device_len.is_some()).map_err(unfit)?;
        let regular = meta.file_type().is_file();
        // A block device has a length that only seeking tells, a character device none.
        let len = match device_len {
            _ if regular => meta.len(),
            Some(len) if meta.file_type().is_char_device() => len,
            _ => rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|e| failed(e.into()))?,
        };
        Ok(Self {
            path: path.to_owned(),
            // /proc/vmcore has no blocks at all.
            sparse: regular && (1..len / 512).contains(&meta.blocks()),
            file,
            len,
        })
    }

    /// The file's name, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length in bytes when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reports whether looking for holes pays.
    pub(crate) fn is_sparse(&self) -> bool {
        self.sparse
    }

    /// An error that says that `field` at `offset` holds `found` instead of `expected`.
    pub(crate) fn damaged(
        &self,
        field: impl Into<String>,
        offset: u64,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> ReadError {
        ReadError::Damaged {
            path: self.path.clone(),
            field: field.into(),
            offset,
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`] when the system refuses, with `UnexpectedEof` when the file ends before.
    pub(crate) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        self.file.read_exact_at(bytes, offset).map_err(|source| ReadError::Io {
            path: self.path.clone(),
            offset,
            len: bytes.len() as u64,
            source,
        })
    }

    /// The first offset at or after `offset` where the file may hold something else than a hole; the file's length
    /// when only a hole follows.
    pub(crate) fn next_data(&self, offset: u64) -> u64 {
        if !self.sparse {
            return offset;
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data.max(offset),
            Err(rustix::io::Errno::NXIO) => self.len.max(offset),
            Err(_) => offset,
        }
    }
}

/// Names what cannot be read at positions.
fn check_kind(meta: &Metadata, device: bool) -> Result<(), &'static str> {
    let kind = meta.file_type();
    if kind.is_dir() {
        Err("a directory, not a dump file")
    } else if kind.is_fifo() {
        Err("a pipe: a dump is read at random, so write it into a file first (cat PIPE > FILE)")
    } else if kind.is_char_device() && !device {
        Err("a character device, not a dump file")
    } else if kind.is_socket() {
        Err("a socket, not a dump file")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Seek, Write};

    #[test]
    fn what_is_not_a_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        for (path, word) in
            [(dir.path(), "directory"), (&fifo, "pipe"), (Path::new("/dev/null"), "character device")]
        {
            let message = Input::open(path).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
        let missing = Input::open(&dir.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("cannot be opened"), "{missing}");
    }

    #[test]
    fn holes_are_found() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.seek(io::SeekFrom::Start(1 << 20)).unwrap();
        file.write_all(&[7; 4096]).unwrap();
        file.as_file().set_len(4 << 20).unwrap();
        file.as_file().sync_all().unwrap();
        let input = Input::open(file.path()).unwrap();
        if !input.sparse {
            eprintln!("skipped: this file system keeps no holes");
            return;
        }
        assert_eq!(input.next_data(0), 1 << 20);
        assert_eq!(input.next_data(2 << 20), 4 << 20);
        assert_eq!(input.next_data(9 << 20), 9 << 20);
    }

    #[test]
    fn reading_past_the_end_says_where() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"dump").unwrap();
        let input = Input::open(file.path()).unwrap();
        let error = input.read_at(2, &mut [0; 4]).unwrap_err();
        assert!(
            matches!(&error, ReadError::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof)
        );
        assert!(error.to_string().contains("4 bytes at offset 0x2"), "{error}");
    }
}
