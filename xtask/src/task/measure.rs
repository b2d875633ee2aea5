//! `cargo xtask measure`: time and memory of one command.
//!
//! A process of its own for each measured one: the system counts the memory of all children together, and a child's
//! peak begins with what its parent had when it was started.

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

#[derive(clap::Args)]
pub(crate) struct Measure {
    /// Write this file out to the disk when the command is done, and say how long that took
    #[arg(long, value_name = "FILE")]
    sync: Option<PathBuf>,
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
    /// User and system time of all threads, in seconds.
    pub(crate) cpu: f64,
    /// Time to write the output out to the disk afterwards, in seconds; next to nothing where the command did it itself.
    pub(crate) sync: f64,
    /// Peak resident memory, mapped files included, in bytes.
    pub(crate) peak: u64,
}

impl Measure {
    pub(crate) fn run(self) -> Result<()> {
        let begun = Instant::now();
        let status = Command::new(&self.command[0])
            .args(&self.command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("cannot run {}", self.command[0]))?;
        let wall = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        if let Some(file) = self.sync.as_deref().filter(|_| status.success()) {
            File::open(file)?.sync_all()?;
        }
        let sync = begun.elapsed().as_secs_f64();
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let times = [usage.user_time(), usage.system_time()];
        let taken = Taken {
            code: status.code().unwrap_or(-1),
            wall,
            cpu: times.iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum(),
            sync,
            peak: usage.max_rss() as u64 * 1024,
        };
        println!("{}", serde_json::to_string(&taken)?);
        Ok(())
    }
}

/// Runs a command in a measuring process of its own, then syncs its output; returns what it took and what it said on
/// standard error.
pub(crate) fn measure(command: &[String], output: &Path) -> Result<(Taken, String)> {
    let mut measuring = Command::new(std::env::current_exe()?);
    measuring.args(["measure", "--sync"]).arg(output).arg("--").args(command);
    let output = measuring.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let taken = serde_json::from_slice(&output.stdout).with_context(|| format!("cannot measure: {said}"))?;
    Ok((taken, said))
}
