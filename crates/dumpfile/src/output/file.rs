//! A file that appears under its name only when it is whole.

use super::direct::Direct;
use super::{Sink, Syncing, len_of, over, sync_directory, write_all, write_error, write_parts};
use crate::{Error, incomplete};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tempfile::{NamedTempFile, TempPath};

/// A dump being written, with the promise that its name never shows less than the whole of it.
///
/// It is readable by its owner alone. It never follows a symbolic link at the target: without `force` the link is an
/// existing file and refused, with it the link itself is replaced and what it points to stays as it is.
///
/// It is called `NAME-incomplete` from the first byte on, so that what a killed writer leaves is found. There are two
/// kinds. A file that [`OutputFile::create`] makes is removed when it is dropped without [`OutputFile::commit`] or
/// [`OutputFile::keep_incomplete`]. One that [`OutputFile::create_resumable`] makes stays whatever happens, so that a
/// killed or crashed writer can [`OutputFile::reopen`] it and go on.
#[derive(Debug)]
pub struct OutputFile {
    file: NamedTempFile,
    /// The name that the file has while it is written.
    name: PathBuf,
    pub(super) direct: Option<Direct>,
    /// See [`Sink::waits`].
    waits: bool,
    /// How long the file is to be: the end of what was written, without the zeros that fill a block after it.
    end: AtomicU64,
    syncing: Syncing,
    target: PathBuf,
    directory: PathBuf,
    force: bool,
    /// What is written is what `target` stands for, and no file beside it.
    in_place: bool,
    /// The file that this one replaces, as long as it may be given up for its room.
    old: Mutex<Option<PathBuf>>,
}

impl OutputFile {
    /// Begins a file that [`OutputFile::commit`] will name `target`. With `force` it may then take the place of a file or
    /// symbolic link of that name.
    ///
    /// Until then it is called `NAME-incomplete`, with a number behind it where that name is taken. A `target` that ends so
    /// itself is its name from the beginning.
    ///
    /// # Errors
    ///
    /// When `target` exists and `force` is not given; when it is a directory, device, pipe or socket in any case; when
    /// its directory cannot be written to.
    pub fn create(target: &Path, force: bool) -> Result<Self, Error> {
        refuse_existing(target, force)?;
        let (file, name) = new_numbered(working_name(target)?)?;
        let mut output = Self::visible(file, &name, target, force)?;
        output.file.disable_cleanup(false);
        Ok(output)
    }

    /// As [`OutputFile::create`], for callers that write what `target` stands for, as makedumpfile does with `-f`.
    ///
    /// A symbolic link is followed. An old file is replaced as [`OutputFile::create`] does it, and if the disk has no room for
    /// both it is given up before the new one is whole. Where that cannot be, because another file is mounted over it, no
    /// file can be made beside it, or it is a character device, it is written in place: an interrupted dump then has its
    /// name, and only its header says that it is incomplete.
    ///
    /// # Errors
    ///
    /// When it is a directory, block device, pipe or socket; when neither it nor its directory can be written to.
    pub fn create_over(target: &Path) -> Result<Self, Error> {
        let target = &over::followed(target).map_err(|e| write_error(target, "follow the link", e))?;
        let Ok(meta) = target.metadata() else { return Self::create(target, true) };
        if meta.file_type().is_char_device() || meta.is_file() && over::is_mounted(target) {
            return Self::in_place(target);
        }
        match Self::create(target, true) {
            Err(Error::Write { source, .. }) if meta.is_file() && over::is_forbidden(&source) => {
                Self::in_place(target)
            }
            Ok(mut output) => {
                // What has another name is somebody else's as well.
                let alone = meta.is_file() && meta.nlink() == 1;
                output.old = Mutex::new(alone.then(|| target.clone()));
                Ok(output)
            }
            error => error,
        }
    }

    /// Empties what `target` names, a file or a character device, and writes there.
    ///
    /// # Errors
    ///
    /// When it cannot be written to, or another process does.
    pub fn in_place(target: &Path) -> Result<Self, Error> {
        let failed = |e: io::Error| write_error(target, "open it for writing", e);
        let kind = target.metadata().map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_char_device() {
            return Err(write_error(target, "replace what is not a regular file", Errno::EXIST));
        }
        let flags = OFlags::NONBLOCK.bits() as i32;
        let open = |read| OpenOptions::new().read(read).write(true).custom_flags(flags).open(target);
        let file = open(true).or_else(|_| open(false)).map_err(failed)?;
        let mut output = Self::visible(file, target, target, true)?;
        if kind.is_file() {
            output.file.as_file().set_len(0).map_err(failed)?;
            output.end = AtomicU64::new(0);
        }
        output.in_place = true;
        Ok(output)
    }

