//! The other programs that read dumps.

use super::run::Run;
use corpus::skip;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

pub use corpus::program;

/// A Python that imports `module`: the one that the environment variable names, else the first that can.
fn python(variable: &str, module: &str) -> Option<String> {
    let named = std::env::var(variable).ok();
    // Debian's modules are for Debian's Python, which a Python of the user's own may hide.
    let candidates = match &named {
        Some(python) => vec![python.as_str()],
        None => vec!["python3", "/usr/bin/python3"],
    };
    let import = format!("import {module}");
    let imports = |python: &&str| {
        Command::new(python).args(["-c", &import]).output().is_ok_and(|output| output.status.success())
    };
    candidates.into_iter().find(imports).map(str::to_owned)
}

/// A Python with libkdumpfile's module (Debian: python3-libkdumpfile).
pub fn python_kdumpfile() -> Option<&'static str> {
    static PYTHON: LazyLock<Option<String>> =
        LazyLock::new(|| python("HADUMP_PYTHON_KDUMPFILE", "kdumpfile"));
    if PYTHON.is_none() {
        skip(
            "no Python imports kdumpfile (Debian: python3-libkdumpfile; HADUMP_PYTHON_KDUMPFILE names a Python)",
        );
    }
    PYTHON.as_deref()
}

/// A Python with drgn (`pip install drgn`).
pub fn python_drgn() -> Option<&'static str> {
    static PYTHON: LazyLock<Option<String>> = LazyLock::new(|| python("HADUMP_PYTHON_DRGN", "drgn"));
    if PYTHON.is_none() {
        skip("no Python imports drgn (pip install drgn; HADUMP_PYTHON_DRGN names a Python)");
    }
    PYTHON.as_deref()
}

/// A script of `tests/peers`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// What crash prints for `commands`, without the lines that name the dump file.
pub fn crash(crash: &Path, vmlinux: &Path, dump: &Path, commands: &[&str]) -> String {
    let scratch = super::run::Scratch::new("commands");
    std::fs::write(scratch.path(), commands.join("\n") + "\nquit\n").expect("a command file");
    // No .crashrc of the user's, no history.
    let mut command = Command::new(crash);
    command.env("HOME", scratch.directory()).env("TERM", "dumb").args(["-s", "-i"]).arg(scratch.path());
    let run = Run::of(command.arg(vmlinux).arg(dump)).ok();
    let lines = run.stdout.lines().chain(run.stderr.lines()).filter(|line| !line.contains("DUMPFILE:"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// What drgn sees in `dump`: release, tasks, stacks, log.
pub fn drgn(python: &str, vmlinux: &Path, dump: &Path) -> String {
    Run::of(Command::new(python).arg(script("tasks.py")).arg(vmlinux).arg(dump)).ok().stdout
}
