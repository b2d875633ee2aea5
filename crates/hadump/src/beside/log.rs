//! The kernel's log.

use super::manner::Manner;
use crate::input::lent;
use anyhow::{Context, Result};
use kernel::Kernel;
use kernel::log::LogSummary;
use std::io::{self, Write};
use std::path::PathBuf;
use vmcore::Dump;

/// As kdump calls it.
pub(super) const SUFFIX: &str = "-dmesg.txt";

/// Writes the log of the dumped kernel to a file, and makes it durable.
pub(crate) fn save(dump: &Dump, manner: &Manner<'_>, remarks: &mut Vec<String>) -> Result<PathBuf> {
    let kernel = Kernel::open(dump).context("the kernel cannot be understood")?;
    let file = manner.begin(SUFFIX)?;
    let (summary, lends) = manner.fill(&file, |out| read(&kernel, out))?;
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