    /// Begins a file that is named `NAME-incomplete` until [`OutputFile::commit`] names it `target`, and that stays when it
    /// is dropped. With `force` it takes the place of an older incomplete file too.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::create`]; without `force` also when there is an incomplete file already.
    pub fn create_resumable(target: &Path, force: bool) -> Result<Self, Error> {
        refuse_existing(target, force)?;
        let name = incomplete_name(target)?;
        refuse_existing(&name, force)?;
        let failed = |e: io::Error| write_error(&name, "make the file", e);
        let file = match new_file(&name) {
            Err(e) if force && e.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&name).map_err(failed)?;
                new_file(&name)
            }
            other => other,
        };
        let output = Self::visible(file.map_err(failed)?, &name, target, force)?;
        // A resumed save finds the file by its name.
        sync_directory(&output.directory).map_err(|e| write_error(&name, "make the name durable", e))?;
        Ok(output)
    }

    /// Opens the file `NAME-incomplete` of an interrupted writer, for [`OutputFile::commit`] to name it `target`.
    ///
    /// # Errors
    ///
    /// When there is none; when it is no regular file, belongs to another user or has other names, for then someone else made
    /// it; when another process is writing it.
    pub fn reopen(target: &Path, force: bool) -> Result<Self, Error> {
        refuse_existing(target, force)?;
        let name = incomplete_name(target)?;
        // Without NONBLOCK a FIFO of that name would block until it has a reader.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&name);
        let file = file.map_err(|e| write_error(&name, "open it to resume", e))?;
        let metadata = file.metadata().map_err(|e| write_error(&name, "look at it", e))?;
        let ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !metadata.is_file() || !ours || metadata.nlink() != 1 || metadata.mode() & 0o022 != 0 {
            let action = "resume a file that another user owns or may write to, or that has other names";
            return Err(write_error(&name, action, Errno::PERM));
        }
        Self::visible(file, &name, target, force)
    }

    /// The name that the file has while it is written.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The name of the file that [`OutputFile::create_resumable`] makes for `target`.
    ///
    /// # Errors
    ///
    /// When `target` has no file name.
    pub fn incomplete_name(target: &Path) -> Result<PathBuf, Error> {
        incomplete_name(target)
    }

    pub(crate) fn file(&self) -> &File {
        self.file.as_file()
    }

    fn visible(file: File, name: &Path, target: &Path, force: bool) -> Result<Self, Error> {
        // Two writers of one file would make garbage of it. Not every file system has locks.
        if let Err(Errno::WOULDBLOCK) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            return Err(write_error(name, "write to it while another process does", Errno::WOULDBLOCK));
        }
        let path = TempPath::try_from_path(name).map_err(|e| write_error(name, "find it", e))?;
        let mut file = NamedTempFile::from_parts(file, path);
        file.disable_cleanup(true);
        let meta = file.as_file().metadata();
        let direct = match &meta {
            Ok(meta) if meta.is_file() => Direct::of_file(file.as_file(), file.path()),
            _ => None,
        };
        let cached = || rustix::fs::fstatfs(file.as_file()).is_ok_and(|fs| i128::from(fs.f_type) != FUSE);
        let waits = direct.is_some() || !meta.as_ref().is_ok_and(Metadata::is_file) || !cached();
        let end = AtomicU64::new(meta.map_or(0, |meta| meta.len()));
        let (name, target, directory) = (name.to_owned(), target.to_owned(), over::directory_of(target));
        let (in_place, old) = (false, Mutex::default());
        Ok(Self {
            file,
            name,
            direct,
            waits,
            end,
            syncing: Syncing::default(),
            target,
            directory,
            force,
            in_place,
            old,
        })
    }

    /// Makes the file `len` bytes long if it is shorter, with a hole.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub(crate) fn extend(&self, len: u64) -> Result<(), Error> {
        let file = self.file.as_file();
        let extended =
            file.metadata().and_then(|meta| if meta.len() < len { file.set_len(len) } else { Ok(()) });
        self.reach(len, 0);
        extended.map_err(|e| write_error(&self.target, format!("make it {len} bytes long"), e))
    }

    /// Removes the file of an attempt that left nothing worth keeping.
    pub fn discard(mut self) {
        if self.in_place {
            // Its name is somebody else's, and its content is gone already.
            let _ = self.file.as_file().set_len(0);
        } else {
            self.file.disable_cleanup(false);
        }
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    ///
    /// [`Error::NotDurable`] when the system cannot write the file out: then it keeps the name that it has, marked as
    /// incomplete. When another file took the name meanwhile and `force` was not given, the error tells where it stays.
    pub fn commit(self) -> Result<PathBuf, Error> {
        let target = self.target.clone();
        self.finish(target)
    }

    /// As [`OutputFile::commit`] for a dump that is cut short: it is named `NAME-incomplete`, and its path is returned.
    ///
    /// Without `force` an older incomplete dump is left alone and a number appended to the name.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::commit`].
    pub fn keep_incomplete(self) -> Result<PathBuf, Error> {
        if self.in_place {
            let name = self.name.clone();
            return self.finish(name);
        }
        let name = if self.force { working_name(&self.target)? } else { self.name.clone() };
        // One that can be gone on with has its name, whatever its target is called.
        let name = if self.name == incomplete_name(&self.target)? { self.name.clone() } else { name };
        self.finish(name)
    }

    /// Makes durable what was written, and nothing else.
    fn settle(&self) -> Result<(), Error> {
        let (file, end) = (self.file.as_file(), self.end.load(Ordering::Relaxed));
        let settled =
            file.metadata().and_then(|meta| if meta.len() > end { file.set_len(end) } else { Ok(()) });
        settled.map_err(|e| write_error(&self.target, format!("make it {end} bytes long"), e))?;
        self.sync()
    }

    /// Writes by `write`, and once more if the disk is full and the old file can be given up for its room.
    fn with_room(&self, write: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
        match write() {
            Err(Error::Write { source, .. }) if over::is_full(&source) && self.give_way() => write(),
            result => result,
        }
    }

    /// Removes the file that this one replaces, and reports whether there was one.
    fn give_way(&self) -> bool {
        let mut old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = old.take() else { return false };
        // Removed alone, it keeps its room as long as anybody reads it.
        let emptied = OpenOptions::new().write(true).truncate(true).open(&path);
        let removed = std::fs::remove_file(&path);
        if emptied.is_ok() || removed.is_ok() {
            tracing::warn!("{}: the old file is removed, as the disk has no room for both", path.display());
            return true;
        }
        false
    }

    /// Notes that bytes are written in the usual way.
    fn reach(&self, offset: u64, len: usize) {
        let end = offset.saturating_add(len as u64);
        self.end.fetch_max(end, Ordering::Relaxed);
        if let Some(direct) = &self.direct {
            direct.touch(end);
        }
    }

    fn finish(mut self, name: PathBuf) -> Result<PathBuf, Error> {
        let in_place = self.in_place;
        let own = self.file.as_file().try_clone().map_err(|e| write_error(&name, "keep it open", e))?;
        if let Err(error) = self.settle() {
            return Err(self.not_durable(error));
        }
        if self.name == name {
            self.file.disable_cleanup(true);
        } else {
            let renamed =
                if self.force { self.file.persist(&name) } else { self.file.persist_noclobber(&name) };
            renamed.map_err(|mut e| {
                // Hours of work: a whole dump is not thrown away because its name is taken.
                e.file.disable_cleanup(true);
                let action = format!("take this name; the dump stays as {}", self.name.display());
                write_error(&name, action, e.error)
            })?;
        }
        sync_directory(&self.directory).map_err(|e| write_error(&name, "make the name durable", e))?;
        // In a directory in which others may rename files, this may be another one.
        let same = |there: &Metadata, ours: &Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        let there = if in_place { name.metadata() } else { name.symlink_metadata() };
        match (there, own.metadata()) {
            (Ok(there), Ok(ours)) if same(&there, &ours) => Ok(name),
            (Err(error), _) | (_, Err(error)) => Err(write_error(&name, "find the file again", error)),
            _ => Err(write_error(&name, "find the file again: another one has its name", Errno::STALE)),
        }
    }

    /// Keeps the file after the system could not write it out. Some of it may be on the disk, and there may be no second
    /// copy of the dump; nothing says how much, so it is marked as incomplete. Another `fsync` would report success.
    fn not_durable(mut self, error: Error) -> Error {
        self.file.disable_cleanup(true);
        incomplete::mark(self.file.as_file(), &self.name);
        match error {
            Error::Write { source, .. } => Error::NotDurable { path: self.name, source },
            other => other,
        }
    }
}

