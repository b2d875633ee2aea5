//! A file that appears under its name only when it is whole.

use super::direct::Direct;
use super::{Sink, Syncing, len_of, write_all, write_error, write_parts};
use crate::Error;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::{NamedTempFile, TempPath};

/// A dump being written, with the promise that its name never shows less than the whole of it.
///
/// It is readable by its owner alone. It never follows a symbolic link at the target: without `force` the link is an
/// existing file and refused, with it the link itself is replaced and what it points to stays as it is.
///
/// There are two kinds. A file that [`OutputFile::create`] makes has a name of no meaning until it is done, and
/// dropped without [`OutputFile::commit`] or [`OutputFile::keep_incomplete`] it leaves nothing behind. One that
/// [`OutputFile::create_resumable`] makes is called `NAME-incomplete` from the first byte on and stays whatever happens, so that a
/// killed or crashed writer can be continued with [`OutputFile::reopen`].
#[derive(Debug)]
pub struct OutputFile {
    file: NamedTempFile,
    /// Whether the file has the name `NAME-incomplete` already.
    resumable: bool,
    direct: Option<Direct>,
    /// How long the file is to be: the end of what was written, without the zeros that fill a block after it.
    end: AtomicU64,
    syncing: Syncing,
    target: PathBuf,
    directory: PathBuf,
    force: bool,
}

impl OutputFile {
    /// Begins a file that [`OutputFile::commit`] will name `target`. With `force` it may take the place of a file or
    /// symbolic link of that name.
    ///
    /// # Errors
    ///
    /// When `target` exists and `force` is not given; when it is a directory, device, pipe or socket in any case; when
    /// its directory cannot be written to.
    pub fn create(target: &Path, force: bool) -> Result<Self, Error> {
        refuse_existing(target, force)?;
        let directory = directory_of(target);
        incomplete_name(target)?;
        let file = tempfile::Builder::new()
            .prefix(".hadump-")
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(&directory)
            .map_err(|e| write_error(target, format!("make a file in {}", directory.display()), e))?;
        Ok(Self::new(file, false, target, directory, force))
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
        let mut options = OpenOptions::new();
        let flags = OFlags::NOFOLLOW.bits() as i32;
        options.read(true).write(true).create_new(true).mode(0o600).custom_flags(flags);
        let file = match options.open(&name) {
            Err(e) if force && e.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&name).map_err(failed)?;
                options.open(&name)
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
        if !metadata.is_file() || !ours || metadata.nlink() != 1 {
            return Err(write_error(
                &name,
                "resume a file that another user owns or that has other names",
                Errno::PERM,
            ));
        }
        Self::visible(file, &name, target, force)
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
        Ok(Self::new(file, true, target, directory_of(target), force))
    }

