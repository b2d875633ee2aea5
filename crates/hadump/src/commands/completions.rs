//! `hadump completions`: what lets a shell complete the command line.

use crate::cli::Shell;
use crate::outcome::Outcome;
use anyhow::Result;
use std::io::Write;

/// Prints the script on standard output.
pub(crate) fn run(shell: Shell) -> Result<Outcome> {
    std::io::stdout().write_all(&shell.script())?;
    Ok(Outcome::Complete)
}