/// The file system of `linux/magic.h` that hands each write to a process and waits for it.
const FUSE: i128 = 0x6573_5546;

const INCOMPLETE: &str = "-incomplete";

/// What a dump is called while it is written: a name that says by itself that the dump may not be whole will do.
fn working_name(target: &Path) -> Result<PathBuf, Error> {
    let says_so = target.file_name().is_some_and(|name| name.as_bytes().ends_with(INCOMPLETE.as_bytes()));
    if says_so { Ok(target.to_owned()) } else { incomplete_name(target) }
}

/// Makes a file of this name, or, if that is taken, with the first number behind it that makes it a new one.
fn new_numbered(name: PathBuf) -> Result<(File, PathBuf), Error> {
    let mut numbered = name.clone();
    for n in 2u64.. {
        match new_file(&numbered) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => (),
            Err(e) => return Err(write_error(&numbered, "make the file", e)),
            Ok(file) => return Ok((file, numbered)),
        }
        let mut next = name.clone().into_os_string();
        next.push(format!(".{n}"));
        numbered = next.into();
    }
    unreachable!("there are fewer files than numbers")
}

/// Makes an empty file that its owner alone may read and write.
fn new_file(name: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits() as i32;
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).custom_flags(flags).open(name)
}

/// What a dump that is not whole is called.
fn incomplete_name(target: &Path) -> Result<PathBuf, Error> {
    let name = target.file_name();
    let mut name = name
        .ok_or_else(|| write_error(target, "write to a path without a file name", Errno::ISDIR))?
        .to_owned();
    name.push(INCOMPLETE);
    Ok(target.with_file_name(name))
}

