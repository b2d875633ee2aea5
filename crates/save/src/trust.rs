//! What is believed of what lies on a disk: only what no other user can have put there.
//!
//! A file counts as ours if it is a regular file of the user who runs this or of root, nobody else may write to it, it has one
//! name, and its directory is of the same kind. It is opened without following a link of its name and without blocking, so a
//! FIFO or a link costs nothing. What lies in a directory in which others may rename files is not believed, whoever owns it;
//! with the sticky bit they may not.

use crate::Error;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Opens the file `path` to read it, with `more` flags; `None` when there is no such file.
///
/// # Errors
///
/// [`Error::NotBelieved`] when another user may have written it or put it there; [`Error::File`] when the system refuses.
pub fn open(path: &Path, more: OFlags) -> Result<Option<File>, Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name() else {
        return Err(Error::NotBelieved { path: path.to_owned(), why: "it has no file name".into() });
    };
    match open_directory(parent, OFlags::empty())? {
        Some(directory) => open_at(&directory, Path::new(name), path, more, Mode::empty()),
        None => Ok(None),
    }
}

/// Opens the directory `path` if nobody else may change what it holds; `None` when there is none. With [`OFlags::NOFOLLOW`] in
/// `more` a link of its name is not followed.
pub(crate) fn open_directory(path: &Path, more: OFlags) -> Result<Option<File>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more;
    let Some(file) = opened(rustix::fs::open(path, flags, Mode::empty()), path)? else { return Ok(None) };
    check(&file, path, |metadata| directory_is_ours(metadata).map_or(Ok(()), Err))?;
    Ok(Some(file))
}

/// Opens the file `name` in `directory`, which messages call `path`, to read it or for what `more` says. With `CREATE` in it, a
/// new file has the mode `mode`.
pub(crate) fn open_at(
    directory: impl AsFd,
    name: &Path,
    path: &Path,
    more: OFlags,
    mode: Mode,
) -> Result<Option<File>, Error> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    let file = opened(rustix::fs::openat(directory, name, flags, mode), path)?;
    if let Some(file) = &file {
        check(file, path, |metadata| file_is_ours(metadata).map_or(Ok(()), Err))?;
    }
    Ok(file)
}

fn opened(result: Result<std::os::fd::OwnedFd, Errno>, path: &Path) -> Result<Option<File>, Error> {
    match result {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT | Errno::NOTDIR) if path.symlink_metadata().is_err() => Ok(None),
        // What NOFOLLOW says of a link; with DIRECTORY it is NOTDIR. A socket cannot be opened.
        Err(Errno::LOOP) => Err(not_believed(path, "it is a symbolic link")),
        Err(Errno::NOTDIR) => Err(not_believed(path, "it is no directory")),
        Err(Errno::NXIO | Errno::ISDIR) => Err(not_believed(path, "it is no regular file")),
        Err(error) => Err(Error::File { path: path.to_owned(), action: "open it", source: error.into() }),
    }
}

fn check(file: &File, path: &Path, rule: impl FnOnce(&Metadata) -> Result<(), String>) -> Result<(), Error> {
    let metadata = file.metadata();
    let failed = |source: io::Error| Error::File { path: path.to_owned(), action: "look at it", source };
    rule(&metadata.map_err(failed)?).map_err(|why| not_believed(path, &why))
}

fn not_believed(path: &Path, why: &str) -> Error {
    Error::NotBelieved { path: path.to_owned(), why: why.to_owned() }
}

/// Why a file is not ours, if it is not.
fn file_is_ours(metadata: &Metadata) -> Option<String> {
    if !metadata.is_file() {
        return Some("it is no regular file".into());
    }
    if metadata.nlink() > 1 {
        return Some("it has more than one name".into());
    }
    not_owned(metadata).or_else(|| {
        (metadata.mode() & GROUP_OR_OTHERS_WRITE != 0).then(|| "others may write to it".to_owned())
    })
}

/// Why what a directory holds is not ours, if it is not.
pub(crate) fn directory_is_ours(metadata: &Metadata) -> Option<String> {
    let shared = metadata.mode() & GROUP_OR_OTHERS_WRITE != 0 && metadata.mode() & STICKY == 0;
    not_owned(metadata).or_else(|| shared.then(|| "others may rename what is in its directory".to_owned()))
}

fn not_owned(metadata: &Metadata) -> Option<String> {
    let user = metadata.uid();
    let ours = user == 0 || user == rustix::process::geteuid().as_raw();
    (!ours).then(|| format!("it belongs to user {user}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path) -> String {
        open(path, OFlags::empty()).unwrap_err().to_string()
    }

    #[test]
    fn only_a_regular_file_that_nobody_else_can_have_made_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        assert!(open(&file, OFlags::empty()).unwrap().is_none());
        assert!(open(&directory.path().join("none/file"), OFlags::empty()).unwrap().is_none());
        fs::write(&file, "ours").unwrap();
        set_mode(&file, 0o644);
        assert!(open(&file, OFlags::empty()).unwrap().is_some());
        for mode in [0o620, 0o602, 0o666] {
            set_mode(&file, mode);
            assert!(refusal(&file).contains("others may write to it"), "{}", refusal(&file));
        }
        set_mode(&file, 0o600);
        let other = directory.path().join("other");
        fs::hard_link(&file, &other).unwrap();
        assert!(refusal(&file).contains("more than one name"));
        fs::remove_file(&other).unwrap();
        symlink(&file, &other).unwrap();
        assert!(refusal(&other).contains("a symbolic link"), "{}", refusal(&other));
        assert!(refusal(directory.path()).contains("no regular file"), "{}", refusal(directory.path()));
    }

    #[test]
    fn a_fifo_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(refusal(&fifo).contains("no regular file"), "{}", refusal(&fifo));
    }

    #[test]
    fn a_directory_in_which_others_rename_files_makes_all_of_them_doubtful() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "ours").unwrap();
        for mode in [0o720, 0o702, 0o777] {
            set_mode(directory.path(), mode);
            assert!(refusal(&file).contains("others may rename"), "{}", refusal(&file));
        }
        set_mode(directory.path(), 0o1777);
        assert!(open(&file, OFlags::empty()).unwrap().is_some());
    }

    #[test]
    fn what_another_user_owns_is_not_believed() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: files of another user, which only root can make");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "theirs").unwrap();
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        assert!(refusal(&file).contains("belongs to user 65534"), "{}", refusal(&file));
        std::os::unix::fs::chown(&file, Some(0), None).unwrap();
        std::os::unix::fs::chown(directory.path(), Some(65534), None).unwrap();
        assert!(refusal(&file).contains("belongs to user 65534"), "{}", refusal(&file));
    }
}
