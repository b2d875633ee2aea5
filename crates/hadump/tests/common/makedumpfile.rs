//! hadump by makedumpfile's name, and the original.

use super::run::HADUMP;
use super::{peer, skip};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// A symbolic link called makedumpfile.
pub static OURS: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bin");
    std::fs::create_dir_all(&directory).expect("a directory for programs");
    let link = directory.join("makedumpfile");
    // Tests in other processes make the same link at the same time: it appears whole, by a rename.
    let mine = directory.join(format!("makedumpfile.{}", std::process::id()));
    let _ = std::fs::remove_file(&mine);
    std::os::unix::fs::symlink(HADUMP, &mine).expect("a link to hadump");
    std::fs::rename(&mine, &link).expect("the link's name");
    link
});

/// hadump as makedumpfile.
pub fn ours() -> Command {
    Command::new(&*OURS)
}

/// The original; `None`, and a word about it, where it is not installed.
pub fn theirs() -> Option<Command> {
    let path = peer::program("makedumpfile")?;
    // What if somebody installed hadump as the system's makedumpfile? Comparing it with itself shows nothing.
    let version = Command::new(&path).arg("-v").output().ok()?;
    if String::from_utf8_lossy(&version.stdout).contains("hadump") {
        skip("the makedumpfile that is installed is hadump");
        return None;
    }
    let mut command = Command::new(path);
    // With --num-threads it aborts now and then: "libgcc_s.so.1 must be installed for pthread_exit to work". It is; loaded
    // beforehand it need not be looked for by several threads at once.
    command.env("LD_PRELOAD", "libgcc_s.so.1");
    Some(command)
}
