//! A dump on a disk or partition of its own, without a file system.

use super::contents::contents;
use super::direct::Direct;
use super::{Sink, Syncing, len_of, write_all, write_error, write_parts};
use crate::Error;
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A block device that is written from its first byte on, whatever it held before.
///
/// There is no name that could appear at the end: that the dump is whole is said by its own header alone. A device that is too
/// small refuses the first byte past its end (`ENOSPC`), as a full disk does.
#[derive(Debug)]
pub struct RawDevice {
    path: PathBuf,
    file: File,
    len: u64,
    direct: Option<Direct>,
    syncing: Syncing,
}

impl RawDevice {
    /// Opens `path`, which may be a symbolic link as in `/dev/disk/by-id`, for this process alone.
    ///
    /// # Errors
    ///
    /// When it is not a block device; when it is mounted, swapped to or used otherwise; when it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |e: io::Error| write_error(path, "open the device", e);
        let unfit = || write_error(path, "use as a raw device what is no block device", Errno::NOTBLK);
        // The kind is asked before the file is opened: opening a tape or a watchdog does things.
        if !std::fs::metadata(path).map_err(failed)?.file_type().is_block_device() {
            return Err(unfit());
        }
        // EXCL on a block device: fails with EBUSY while the kernel uses it.
        let flags = (OFlags::EXCL | OFlags::NONBLOCK).bits() as i32;
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.file_type().is_block_device() {
            return Err(unfit());
        }
        Self::over(file, path)
    }

    fn over(file: File, path: &Path) -> Result<Self, Error> {
        let len = rustix::fs::seek(&file, SeekFrom::End(0));
        let len = len.map_err(|e| write_error(path, "find out its size", e))?;
        let direct = Direct::of_device(&file, path);
        Ok(Self { path: path.to_owned(), file, len, direct, syncing: Syncing::default() })
    }

    /// What is on the device, as far as a mark shows it: a file system, a partition table, an earlier dump.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn contents(&self) -> Result<Option<&'static str>, Error> {
        contents(&self.file, self.len).map_err(|e| write_error(&self.path, "look at what is on it", e))
    }

    /// The bytes that the device holds.
    pub fn capacity(&self) -> u64 {
        self.len
    }
}

/// Zeros are written in pieces of this size where the device has no quicker way.
const ZEROS: usize = 1 << 20;
/// The largest sector that disks have.
const SECTOR: u64 = 4096;

impl Sink for RawDevice {
    fn path(&self) -> &Path {
        &self.path
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.touch(offset, bytes.len());
        write_all(&self.file, &self.path, offset, bytes)
    }

    fn write_parts_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        self.touch(offset, len_of(parts));
        write_parts(&self.file, &self.path, offset, parts)
    }

    fn append_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        match &self.direct {
            Some(direct) if direct.append(&self.file, &self.path, offset, parts)? => Ok(()),
            _ => self.write_parts_at(offset, parts),
        }
    }

    fn sync(&self) -> Result<(), Error> {
        self.syncing.sync(&self.file, &self.path)
    }

    fn blank(&self, offset: u64, len: u64) -> Result<(), Error> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            let action = format!("hold {len} bytes at offset {offset:#x}: the device has {}", self.len);
            return Err(write_error(&self.path, action, Errno::NOSPC));
        }
        // Disks discard ranges faster than they write zeros, but only ranges of whole sectors.
        let end = offset + len;
        self.touch(offset, len as usize);
        let (first, last) = (offset.next_multiple_of(SECTOR).min(end), end - end % SECTOR);
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        if first < last && rustix::fs::fallocate(&self.file, flags, first, last - first).is_ok() {
            self.write_zeros(offset, first)?;
            return self.write_zeros(last, end);
        }
        self.write_zeros(offset, end)
    }
}

impl RawDevice {
    fn touch(&self, offset: u64, len: usize) {
        if let Some(direct) = &self.direct {
            direct.touch(offset.saturating_add(len as u64));
        }
    }

    fn write_zeros(&self, mut at: u64, end: u64) -> Result<(), Error> {
        let zeros = vec![0; end.saturating_sub(at).min(ZEROS as u64) as usize];
        while at < end {
            let piece = (end - at).min(ZEROS as u64);
            self.write_at(at, &zeros[..piece as usize])?;
            at += piece;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_block_device_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path(), Path::new("/dev/null"), Path::new("/")] {
            let message = RawDevice::open(path).unwrap_err().to_string();
            assert!(message.contains("no block device"), "{message}");
        }
    }

    #[test]
    fn older_content_is_blanked_and_only_as_far_as_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![0xff; 3 << 20]).unwrap();
        let open = OpenOptions::new().read(true).write(true).open(file.path()).unwrap();
        let device = RawDevice::over(open, file.path()).unwrap();
        assert_eq!(device.capacity(), 3 << 20);
        device.blank(512, (2 << 20) + 24).unwrap();
        device.write_at(600, b"dump").unwrap();
        let bulk = vec![7; 100_000];
        device.append_at((2 << 20) + 536, &[IoSlice::new(&bulk)]).unwrap();
        device.sync().unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(bytes.len(), 3 << 20);
        assert!(bytes[..512].iter().all(|&b| b == 0xff));
        assert_eq!(&bytes[600..604], b"dump");
        assert!(bytes[604..512 + (2 << 20) + 24].iter().all(|&b| b == 0));
        let behind = 512 + (2 << 20) + 24;
        assert!(bytes[behind..behind + bulk.len()] == bulk);
        assert!(bytes[(behind + bulk.len()).next_multiple_of(4096)..].iter().all(|&b| b == 0xff));
        assert!(device.blank(2 << 20, 2 << 20).is_err());
    }
}
