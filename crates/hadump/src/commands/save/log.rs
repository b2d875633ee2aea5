//! The kernel's log, saved first: it is small, quickly written and often all that is needed.

use super::FORCE;
use crate::output::{self, SinkWriter};
use anyhow::{Context, Result};
use dumpfile::output::OutputFile;
use sealed::{Recipients, Sealer};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use vmcore::Dump;

/// Writes the log of the dumped kernel to a file beside `name`, encrypted if the dump is, and makes it durable.
pub(super) fn save(
    dump: &Dump,
    name: &Path,
    recipients: Option<&Recipients>,
    force: bool,
    remarks: &mut Vec<String>,
) -> Result<PathBuf> {
    let path = beside(name, recipients.is_some());
    let kernel = kernel::Kernel::open(dump).context("the kernel cannot be understood")?;
    // An attempt that was killed leaves an unfinished file, which this one replaces.
    let unfinished = OutputFile::incomplete_name(&path)?;
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("{}: cannot be replaced", unfinished.display()));
        }
        _ => (),
    }
    let file = output::create_resumable(&path, force, FORCE)?;
    let mut out = BufWriter::new(SinkWriter::new(&file));
    let summary = match recipients {
        Some(recipients) => {
            let mut sealer = Sealer::new(recipients, &mut out)?;
            let summary = kernel::log::read_log(&kernel, &mut sealer)?;
            sealer.finish()?;
            summary
        }
        None => kernel::log::read_log(&kernel, &mut out)?,
    };
    out.flush()?;
    drop(out);
    remarks.extend(summary.remarks.iter().map(|remark| format!("kernel log: {remark}")));
    Ok(file.commit()?)
}

/// `vmcore-dmesg.txt`, as kdump calls it; `vmcore-dmesg.txt.age` when it is encrypted.
pub(super) fn beside(name: &Path, encrypted: bool) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(if encrypted { "-dmesg.txt.age" } else { "-dmesg.txt" });
    path.into()
}
