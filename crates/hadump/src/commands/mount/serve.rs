//! The process that answers the kernel.

use super::{files, let_go, mounts, words};
use crate::cli;
use crate::outcome::Outcome;
use crate::threads;
use anyhow::{Context, Result, anyhow};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use view::Access;

/// Opens the dump, shows it at `directory`, and answers until it is unmounted.
pub(super) fn run(args: &cli::Mount, directory: &Path) -> Result<Outcome> {
    let source = mounts::source(std::process::id());
    leave_nothing_behind(directory.to_owned(), source.clone());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = Arc::new(threads::pool(processors).context("the system grants no threads")?);
    let (tree, outcome) = files::show(args, &pool)?;
    let access = if args.allow_other { Access::All } else { Access::Owner };
    let up = || {
        mounts::read_further_ahead(&source);
        if !args.foreground {
            let_go().map_err(std::io::Error::other)?;
        }
        std::io::stdout().write_all(words(outcome).as_bytes())
    };
    view::mount(tree, directory, &source, access, processors, up)
        .map_err(reason)
        .with_context(|| format!("{}: cannot be mounted at", directory.display()))?;
    Ok(outcome)
}

/// Why the system does not mount, in one line.
fn reason(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => {
            anyhow!("fusermount3 is not installed (package fuse3), and only root can do without it")
        }
        // What fusermount3 prints ends with a line end.
        _ => anyhow!("{}", error.to_string().trim_end()),
    }
}

/// Unmounts and ends when the process is gone that would do so.
fn leave_nothing_behind(directory: PathBuf, source: String) {
    std::thread::spawn(move || {
        // Nothing is ever written there.
        let _ = std::io::stdin().lock().read(&mut [0]);
        mounts::take_away(&directory, &source);
        std::process::exit(Outcome::Said.code().into());
    });
}
