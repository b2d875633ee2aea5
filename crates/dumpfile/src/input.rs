//! An input file: positional reads, and the holes of a sparse file. A flattened file shows here as the file that it
//! stands for, and bytes in memory as a file of them; readers see no difference.
//!
//! `/proc/vmcore` is mapped ([`mapped`]), everything else is read: mapping an ordinary file, in the way that is safe against
//! its being cut short meanwhile (populate, use, drop), takes 1.2 times the CPU of `pread` for compressed output and 1.4 to
//! 1.8 times for plain output (docs/performance.md), for the work on page tables that it means; and a bad sector under a
//! mapping is a signal.

use crate::Error;
use crate::flattened::{Covered, Index};
use mapped::MappedFile;
use rustix::fs::{OFlags, PROC_SUPER_MAGIC, SeekFrom};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vmcore::{NoteSource, ReadError};

/// A file may be cut short by this many bytes, or by this many times its own length, before what it claims is taken for
/// damaged: a dump of a large machine that was cut early still has its notes, and each lost page takes a descriptor.
const MAX_LOST: u64 = 1 << 44;
const MAX_LOST_SHARE: u64 = 1 << 16;

/// How the bytes of a file are got at; what is read is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// `/proc/vmcore` is mapped where the kernel can, everything else is read.
    #[default]
    Usual,
    /// Everything is read.
    Read,
    /// Regular files are mapped. One that is cut short meanwhile ends the program with SIGBUS.
    Map,
}

/// A file opened for reading at any position, by any number of threads. A clone is the same file.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    path: PathBuf,
    bytes: Bytes,
    len: u64,
    /// Whether the file has fewer blocks than its length needs, so that asking for its holes pays.
    sparse: bool,
}

/// Where the bytes are.
#[derive(Clone, Debug)]
enum Bytes {
    File(Arc<File>),
    Mapped(Arc<MappedFile>),
    Memory(Arc<Vec<u8>>),
    Flattened(Arc<(Input, Index)>),
}

