//! `hadump`: saves, filters, compresses, converts and inspects Linux kernel crash dumps.
//!
//! The program parses the command line, calls the libraries and prints. What a dump is, how a kernel lays out its
//! memory and how files look is none of its business.

#![forbid(unsafe_code)]

mod choose;
mod cli;
mod convert;
mod crash_notes;
mod destination;
mod diff;
mod dmesg;
mod frameset;
mod hpte;
mod info;
mod input;
mod join;
mod makedumpfile;
mod pages;
mod progress;
mod receive;
mod regs;
mod report;
mod save;
mod status;
mod units;
mod unseal;
mod verify;
mod walk;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::filter::LevelFilter;

/// How a run ended, short of failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All that was asked for.
    Complete,
    /// All that was asked for, and pages that could not be told from it.
    MoreKept,
    /// The output lacks pages that it should have, and says so.
    Incomplete,
    /// Two dumps that were compared are not the same.
    Different,
}

impl Outcome {
    /// The exit code of a run that ended so.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::MoreKept => 3,
            Self::Incomplete => 4,
            Self::Different => 1,
        }
    }
}

/// The exit code of a run that left nothing usable.
const FAILED: u8 = 1;

/// The exit code of `diff` where it could not compare; 1 says that the dumps differ, as for other programs that compare.
const NOT_COMPARED: u8 = 2;

fn main() -> ExitCode {
    // Not a subcommand of clap's: makedumpfile's options follow rules that clap cannot keep.
    if let Some(args) = makedumpfile::called(std::env::args_os()) {
        return makedumpfile::main(args);
    }
    let cli = Cli::parse();
    let contradiction = match &cli.command {
        Command::Convert(args) => args.contradiction(),
        Command::Save(args) => args.contradiction(),
        _ => None,
    };
    if let Some(contradiction) = contradiction {
        Cli::command().error(clap::error::ErrorKind::ArgumentConflict, contradiction).exit();
    }
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, 0) => LevelFilter::WARN,
        (_, 1) => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    start_log(level);
    let result = match &cli.command {
        Command::Save(args) => save::run(args, cli.quiet),
        Command::Convert(args) => convert::run(args, cli.quiet),
        Command::Info(args) => info::run(args),
        Command::Dmesg(args) => dmesg::run(args),
        Command::Status(args) => status::run(args),
        Command::Regs(args) => regs::run(args),
        Command::Hpte(args) => hpte::run(args),
        Command::Receive(args) => receive::run(args, cli.quiet),
        Command::Join(args) => join::run(args, cli.quiet),
        Command::Verify(args) => verify::run(args, cli.quiet),
        Command::Diff(args) => diff::run(args, cli.quiet),
        Command::Pages(args) => pages::run(args, cli.quiet),
    };
    match result {
        Ok(outcome) => outcome.code().into(),
        // Where a dump goes into the pipe, its reader never has what it wanted before the end.
        Err(error)
            if is_closed_pipe(&error) && !matches!(cli.command, Command::Save(_) | Command::Convert(_)) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // A full disk behind standard error must not change how the run ends.
            let _ = writeln!(std::io::stderr(), "hadump: {error:#}");
            if matches!(cli.command, Command::Diff(_)) { NOT_COMPARED } else { FAILED }.into()
        }
    }
}

/// Sends what the libraries have to say to standard error.
fn start_log(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(level)
        .without_time()
        .log_internal_errors(false)
        .with_target(false)
        .init();
}

/// Reports whether the reader of our output went away, as `head` does: it has what it wanted.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json = || cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or_else(json) == Some(ErrorKind::BrokenPipe)
    })
}
