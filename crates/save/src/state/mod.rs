//! What hadump knows in this boot: `run/hadump` below the root of the machine.
//!
//! The kernel keeps no record of which memory of the dump was released, nor of whether the dump was saved. Two runs of hadump
//! that follow each other, the first often in the initramfs, tell each other here, and two at the same time keep out of each
//! other's way ([`Hold`]). The directory is in memory and outlives the switch from the initramfs to the system, but not
//! the boot. What another user may have put there is not believed ([`crate::trust`]).

mod attempt;
mod lock;
mod saved;

pub use attempt::Attempt;
pub use lock::{Alone, Hold, Holder, names};
pub use saved::{GivenBack, Interface, Saved};

use crate::{Error, trust};
use rustix::fs::{Mode, OFlags};
use saved::Line;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use vmcore::{PhysAddr, Range, RangeSet};

/// Where it is, relative to the root.
pub const DIRECTORY: &str = "run/hadump";

const RELEASED: &str = "released";
const SAVED: &str = "saved";
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The most bytes of a file in it that are read: a line for each range that was released, at most one for each 1 GiB.
const MAX_LEN: u64 = 64 << 20;

/// The directory.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    directory: File,
    /// This boot; empty where that is not known.
    boot: String,
}

/// An identifier of the boot of the machine whose root this is; empty where the kernel has none.
pub fn boot_id(root: &Path) -> String {
    let text = std::fs::read_to_string(root.join("proc/sys/kernel/random/boot_id"));
    text.map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

/// Whether `root` is that of a running machine and not a directory that was made like one: its `proc` is the kernel's.
fn is_alive(root: &Path) -> bool {
    let stat = rustix::fs::statfs(root.join("proc").as_path());
    stat.is_ok_and(|stat| stat.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

impl State {
    /// The directory below `root`; `None` where there is none.
    ///
    /// # Errors
    ///
    /// When it is not believed, or the system refuses.
    pub fn find(root: &Path) -> Result<Option<Self>, Error> {
        let path = root.join(DIRECTORY);
        let directory = trust::open_directory(&path, OFlags::NOFOLLOW)?;
        Ok(directory.map(|directory| Self { path, directory, boot: boot_id(root) }))
    }

    /// As [`State::find`]; makes the directory, for its owner alone, where there is none.
    ///
    /// # Errors
    ///
    /// As [`State::find`].
    pub fn create(root: &Path) -> Result<Self, Error> {
        let path = root.join(DIRECTORY);
        let failed = |source| Error::File { path: path.clone(), action: "create it", source };
        if let Some(state) = Self::find(root)? {
            return Ok(state);
        }
        let parents =
            path.parent().map_or(Ok(()), |run| DirBuilder::new().recursive(true).mode(0o755).create(run));
        match parents.and_then(|()| DirBuilder::new().mode(0o700).create(&path)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(error)),
            _ => Self::find(root)?.ok_or_else(|| failed(ErrorKind::NotFound.into())),
        }
    }

    /// The memory of the dump that was released in this boot, or may have been: something else is there by now.
    ///
    /// # Errors
    ///
    /// When the list is not believed or cannot be read or understood: then nothing of the dump may be read.
    pub fn released(&self) -> Result<RangeSet<PhysAddr>, Error> {
        let mut ranges = RangeSet::default();
        for (number, line) in self.lines(RELEASED)?.split_inclusive(|&b| b == b'\n').enumerate() {
            let text = str::from_utf8(line).ok();
            let Some(text) = text.and_then(|line| line.strip_suffix('\n')) else {
                // Cut off: the range was about to be released, and was not.
                if !line.ends_with(b"\n") {
                    break;
                }
                return Err(self.damaged(number));
            };
            ranges.insert(range(text).ok_or_else(|| self.damaged(number))?);
        }
        Ok(ranges)
    }

    fn damaged(&self, number: usize) -> Error {
        let why = format!("its line {} is no range of addresses", number + 1);
        Error::NotBelieved { path: self.path.join(RELEASED), why }
    }

    /// Notes what is about to be released. Whatever is in this memory afterwards, no command may read it as part of the dump
    /// in this boot.
    ///
    /// # Errors
    ///
    /// When the system refuses: then it must not be released.
    pub fn note_released(&self, range: Range<PhysAddr>) -> Result<(), Error> {
        self.append(RELEASED, &format!("{}-{}\n", range.start, range.end))
    }

    /// Takes the whole list back: the kernel released nothing.
    pub fn forget_released(&self) {
        let _ = rustix::fs::unlinkat(&self.directory, RELEASED, rustix::fs::AtFlags::empty());
    }

    /// What was saved in this boot of the dump that waits or waited in it: of several saves the last one that is complete, or
    /// else the last. A record that is not believed counts for none.
    ///
    /// # Errors
    ///
    /// When the record cannot be read.
    pub fn saved(&self) -> Result<Option<Saved>, Error> {
        let lines = match self.lines(SAVED) {
            Err(Error::NotBelieved { .. }) => return Ok(None),
            lines => lines?,
        };
        Ok(saved::last(&lines, &self.boot))
    }

    /// Records that the dump was saved. Nothing is recorded where it is not known which boot this is.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn note_saved(&self, saved: &Saved) -> Result<(), Error> {
        self.note(&Line::Saved(saved.clone()))
    }

    /// Records that hadump gave memory of the saved dump back.
    ///
    /// # Errors
    ///
    /// As [`State::note_saved`].
    pub fn note_given_back(&self, given: GivenBack) -> Result<(), Error> {
        self.note(&Line::GivenBack(given))
    }

    fn note(&self, line: &Line) -> Result<(), Error> {
        if self.boot.is_empty() { Ok(()) } else { self.append(SAVED, &line.encode(&self.boot)) }
    }

    /// Holds the dump for reading: nothing of it is released by hadump as long as the answer lives. Waits for a release that is
    /// being made. What the machine says about the dump is to be looked at afterwards.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn hold(&self) -> Result<Hold, Error> {
        Hold::new(self)
    }

    /// A file of the directory; `flags` say what for.
    fn open(&self, name: &str, flags: OFlags) -> Result<Option<File>, Error> {
        trust::open_at(&self.directory, Path::new(name), &self.path.join(name), flags, MODE)
    }

    fn append(&self, name: &str, line: &str) -> Result<(), Error> {
        let failed = |source| self.failed(name, "append to it", source);
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
        let file = self.open(name, flags)?.ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
        // In one write: two runs may append at once.
        match (&file).write(line.as_bytes()) {
            Ok(written) if written == line.len() => Ok(()),
            Ok(_) => Err(failed(ErrorKind::WriteZero.into())),
            Err(error) => Err(failed(error)),
        }
    }

    fn lines(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let Some(file) = self.open(name, OFlags::RDONLY)? else { return Ok(bytes) };
        let read = file.take(MAX_LEN + 1).read_to_end(&mut bytes);
        read.map_err(|source| self.failed(name, "read it", source))?;
        if bytes.len() as u64 > MAX_LEN {
            let why = format!("it is longer than {MAX_LEN} bytes");
            return Err(Error::NotBelieved { path: self.path.join(name), why });
        }
        Ok(bytes)
    }

    fn failed(&self, name: &str, action: &'static str, source: io::Error) -> Error {
        Error::File { path: self.path.join(name), action, source }
    }
}

