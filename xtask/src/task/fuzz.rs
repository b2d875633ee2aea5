//! `cargo xtask fuzz`: hostile inputs for every reader, as many as one likes.

use crate::cargo::{self, cargo};
use anyhow::Result;

/// Hands changed inputs to hadump's readers. `cargo xtask fuzz --help` prints the program's own options.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Fuzz {
    /// --runs N, --target NAME, --first N, --input FILE
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Fuzz {
    /// Builds the program and runs it.
    pub(crate) fn run(self) -> Result<()> {
        // Not --release: overflow must panic here.
        cargo::run(cargo(&["run", "--quiet", "--package", "fuzz", "--"]).args(self.arguments))
    }
}