    fn new(file: NamedTempFile, resumable: bool, target: &Path, directory: PathBuf, force: bool) -> Self {
        let direct = Direct::of_file(file.as_file(), file.path());
        let end = AtomicU64::new(file.as_file().metadata().map_or(0, |meta| meta.len()));
        let syncing = Syncing::default();
        Self { file, resumable, direct, end, syncing, target: target.to_owned(), directory, force }
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
        self.file.disable_cleanup(false);
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    ///
    /// When the system cannot write the file out, or another file took the name meanwhile and `force` was not
    /// given. A file that was written out but not renamed stays under the name in the error.
    pub fn commit(self) -> Result<PathBuf, Error> {
        let (target, force) = (self.target.clone(), self.force);
        self.finish(&target, force)?;
        Ok(target)
    }

    /// As [`OutputFile::commit`] for a dump that is cut short: it is named `NAME-incomplete`, and its path is returned.
    ///
    /// Without `force` an older incomplete dump is left alone and a number appended to the name. A file that has its
    /// name already is only made durable.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::commit`].
    pub fn keep_incomplete(self) -> Result<PathBuf, Error> {
        let name = incomplete_name(&self.target)?;
        if self.resumable {
            self.settle()?;
            sync_directory(&self.directory).map_err(|e| write_error(&name, "make the name durable", e))?;
            return Ok(name);
        }
        let force = self.force;
        let mut kept = name.clone();
        if !force {
            for n in 2.. {
                if kept.symlink_metadata().is_err() {
                    break;
                }
                let mut numbered = name.clone().into_os_string();
                numbered.push(format!(".{n}"));
                kept = numbered.into();
            }
        }
        self.finish(&kept, force)?;
        Ok(kept)
    }

    /// Makes durable what was written, and nothing else.
    fn settle(&self) -> Result<(), Error> {
        let (file, end) = (self.file.as_file(), self.end.load(Ordering::Relaxed));
        let settled =
            file.metadata().and_then(|meta| if meta.len() > end { file.set_len(end) } else { Ok(()) });
        settled.map_err(|e| write_error(&self.target, format!("make it {end} bytes long"), e))?;
        self.sync()
    }

    /// Notes that bytes are written in the usual way.
    fn reach(&self, offset: u64, len: usize) {
        let end = offset.saturating_add(len as u64);
        self.end.fetch_max(end, Ordering::Relaxed);
        if let Some(direct) = &self.direct {
            direct.touch(end);
        }
    }

    fn finish(self, name: &Path, force: bool) -> Result<(), Error> {
        self.settle()?;
        let renamed = if force { self.file.persist(name) } else { self.file.persist_noclobber(name) };
        renamed.map_err(|e| {
            // Hours of work: a whole dump is not thrown away because its name is taken.
            let left = e.file.path().to_owned();
            let action = match e.file.keep() {
                Ok(_) => format!("take this name; the dump stays as {}", left.display()),
                Err(_) => "take this name".to_owned(),
            };
            write_error(name, action, e.error)
        })?;
        sync_directory(&self.directory).map_err(|e| write_error(name, "make the name durable", e))
    }
}

/// The directory that `target` is in.
fn directory_of(target: &Path) -> PathBuf {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What a dump that is not whole is called.
fn incomplete_name(target: &Path) -> Result<PathBuf, Error> {
    let name = target.file_name();
    let mut name = name
        .ok_or_else(|| write_error(target, "write to a path without a file name", Errno::ISDIR))?
        .to_owned();
    name.push("-incomplete");
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

fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        // Network and FUSE file systems without such a call have nothing to make durable.
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS)) => {
            Ok(())
        }
        other => other,
    }
}

impl Sink for OutputFile {
    fn path(&self) -> &Path {
        &self.target
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.reach(offset, bytes.len());
        write_all(self.file.as_file(), &self.target, offset, bytes)
    }

