//! `cargo xtask measure`: time and memory of one command.
//!
//! A process of its own for each measured one: the system counts the memory of all children together, and a child's
//! peak begins with what its parent had when it was started.

mod machine;

use anyhow::{Context, Result};
pub(crate) use machine::Machine;
use machine::Watch;
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

#[derive(clap::Args)]
pub(crate) struct Measure {
    /// Write this file out to the disk when the command is done, and say how long that took
    #[arg(long, value_name = "FILE")]
    sync: Option<PathBuf>,
    /// Say what the machine's memory and processors did meanwhile
    #[arg(long)]
    machine: bool,
    /// Write the command's standard output to this file instead of nowhere
    #[arg(long, value_name = "FILE")]
    stdout: Option<PathBuf>,
    /// Run in this control group
    #[arg(long, value_name = "DIRECTORY")]
    group: Option<PathBuf>,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// What one run took.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Taken {
    /// The exit code; -1 when a signal ended the command.
    pub(crate) code: i32,
    /// Wall-clock time, in seconds.
    pub(crate) wall: f64,
    /// Time of all threads in the program and in the kernel, in seconds.
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// Time to write the output out to the disk afterwards, in seconds; next to nothing where the command did it itself.
    pub(crate) sync: f64,
    /// Peak resident memory, mapped files included, in bytes.
    pub(crate) peak: u64,
    /// With `--machine`.
    pub(crate) machine: Option<Machine>,
}

impl Taken {
    /// User and system time of all threads, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

impl Measure {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(group) = &self.group {
            let processes = group.join("cgroup.procs");
            fs::write(&processes, std::process::id().to_string())
                .with_context(|| processes.display().to_string())?;
        }
        let stdout = self.stdout.as_ref().map(File::create).transpose()?;
        let watch = self.machine.then(Watch::begin).transpose()?;
        let begun = Instant::now();
        let status = Command::new(&self.command[0])
            .args(&self.command[1..])
            .stdin(Stdio::null())
            .stdout(stdout.map_or_else(Stdio::null, Stdio::from))
            .status()
            .with_context(|| format!("cannot run {}", self.command[0]))?;
        let wall = begun.elapsed().as_secs_f64();
        let machine = watch.map(Watch::end).transpose()?;
        let begun = Instant::now();
        if let Some(file) = self.sync.as_deref().filter(|_| status.success()) {
            File::open(file)?.sync_all()?;
        }
        let sync = begun.elapsed().as_secs_f64();
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let [user, system] = [usage.user_time(), usage.system_time()]
            .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6);
        let taken = Taken {
            code: status.code().unwrap_or(-1),
            wall,
            user,
            system,
            sync,
            peak: usage.max_rss() as u64 * 1024,
            machine,
        };
        println!("{}", serde_json::to_string(&taken)?);
        Ok(())
    }
}

/// Runs a command in a measuring process of its own, then syncs its output; returns what it took and what it said on
/// standard error.
pub(crate) fn measure(command: &[String], output: &Path) -> Result<(Taken, String)> {
    apart(command, output, &[])
}

/// As [`measure`], with what the machine did meanwhile; the command's standard output goes to a file if one is named.
pub(crate) fn measure_machine(
    command: &[String],
    output: &Path,
    stdout: Option<&Path>,
) -> Result<(Taken, String)> {
    let mut options = vec![OsStr::new("--machine")];
    options.extend(stdout.iter().flat_map(|path| [OsStr::new("--stdout"), path.as_os_str()]));
    apart(command, output, &options)
}

/// As [`measure`], in a control group.
pub(crate) fn measure_in(group: &Path, command: &[String], output: &Path) -> Result<(Taken, String)> {
    apart(command, output, &[OsStr::new("--group"), group.as_os_str()])
}

fn apart(command: &[String], output: &Path, options: &[&OsStr]) -> Result<(Taken, String)> {
    let mut measuring = Command::new(std::env::current_exe()?);
    measuring.arg("measure").args(options).arg("--sync").arg(output).arg("--").args(command);
    let output = measuring.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let taken = serde_json::from_slice(&output.stdout).with_context(|| format!("cannot measure: {said}"))?;
    Ok((taken, said))
}
