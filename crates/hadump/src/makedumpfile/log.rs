//! `--dump-dmesg`: the kernel log alone.

use super::args::{Options, Target};
use super::messages::Messages;
use super::{out, source};
use crate::outcome::Outcome;
use crate::output::SinkWriter;
use anyhow::{Context, Result};
use kernel::log::{Extent, LogError};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes the log as text, also with `-F`.
pub(super) fn run(options: &Options, input: &Path, output: &Target, say: Messages) -> Result<Outcome> {
    let source = source::open(options, input, say)?;
    let kernel = source.kernel()?;
    let extent = if options.partial_dmesg { Extent::SinceClear } else { Extent::Whole };
    let write = |out: &mut dyn Write| -> Result<Vec<String>> {
        let summary = kernel::log::read_extent(&kernel, extent, out).map_err(|error| {
            let (name, cannot) = match (&error, output) {
                (LogError::Write(_), Target::Stdout) => ("standard output".to_owned(), "write"),
                (LogError::Write(_), Target::File(path)) => (path.display().to_string(), "write"),
                _ => (input.display().to_string(), "read"),
            };
            let error = match error {
                LogError::Write(error) => error.into(),
                error => anyhow::Error::new(error),
            };
            error.context(format!("{name}: cannot {cannot} the kernel log"))
        })?;
        if options.partial_dmesg && !summary.since_clear {
            say.error(
                "--partial-dmesg: the dump does not say when the log was last cleared; it is written whole",
            );
        }
        if let Some(remark) = summary.unwritten_remark() {
            say.error(&format!("{}: {remark}", input.display()));
        }
        Ok(summary.remarks)
    };
    let (remarks, name) = match output {
        Target::Stdout => {
            let mut out = BufWriter::new(io::stdout().lock());
            let remarks = write(&mut out)?;
            out.flush().context("standard output: cannot write the kernel log")?;
            (remarks, "STDOUT".to_owned())
        }
        Target::File(path) => {
            source.report_beside(options, path, say);
            let file = out::begin(options, Some(&source.args), path)?;
            let mut out = BufWriter::with_capacity(1 << 16, SinkWriter::new(&file));
            let remarks = write(&mut out)?;
            out.flush().with_context(|| format!("{}: cannot write the kernel log", path.display()))?;
            drop(out);
            let named = if remarks.is_empty() { file.commit()? } else { file.keep_incomplete()? };
            (remarks, named.display().to_string())
        }
    };
    for remark in &remarks {
        say.error(&format!("{}: {remark}", input.display()));
    }
    say.common(&format!("\nThe dmesg log is saved to {name}."));
    Ok(if remarks.is_empty() { Outcome::Complete } else { Outcome::Incomplete })
}
