//! Runs of hadump.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// The program under test.
pub const HADUMP: &str = env!("CARGO_BIN_EXE_hadump");

/// The five compressions, as `-c` spells them, with the flag that their pages carry in a kdump file.
pub const METHODS: [(&str, u64); 5] =
    [("zstd", 0x20), ("zlib", 0x1), ("lzo", 0x2), ("snappy", 0x4), ("none", 0x0)];

/// What a run left behind.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("{}: {e}", command.get_program().display()));
        Self {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// This run, which must have ended with exit code 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// The program under test as a command. `HADUMP_RUNNER` names what runs it if it is one for another machine: QEMU's user mode
/// runs a test, but not the programs that the test starts.
pub fn program() -> Command {
    match std::env::var_os("HADUMP_RUNNER") {
        Some(runner) => {
            let mut command = Command::new(runner);
            command.arg(HADUMP);
            command
        }
        None => Command::new(HADUMP),
    }
}

/// Runs hadump with `args`.
pub fn hadump(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
    Run::of(program().args(args))
}

/// A file that disappears with the value, in a directory of its own.
pub struct Scratch {
    directory: tempfile::TempDir,
    name: PathBuf,
}

impl Scratch {
    pub fn new(name: &str) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch directory");
        Self { name: directory.path().join(name), directory }
    }

    pub fn path(&self) -> &Path {
        &self.name
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// Converts `input` to a new kdump file.
#[track_caller]
pub fn to_kdump(input: &Path, level: u32, method: &str) -> Scratch {
    let output = Scratch::new("out.kdump");
    convert(input, output.path(), &["-d", &level.to_string(), "-c", method]).ok();
    output
}

/// Converts `input` to a new ELF core.
#[track_caller]
pub fn to_elf(input: &Path, level: u32) -> Scratch {
    let output = Scratch::new("out.elf");
    convert(input, output.path(), &["-d", &level.to_string(), "--format", "elf"]).ok();
    output
}

/// `hadump convert INPUT -o OUTPUT OPTIONS`.
pub fn convert(input: &Path, output: &Path, options: &[&str]) -> Run {
    let mut command = program();
    Run::of(command.arg("convert").arg(input).arg("-o").arg(output).args(options))
}

/// The names in a directory, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The names in a directory, sorted, without those of a report of why the machine crashed: whether one is there depends on
/// when a save was killed.
pub fn names_but_report(directory: &Path) -> Vec<String> {
    let mut names = names(directory);
    names.retain(|name| !name.contains("-report."));
    names
}

/// The most memory that a run had resident, in bytes.
pub fn peak(command: &mut Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("hadump");
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        peak = line.trim().trim_end_matches(" kB").parse().map_or(peak, |kib: u64| peak.max(kib << 10));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    peak
}
