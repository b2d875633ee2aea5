//! makedumpfile, whichever build and wherever it lives.

use anyhow::{Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// hadump's name of each compression (`elf` is its ELF format), makedumpfile's option for it, and the word that `makedumpfile -v` says when it was
/// left out of the build.
pub(super) const METHODS: [(&str, Option<&str>, Option<&str>); 6] = [
    ("zstd", Some("-z"), Some("zstd")),
    ("zlib", Some("-c"), None),
    ("lzo", Some("-l"), Some("lzo")),
    ("snappy", Some("-p"), Some("snappy")),
    ("none", None, None),
    ("elf", Some("-E"), None),
];

/// An installed makedumpfile.
pub(super) struct Peer {
    command: Vec<String>,
    /// What `-v` printed.
    version: String,
    /// The directory that it has as its root, when `command` is `chroot DIRECTORY …`.
    pub(super) tree: Option<PathBuf>,
}

impl Peer {
    /// The peer that `command` starts; `None` when there is no such program.
    pub(super) fn find(command: &str) -> Result<Option<Self>> {
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        ensure!(!command.is_empty(), "--makedumpfile: no command");
        let Ok(output) = Command::new(&command[0]).args(&command[1..]).arg("-v").output() else {
            return Ok(None);
        };
        let mut version = String::from_utf8_lossy(&output.stdout).into_owned();
        version.push_str(&String::from_utf8_lossy(&output.stderr));
        ensure!(version.contains("version"), "{} -v: {}: {version}", command.join(" "), output.status);
        let chroot = command.iter().position(|word| word.rsplit('/').next() == Some("chroot"));
        let directory = |at: usize| command[at + 1..].iter().find(|word| !word.starts_with('-'));
        let tree = chroot.and_then(directory).map(fs::canonicalize).transpose()?;
        if let Some(tree) = &tree {
            // Without it makedumpfile sees no free memory, works in tiny pieces and takes hundreds of times as long.
            let seen = tree.join("proc/meminfo").exists();
            ensure!(seen, "{0}/proc/meminfo: not there; mount -t proc proc {0}/proc", tree.display());
        }
        Ok(Some(Self { command, version, tree }))
    }

    /// The peer that a guest has under this name and that says this of its version there.
    pub(super) fn of_guest(program: String, version: String) -> Self {
        Self { command: vec![program], version, tree: None }
    }

    /// Its version, for people.
    pub(super) fn describe(&self) -> String {
        self.version.lines().next().unwrap_or_default().to_owned()
    }

    fn has(&self, method: &str) -> bool {
        let Some((.., word)) = METHODS.iter().find(|(name, ..)| *name == method) else { return false };
        // A line a compression: "lzo\tenabled".
        word.is_none_or(|word| {
            let mut lines = self.version.lines().map(str::split_whitespace);
            lines.any(|mut line| line.next() == Some(word) && line.next() == Some("enabled"))
        })
    }

    /// The command without its files; `None` when the peer cannot write `method`, or not with threads.
    pub(super) fn command(&self, level: u32, method: &str, threads: Option<u32>) -> Option<Vec<String>> {
        let option = METHODS.iter().find(|(name, ..)| *name == method)?.1;
        // It refuses the two together.
        let can = self.has(method) && (method != "elf" || threads.is_none());
        let mut command = can.then(|| self.command.clone())?;
        command.extend(option.map(str::to_owned));
        command.extend(["-d".into(), level.to_string(), "--message-level".into(), "4".into()]);
        command.extend(threads.iter().flat_map(|threads| ["--num-threads".into(), threads.to_string()]));
        Some(command)
    }
}
