//! `cargo xtask test`: every test.

use crate::cargo::cargo;
use crate::cross::{self, Target};
use crate::guest::tree::Tree;
use crate::guest::work_directory;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What runs on another machine by default: the libraries, which read and write bytes in somebody's order, and the program's
/// tests that need no other programs.
const CORE: [&[&str]; 2] = [
    &[
        "--tests", "-p", "vmcore", "-p", "dumpfile", "-p", "kernel", "-p", "phyp", "-p", "sealed", "-p",
        "save",
    ],
    &["-p", "hadump", "--test", "levels", "--test", "contents", "--test", "compare", "--test", "machines"],
];

/// Runs every test. `HADUMP_CORPUS` names a corpus of dumps for those that `testdata/` has no room for; with `CI` set,
/// a test that lacks a dump of that corpus or an installed program fails instead of being skipped.
#[derive(clap::Args, Default)]
pub(crate) struct Test {
    /// Build for another machine in a Debian sid tree, and run the core of the tests in QEMU's user mode: s390x's byte order
    /// is not that of the machines that hadump is written on
    #[arg(long, value_name = "TRIPLE", value_parser = cross::parse)]
    target: Option<&'static Target>,
    /// Arguments of cargo test: a test's name, --test FILE, -- --test-threads 1 …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Test {
    /// Runs cargo test, lists what was skipped and why, and adds up cargo's many summaries to one in the last line.
    pub(crate) fn run(self) -> Result<()> {
        let reasons = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
        let mut sum = Summary::default();
        if let Some(target) = self.target {
            let work = work_directory("boot")?;
            let tree = Tree::make(&work, "sid")?;
            tree.install("emulated", &["qemu-user"])?;
            let given: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
            let runs = if given.is_empty() { CORE.to_vec() } else { vec![&given[..]] };
            for arguments in runs {
                let mut command = emulated(&tree, target)?;
                sum.add(command.args(arguments))?;
            }
        } else {
            let mut command = cargo(&["test", "--workspace"]);
            sum.add(command.args(self.arguments).env("HADUMP_SKIPPED", reasons.path()))?;
        }
        print!("{}", listed(&std::fs::read_to_string(reasons.path())?));
        let skipped = if sum.ignored > 0 { format!(", {} skipped", sum.ignored) } else { String::new() };
        println!("\ntotal: {} passed, {} failed{skipped}", sum.passed, sum.failed);
        ensure!(sum.succeeded, "cargo test failed");
        Ok(())
    }
}

/// `cargo test` for another machine, whose programs QEMU runs.
fn emulated(tree: &Tree, target: &Target) -> Result<Command> {
    let mut command = target.cargo(tree, "test")?;
    command
        .args(["--no-fail-fast"])
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .env("CARGO_PROFILE_TEST_DEBUG", "none");
    if let Some(corpus) = std::env::var_os("HADUMP_CORPUS") {
        command.env("HADUMP_CORPUS", PathBuf::from(corpus).canonicalize().context("HADUMP_CORPUS")?);
    }
    if !target.is_host() {
        let qemu = format!("qemu-{}", target.machine);
        command.env(target.runner(), &qemu).env("HADUMP_RUNNER", qemu);
    }
    Ok(command)
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

/// What test binaries count.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Every cargo ended well.
    succeeded: bool,
}

impl Default for Summary {
    fn default() -> Self {
        Self { passed: 0, failed: 0, ignored: 0, succeeded: true }
    }
}

impl Summary {
    /// Runs a `cargo test`, prints what it prints, and adds what its test binaries count.
    fn add(&mut self, command: &mut Command) -> Result<()> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
        let output = BufReader::new(child.stdout.take().context("cargo's output is piped")?);
        for line in output.lines() {
            let line = line?;
            println!("{line}");
            if let Some(summary) = Self::parse(&line) {
                self.passed += summary.passed;
                self.failed += summary.failed;
                self.ignored += summary.ignored;
            }
        }
        self.succeeded &= child.wait()?.success();
        Ok(())
    }

    /// Reads `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let mut words = counts.split("; ").filter_map(|part| part.split_once(' '));
            words.find(|(_, word)| *word == what)?.0.parse().ok()
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            ignored: count("ignored")?,
            ..Self::default()
        })
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
        assert_eq!(
            Summary::parse(line),
            Some(Summary { passed: 12, failed: 3, ignored: 1, ..Summary::default() })
        );
        assert_eq!(Summary::parse("test a_test ... ok"), None);
    }
}
