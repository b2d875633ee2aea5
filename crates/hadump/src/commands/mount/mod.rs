//! `hadump mount`: a dump as files, without converting it.
//!
//! A mount outlives the command that makes it and must not outlive the process that answers the kernel: whoever looked into it
//! would get errors, and nobody would take it away. So it is two processes, for which the program runs itself again, as going
//! into the background by `fork` would need `unsafe`. One answers ([`serve`]), the other waits for its end, whatever that is, and
//! unmounts ([`watch`]); the one that answers does so itself if the other is gone first.
//!
//! The command returns when the mount can be looked at, or could not be made: the one that answers writes a line to its standard
//! output then, which the one that waits passes on.

mod files;
mod mounts;
mod serve;
mod watch;

use crate::cli::{self, Role};
use crate::outcome::Outcome;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Mounts.
pub(crate) fn run(args: &cli::Mount, quiet: bool) -> Result<Outcome> {
    let directory = checked(&args.directory)?;
    match args.role {
        Some(Role::Serve) => serve::run(args, &directory),
        Some(Role::Watch) => watch::run(&directory, true, quiet),
        None if args.foreground => watch::run(&directory, false, quiet),
        None => start(),
    }
}

/// The directory's whole name, if something can be mounted there.
fn checked(directory: &Path) -> Result<PathBuf> {
    let name = directory.display();
    let device = Path::new("/dev/fuse");
    if !device.exists() {
        bail!(
            "{}: not there, and mounting needs it: modprobe fuse, or in a container, hand it in (--device /dev/fuse)",
            device.display()
        );
    }
    let whole = directory.canonicalize().with_context(|| format!("{name}: cannot be mounted at"))?;
    if !whole.is_dir() {
        bail!("{name}: not a directory, so nothing can be mounted at it");
    }
    Ok(whole)
}

/// Starts the two processes, and returns when the mount is up.
fn start() -> Result<Outcome> {
    let mut watching = again(Role::Watch)?.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let said = watching.stdout.take().and_then(word);
    match said {
        Some(outcome) => Ok(outcome),
        None => {
            watching.wait()?;
            Ok(Outcome::Said)
        }
    }
}

/// This command once more, in another role.
fn again(role: Role) -> Result<Command> {
    let program = std::env::current_exe().context("cannot find the program to run it again")?;
    let mut command = Command::new(program);
    let mut args = std::env::args_os().skip(1);
    // Options before the command's name have no values; at the end there may be a `--`.
    command.args(args.by_ref().take_while(|arg| arg != "mount"));
    command.arg("mount").arg(match role {
        Role::Watch => "--role=watch",
        Role::Serve => "--role=serve",
    });
    command.args(args.skip_while(|arg| arg == "--role=watch"));
    Ok(command)
}

/// What is said when a mount is up, by the outcome.
fn words(outcome: Outcome) -> String {
    format!("up {}\n", outcome.code())
}

/// What another process of the mount says, or `None` when it ends without a word.
fn word(output: impl Read) -> Option<Outcome> {
    let mut line = String::new();
    BufReader::new(output.take(64)).read_line(&mut line).ok()?;
    [Outcome::Complete, Outcome::Incomplete].into_iter().find(|outcome| line == words(*outcome))
}

/// Lets go of the terminal: whoever waits for the end of what is written there need not wait for the end of the mount.
fn let_go() -> Result<()> {
    let nothing = std::fs::File::options().write(true).open("/dev/null").context("/dev/null")?;
    rustix::stdio::dup2_stderr(nothing)?;
    // It fails where this process leads a group of its own already.
    let _ = rustix::process::setsid();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_up_is_understood_and_one_that_ends_is_not() {
        for outcome in [Outcome::Complete, Outcome::Incomplete] {
            assert_eq!(word(words(outcome).as_bytes()), Some(outcome));
        }
        for other in ["", "up", "up 1\n", "hadump: no\n"] {
            assert_eq!(word(other.as_bytes()), None, "{other}");
        }
    }
}
