//! Where bytes go: a file that appears under its name only when it is whole.
//!
//! Writers know only [`Sink`], positional writes that several threads make at once. [`OutputFile`] is the sink that
//! is a file: made beside its target under a name of its own, readable by its owner alone, renamed after it is durable.
//! It never follows a symbolic link at the target: without `force` the link is an existing file and refused, with it
//! the link itself is replaced and what it points to stays as it is.

use crate::Error;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Takes the bytes of a dump, each at its offset in the file.
///
/// Methods take `&self`: worker threads write different parts at once. What is never written reads as zero.
pub trait Sink: Send + Sync {
    /// What the bytes go to, for messages.
    fn path(&self) -> &Path;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    ///
    /// [`Error::Write`], with the offset, when the system refuses; part of the bytes may be written then.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error>;

    /// Writes `parts` one behind the other from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`Sink::write_at`].
    fn write_parts_at(&self, mut offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        for part in parts {
            self.write_at(offset, part)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// Reports whether what was written can not be written again, as in a pipe. Writers then write in an order that
    /// does not depend on the number of threads, and every byte once where they can.
    fn is_stream(&self) -> bool {
        false
    }
}

/// Wraps a system's refusal.
pub(crate) fn write_error(path: &Path, action: impl Into<String>, source: impl Into<io::Error>) -> Error {
    Error::Write { path: path.to_owned(), action: action.into(), source: source.into() }
}

/// A dump being written, with the promise that its name never shows less than the whole of it.
///
/// Dropped without [`OutputFile::commit`] or [`OutputFile::keep_incomplete`] it leaves nothing behind.
#[derive(Debug)]
pub struct OutputFile {
    file: NamedTempFile,
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
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if target.file_name().is_none() {
            return Err(write_error(target, "write to a path without a file name", Errno::ISDIR));
        }
        let file = tempfile::Builder::new()
            .prefix(".hadump-")
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(&directory)
            .map_err(|e| write_error(target, format!("make a file in {}", directory.display()), e))?;
        Ok(Self { file, target: target.to_owned(), directory, force })
    }

    /// An empty file without a name in the output's directory, for data that outgrows memory.
    ///
    /// # Errors
    ///
    /// When the directory takes no more files.
    pub fn spill_file(&self) -> io::Result<File> {
        tempfile::tempfile_in(&self.directory)
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    ///
    /// When the system cannot write the file out, or another file took the name meanwhile and `force` was not
    /// given. A file that was written out but not renamed stays under the name that the error tells.
    pub fn commit(self) -> Result<PathBuf, Error> {
        let (target, force) = (self.target.clone(), self.force);
        self.finish(&target, force)?;
        Ok(target)
    }

    /// As [`OutputFile::commit`] for a dump that is cut short: it is named `NAME-incomplete`, and answers its path.
    ///
    /// Without `force` an older incomplete dump is left alone and a number appended to the name.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::commit`].
    pub fn keep_incomplete(self) -> Result<PathBuf, Error> {
        let mut name = self.target.as_os_str().to_owned();
        name.push("-incomplete");
        let force = self.force;
        let mut kept = PathBuf::from(&name);
        if !force {
            for n in 2.. {
                if kept.symlink_metadata().is_err() {
                    break;
                }
                let mut numbered = name.clone();
                numbered.push(format!(".{n}"));
                kept = numbered.into();
            }
        }
        self.finish(&kept, force)?;
        Ok(kept)
    }

    fn finish(self, name: &Path, force: bool) -> Result<(), Error> {
        let synced = self.file.as_file().sync_all();
        synced.map_err(|e| write_error(&self.target, "write it out to the disk", e))?;
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
        self.file.as_file().write_all_at(bytes, offset).map_err(|e| {
            write_error(&self.target, format!("write {} bytes at offset {offset:#x}", bytes.len()), e)
        })
    }

    fn write_parts_at(&self, mut offset: u64, mut parts: &[IoSlice<'_>]) -> Result<(), Error> {
        while let Some(first) = parts.first() {
            // The system takes at most IOV_MAX parts, and may take fewer bytes than given.
            let some = &parts[..parts.len().min(1024)];
            let written = match rustix::io::pwritev(self.file.as_file(), some, offset) {
                Err(Errno::INTR) => continue,
                Ok(0) if first.is_empty() => Ok(0),
                Ok(0) => Err(Errno::IO),
                other => other,
            };
            let mut written =
                written.map_err(|e| write_error(&self.target, format!("write at offset {offset:#x}"), e))?;
            offset += written as u64;
            while let Some(part) = parts.first() {
                if written < part.len() {
                    break;
                }
                written -= part.len();
                parts = &parts[1..];
            }
            if written > 0 {
                let rest = &parts[0][written..];
                self.write_at(offset, rest)?;
                offset += rest.len() as u64;
                parts = &parts[1..];
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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
        std::os::unix::fs::symlink(&victim, &target).unwrap();
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
    fn a_spill_file_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let out = OutputFile::create(&dir.path().join("vmcore"), false).unwrap();
        let before = names(dir.path());
        let spill = out.spill_file().unwrap();
        spill.write_all_at(b"x", 100).unwrap();
        assert_eq!(names(dir.path()), before);
    }
}