impl Input {
    /// Opens a regular file (`/proc/vmcore` among them) or a block device.
    ///
    /// # Errors
    ///
    /// When it is something else, which is named, or cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Self::open_as(path, Access::Usual)
    }

    /// As [`Input::open`], where somebody says how it is to be read.
    ///
    /// # Errors
    ///
    /// As [`Input::open`].
    pub(crate) fn open_as(path: &Path, access: Access) -> Result<Self, Error> {
        Self::open_kind(path, None, access)
    }

    /// As [`Input::open`], and takes a character device too, such as `/dev/mem`, as a file of `device_len` bytes.
    ///
    /// # Errors
    ///
    /// As [`Input::open`].
    pub(crate) fn open_device(path: &Path, device_len: u64) -> Result<Self, Error> {
        Self::open_kind(path, Some(device_len), Access::Usual)
    }

    fn open_kind(path: &Path, device_len: Option<u64>, access: Access) -> Result<Self, Error> {
        let failed = |source| Error::Open { path: path.to_owned(), source };
        let unfit = |what: &str| Error::Unsupported { path: path.to_owned(), what: what.into() };
        // The kind is asked before the file is opened: opening a tape or a watchdog does things.
        check_kind(&std::fs::metadata(path).map_err(failed)?, device_len.is_some()).map_err(unfit)?;
        // Without NONBLOCK a FIFO that came in between would block until it has a writer.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        check_kind(&meta, device_len.is_some()).map_err(unfit)?;
        let regular = meta.file_type().is_file();
        // The length of a block device is known only by seeking; a character device has none.
        let len = match device_len {
            _ if regular => meta.len(),
            Some(len) if meta.file_type().is_char_device() => len,
            _ => rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|e| failed(e.into()))?,
        };
        // /proc/vmcore has no blocks at all.
        let sparse = regular && (1..len / 512).contains(&meta.blocks());
        let map = match access {
            Access::Usual => regular && is_on_proc(&file),
            Access::Read => false,
            Access::Map => regular,
        };
        let bytes = if map {
            Bytes::Mapped(Arc::new(MappedFile::new(file, len)))
        } else {
            Bytes::File(Arc::new(file))
        };
        Ok(Self { path: path.to_owned(), bytes, len, sparse })
    }

    /// A regular file that is open already; `path` is for messages.
    ///
    /// # Errors
    ///
    /// When the system does not give its length.
    pub(crate) fn of_file(file: File, path: &Path) -> Result<Self, Error> {
        let meta = file.metadata().map_err(|source| Error::Open { path: path.to_owned(), source })?;
        let len = meta.len();
        let sparse = (1..len / 512).contains(&meta.blocks());
        Ok(Self { path: path.to_owned(), bytes: Bytes::File(Arc::new(file)), len, sparse })
    }

    /// Bytes in memory, under a name for messages.
    pub(crate) fn of_bytes(name: &Path, bytes: Vec<u8>) -> Self {
        Self {
            path: name.to_owned(),
            len: bytes.len() as u64,
            bytes: Bytes::Memory(Arc::new(bytes)),
            sparse: false,
        }
    }

    /// The beginning of a file of `len` bytes that is being written.
    pub(crate) fn of_beginning(name: &Path, bytes: Vec<u8>, len: u64) -> Self {
        Self { len, ..Self::of_bytes(name, bytes) }
    }

    /// The dump file that a flattened file stands for.
    ///
    /// # Errors
    ///
    /// When a record of the flattened file lies, or there are too many.
    pub(crate) fn unflattened(self) -> Result<Self, Error> {
        let index = Index::read(&self)?;
        let (len, sparse) = (index.len(), index.has_gaps());
        Ok(Self { path: self.path.clone(), bytes: Bytes::Flattened(Arc::new((self, index))), len, sparse })
    }

    /// The file that a stream was written to, of which only these bytes came.
    pub(crate) fn received(self, covered: &Covered) -> Self {
        let index = Index::of_covered(covered);
        let (len, sparse) = (index.len(), index.has_gaps());
        Self { path: self.path.clone(), bytes: Bytes::Flattened(Arc::new((self, index))), len, sparse }
    }

    /// What was odd about a flattened file.
    pub(crate) fn remark(&self) -> Option<&str> {
        match &self.bytes {
            Bytes::Flattened(inner) => inner.1.remark(),
            Bytes::File(_) | Bytes::Mapped(_) | Bytes::Memory(_) => None,
        }
    }

    /// Reports whether this is a flattened file that lacks its end. In other files this cannot be seen.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(&self.bytes, Bytes::Flattened(inner) if inner.1.is_cut())
    }

    /// The file's name, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length in bytes when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// How many bytes there are at most that are no holes: a flattened file of a few bytes can stand for terabytes of zeros,
    /// which justify no memory.
    pub(crate) fn stored(&self) -> u64 {
        match &self.bytes {
            Bytes::File(_) | Bytes::Mapped(_) | Bytes::Memory(_) => self.len,
            Bytes::Flattened(inner) => inner.0.len.min(self.len),
        }
    }

    /// Reports whether a file of this length cannot have lost this many bytes.
    pub(crate) fn cannot_lack(&self, lost: u64) -> bool {
        lost > MAX_LOST && lost / MAX_LOST_SHARE > self.len
    }

    /// Reports whether looking for holes pays.
    pub(crate) fn is_sparse(&self) -> bool {
        self.sparse
    }

    /// An error that says that the file ends before `part` of it does, for which it needs the first `needed` bytes.
    pub(crate) fn cut_off(&self, needed: u64, part: &str) -> Error {
        let what = format!("cut off: {} of the {needed} bytes that {part} take, and no page", self.len());
        Error::Unsupported { path: self.path.clone(), what }
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
        let read = match &self.bytes {
            Bytes::File(file) => file.read_exact_at(bytes, offset),
            Bytes::Mapped(file) => file.read_exact_at(bytes, offset),
            Bytes::Memory(all) => {
                let part = usize::try_from(offset).ok().and_then(|at| all.get(at..)?.get(..bytes.len()));
                part.map(|part| bytes.copy_from_slice(part)).ok_or(io::ErrorKind::UnexpectedEof.into())
            }
            Bytes::Flattened(inner) => return inner.1.read_at(&inner.0, offset, bytes),
        };
        read.map_err(|source| self.io_error(offset, bytes.len(), source))
    }

    fn io_error(&self, offset: u64, len: usize, source: io::Error) -> ReadError {
        ReadError::Io { path: self.path.clone(), offset, len: len as u64, source }
    }

    /// Reports whether all of these bytes were written, as far as that can be seen: in a flattened file no piece may
    /// cover them.
    pub(crate) fn has(&self, offset: u64, len: u64) -> bool {
        match &self.bytes {
            Bytes::Flattened(inner) => inner.1.covers(offset, len),
            Bytes::File(_) | Bytes::Mapped(_) | Bytes::Memory(_) => true,
        }
    }

    /// The stretches of `start..end` that no piece of a flattened file covers; none in other files.
    pub(crate) fn gaps(&self, start: u64, end: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
        let index = match &self.bytes {
            Bytes::Flattened(inner) => Some(&inner.1),
            Bytes::File(_) | Bytes::Mapped(_) | Bytes::Memory(_) => None,
        };
        index.into_iter().flat_map(move |index| index.gaps(start, end))
    }

    /// As [`Input::read_at`] for bytes that the file's writer must have written unless they are zeros: in a flattened file
    /// without its end, a stretch that no piece covers is not zeros but did not arrive.
    ///
    /// # Errors
    ///
    /// As [`Input::read_at`].
    pub(crate) fn read_content_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        if self.is_cut() { self.read_written_at(offset, bytes) } else { self.read_at(offset, bytes) }
    }

    /// As [`Input::read_at`] for bytes that the file's writer must have written whatever they are, see [`Input::has`].
    ///
    /// # Errors
    ///
    /// As [`Input::read_at`].
    pub(crate) fn read_written_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        if !self.has(offset, bytes.len() as u64) {
            return Err(self.io_error(offset, bytes.len(), io::ErrorKind::UnexpectedEof.into()));
        }
        self.read_at(offset, bytes)
    }

    /// As [`Input::next_data`] for bytes that the file's writer must have written, see [`Input::read_content_at`].
    pub(crate) fn next_content(&self, offset: u64) -> u64 {
        if self.is_cut() { offset } else { self.next_data(offset) }
    }

    /// The first offset at or after `offset` where the file may hold something else than a hole; the file's length
    /// when only a hole follows.
    pub(crate) fn next_data(&self, offset: u64) -> u64 {
        if !self.sparse {
            return offset;
        }
        let file = match &self.bytes {
            Bytes::File(file) => file,
            Bytes::Mapped(file) => file.file(),
            Bytes::Flattened(inner) => return inner.1.next_data(offset),
            Bytes::Memory(_) => return offset,
        };
        match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(data) => data.max(offset),
            Err(rustix::io::Errno::NXIO) => self.len.max(offset),
            Err(_) => offset,
        }
    }
}

