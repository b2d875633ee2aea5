//! The process that waits for the end of the one that answers, and unmounts.

use super::{again, let_go, mounts, word, words};
use crate::cli::Role;
use crate::outcome::Outcome;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Starts the process that answers, and stays until the mount is gone. In the background the command that waits is told when it is
/// up, and the terminal is let go of.
pub(super) fn run(directory: &Path, background: bool, quiet: bool) -> Result<Outcome> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot wait for signals")?;
    // It reads its standard input to learn that this process is gone.
    let mut child = again(Role::Serve)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let _alive = child.stdin.take();
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let asked = Arc::new(AtomicBool::new(false));
    let is_asked = Arc::clone(&asked);
    std::thread::spawn(move || {
        for _ in signals.forever() {
            is_asked.store(true, Ordering::SeqCst);
            // It holds nothing that would have to be saved.
            let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
        }
    });
    let outcome = child.stdout.take().and_then(word);
    if let Some(outcome) = outcome {
        if background {
            let_go()?;
            std::io::stdout().write_all(words(outcome).as_bytes())?;
        } else if !quiet {
            let name = directory.display();
            writeln!(
                crate::show::terminal::stderr(),
                "{name}: mounted; Ctrl-C or fusermount -u {name} ends it"
            )?;
        }
    }
    let status = child.wait().context("cannot wait for the process that answers")?;
    mounts::take_away(directory, &mounts::source(child.id()));
    match (outcome, status.signal()) {
        (Some(outcome), _) if status.success() || asked.load(Ordering::SeqCst) => Ok(outcome),
        (_, Some(signal)) => {
            bail!(
                "{}: unmounted, as the process that shows it was ended by signal {signal}",
                directory.display()
            )
        }
        _ => Ok(Outcome::Said),
    }
}
