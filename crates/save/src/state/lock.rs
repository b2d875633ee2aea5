//! The lock on the dump: many may read it, and only one that reads alone may release its memory.
//!
//! Two files are locked. Readers share `reading`. Whoever begins to read, or is about to release memory, passes `releasing`
//! first, which one holds for itself during a release: so no reader begins while memory is released, and of two that want to
//! release it each can find out whether it is the last reader, without a moment in which it counts as none. The locks are
//! `flock`s and end with their process, however that ends.

use super::State;
use crate::Error;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const READING: &str = "reading";
const RELEASING: &str = "releasing";

/// How often those who wait look again.
const PAUSE: Duration = Duration::from_millis(200);

/// A process that holds the dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub process: u32,
    /// What it was called with, as far as that is known.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.process)?;
        if self.command.is_empty() { Ok(()) } else { write!(f, " ({})", self.command.escape_debug()) }
    }
}

/// The processes in one phrase.
pub fn names(holders: &[Holder]) -> String {
    let names: Vec<String> = holders.iter().map(Holder::to_string).collect();
    if names.is_empty() { "another process".to_owned() } else { names.join(", ") }
}

/// The dump, held for reading.
#[derive(Clone, Debug)]
pub struct Hold(Arc<Files>);

#[derive(Debug)]
struct Files {
    reading: File,
    releasing: File,
    path: PathBuf,
    /// Held alone by this process: the kernel would grant it that once more.
    alone: AtomicBool,
}

/// The dump, held by one process alone: its memory may be released. Afterwards it is held for reading again.
#[derive(Debug)]
pub struct Alone(Arc<Files>);

impl Hold {
    pub(super) fn new(state: &State) -> Result<Self, Error> {
        let open = |name| {
            let flags = OFlags::RDWR | OFlags::CREATE;
            state.open(name, flags)?.ok_or_else(|| state.failed(name, "lock it", ErrorKind::NotFound.into()))
        };
        let (reading, releasing) = (open(READING)?, open(RELEASING)?);
        let files =
            Files { reading, releasing, path: state.path.join(READING), alone: AtomicBool::new(false) };
        files.lock(&files.releasing, FlockOperation::LockShared)?;
        files.lock(&files.reading, FlockOperation::LockShared)?;
        files.lock(&files.releasing, FlockOperation::Unlock)?;
        Ok(Self(Arc::new(files)))
    }

    /// Holds the dump alone; `None` when others read it or release its memory. Does not wait.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn alone(&self) -> Result<Option<Alone>, Error> {
        let files = &self.0;
        if files.alone.swap(true, Ordering::AcqRel) {
            return Ok(None);
        }
        // Puts back how it was, whatever is not granted.
        let alone = Alone(Arc::clone(files));
        if !files.lock(&files.releasing, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(None);
        }
        // Nobody begins to read or releases anything before `releasing` is free again.
        Ok(files.lock(&files.reading, FlockOperation::NonBlockingLockExclusive)?.then_some(alone))
    }

    /// Holds the dump alone as soon as nobody else reads it, for at most `patience`, and calls `waiting` with the others if it
    /// has to wait. Nothing may be read through `self` from here on: two that wait for each other's reading to end do not
    /// wait for ever.
    ///
    /// # Errors
    ///
    /// When the system refuses; [`Error::Held`] when others read it for longer.
    pub fn alone_at_last(&self, patience: Duration, waiting: impl FnOnce(&[Holder])) -> Result<Alone, Error> {
        let began = Instant::now();
        let mut waiting = Some(waiting);
        loop {
            if let Some(alone) = self.alone()? {
                return Ok(alone);
            }
            if let Some(waiting) = waiting.take() {
                waiting(&self.others());
            }
            self.0.lock(&self.0.reading, FlockOperation::Unlock)?;
            if began.elapsed() >= patience {
                return Err(Error::Held { holders: self.others() });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The other processes that hold the dump, as far as the kernel tells.
    pub fn others(&self) -> Vec<Holder> {
        let inode = |file: &File| file.metadata().map_or(0, |metadata| metadata.ino());
        let inodes = [inode(&self.0.reading), inode(&self.0.releasing)];
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        let mut processes: Vec<u32> = locks.lines().filter_map(|line| holder(line, inodes)).collect();
        processes.sort_unstable();
        processes.dedup();
        processes.retain(|process| *process != std::process::id());
        processes.into_iter().map(|process| Holder { process, command: command(process) }).collect()
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Back to reading before others may begin. Neither waits: nobody else has either file.
        let _ = self.0.lock(&self.0.reading, FlockOperation::LockShared);
        let _ = self.0.lock(&self.0.releasing, FlockOperation::Unlock);
        self.0.alone.store(false, Ordering::Release);
    }
}

impl Files {
    /// Whether the lock was granted; a file system without locks grants it.
    fn lock(&self, file: &File, operation: FlockOperation) -> Result<bool, Error> {
        loop {
            match flock(file, operation) {
                Err(Errno::INTR) => (),
                Err(Errno::AGAIN) => return Ok(false),
                Ok(()) | Err(Errno::NOSYS | Errno::NOTSUP | Errno::NOLCK) => return Ok(true),
                Err(error) => {
                    let (path, source) = (self.path.clone(), error.into());
                    return Err(Error::File { path, action: "lock it", source });
                }
            }
        }
    }
}

/// The process of a line of `/proc/locks` such as `1: FLOCK  ADVISORY  READ 1234 00:19:5678 0 EOF`, if it locks one of these
/// files.
fn holder(line: &str, inodes: [u64; 2]) -> Option<u32> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let at = words.iter().position(|word| *word == "FLOCK")?;
    // Who waits has an arrow before that word.
    if words[..at].contains(&"->") {
        return None;
    }
    let inode = words.get(at + 4)?.rsplit(':').next()?.parse().ok()?;
    if inodes.contains(&inode) { words.get(at + 3)?.parse().ok() } else { None }
}

/// The first words of a process's command line.
fn command(process: u32) -> String {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|&b| b == 0).take(3).map(String::from_utf8_lossy).collect();
    words.join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_of_locks_names_who_holds_one() {
        let line = "12: FLOCK  ADVISORY  READ  1234 00:19:5678 0 EOF";
        assert_eq!(holder(line, [1, 5678]), Some(1234));
        assert_eq!(holder(line, [1, 2]), None);
        assert_eq!(holder("12: -> FLOCK  ADVISORY  WRITE 1235 00:19:5678 0 EOF", [5678, 1]), None);
        assert_eq!(holder("3: POSIX  ADVISORY  WRITE 77 00:19:5678 0 EOF", [5678, 1]), None);
    }
}
