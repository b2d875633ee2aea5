//! `hadump dmesg`: the kernel log of a dump.

use crate::cli;
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use crate::show::report;
use anyhow::Result;
use kernel::log::LogError;
use serde::Serialize;
use std::io::{BufWriter, Write};

/// The log. `docs/json.md` describes the fields.
#[derive(Debug, Serialize)]
struct Log {
    format: String,
    /// The lines as they are printed without `--json`.
    lines: Vec<String>,
    records: u64,
    skipped: u64,
    unwritten: u64,
    remarks: Vec<String>,
}

/// Prints the log on standard output, and problems with it on standard error.
pub(crate) fn run(args: &cli::Dmesg) -> Result<Outcome> {
    let dump = input::open_for_kernel(&args.input, Prefer::Vmcore)?;
    let kernel = input::kernel(&dump, &args.input)?;
    let read = |out: &mut dyn Write| {
        kernel::log::read_log(&kernel, out).map_err(|error| match error {
            // It is standard output's, which needs no other name.
            LogError::Write(error) => error.into(),
            error => anyhow::Error::new(error)
                .context(format!("{}: cannot read the kernel log", args.input.name())),
        })
    };
    let summary = if args.json {
        let mut text = Vec::new();
        let summary = read(&mut text)?;
        report::print_json(&Log {
            format: summary.format.to_string(),
            lines: String::from_utf8_lossy(&text).lines().map(str::to_owned).collect(),
            records: summary.records,
            skipped: summary.skipped,
            unwritten: summary.unwritten,
            remarks: summary.remarks.clone(),
        })?;
        summary
    } else {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let summary = read(&mut out)?;
        out.flush()?;
        summary
    };
    if let Some(remark) = summary.unwritten_remark() {
        tracing::info!("{}: {remark}", args.input.name());
    }
    for remark in &summary.remarks {
        tracing::warn!("{}: {remark}", args.input.name());
    }
    Ok(if summary.remarks.is_empty() { Outcome::Complete } else { Outcome::Incomplete })
}
