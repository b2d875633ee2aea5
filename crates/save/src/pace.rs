//! Writing no faster than asked, for a network or a disk that others use as well.

use crate::Error;
use crate::target::Output;
use dumpfile::output::Sink;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A sink that takes so many bytes a second.
pub struct Paced<S> {
    inner: S,
    rate: u64,
    /// When the next byte may be written.
    due: Mutex<Instant>,
}

/// The user wants to stop.
static HURRY: AtomicBool = AtomicBool::new(false);

/// How long a writer that waits for its pace does not look whether it should hurry.
const NAP: Duration = Duration::from_millis(50);

/// Lets everything through from now on, whatever the pace, in the whole program: the user wants to stop, and what is being
/// written is to be ended now.
pub fn hurry() {
    HURRY.store(true, Ordering::Relaxed);
}

/// How far writing may lie behind its pace and catch up afterwards.
const BURST: Duration = Duration::from_millis(100);

impl<S> Paced<S> {
    /// Lets `rate` bytes a second, at least one, through to `inner`.
    pub fn new(inner: S, rate: u64) -> Self {
        Self { inner, rate: rate.max(1), due: Mutex::new(Instant::now()) }
    }

    /// What is behind it.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn wait(&self, bytes: usize) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let start = (*due).max(now.checked_sub(BURST).unwrap_or(now));
        *due = start + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        // Asleep with the lock held: whoever else wants to write has to wait as well.
        while !HURRY.load(Ordering::Relaxed) {
            let left = start.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}

impl<S: Sink> Sink for Paced<S> {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), dumpfile::Error> {
        self.wait(bytes.len());
        self.inner.write_at(offset, bytes)
    }

    fn write_parts_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), dumpfile::Error> {
        self.wait(parts.iter().map(|part| part.len()).sum());
        self.inner.write_parts_at(offset, parts)
    }

    fn append_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), dumpfile::Error> {
        self.wait(parts.iter().map(|part| part.len()).sum());
        self.inner.append_at(offset, parts)
    }

    fn sync(&self) -> Result<(), dumpfile::Error> {
        self.inner.sync()
    }

    fn blank(&self, offset: u64, len: u64) -> Result<(), dumpfile::Error> {
        self.inner.blank(offset, len)
    }

    fn cut_off(&self, len: u64) -> bool {
        self.inner.cut_off(len)
    }

    fn is_stream(&self) -> bool {
        self.inner.is_stream()
    }
}

impl Output for Paced<Box<dyn Output>> {
    fn commit(self: Box<Self>) -> Result<PathBuf, Error> {
        self.inner.commit()
    }

    fn keep(self: Box<Self>) -> Result<PathBuf, Error> {
        self.inner.keep()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dumpfile::output::OutputFile;

    #[test]
    fn bytes_go_through_no_faster_than_asked() {
        let dir = tempfile::tempdir().unwrap();
        let file = OutputFile::create(&dir.path().join("vmcore"), false).unwrap();
        let paced = Paced::new(file, 1 << 20);
        let started = Instant::now();
        for n in 0..6u64 {
            paced.write_at(n << 16, &[7; 1 << 16]).unwrap();
        }
        // 384 KiB at 1 MiB a second, of which the first piece and the burst are free.
        assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
        assert_eq!(std::fs::metadata(paced.into_inner().commit().unwrap()).unwrap().len(), 6 << 16);
    }
}
