//! Where a dump goes, and where its journal is.

use crate::Paced;
use crate::journal::{Begin, History, Journal};
use crate::{Error, trust};
use dumpfile::kdump::Outline;
use dumpfile::output::{OutputFile, RawDevice, Sink, sync_directory};
use rustix::fs::OFlags;
use std::io;
use std::path::{Path, PathBuf};

/// An output that a save can resume.
pub trait Output: Sink {
    /// Makes the output durable and gives it its name.
    ///
    /// # Errors
    ///
    /// When the system cannot.
    fn commit(self: Box<Self>) -> Result<PathBuf, Error>;

    /// Makes an incomplete output durable, and returns its name.
    ///
    /// # Errors
    ///
    /// When the system cannot.
    fn keep(self: Box<Self>) -> Result<PathBuf, Error>;
}

impl Output for OutputFile {
    fn commit(self: Box<Self>) -> Result<PathBuf, Error> {
        Ok((*self).commit()?)
    }

    fn keep(self: Box<Self>) -> Result<PathBuf, Error> {
        Ok(self.keep_incomplete()?)
    }
}

impl Output for RawDevice {
    fn commit(self: Box<Self>) -> Result<PathBuf, Error> {
        self.keep()
    }

    fn keep(self: Box<Self>) -> Result<PathBuf, Error> {
        self.sync()?;
        Ok(self.path().to_owned())
    }
}

/// A place for a dump and its journal.
pub trait Target: Sync {
    /// Begins a journal, and makes its first record durable.
    ///
    /// # Errors
    ///
    /// When there is a journal already, or the system refuses.
    fn begin(&self, begin: &Begin) -> Result<Journal, Error>;

    /// The journal left by an earlier run, if there is one, and its history if its first record is whole.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is damaged.
    fn resume(&self) -> Result<Option<(Journal, Option<History>)>, Error>;

    /// Removes the journal: everything is done.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    fn forget(&self, journal: Journal) -> Result<(), Error>;

    /// Whether the output may replace another file of its name. Whoever resumes the save has to ask for the same.
    fn replaces(&self) -> bool {
        false
    }

    /// A new output, which replaces one that an earlier run began if `replace` is set.
    ///
    /// # Errors
    ///
    /// When a file of that name exists, or the system refuses.
    fn create(&self, replace: bool) -> Result<Box<dyn Output>, Error>;

    /// The output that an earlier run began.
    ///
    /// # Errors
    ///
    /// When there is none, or the system refuses.
    fn reopen(&self) -> Result<Box<dyn Output>, Error>;

    /// The path at which an unfinished output can be read.
    ///
    /// # Errors
    ///
    /// When the target has no file name.
    fn unfinished(&self) -> Result<PathBuf, Error>;

    /// Reports whether the output has its final name.
    fn is_named(&self) -> bool;

    /// What the output says of itself: the finished one, or the one that an earlier run began.
    ///
    /// # Errors
    ///
    /// When there is none, it may be another user's, or it is damaged.
    fn outline(&self, finished: bool) -> Result<Outline, Error>;
}

/// A file, `NAME-incomplete` until it is whole.
#[derive(Clone, Debug)]
pub struct FileTarget {
    /// The file's final name.
    pub name: PathBuf,
    /// The journal.
    pub journal: PathBuf,
    /// Whether a file of that name may be replaced.
    pub force: bool,
    /// The most bytes per second that are written to it.
    pub rate: Option<u64>,
}

impl FileTarget {
    /// The file `name` with its journal beside it.
    pub fn new(name: &Path, force: bool) -> Self {
        Self { name: name.to_owned(), journal: journal_beside(name), force, rate: None }
    }
}

pub(crate) fn paced(out: impl Output + 'static, rate: Option<u64>) -> Box<dyn Output> {
    let out: Box<dyn Output> = Box::new(out);
    match rate {
        Some(rate) => Box::new(Paced::new(out, rate)),
        None => out,
    }
}

/// The path of an output's journal: `NAME.journal`, or, where that is something that is not believed, with the first number
/// behind it that makes it one that is or none at all.
pub fn journal_of(name: &Path) -> PathBuf {
    let beside = journal_beside(name);
    let numbered = (2..100).map(|n| {
        let mut numbered = beside.clone().into_os_string();
        numbered.push(format!(".{n}"));
        PathBuf::from(numbered)
    });
    let fits = |path: &PathBuf| {
        path.symlink_metadata().is_err()
            || !matches!(trust::open(path, OFlags::RDONLY), Err(Error::NotBelieved { .. }))
    };
    let all = std::iter::once(beside.clone()).chain(numbered);
    all.into_iter().find(fits).unwrap_or(beside)
}

/// The usual path of an output's journal: `NAME.journal`.
pub fn journal_beside(name: &Path) -> PathBuf {
    let mut journal = name.as_os_str().to_owned();
    journal.push(".journal");
    journal.into()
}

impl Target for FileTarget {
    fn begin(&self, begin: &Begin) -> Result<Journal, Error> {
        begin_journal(&self.journal, begin)
    }

