//! What other programs make of a saved dump: drgn on the host, and crash of the guest's architecture.

use crate::guest::tree::Tree;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What drgn sees in a dump, as the tests ask it.
const TASKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/hadump/tests/peers/tasks.py");
/// crash reads dumps of its own architecture only, so it runs in QEMU's user mode, with the libraries that it needs.
const CRASH: [&str; 12] = [
    "crash:ppc64el",
    "libc6:ppc64el",
    "libgcc-s1:ppc64el",
    "libgmp10:ppc64el",
    "liblzo2-2:ppc64el",
    "libmpfr6:ppc64el",
    "libncursesw6:ppc64el",
    "libsnappy1v5:ppc64el",
    "libstdc++6:ppc64el",
    "libtinfo6:ppc64el",
    "libzstd1:ppc64el",
    "zlib1g:ppc64el",
];
/// How every dump of a scenario ends.
const PANIC: &str = "sysrq triggered crash";

/// Opens the dump in drgn, if `HADUMP_PYTHON_DRGN` names a Python that has it.
///
/// # Errors
///
/// drgn cannot read it, or does not see the crash.
pub(crate) fn in_drgn(vmlinux: &Path, dump: &Path) -> Result<String> {
    let Some(python) = std::env::var_os("HADUMP_PYTHON_DRGN") else {
        return Ok("not opened in drgn: HADUMP_PYTHON_DRGN names no Python that has it".to_owned());
    };
    let output = Command::new(&python).arg(TASKS).arg(vmlinux).arg(dump).output();
    let output = output.with_context(|| format!("cannot run {}", python.display()))?;
    let seen = String::from_utf8_lossy(&output.stdout);
    let tasks = seen.lines().filter(|line| line.starts_with("task ")).count();
    ensure!(
        output.status.success() && tasks > 20 && seen.contains(PANIC),
        "drgn sees {tasks} tasks of {}: {}",
        dump.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(format!("drgn: {tasks} tasks, and the log with the crash"))
}

/// Opens the dump in crash, which takes minutes.
///
/// # Errors
///
/// crash cannot read it, or does not see the crash.
pub(crate) fn in_crash(tree: &Tree, vmlinux: &Path, dump: &Path) -> Result<String> {
    tree.install("crash", &["qemu-user"])?;
    tree.unpack("crash", &CRASH)?;
    let commands = dump.with_file_name("crash-commands");
    fs::write(&commands, "sys\nbt\nps\nquit\n")?;
    let mut crash = tree.command("qemu-ppc64le");
    crash.args(["-L", "/boots/crash", "/boots/crash/usr/bin/crash", "-s", "-i"]).env("TERM", "dumb");
    crash.arg(tree.inside(&commands)?).arg(tree.inside(vmlinux)?).arg(tree.inside(dump)?);
    let output = crash.stdin(std::process::Stdio::null()).output().context("cannot run unshare")?;
    let seen = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && seen.contains(PANIC) && seen.contains("sysrq_handle_crash"),
        "crash sees no crash in {}: {seen}{}",
        dump.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok("crash: the panic, the task that caused it and its stack".to_owned())
}
