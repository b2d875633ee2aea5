//! The kernel's log, saved first: it is small, quickly written and often all that is needed.

use crate::input::lent;
use crate::output::{self, FORCE, SinkWriter};
use anyhow::{Context, Result};
use dumpfile::output::OutputFile;
use kernel::Kernel;
use kernel::log::LogSummary;
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
    let kernel = Kernel::open(dump).context("the kernel cannot be understood")?;
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
    let (summary, lends) = match recipients {
        Some(recipients) => {
            let mut sealer = Sealer::new(recipients, &mut out)?;
            let read = read(&kernel, &mut sealer)?;
            sealer.finish()?;
            read
        }
        None => read(&kernel, &mut out)?,
    };
    out.flush()?;
    drop(out);
    remarks.extend(summary.remarks.iter().map(|remark| format!("kernel log: {remark}")));
    if lends && let Some(remark) = lent::remark(dump, &kernel) {
        tracing::warn!("{remark}");
        remarks.push(remark);
    }
    Ok(file.commit()?)
}

/// Writes the log to `out`, and tells whether it speaks of memory that was lent to the capture kernel: to ask the kernel itself
/// takes a search through all its symbols.
fn read(kernel: &Kernel<'_>, out: &mut dyn Write) -> Result<(LogSummary, bool)> {
    let mut out = Seeking { out, end: Vec::new(), found: false };
    let summary = kernel::log::read_log(kernel, &mut out)?;
    Ok((summary, out.found))
}

/// Passes on what is written, and notices [`lent::IN_LOG`] in it.
struct Seeking<'w> {
    out: &'w mut dyn Write,
    /// The last bytes, of which the words may be the beginning.
    end: Vec<u8>,
    found: bool,
}

impl Write for Seeking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.end.extend_from_slice(&bytes[..written]);
        self.found |= self.end.windows(lent::IN_LOG.len()).any(|words| words == lent::IN_LOG);
        let surplus = self.end.len().saturating_sub(lent::IN_LOG.len() - 1);
        self.end.drain(..surplus);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// `vmcore-dmesg.txt`, as kdump calls it; `vmcore-dmesg.txt.age` when it is encrypted.
pub(super) fn beside(name: &Path, encrypted: bool) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(if encrypted { "-dmesg.txt.age" } else { "-dmesg.txt" });
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_noticed_however_they_are_cut() {
        for (text, found) in
            [(&b"[0.0] crashkernel CMA reserved: 64 MB"[..], true), (b"crashkernel CMA failed", false)]
        {
            for piece in [1, 5, 100] {
                let mut all = Vec::new();
                let mut out = Seeking { out: &mut all, end: Vec::new(), found: false };
                text.chunks(piece).for_each(|piece| out.write_all(piece).unwrap());
                assert_eq!(out.found, found, "{piece}");
                assert_eq!(all, text);
            }
        }
    }
}
