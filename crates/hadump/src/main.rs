//! `hadump`: saves, filters, compresses, converts and inspects Linux kernel crash dumps.
//!
//! The program parses the command line, calls the libraries and prints. What a dump is, how a kernel lays out its
//! memory and what files look like is up to the libraries.

#![forbid(unsafe_code)]

mod beside;
mod choose;
mod cli;
mod commands;
mod custody;
mod input;
mod makedumpfile;
mod outcome;
mod output;
mod show;
mod threads;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use commands::{
    completions, convert, decrypt, diff, dmesg, gdb, hpte, info, join, mount, pages, read, receive, regs,
    report, save, search, status, verify,
};
use outcome::{FAILED, MISUSED, Misused, NOT_COMPARED, Outcome};
use show::log;
use show::remedy;
use show::terminal::{self, Line};
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Arc;
use tracing_subscriber::filter::LevelFilter;

/// Runs the command.
fn run(command: &Command, quiet: bool) -> anyhow::Result<Outcome> {
    match command {
        Command::Save(args) => save::run(args, quiet),
        Command::Convert(args) => convert::run(args, quiet),
        Command::Info(args) => info::run(args),
        Command::Report(args) => report::run(args),
        Command::Dmesg(args) => dmesg::run(args),
        Command::Gdb(args) => gdb::run(args),
        Command::Status(args) => status::run(args),
        Command::Regs(args) => regs::run(args),
        Command::Hpte(args) => hpte::run(args),
        Command::Receive(args) => receive::run(args, quiet),
        Command::Join(args) => join::run(args, quiet),
        Command::Verify(args) => verify::run(args, quiet),
        Command::Diff(args) => diff::run(args, quiet),
        Command::Pages(args) => pages::run(args, quiet),
        Command::Search(args) => search::run(args, quiet),
        Command::Read(args) => read::run(args),
        Command::Decrypt(args) => decrypt::run(args),
        Command::Mount(args) => mount::run(args, quiet),
        Command::Completions(args) => completions::run(args.shell),
    }
}

fn main() -> ExitCode {
    // A limit on the size of files is then an error of the write, like a full disk, and not the end of the program.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    // Not a subcommand of clap's: makedumpfile's options follow rules that clap cannot keep.
    if let Some(args) = makedumpfile::called(std::env::args_os()) {
        return makedumpfile::main(args);
    }
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        if error.use_stderr() && makedumpfile::is_meant(std::env::args_os().skip(1)) {
            let _ = writeln!(
                std::io::stderr(),
                "\nThese are options of makedumpfile. For its command line: hadump makedumpfile ..."
            );
        }
        std::process::exit(error.exit_code());
    });
    let contradiction = match &cli.command {
        Command::Convert(args) => args.contradiction().map(|why| ("convert", why)),
        Command::Save(args) => args.contradiction().map(|why| ("save", why)),
        Command::Info(args) => args.wanted_note().err().map(|why| ("info", why)),
        Command::Search(args) => args.typed().err().map(|why| ("search", why)),
        Command::Read(args) => args.typed().err().map(|why| ("read", why)),
        _ => None,
    };
    if let Some((name, contradiction)) = contradiction {
        let mut cli = Cli::command();
        cli.build();
        let mut fallback = cli.clone();
        let command = cli.find_subcommand_mut(name).unwrap_or(&mut fallback);
        command.error(clap::error::ErrorKind::ArgumentConflict, contradiction).exit();
    }
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, 0) => LevelFilter::WARN,
        (_, 1) => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    log::start(level);
    let result = match &cli.command {
        // They have threads of their own, as many as their options say.
        Command::Save(_) | Command::Convert(_) | Command::Mount(_) => run(&cli.command, cli.quiet),
        _ => threads::on(None, || run(&cli.command, cli.quiet)),
    };
    match result {
        Ok(outcome) => outcome.code().into(),
        // Not where the pipe takes a dump: its reader needs all of it.
        Err(error)
            if is_closed_pipe(&error)
                && !matches!(cli.command, Command::Save(_) | Command::Convert(_) | Command::Decrypt(_)) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // A full disk behind standard error must not change how the run ends.
            let standard_output = if is_of_standard_output(&error) { "standard output: " } else { "" };
            let text = format!("{standard_output}{}", remedy::explained(&error));
            let _ = writeln!(terminal::stderr(), "hadump: {}", Line(&text));
            match cli.command {
                Command::Diff(_) => NOT_COMPARED,
                _ if error.is::<Misused>() => MISUSED,
                _ => FAILED,
            }
            .into()
        }
    }
}

/// Reports whether an error is nothing but the system's: those about files name them, and what is left is standard output.
fn is_of_standard_output(error: &anyhow::Error) -> bool {
    let json = error.downcast_ref::<serde_json::Error>().is_some_and(|error| error.is_io());
    json || error.downcast_ref::<std::io::Error>().is_some() && error.chain().count() == 1
}

/// Reports whether the reader of our output went away, as `head` does when it has what it wants.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json = || cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or_else(json) == Some(ErrorKind::BrokenPipe)
    })
}
