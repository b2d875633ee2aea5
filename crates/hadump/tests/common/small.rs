//! A target with little room.

use super::report_skipped;
use super::run::Scratch;
use std::fs;
use std::process::Command;

/// A file system in memory.
pub struct Small(pub Scratch);

impl Small {
    /// One of 64 MiB; `None`, which is reported, where mounting is not permitted.
    pub fn new() -> Option<Self> {
        Self::of("64m")
    }

    pub fn of(size: &str) -> Option<Self> {
        let at = Scratch::new("small");
        fs::create_dir(at.path()).expect("a directory");
        let mut mount = Command::new("mount");
        let options = format!("size={size},mode=700");
        let run =
            mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at.path()).output().expect("mount");
        if !run.status.success() {
            let why = String::from_utf8_lossy(&run.stderr);
            report_skipped(&format!("a target of {size}, as it cannot be mounted: {why}"));
            return None;
        }
        Some(Self(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}
