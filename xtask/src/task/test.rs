//! `cargo xtask test`: every test.

use crate::cargo::cargo;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Runs every test. `HADUMP_CORPUS` names a corpus of dumps for those that `testdata/` has no room for; with `CI` set,
/// a test that lacks a dump or a peer fails instead of saying so.
#[derive(clap::Args, Default)]
pub(crate) struct Test {
    /// Arguments of cargo test: a test's name, --test FILE, -- --test-threads 1 …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Test {
    /// Runs cargo test, and adds up its many summaries to one that stands last.
    pub(crate) fn run(self) -> Result<()> {
        let mut command = cargo(&["test", "--workspace"]);
        command.args(self.arguments).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start cargo")?;
        let output = BufReader::new(child.stdout.take().context("cargo's output is piped")?);
        let (mut passed, mut failed, mut ignored) = (0, 0, 0);
        for line in output.lines() {
            let line = line?;
            println!("{line}");
            if let Some(summary) = Summary::parse(&line) {
                passed += summary.passed;
                failed += summary.failed;
                ignored += summary.ignored;
            }
        }
        let status = child.wait()?;
        let skipped = if ignored > 0 { format!(", {ignored} skipped") } else { String::new() };
        println!("\ntotal: {passed} passed, {failed} failed{skipped}");
        ensure!(status.success(), "cargo test: {status}");
        Ok(())
    }
}

/// What one test binary counts.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Summary {
    /// Reads `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let mut words = counts.split("; ").filter_map(|part| part.split_once(' '));
            words.find(|(_, word)| *word == what)?.0.parse().ok()
        };
        Some(Self { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_binarys_summary_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.00s";
        assert_eq!(Summary::parse(line), Some(Summary { passed: 12, failed: 3, ignored: 1 }));
        assert_eq!(Summary::parse("test a_test ... ok"), None);
    }
}
