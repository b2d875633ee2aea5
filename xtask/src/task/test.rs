//! `cargo xtask test`: every test.

use crate::cargo::{cargo, run};
use anyhow::Result;

/// Runs every test. `HADUMP_CORPUS` names a corpus of dumps for those that `testdata/` has no room for; with `CI` set,
/// a test that lacks a dump or a peer fails instead of saying so.
#[derive(clap::Args, Default)]
pub(crate) struct Test {
    /// Arguments of cargo test: a test's name, --test FILE, -- --test-threads 1 …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Test {
    pub(crate) fn run(self) -> Result<()> {
        run(cargo(&["test", "--workspace"]).args(self.arguments))
    }
}
