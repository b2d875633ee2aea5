//! A disk for tests: it is slow, takes pieces in any order and in parts, and fails.

use super::BLOCK;
use super::stage::{Stage, Target};
use crate::Error;
use crate::output::{Sink, write_error};
use rustix::io::Errno;
use std::collections::HashSet;
use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// A disk in memory. What it does follows from a seed and from how many writes there were.
pub(super) struct Disk {
    bytes: Mutex<Vec<u8>>,
    seed: u64,
    writes: AtomicU64,
    /// Writes that have begun and not ended.
    under_way: AtomicUsize,
    /// Blocks that take nothing.
    pub(super) broken: HashSet<u64>,
    /// Bytes that it has room for.
    room: u64,
    /// One in so many direct writes is refused, as by a file system that takes none; 0 for none.
    pub(super) refuse: u64,
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        let (bytes, writes, under_way) = (Mutex::default(), AtomicU64::new(0), AtomicUsize::new(0));
        Self { bytes, seed, writes, under_way, broken: HashSet::new(), room: u64::MAX, refuse: 0 }
    }

    pub(super) fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap()
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    pub(super) fn put(&self, bytes: &[u8], offset: u64) -> Result<(), Errno> {
        let end = offset + bytes.len() as u64;
        let mut blocks = offset / BLOCK as u64..end.div_ceil(BLOCK as u64);
        if end > self.room || blocks.any(|block| self.broken.contains(&block)) {
            return Err(Errno::NOSPC);
        }
        let mut all = self.bytes();
        let (start, end) = (offset as usize, end as usize);
        if all.len() < end {
            all.resize(end, 0);
        }
        all[start..end].copy_from_slice(bytes);
        Ok(())
    }

    /// Runs a write that takes a while.
    fn while_under_way<T>(&self, write: impl FnOnce(u64) -> T) -> T {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let n = self.writes.fetch_add(1, Ordering::Relaxed) ^ self.seed;
        let mood = n.wrapping_mul(6_364_136_223_846_793_005).rotate_left(23).wrapping_mul(0x9e37_79b9) >> 8;
        std::thread::sleep(Duration::from_micros(mood % 300));
        let written = write(mood / 300);
        std::thread::sleep(Duration::from_micros(mood / 4096 % 300));
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        written
    }
}

impl Target for Disk {
    fn direct(&self, bytes: &[u8], offset: u64) -> rustix::io::Result<usize> {
        assert!(bytes.as_ptr().align_offset(BLOCK) == 0 && bytes.len().is_multiple_of(BLOCK));
        assert!(offset.is_multiple_of(BLOCK as u64));
        self.while_under_way(|mood| match mood % 16 {
            _ if self.refuse > 0 && (mood / 16).is_multiple_of(self.refuse) => Err(Errno::INVAL),
            0 | 1 => Err(Errno::INTR),
            2 | 3 => {
                let some = (bytes.len() / BLOCK / 2).max(1) * BLOCK;
                self.put(&bytes[..some], offset).map(|()| some)
            }
            _ => self.put(bytes, offset).map(|()| bytes.len()),
        })
    }

    fn cached(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        let written = self.while_under_way(|_| self.put(bytes, offset));
        written.map_err(|e| write_error(Path::new("disk"), format!("write at offset {offset:#x}"), e))
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), Error> {
        let all = self.bytes();
        let there = all.get(offset as usize..).unwrap_or_default();
        let count = there.len().min(bytes.len());
        bytes[..count].copy_from_slice(&there[..count]);
        bytes[count..].fill(0);
        Ok(())
    }

    fn lengthen(&self, len: u64) -> Option<u64> {
        let mut all = self.bytes();
        let before = all.len();
        all.resize(before.max(len as usize), 0);
        (before < len as usize).then_some(before as u64)
    }

    fn shorten(&self, len: u64) {
        self.bytes().truncate(len as usize);
    }
}

/// A file on such a disk, written by so many threads.
pub(crate) struct OnDisk {
    disk: Disk,
    stage: Mutex<Stage>,
    durable: Mutex<Vec<u8>>,
}

impl OnDisk {
    pub(crate) fn new(writers: usize, seed: u64, room: u64) -> Self {
        let disk = Disk { room, ..Disk::new(seed) };
        Self { disk, stage: Mutex::new(Stage::new(writers)), durable: Mutex::default() }
    }

    /// The bytes as they were when they were made durable the last time.
    pub(crate) fn durable(&self) -> Vec<u8> {
        self.durable.lock().unwrap().clone()
    }
}

impl Sink for OnDisk {
    fn path(&self) -> &Path {
        Path::new("disk")
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.stage.lock().unwrap().touch(offset + bytes.len() as u64);
        self.disk.put(bytes, offset).map_err(|e| write_error(self.path(), "write", e))
    }

    fn append_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        let appended = self.stage.lock().unwrap().append(&self.disk, offset, parts)?;
        if appended { Ok(()) } else { self.write_parts_at(offset, parts) }
    }

    fn sync(&self) -> Result<(), Error> {
        assert_eq!(self.disk.under_way(), 0, "a write is on its way");
        self.durable.lock().unwrap().clone_from(&self.disk.bytes());
        Ok(())
    }
}
