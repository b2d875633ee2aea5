//! `-R` and `--reassemble`: one ordinary dump file from a stream, or from the parts of a split set.

use super::args::{Options, Target};
use super::create;
use super::messages::Messages;
use crate::Outcome;
use crate::cli::InputArgs;
use anyhow::{Result, bail};
use dumpfile::flattened::{StreamEnd, unflatten};
use std::io;
use std::path::{Path, PathBuf};

/// Writes a flattened stream from standard input as an ordinary file.
pub(super) fn rearrange(options: &Options, output: &Path, say: Messages) -> Result<Outcome> {
    let file = create::begin(options, None, output)?;
    let arrived = unflatten(&mut io::stdin().lock(), &file)?;
    if arrived.foreign.is_some() {
        bail!("standard input is not a flattened dump; nothing is saved");
    }
    let what = match arrived.end {
        StreamEnd::Whole => {
            let name = create::keep(file, true)?;
            say.common(&format!("\nThe dumpfile is saved to {}.", name.display()));
            return Ok(Outcome::Complete);
        }
        StreamEnd::Cut(None) => "the stream ends early".to_owned(),
        StreamEnd::Cut(Some(error)) => format!("the stream ends early: {error}"),
        StreamEnd::Damaged(what) => format!("the stream is damaged: {what}"),
    };
    if arrived.pieces == 0 {
        bail!("{what}; nothing of it arrived");
    }
    let name = create::keep(file, false)?;
    say.error(&format!("{what}; the {} bytes that arrived are kept in {}", arrived.received, name.display()));
    Ok(Outcome::Incomplete)
}

/// Joins a split set, with the compression of its parts.
pub(super) fn reassemble(
    options: &mut Options,
    parts: Vec<PathBuf>,
    output: &Path,
    say: Messages,
) -> Result<Outcome> {
    let source =
        create::open_args(options, InputArgs { input: parts, ..InputArgs::path(Path::new("")) }, say)?;
    options.codec = source.method();
    create::make(options, &source, &Target::File(output.to_owned()), say)
}
