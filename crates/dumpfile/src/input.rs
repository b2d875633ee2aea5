//! An input file: positional reads, loans from a mapping, and the holes of a sparse file.

use crate::Error;
use crate::map::Mapping;
use rustix::fs::{OFlags, SeekFrom};
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use vmcore::ReadError;

/// File systems whose files may be mapped: those that keep bytes on this machine (`f_type` of `statfs`, values of
/// `linux/magic.h` and of the file systems' own headers). Across a network or a user process a byte can fail long
/// after it was promised, and `/proc/vmcore` is not backed by the page cache; there `pread` reports errors.
const MAPPED: [u32; 15] = [
    0x0000_ef53, // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0xf2f5_2010, // f2fs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0x7371_7368, // squashfs
    0xe0f5_e1e2, // erofs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
    0x3153_464a, // jfs
    0x0000_9660, // iso9660
    0x0000_4d44, // vfat
    0x2011_bab0, // exfat
];

/// A file opened for reading at any position, by any number of threads.
#[derive(Debug)]
pub(crate) struct Input {
    path: PathBuf,
    file: File,
    len: u64,
    mapping: Option<Mapping>,
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
        let local =
            regular && rustix::fs::fstatfs(&file).is_ok_and(|fs| MAPPED.contains(&(fs.f_type as u32)));
        Ok(Self {
            path: path.to_owned(),
            mapping: if local { Mapping::new(&file, len) } else { None },
            sparse: local && meta.blocks() < len / 512,
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

    /// Lends `len` bytes from `offset` on when they are mapped, in memory and free of holes.
    ///
    /// Holes are not lent because touching them would fill the page cache with zeros; [`Input::next_data`] finds
    /// them for nothing.
    pub(crate) fn lend(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let mapping = self.mapping.as_ref()?;
        if self.sparse && self.next_hole(offset) < offset.checked_add(len as u64)? {
            return None;
        }
        mapping.lend(offset, len)
    }

    /// Says that `len` bytes from `offset` on were read, so that they need not stay resident.
    pub(crate) fn done_with(&self, offset: u64, len: u64) {
        if let Some(mapping) = &self.mapping {
            mapping.drop_behind(offset, len);
        }
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

    /// The first offset at or after `offset` where a hole may begin; the file's end counts as one.
    fn next_hole(&self, offset: u64) -> u64 {
        rustix::fs::seek(&self.file, SeekFrom::Hole(offset)).unwrap_or(offset)
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
    fn holes_are_found_and_not_lent() {
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
        assert!(input.lend(0, 4096).is_none());
        assert!(input.lend(1 << 20, 8192).is_none());
        if let Some(lent) = input.lend(1 << 20, 4096) {
            assert_eq!(lent, [7; 4096]);
        }
        input.done_with(0, u64::MAX);
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