/// Refuses a target whose name is taken by something that must not be replaced.
fn refuse_existing(target: &Path, force: bool) -> Result<(), Error> {
    let kind = match target.symlink_metadata() {
        Ok(metadata) => metadata.file_type(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(write_error(target, "look at it", e)),
    };
    if kind.is_dir() || kind.is_block_device() || kind.is_char_device() || kind.is_fifo() || kind.is_socket()
    {
        return Err(write_error(target, "replace what is not a regular file", Errno::EXIST));
    }
    if force {
        return Ok(());
    }
    Err(write_error(target, "replace it unless told to", Errno::EXIST))
}

impl Sink for OutputFile {
    fn path(&self) -> &Path {
        &self.target
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.reach(offset, bytes.len());
        self.with_room(|| write_all(self.file.as_file(), &self.target, offset, bytes))
    }

    fn write_parts_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        self.reach(offset, len_of(parts));
        self.with_room(|| write_parts(self.file.as_file(), &self.target, offset, parts))
    }

    fn append_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        let Some(direct) = &self.direct else { return self.write_parts_at(offset, parts) };
        let done = AtomicBool::new(false);
        self.with_room(|| {
            let appended = direct.append(self.file.as_file(), &self.target, offset, parts)?;
            done.store(appended, Ordering::Relaxed);
            Ok(())
        })?;
        if !done.into_inner() {
            return self.write_parts_at(offset, parts);
        }
        self.end.fetch_max(offset + len_of(parts) as u64, Ordering::Relaxed);
        Ok(())
    }

    fn cut_off(&self, len: u64) -> bool {
        self.end.store(len, Ordering::Relaxed);
        if let Some(direct) = &self.direct {
            direct.touch(u64::MAX);
        }
        self.file.as_file().set_len(len).is_ok()
    }

    fn waits(&self) -> bool {
        self.waits
    }

    fn sync(&self) -> Result<(), Error> {
        self.syncing.sync(self.file.as_file(), &self.target)
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
