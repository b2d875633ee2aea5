//! The kernel's log, saved before anything else: small, at once, and often all that is needed.

use anyhow::{Context, Result};
use dumpfile::output::{OutputFile, Sink};
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
    // Killed in between, it leaves a file that the next attempt replaces.
    let unfinished = OutputFile::incomplete_name(&path)?;
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("{}: cannot be replaced", unfinished.display()));
        }
        _ => (),
    }
    let file = OutputFile::create_resumable(&path, force)?;
    let mut out = BufWriter::new(Behind { file: &file, offset: 0 });
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

/// `vmcore-dmesg.txt`, as kdump calls it; with `.age` behind it when it is encrypted.
pub(super) fn beside(name: &Path, sealed: bool) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(if sealed { "-dmesg.txt.age" } else { "-dmesg.txt" });
    path.into()
}

/// Writes one thing behind the other.
struct Behind<'f> {
    file: &'f OutputFile,
    offset: u64,
}

impl Write for Behind<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.offset, bytes).map_err(io::Error::other)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
