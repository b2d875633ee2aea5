//! `cargo xtask lint`: formatting, clippy, and what `deny.toml` says about dependencies.

use crate::cargo::{self, cargo};
use anyhow::Result;
use std::process::Stdio;

pub(crate) fn run() -> Result<()> {
    cargo::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    cargo::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))?;
    let installed = cargo(&["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if installed.is_ok_and(|status| status.success()) {
        // Advisories need the network and change without us; `just deny` checks them too.
        cargo::run(&mut cargo(&["deny", "--log-level", "error", "check", "licenses", "bans", "sources"]))?;
    } else {
        eprintln!("skipped: dependencies against deny.toml (cargo install cargo-deny)");
    }
    Ok(())
}
