//! hadump called as makedumpfile.
//!
//! Distributions' capture scripts call makedumpfile. Installed under that name (a symbolic link will do), or as
//! `hadump makedumpfile ...`, hadump takes its command line, prints what scripts look for and ends with its exit codes.
//! The dump is hadump's own: read, chosen and written as `hadump convert` does.

mod args;
mod create;
mod getopt;
mod given;
mod headers;
mod join;
mod log;
mod messages;
mod out;
mod sink;
mod source;
mod split;
mod stats;
mod usage;

use crate::outcome::Outcome;
use crate::show::remedy;
use crate::threads;
use anyhow::Result;
use args::{Job, MessageLevel, Options, Refusal, Target};
use messages::Messages;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use tracing_subscriber::filter::LevelFilter;

/// makedumpfile's exit code where the file of -x or -i is of another kernel than the dump.
const OTHER_KERNEL: u8 = 2;

/// The arguments after the name, if the program was called as makedumpfile.
pub(crate) fn called(mut args: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let name = args.next()?;
    if Path::new(&name).file_name() == Some(OsStr::new("makedumpfile")) {
        return Some(args.collect());
    }
    (args.next()? == "makedumpfile").then(|| args.collect())
}

/// Reports whether somebody gave makedumpfile's command line to hadump itself: it begins with an option of makedumpfile's.
pub(crate) fn is_meant(mut args: impl Iterator<Item = OsString>) -> bool {
    let first = args.next().unwrap_or_default();
    let first = first.to_string_lossy();
    first.starts_with('-') && Options::knows(&first)
}

/// Does what makedumpfile would.
pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    let line = args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let (options, job) = Options::parse(args);
    let to_stdout = matches!(
        job,
        Ok(Job::Create { output: Target::Stdout, .. } | Job::Dmesg { output: Target::Stdout, .. })
    );
    let say = Messages::new(options.messages, options.flatten || to_stdout);
    start_log(say.level());
    let job = match job {
        Ok(Job::Help) => {
            say.common(usage::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Job::Version) => {
            say.common(&usage::version());
            return ExitCode::SUCCESS;
        }
        Ok(job) => job,
        Err(refusal) => {
            refuse(say, &refusal);
            if !options.check_only {
                say.common("\nmakedumpfile Failed.");
            }
            return ExitCode::FAILURE;
        }
    };
    for remark in &options.remarks {
        say.error(remark);
    }
    if options.check_only {
        return ExitCode::SUCCESS;
    }
    say.debug(&format!("makedumpfile: version {}\ncommand line: makedumpfile {line} \n", usage::VERSION));
    let silent = matches!(job, Job::MemUsage { .. });
    match run(options, job, say) {
        Ok(Outcome::Complete | Outcome::MoreKept) => {
            if !silent {
                say.common("\nmakedumpfile Completed.");
            }
            ExitCode::SUCCESS
        }
        Ok(Outcome::Incomplete | Outcome::Different | Outcome::Said) => {
            say.common("\nmakedumpfile Failed.");
            ExitCode::FAILURE
        }
        Err(error) => {
            match error.downcast_ref::<source::NotXen>() {
                Some(why) => say.common(&format!("{why}\n{HINT}")),
                None => say.error(&remedy::explained(&error)),
            }
            say.common("\nmakedumpfile Failed.");
            if error.is::<given::OtherKernel>() { OTHER_KERNEL.into() } else { ExitCode::FAILURE }
        }
    }
}

/// What makedumpfile says after a wrong command line.
const HINT: &str = "Commandline parameter is invalid.\nTry `makedumpfile --help' for more information.";

fn refuse(say: Messages, refusal: &Refusal) {
    match refusal {
        Refusal::Getopt(message) => {
            say.error(message);
            say.common(HINT);
        }
        Refusal::Value(message) => say.common(message),
        Refusal::Usage(more) => {
            if let Some(more) = more {
                say.common(more);
            }
            say.common(HINT);
        }
        Refusal::Unsupported(what) => say.error(&format!("{what}; nothing was done")),
    }
}

/// Sends the libraries' messages to standard error, if errors or debugging messages are wanted.
fn start_log(level: MessageLevel) {
    let level = if level.has(MessageLevel::DEBUG) {
        LevelFilter::DEBUG
    } else if level.has(MessageLevel::ERROR) {
        LevelFilter::WARN
    } else {
        LevelFilter::OFF
    };
    crate::show::log::start(level);
}

fn run(mut options: Options, job: Job, say: Messages) -> Result<Outcome> {
    // Also where a script counts processors: a capture kernel may have as many as the machine, and little memory.
    let fit = threads::that_fit();
    let threads = options.threads.map_or(fit, |wanted| wanted.min(fit));
    threads::on(Some(threads), || match job {
        Job::Create { input, output } => create::run(&options, &input, &output, say),
        Job::Split { input, outputs } => split::run(&options, &input, &outputs, say),
        Job::MemUsage { input } => create::mem_usage(&options, &input, say),
        Job::Dmesg { input, output } => log::run(&options, &input, &output, say),
        Job::Rearrange { output } => join::rearrange(&options, &output, say),
        Job::Reassemble { parts, output } => join::reassemble(&mut options, parts, &output, say),
        Job::GenerateVmcoreinfo { output, vmlinux } => given::generate(&options, &output, &vmlinux, say),
        Job::Help | Job::Version => Ok(Outcome::Complete),
    })
}