/// Holds the dump of the machine with this root for reading, as [`State::hold`]. `None` where that is not needed or not
/// possible: the root is a directory that was made like one, or cannot be written to.
///
/// # Errors
///
/// As [`State::create`].
pub fn hold(root: &Path) -> Result<Option<Hold>, Error> {
    let state = if is_alive(root) { creatable(root)? } else { State::find(root)? };
    match state.map(|state| state.hold()).transpose() {
        Err(error) if is_read_only(&error) => Ok(None),
        reading => reading,
    }
}

/// As [`State::create`]; `None` where the root cannot be written to.
///
/// # Errors
///
/// As [`State::create`].
pub fn creatable(root: &Path) -> Result<Option<State>, Error> {
    let state = match State::create(root) {
        Err(error) if is_read_only(&error) => State::find(root),
        state => state.map(Some),
    };
    match state {
        Err(error) if is_read_only(&error) => Ok(None),
        state => state,
    }
}

fn is_read_only(error: &Error) -> bool {
    let refused = [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied];
    matches!(error, Error::File { source, .. } if refused.contains(&source.kind()))
}

/// A range `START-END` in hexadecimal.
fn range(line: &str) -> Option<Range<PhysAddr>> {
    let address = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok().map(PhysAddr);
    let (start, end) = line.split_once('-')?;
    Some(Range::new(address(start)?, address(end)?))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
