//! `-R` and `--reassemble`: one ordinary dump file from a stream, or from the parts of a split set.

use super::args::{Options, Target};
use super::messages::Messages;
use super::{create, out, source};
use crate::cli::InputArgs;
use crate::outcome::Outcome;
use crate::output::received;
use anyhow::{Result, bail};
use dumpfile::flattened::{StreamEnd, unflatten};
use dumpfile::output::{Gathered, OutputFile, Sink};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// Writes a flattened stream from standard input as an ordinary file.
pub(super) fn rearrange(options: &Options, output: &Path, say: Messages) -> Result<Outcome> {
    if io::stdin().is_terminal() {
        bail!("-R: standard input is a terminal, and a stream comes through a pipe");
    }
    let file = out::begin(options, None, output)?;
    let gathered = Gathered::new(&file);
    let arrived = unflatten(&mut io::stdin().lock(), &gathered);
    let what = match arrived.and_then(|arrived| gathered.flush().map(|()| arrived)) {
        Ok(arrived) if arrived.foreign.is_some() => {
            bail!("standard input is not a flattened dump; nothing is saved")
        }
        Ok(arrived) => match arrived.end {
            StreamEnd::Whole => {
                // What is no dump is put in order all the same, and what is not durable is told by the commit.
                let looked = file.sync().map(|()| received::look_at(file.name(), &arrived.covered));
                let problems = looked.ok().and_then(Result::ok).map(|(_, problems)| problems);
                match problems.filter(|problems| !problems.is_empty()) {
                    None => return commit(file, say),
                    Some(problems) => format!("the stream is not as it was sent: {}", problems.join("; ")),
                }
            }
            StreamEnd::Cut(None) => "the stream ends early".to_owned(),
            StreamEnd::Cut(Some(error)) => format!("the stream ends early: {error}"),
            StreamEnd::Damaged(what) => format!("the stream is damaged: {what}"),
        },
        // What came through a pipe does not come again.
        Err(error) => format!("{:#}", anyhow::Error::from(error)),
    };
    let name = file.name().to_owned();
    match received::keep_cut(file, &name)? {
        Ok((name, _)) => say.error(&format!("{what}; what arrived is kept in {}", name.display())),
        Err(unusable) => bail!("{what}; what arrived is unusable: {unusable}"),
    }
    Ok(Outcome::Incomplete)
}

/// Gives a file that is whole its name.
fn commit(file: OutputFile, say: Messages) -> Result<Outcome> {
    match file.commit() {
        Ok(name) => {
            say.common(&format!("\nThe dumpfile is saved to {}.", name.display()));
            Ok(Outcome::Complete)
        }
        Err(error @ dumpfile::Error::NotDurable { .. }) => {
            say.error(&format!("{:#}", anyhow::Error::from(error)));
            Ok(Outcome::Incomplete)
        }
        Err(error) => Err(error.into()),
    }
}

/// Joins a split set, with the compression of its parts.
pub(super) fn reassemble(
    options: &mut Options,
    parts: Vec<PathBuf>,
    output: &Path,
    say: Messages,
) -> Result<Outcome> {
    let source =
        source::open_args(options, InputArgs { input: parts, ..InputArgs::path(Path::new("")) }, say)?;
    options.codec = source.method();
    create::make(options, &source, &Target::File(output.to_owned()), say)
}
