//! What an output's name stands for, for callers that write to that.

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most links that Linux follows in a row.
const MAX_LINKS: usize = 40;

/// Follows symbolic links to what they name, which need not exist.
pub(super) fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match path.read_link() {
            // Relative to the directory that the link is in.
            Ok(next) => path = directory_of(&path).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err(Errno::LOOP.into())
}

/// The directory that `target` is in.
pub fn directory_of(target: &Path) -> PathBuf {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Reports whether another file is mounted over `path`: such a name cannot be given to another file.
pub(super) fn is_mounted(path: &Path) -> bool {
    let root = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS).is_ok_and(|stat| {
        // Known since Linux 5.8.
        stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
            && stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    });
    let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
    root || device(path) != device(&directory_of(path))
}

/// Reports whether a directory takes no new files, of anybody or of this user.
pub(super) fn is_forbidden(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::ACCESS | Errno::PERM | Errno::ROFS))
}

/// Reports whether a disk or a user's share of it is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}
