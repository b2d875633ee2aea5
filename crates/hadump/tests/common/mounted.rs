//! A dump that is mounted.

use super::run::{self, Run, Scratch};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A mounted dump, unmounted with the value.
pub struct Mounted {
    directory: Scratch,
}

impl Mounted {
    /// The dump in `files`, mounted with `options`; `None`, and a word about it, where there is no FUSE.
    #[track_caller]
    pub fn new(files: &[impl AsRef<OsStr>], options: &[&str]) -> Option<Self> {
        let (mounted, run) = Self::try_new(files, options)?;
        run.ok();
        Some(mounted)
    }

    /// As [`Mounted::new`], and what the command left.
    pub fn try_new(files: &[impl AsRef<OsStr>], options: &[&str]) -> Option<(Self, Run)> {
        if !Path::new("/dev/fuse").exists() {
            super::report_skipped("a mounted dump: no /dev/fuse");
            return None;
        }
        let directory = Scratch::new("mounted");
        std::fs::create_dir(directory.path()).expect("a directory");
        let mut command = run::program();
        command.arg("mount").args(files).arg(directory.path()).args(options);
        let run = Run::of(&mut command);
        Some((Self { directory }, run))
    }

    /// Where it is mounted.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// The dump as an ELF core.
    pub fn vmcore(&self) -> PathBuf {
        self.path("vmcore")
    }

    /// Its text file `name`.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The processes of the mount in this role, `watch` or `serve`.
    pub fn processes(&self, role: &str) -> Vec<u32> {
        let wanted = [format!("--role={role}"), self.directory().display().to_string()];
        let all = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_ours = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|b| *b == 0).collect();
            wanted.iter().all(|wanted| words.contains(&wanted.as_bytes()))
        };
        pids.filter(is_ours).collect()
    }

    /// Whether anything is mounted there.
    pub fn is_mounted(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let directory = self.directory().display().to_string();
        mounts.lines().any(|line| line.split(' ').nth(4) == Some(&directory))
    }

    /// Whether the mount and its processes are gone before long.
    pub fn ends(&self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if !self.is_mounted() && ["watch", "serve"].iter().all(|role| self.processes(role).is_empty()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted() {
            let plain = Command::new("umount").arg("-l").arg(self.directory()).status();
            if !plain.is_ok_and(|status| status.success()) {
                let _ = Command::new("fusermount3").args(["-u", "-z"]).arg(self.directory()).status();
            }
        }
    }
}
