//! Work files: files without a name for what outgrows memory, such as lists of pages.

use dumpfile::output::work_file;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Makes work files in the directory `given`, else in that of the file `output`; where there is neither, or that of the
/// output takes none, in [`temporary_directory`], or in memory if that takes none either.
///
/// `/tmp` is used only when `$TMPDIR` says so: in many capture environments it is memory.
pub(crate) fn files(given: Option<&Path>, output: Option<&Path>) -> impl Fn() -> io::Result<File> + use<> {
    let given = given.map(Path::to_owned);
    let beside = output.map(directory_of);
    move || {
        if let Some(directory) = &given {
            return work_file(directory);
        }
        let beside = beside.as_ref().and_then(|directory| work_file(directory).ok());
        // A capture environment may have nowhere to write but memory.
        beside.map(Ok).unwrap_or_else(|| work_file(&temporary_directory())).or_else(|_| {
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            Ok(rustix::fs::memfd_create("hadump", flags)?.into())
        })
    }
}

/// `$TMPDIR`, or `/var/tmp` where that is not set.
pub(crate) fn temporary_directory() -> PathBuf {
    let given = std::env::var_os("TMPDIR").filter(|directory| !directory.is_empty());
    given.map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

/// The directory that `file` is in.
pub(crate) fn directory_of(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}
