//! The command line of `hadump report`.

use super::input::InputArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Report {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Also write a page for a browser: one file that needs nothing else, with pictures of memory
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Whose stacks are shown besides those of the CPUs; `all` shows each stack and list in full
    #[arg(long, value_name = "WHICH", default_value = "blocked")]
    pub(crate) tasks: Tasks,
    /// Replace an existing FILE
    #[arg(short, long, requires = "html")]
    pub(crate) force: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whose stacks are shown besides those of the CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tasks {
    /// Tasks that wait without being interruptible
    Blocked,
    /// Nobody's: only those of the CPUs
    Running,
    /// Those of all tasks
    All,
}