    fn write_parts_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        self.reach(offset, len_of(parts));
        write_parts(self.file.as_file(), &self.target, offset, parts)
    }

    fn append_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        if let Some(direct) = &self.direct
            && direct.append(self.file.as_file(), &self.target, offset, parts)?
        {
            self.end.fetch_max(offset + len_of(parts) as u64, Ordering::Relaxed);
            return Ok(());
        }
        self.write_parts_at(offset, parts)
    }

    fn cut_off(&self, len: u64) -> bool {
        self.end.store(len, Ordering::Relaxed);
        if let Some(direct) = &self.direct {
            direct.touch(u64::MAX);
        }
        self.file.as_file().set_len(len).is_ok()
    }

    fn sync(&self) -> Result<(), Error> {
        self.syncing.sync(self.file.as_file(), &self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{FileExt, symlink};

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_name_appears_only_at_commit_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("vmcore");
        let out = OutputFile::create(&target, false).unwrap();
        out.write_at(4, b"tail").unwrap();
        out.write_at(0, b"head").unwrap();
        assert!(!target.exists());
        assert_eq!(out.commit().unwrap(), target);
        assert_eq!(fs::read(&target).unwrap(), b"headtail");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["vmcore"]);
    }

    #[test]
    fn a_dropped_output_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = OutputFile::create(&dir.path().join("vmcore"), false).unwrap();
        out.write_at(0, b"x").unwrap();
        drop(out);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn an_existing_file_is_kept_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("vmcore");
        fs::write(&target, "old").unwrap();
        let error = OutputFile::create(&target, false).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: cannot replace it unless told to", target.display()));
        let out = OutputFile::create(&target, true).unwrap();
        out.write_at(0, b"new").unwrap();
        out.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_took_the_name_meanwhile_survives_and_so_does_the_dump() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("vmcore");
        let out = OutputFile::create(&target, false).unwrap();
        out.write_at(0, b"dump").unwrap();
        fs::write(&target, "other").unwrap();
        let error = out.commit().unwrap_err().to_string();
        assert_eq!(fs::read(&target).unwrap(), b"other");
        let left = names(dir.path()).into_iter().find(|n| n.starts_with(".hadump-")).unwrap();
        assert!(error.contains(&left), "{error}");
        assert_eq!(fs::read(dir.path().join(left)).unwrap(), b"dump");
    }

    #[test]
    fn a_symbolic_link_is_replaced_and_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, victim) = (dir.path().join("vmcore"), dir.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &target).unwrap();
        assert!(OutputFile::create(&target, false).is_err());
        let out = OutputFile::create(&target, true).unwrap();
        out.write_at(0, b"dump").unwrap();
        out.commit().unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(target.symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn what_is_no_regular_file_is_refused_even_by_force() {
        let dir = tempfile::tempdir().unwrap();
        assert!(OutputFile::create(dir.path(), true).is_err());
        assert!(OutputFile::create(Path::new("/dev/null"), true).is_err());
    }

    #[test]
    fn incomplete_dumps_are_named_so_and_do_not_replace_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("vmcore");
        for expected in ["vmcore-incomplete", "vmcore-incomplete.2", "vmcore-incomplete.3"] {
            let out = OutputFile::create(&target, false).unwrap();
            out.write_at(0, b"part").unwrap();
            assert_eq!(out.keep_incomplete().unwrap(), dir.path().join(expected));
        }
        assert!(!target.exists());
    }

    #[test]
    fn parts_are_written_one_behind_the_other_however_many_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("vmcore");
        let out = OutputFile::create(&target, false).unwrap();
        let bytes: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
        let mut parts: Vec<IoSlice<'_>> = bytes.chunks(1).map(IoSlice::new).collect();
        parts.insert(7, IoSlice::new(&[]));
        parts.push(IoSlice::new(&[]));
        out.write_parts_at(10, &parts).unwrap();
        out.commit().unwrap();
        assert_eq!(&fs::read(&target).unwrap()[10..], bytes);
    }

    #[test]
    fn a_full_disk_names_file_and_offset() {
        // /dev/full cannot be a target, so the refusal is provoked by an offset no file system has.
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("vmcore");
        let out = OutputFile::create(&target, false).unwrap();
        let error = out.write_at(i64::MAX as u64 - 1, b"abc").unwrap_err();
        assert!(matches!(error, Error::Write { .. }));
        assert!(error.to_string().contains("offset 0x7ffffffffffffffe"), "{error}");
    }

    #[test]
    fn a_work_file_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = crate::output::work_file(dir.path()).unwrap();
        file.write_all_at(b"x", 100).unwrap();
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_resumable_output_stays_when_it_is_dropped_and_goes_on_when_it_is_reopened() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("vmcore");
        assert!(OutputFile::reopen(&target, false).is_err());
        let out = OutputFile::create_resumable(&target, false).unwrap();
        out.write_at(0, b"head").unwrap();
        out.sync().unwrap();
        let kept = dir.path().join("vmcore-incomplete");
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        let busy = OutputFile::reopen(&target, false).unwrap_err().to_string();
        assert!(busy.contains("another process"), "{busy}");
        drop(out);
        assert_eq!(names(dir.path()), ["vmcore-incomplete"]);
        assert!(OutputFile::create_resumable(&target, false).is_err());

        let out = OutputFile::reopen(&target, false).unwrap();
        out.write_at(4, b"tail").unwrap();
        assert_eq!(out.commit().unwrap(), target);
        assert_eq!(fs::read(&target).unwrap(), b"headtail");
        assert_eq!(names(dir.path()), ["vmcore"]);
    }

    #[test]
    fn a_resumable_output_that_stays_incomplete_keeps_its_name_and_force_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("vmcore");
        let out = OutputFile::create_resumable(&target, false).unwrap();
        out.write_at(0, b"old").unwrap();
        assert_eq!(out.keep_incomplete().unwrap(), dir.path().join("vmcore-incomplete"));
        let out = OutputFile::create_resumable(&target, true).unwrap();
        out.write_at(0, b"n").unwrap();
        out.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"n");
        let out = OutputFile::create_resumable(&dir.path().join("other"), false).unwrap();
        out.discard();
        assert_eq!(names(dir.path()), ["vmcore"]);
    }

    #[test]
    fn an_incomplete_file_that_somebody_else_planted_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (target, victim) = (dir.path().join("vmcore"), dir.path().join("victim"));
        let name = OutputFile::incomplete_name(&target).unwrap();
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &name).unwrap();
        assert!(OutputFile::reopen(&target, false).is_err());
        assert!(OutputFile::create_resumable(&target, false).is_err());
        fs::remove_file(&name).unwrap();
        fs::hard_link(&victim, &name).unwrap();
        assert!(OutputFile::reopen(&target, false).is_err());
        OutputFile::create_resumable(&target, true).unwrap().write_at(0, b"dump").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(fs::read(&name).unwrap(), b"dump");
    }
}