impl NoteSource for Input {
    fn read_note(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        self.read_content_at(offset, bytes)
    }
}

/// Whether a file is the kernel's own: of those that are read here this is `/proc/vmcore`, wherever procfs is mounted and
/// whatever the file is called. (`/proc/kcore` has a length, too; the kernel refuses to map it, and it is read.)
fn is_on_proc(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type == PROC_SUPER_MAGIC)
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
    use std::io::{Seek, Write};

    #[test]
    fn what_is_not_a_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        for (path, word) in
            [(dir.path(), "directory"), (&fifo, "pipe"), (Path::new("/dev/null"), "character device")]
        {
            let message = Input::open(path).err().unwrap().to_string();
            assert!(message.contains(word), "{message}");
        }
        let missing = Input::open(&dir.path().join("none")).err().unwrap();
        assert!(missing.to_string().contains("cannot be opened"), "{missing}");
    }

    #[test]
    fn only_a_file_of_procfs_is_mapped_unless_it_is_asked_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let kernels_own = Path::new("/proc/version");
        for (path, access, mapped) in [
            (file.path(), Access::Usual, false),
            (file.path(), Access::Map, true),
            (kernels_own, Access::Usual, true),
            (kernels_own, Access::Read, false),
        ] {
            let input = Input::open_as(path, access).unwrap();
            assert_eq!(matches!(input.bytes, Bytes::Mapped(_)), mapped, "{} {access:?}", path.display());
        }
        let mut word = [0; 5];
        Input::open(kernels_own).unwrap().read_at(0, &mut word).unwrap();
        assert_eq!(&word, b"Linux");
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
