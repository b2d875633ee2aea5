//! Writing past the page cache.
//!
//! A dump is written once and read much later. Through the page cache every byte of it is copied by the processors that
//! are to compress, and takes memory that a capture kernel has little of; there it waits until so much is dirty that the
//! system stops the writer, or until the `fsync` at the end. Written past it (`O_DIRECT`), it goes to the disk while the
//! next pages are compressed, and nothing is left to sync.
//!
//! A write waits for the disk. Where many processors make more than one such write at a time can carry, an append is cut into
//! pieces that a few threads write at once. It still ends when all of them are written, so whoever appends, writes
//! descriptors or syncs sees one write after another.

#[cfg(test)]
pub(super) mod disk;
mod spread;
mod stage;

use super::{write_all, write_error};
use crate::Error;
use rustix::fs::OFlags;
use stage::{Stage, Target};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What offsets, lengths and addresses have to be multiples of: the largest sector that disks have.
const BLOCK: usize = 4096;

/// Fewer bytes than that are better left to the system to gather.
const LEAST: usize = 64 << 10;

/// The file systems on which this is as fast as the disk, by their `f_type` (`linux/magic.h`): ext2, ext3 and ext4, and
/// XFS. NFS would make each write durable on its own; others copy the data after all, for their checksums.
const FILE_SYSTEMS: [u64; 2] = [0xef53, 0x5846_5342];

/// How many threads write at once, at most.
const MOST_WRITERS: usize = 8;

/// Processors for each thread that writes. On two processors a second such thread made writes 10 to 50 % slower (1 MiB each, ext4).
/// In the simulation of larger machines (`cargo xtask bench --processors`) two are enough for a disk that answers within 0.04 ms,
/// and one that answers later needs more.
const PROCESSORS_EACH: usize = 4;

fn writers(processors: usize) -> usize {
    (processors / PROCESSORS_EACH).clamp(1, MOST_WRITERS)
}

/// Another way into a file that is being written.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    /// It is a file that can be made longer and shorter.
    has_length: bool,
    stage: Mutex<Stage>,
}

impl Direct {
    /// Opens a regular file once more by its name, if that is of use.
    pub(super) fn of_file(file: &File, path: &Path) -> Option<Self> {
        let kind = rustix::fs::fstatfs(file).ok()?.f_type;
        let known = FILE_SYSTEMS.iter().any(|known| i128::from(kind) == i128::from(*known));
        let direct = if known { Self::of_device(file, path) } else { None };
        Some(Self { has_length: true, ..direct? })
    }

    /// Opens a block device, or a file whatever it lies on, once more by its name.
    pub(super) fn of_device(file: &File, path: &Path) -> Option<Self> {
        let flags = OFlags::DIRECT.bits() as i32;
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
        let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
        let same = identity(&direct)? == identity(file)?;
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let stage = Mutex::new(Stage::new(writers(processors)));
        same.then(|| Self { file: direct, has_length: false, stage })
    }

    /// Writes `parts` one after another from `offset` on, and zeros after them to the end of the block; reports
    /// whether it did so: it does not when they are few bytes. `file` is the first way into the file.
    ///
    /// # Errors
    ///
    /// As [`super::Sink::append_at`]. Some of the bytes may be written then.
    pub(super) fn append(
        &self,
        file: &File,
        path: &Path,
        offset: u64,
        parts: &[IoSlice<'_>],
    ) -> Result<bool, Error> {
        let ways = Ways { direct: &self.file, cached: file, path, has_length: self.has_length };
        self.stage().append(&ways, offset, parts)
    }

    /// Notes that bytes up to `end` changed in another way.
    pub(super) fn touch(&self, end: u64) {
        self.stage().touch(end);
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Ways<'a> {
    direct: &'a File,
    cached: &'a File,
    path: &'a Path,
    has_length: bool,
}

impl Target for Ways<'_> {
    fn direct(&self, bytes: &[u8], offset: u64) -> rustix::io::Result<usize> {
        rustix::io::pwrite(self.direct, bytes, offset)
    }

    fn cached(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        write_all(self.cached, self.path, offset, bytes)
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), Error> {
        let end = offset + bytes.len() as u64;
        read_or_zeros(self.cached, bytes, offset)
            .map_err(|e| write_error(self.path, format!("read the bytes before offset {end:#x}"), e))
    }

    fn lengthen(&self, len: u64) -> Option<u64> {
        let before = self.cached.metadata().ok().filter(|_| self.has_length)?.len();
        // Where this is refused the writes say why.
        (before < len && self.cached.set_len(len).is_ok()).then_some(before)
    }

    fn shorten(&self, len: u64) {
        // An error has been met already.
        let _ = self.cached.set_len(len);
    }
}

/// Reads `bytes` from `offset` on; what is past the end of the file is zeros.
fn read_or_zeros(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.read_at(bytes, offset) {
            Ok(0) => {
                bytes.fill(0);
                return Ok(());
            }
            Ok(count) => {
                bytes = &mut bytes[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
