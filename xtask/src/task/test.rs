//! `cargo xtask test`: every test.

use crate::cargo::cargo;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Runs every test. `HADUMP_CORPUS` names a corpus of dumps for those that `testdata/` has no room for; with `CI` set,
/// a test that lacks a dump of that corpus or an installed program fails instead of being skipped.
#[derive(clap::Args, Default)]
pub(crate) struct Test {
    /// Arguments of cargo test: a test's name, --test FILE, -- --test-threads 1 …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Test {
    /// Runs cargo test, lists what was skipped and why, and adds up cargo's many summaries to one in the last line.
    pub(crate) fn run(self) -> Result<()> {
        let reasons = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
        let mut command = cargo(&["test", "--workspace"]);
        command.args(self.arguments).env("HADUMP_SKIPPED", reasons.path()).stdout(Stdio::piped());
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
        print!("{}", listed(&std::fs::read_to_string(reasons.path())?));
        let skipped = if ignored > 0 { format!(", {ignored} skipped") } else { String::new() };
        println!("\ntotal: {passed} passed, {failed} failed{skipped}");
        ensure!(status.success(), "cargo test: {status}");
        Ok(())
    }
}

/// The reasons why tests skipped something, one a line of `reasons`, each once and with its number.
fn listed(reasons: &str) -> String {
    let mut counts = BTreeMap::new();
    for reason in reasons.lines() {
        *counts.entry(reason).or_insert(0u64) += 1;
    }
    let mut list = String::new();
    for (reason, count) in counts {
        if list.is_empty() {
            list.push_str("\nnot tested:\n");
        }
        list.push_str(&format!("  {reason} ({count}x)\n"));
    }
    list
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
    fn reasons_are_listed_once_with_their_number() {
        assert_eq!(listed(""), "");
        let list = "\nnot tested:\n  crash is not installed (2x)\n  no vmlinux (1x)\n";
        assert_eq!(listed("crash is not installed\nno vmlinux\ncrash is not installed\n"), list);
    }

    #[test]
    fn a_test_binarys_summary_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.00s";
        assert_eq!(Summary::parse(line), Some(Summary { passed: 12, failed: 3, ignored: 1 }));
        assert_eq!(Summary::parse("test a_test ... ok"), None);
    }
}