    fn resume(&self) -> Result<Option<(Journal, Option<History>)>, Error> {
        resume_journal(&self.journal)
    }

    fn forget(&self, journal: Journal) -> Result<(), Error> {
        forget_journal(journal)
    }

    fn replaces(&self) -> bool {
        self.force
    }

    fn create(&self, replace: bool) -> Result<Box<dyn Output>, Error> {
        // A journal of ours names the incomplete file, so it may be replaced; the complete one only with `force`.
        if replace && !self.force {
            let name = OutputFile::incomplete_name(&self.name)?;
            match std::fs::remove_file(&name) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(
                        dumpfile::Error::Write { path: name, action: "replace it".into(), source }.into()
                    );
                }
                _ => (),
            }
        }
        Ok(paced(OutputFile::create_resumable(&self.name, self.force)?, self.rate))
    }

    fn reopen(&self) -> Result<Box<dyn Output>, Error> {
        Ok(paced(OutputFile::reopen(&self.name, self.force)?, self.rate))
    }

    fn unfinished(&self) -> Result<PathBuf, Error> {
        Ok(OutputFile::incomplete_name(&self.name)?)
    }

    fn is_named(&self) -> bool {
        let there = |path: &Path| path.symlink_metadata().is_ok();
        there(&self.name) && self.unfinished().is_ok_and(|name| !there(&name))
    }

    fn outline(&self, finished: bool) -> Result<Outline, Error> {
        outline_of(&if finished { self.name.clone() } else { self.unfinished()? })
    }
}

/// A block device, with a journal elsewhere or without one; then the save cannot be resumed.
#[derive(Clone, Debug)]
pub struct DeviceTarget {
    /// The device.
    pub device: PathBuf,
    /// The journal.
    pub journal: Option<PathBuf>,
    /// The most bytes per second that are written to it.
    pub rate: Option<u64>,
}

impl Target for DeviceTarget {
    fn begin(&self, begin: &Begin) -> Result<Journal, Error> {
        self.journal.as_ref().map_or_else(|| Ok(Journal::nowhere()), |path| begin_journal(path, begin))
    }

    fn resume(&self) -> Result<Option<(Journal, Option<History>)>, Error> {
        self.journal.as_ref().map_or(Ok(None), |path| resume_journal(path))
    }

    fn forget(&self, journal: Journal) -> Result<(), Error> {
        if self.journal.is_some() { forget_journal(journal) } else { Ok(()) }
    }

    fn create(&self, _replace: bool) -> Result<Box<dyn Output>, Error> {
        self.reopen()
    }

    fn reopen(&self) -> Result<Box<dyn Output>, Error> {
        Ok(paced(RawDevice::open(&self.device)?, self.rate))
    }

    fn unfinished(&self) -> Result<PathBuf, Error> {
        Ok(self.device.clone())
    }

    fn is_named(&self) -> bool {
        true
    }

    fn outline(&self, _: bool) -> Result<Outline, Error> {
        Ok(Outline::open(&self.device)?)
    }
}

/// What a file says of itself that nobody else can have put there.
pub(crate) fn outline_of(path: &Path) -> Result<Outline, Error> {
    let missing =
        || Error::File { path: path.to_owned(), action: "open it", source: io::ErrorKind::NotFound.into() };
    let file = trust::open(path, OFlags::RDONLY)?.ok_or_else(missing)?;
    Ok(Outline::of(file, path)?)
}

pub(crate) fn begin_journal(path: &Path, begin: &Begin) -> Result<Journal, Error> {
    let mut journal = Journal::create(path)?;
    journal.append(&crate::journal::Record::Begin(begin.clone()))?;
    Ok(journal)
}

pub(crate) fn resume_journal(path: &Path) -> Result<Option<(Journal, Option<History>)>, Error> {
    if path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    Journal::resume(path).map(Some)
}

pub(crate) fn forget_journal(journal: Journal) -> Result<(), Error> {
    let path = journal.path().to_owned();
    let failed = |action, source| Error::Journal { path: path.clone(), action, source };
    std::fs::remove_file(&path).map_err(|e| failed("remove it", e))?;
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) => sync_directory(parent).map_err(|e| failed("make its removal durable", e)),
        None => Ok(()),
    }
}

/// The free bytes of the file system of `directory`, for users other than root, minus `reserve`. `None` where the file system
/// does not say how large it is, as ramfs, a tmpfs without a limit and FUSE file systems without `statfs` (all blocks are 0).
///
/// # Errors
///
/// Returns the I/O error of the system.
pub fn free_space(directory: &Path, reserve: u64) -> io::Result<Option<u64>> {
    let stat = rustix::fs::statvfs(directory)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize).saturating_sub(reserve);
    Ok((stat.f_blocks > 0).then_some(free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_does_not_tell_its_size_has_no_known_room() {
        assert_eq!(free_space(Path::new("/proc"), 0).unwrap(), None);
        let directory = tempfile::tempdir().unwrap();
        assert!(free_space(directory.path(), 0).unwrap().is_some());
        assert_eq!(free_space(directory.path(), u64::MAX).unwrap(), Some(0));
    }
}
