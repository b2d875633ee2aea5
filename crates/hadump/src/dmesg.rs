//! `hadump dmesg`: the kernel log of a dump.

use crate::input::{self, Prefer};
use crate::{Outcome, cli};
use anyhow::{Context, Result};
use std::io::{BufWriter, Write};

/// Prints the log on standard output, and problems with it on standard error.
pub(crate) fn run(args: &cli::Dmesg) -> Result<Outcome> {
    let dump = input::open_for_kernel(&args.input, Prefer::Vmcore)?;
    let kernel = input::kernel(&dump, &args.input)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let summary = kernel::log::read_log(&kernel, &mut out)
        .with_context(|| format!("{}: cannot read the kernel log", args.input.name()))?;
    out.flush()?;
    if let Some(remark) = summary.unwritten_remark() {
        tracing::info!("{}: {remark}", args.input.name());
    }
    for remark in &summary.remarks {
        tracing::warn!("{}: {remark}", args.input.name());
    }
    Ok(if summary.remarks.is_empty() { Outcome::Complete } else { Outcome::Incomplete })
}
