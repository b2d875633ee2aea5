//! What arrived of a dump: whether it is whole, and keeping what was cut.

use super::keep;
use anyhow::{Context, Result};
use dumpfile::flattened::Covered;
use dumpfile::kdump::{Marked, mark_incomplete};
use dumpfile::output::OutputFile;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// Reports whether the dump `name`, of which these bytes came, is not marked as incomplete, and what does not fit in it.
///
/// # Errors
///
/// When it is no dump or cannot be read.
pub(crate) fn look_at(name: &Path, covered: &Covered) -> Result<(bool, Vec<String>)> {
    let file = File::open(name).with_context(|| format!("{}: cannot be opened again", name.display()))?;
    let dump = dumpfile::open_received(file, name, covered)?;
    let mut problems = dump.source.problems.clone();
    problems.extend(dump.memory.check()?.problems);
    Ok((!dump.source.incomplete, problems))
}

/// Keeps the file `name` of a stream that was cut, marked as incomplete, and returns its name and what it lacks, as far as that
/// can be seen. What is not a dump is removed; then the reason is returned.
///
/// # Errors
///
/// When the file cannot be named.
pub(crate) fn keep_cut(
    output: OutputFile,
    name: &Path,
) -> Result<Result<(PathBuf, Option<Marked>), dumpfile::Error>> {
    let file = OpenOptions::new().read(true).write(true).open(name);
    let file = file.with_context(|| format!("{}: cannot be opened again", name.display()))?;
    let marked = match mark_incomplete(&file, name) {
        Ok(marked) => Some(marked),
        // The disk that took no more of the stream takes no mark either.
        Err(error @ dumpfile::Error::Write { .. }) => {
            tracing::warn!("the dump is kept and may not be marked as incomplete: {error}");
            None
        }
        Err(unusable) => {
            output.discard();
            return Ok(Err(unusable));
        }
    };
    Ok(Ok((keep(output)?, marked)))
}
