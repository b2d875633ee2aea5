//! Opening what the user named, with what it takes to read it.

use anyhow::{Context, Result};
use std::path::Path;
use vmcore::Dump;

/// Opens a dump and logs what is odd about it.
pub(crate) fn open(path: &Path) -> Result<Dump> {
    let dump = dumpfile::open(path)?;
    for remark in &dump.source.remarks {
        tracing::warn!("{}: {remark}", path.display());
    }
    Ok(dump)
}

/// Learns what the dumped kernel says of itself.
pub(crate) fn kernel<'d>(dump: &'d Dump, path: &Path) -> Result<kernel::Kernel<'d>> {
    kernel::Kernel::open(dump).with_context(|| format!("{}: cannot understand the kernel", path.display()))
}
