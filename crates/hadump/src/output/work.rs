//! Work files: files without a name for what outgrows memory, such as lists of pages.

use dumpfile::output::{directory_of, work_file};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes work files in the directory `given`, else in that of the file `output`. Where there is neither, or it takes none, they
/// are in [`temporary_directory`], or in memory if that takes none either: a dump is not lost for want of a work file.
///
/// `/tmp` is used only when `$TMPDIR` says so: in many capture environments it is memory.
pub(crate) fn files(given: Option<&Path>, output: Option<&Path>) -> impl Fn() -> io::Result<File> + use<> {
    let directory = given.map(Path::to_owned).or_else(|| output.map(directory_of));
    let (given, said) = (given.is_some(), AtomicBool::new(false));
    move || {
        if let Some(directory) = &directory {
            match work_file(directory) {
                Ok(file) => return Ok(file),
                Err(error) if given && !said.swap(true, Ordering::Relaxed) => {
                    let directory = directory.display();
                    tracing::warn!("{directory}: takes no work files, so they go elsewhere: {error}");
                }
                Err(_) => (),
            }
        }
        // A capture environment may have nowhere to write but memory.
        work_file(&temporary_directory()).or_else(|_| {
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
