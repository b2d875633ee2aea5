//! The kernel log: what `dmesg` printed last.
//!
//! Linux has kept its log in three ways. Up to 3.4 a ring of characters (`flat`), from 3.5 to 5.9 a ring of
//! records of variable length (`record`), since 5.10 a ring of descriptors beside a ring of text (`ring`).
//! Which one a dump holds shows in the symbols that its VMCOREINFO offers; versions are not compared.
//!
//! Whatever its form, its entries are read in one way ([`read_entries`]), and the text is made of them.
//!
//! A log is read to understand a crash, and a crash is the hour at which memory is damaged. So only what makes
//! the log unreadable as a whole is an error; a record that makes no sense is left out, told of in
//! [`LogSummary::remarks`], and everything before it has been written already.
//!
//! A record that its CPU had begun and not finished when it was stopped is nothing of that kind: it is found after many a
//! crash, and the log is as complete as it ever was ([`LogSummary::unwritten`]).

mod clear;
mod entry;
mod flat;
mod record;
mod ring;
mod text;

use crate::{Error, KernelMemory};
pub use entry::Entry;
use std::fmt;
use std::io::{self, Write};
pub use text::Caller;

/// How the dumped kernel kept its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Descriptors and text in rings of their own (kernel: `kernel/printk/printk_ringbuffer.c`, since 5.10).
    Ring,
    /// Records of variable length in one ring (kernel: `struct printk_log`, 3.5 to 5.9).
    Records,
    /// A ring of characters (kernel: `log_buf` and `log_end`, up to 3.4).
    Flat,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ring => "printk ring buffer",
            Self::Records => "printk records",
            Self::Flat => "character buffer",
        })
    }
}

/// How much of the log is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All that the kernel kept.
    Whole,
    /// What came after the log was last cleared, as `dmesg` showed it then. All of it where the dump does not say when that
    /// was, as [`LogSummary::since_clear`] tells.
    SinceClear,
}

/// What was found in the log beside its text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct LogSummary {
    /// How the log was kept.
    pub format: LogFormat,
    /// The number of records written; of a character buffer, the number of line ends.
    pub records: u64,
    /// The number of records that the kernel meant to keep and whose text is not in the dump.
    pub skipped: u64,
    /// The number of records that never had a text: a CPU was stopped while it wrote one, or the buffer had no room.
    pub unwritten: u64,
    /// The text begins where the log was last cleared.
    pub since_clear: bool,
    /// What was wrong with the log, one sentence per entry; only the first few.
    pub remarks: Vec<String>,
}

impl LogSummary {
    /// Says how many records never had a text, if there are any. The log lacks nothing because of them.
    pub fn unwritten_remark(&self) -> Option<String> {
        (self.unwritten > 0).then(|| {
            format!(
                "{} of the log, begun and never written (a CPU was stopped in printk, or a message found no room), left \
                 out",
                match self.unwritten {
                    1 => "1 record".into(),
                    n => format!("{n} records"),
                }
            )
        })
    }
}

/// Why the log could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The dump does not yield its log.
    #[error(transparent)]
    Kernel(#[from] Error),
    /// The text could not be written.
    #[error("cannot write the kernel log")]
    Write(#[from] io::Error),
}

/// Who is shown the entries. An error ends the reading.
pub type Each<'a> = dyn FnMut(&Entry<'_>) -> io::Result<()> + 'a;

/// The most remarks that one log is worth; of more only the number is reported.
const MAX_REMARKS: u64 = 8;

/// The most unreadable pieces of a log before its memory counts as missing: a hostile head could promise billions.
const MAX_UNREADABLE: u64 = 4096;

/// The summary in the making.
struct Progress {
    summary: LogSummary,
    withheld: u64,
}

impl Progress {
    fn new(format: LogFormat) -> Self {
        let summary = LogSummary {
            format,
            records: 0,
            skipped: 0,
            unwritten: 0,
            since_clear: false,
            remarks: Vec::new(),
        };
        Self { summary, withheld: 0 }
    }

    /// Notes a peculiarity.
    fn remark(&mut self, remark: impl FnOnce() -> String) {
        if (self.summary.remarks.len() as u64) < MAX_REMARKS {
            self.summary.remarks.push(remark());
        } else {
            self.withheld += 1;
        }
    }

    /// Notes a record that had to be left out.
    fn skip(&mut self, why: impl FnOnce() -> String) {
        self.summary.skipped += 1;
        self.remark(why);
    }

    fn finish(mut self) -> LogSummary {
        if self.withheld > 0 {
            self.summary.remarks.push(format!("{} more remarks of this kind", self.withheld));
        }
        self.summary
    }
}

/// Writes the kernel log to `out` as `dmesg` shows it, a record at a time, oldest first.
///
/// Every record starts with its time, `[    1.234567] `, and with the thread or CPU that printed it,
/// `[      T1] `, where VMCOREINFO says that the kernel kept that. The second and later lines of a record are
/// indented by as much. Bytes that are neither printable ASCII nor white space read `\xHH`. This is what
/// `makedumpfile --dump-dmesg` writes.
///
/// `out` is written to once a record; memory use does not depend on the size of the log.
///
/// # Errors
///
/// When VMCOREINFO lacks a key that the log's format needs, when the log's head is not in the dump or makes no
/// sense, or when `out` fails.
pub fn read_log(memory: &dyn KernelMemory, out: &mut dyn Write) -> Result<LogSummary, LogError> {
    read_extent(memory, Extent::Whole, out)
}

/// As [`read_log`], and only what came after the log was last cleared if `extent` says so.
///
/// # Errors
///
/// As [`read_log`].
pub fn read_extent(
    memory: &dyn KernelMemory,
    extent: Extent,
    out: &mut dyn Write,
) -> Result<LogSummary, LogError> {
    let mut line = Vec::new();
    read_entries(memory, extent, &mut |entry| {
        entry.print(&mut line);
        out.write_all(&line)
    })
}

/// Shows `each` the entries of the log, oldest first, until one is refused.
///
/// # Errors
///
/// As [`read_log`], with `each` as the output.
pub fn read_entries(
    memory: &dyn KernelMemory,
    extent: Extent,
    each: &mut Each<'_>,
) -> Result<LogSummary, LogError> {
    let info = memory.info();
    let format = if info.symbol("prb").is_some() {
        LogFormat::Ring
    } else if info.symbol("log_first_idx").is_some() {
        LogFormat::Records
    } else if info.symbol("log_buf").is_some() {
        LogFormat::Flat
    } else {
        return Err(missing("SYMBOL(prb) or SYMBOL(log_buf)".into()).into());
    };
    let mut progress = Progress::new(format);
    match format {
        LogFormat::Ring => ring::read(memory, extent, each, &mut progress),
        LogFormat::Records => record::read(memory, extent, each, &mut progress),
        LogFormat::Flat => flat::read(memory, extent, each, &mut progress),
    }?;
    Ok(progress.finish())
}

fn missing(key: String) -> Error {
    Error::MissingKey { key, purpose: "the kernel log" }
}

/// `SYMBOL(name)` of VMCOREINFO, which the log cannot do without.
fn symbol(memory: &dyn KernelMemory, name: &str) -> Result<vmcore::VirtAddr, Error> {
    memory.info().symbol(name).ok_or_else(|| missing(format!("SYMBOL({name})")))
}

/// `SIZE(name)` of VMCOREINFO, held against `limit` so that no allocation follows a mad number.
fn size(memory: &dyn KernelMemory, name: &str, limit: u64) -> Result<usize, Error> {
    let size = memory.info().size(name).ok_or_else(|| missing(format!("SIZE({name})")))?;
    if size == 0 || size > limit {
        return Err(Error::Unsupported(format!(
            "VMCOREINFO's SIZE({name}) is {size}, expected 1 to {limit} bytes"
        )));
    }
    Ok(size as usize)
}

/// `OFFSET(member)` of VMCOREINFO for a member of `width` bytes in a structure of `size` bytes.
fn offset(memory: &dyn KernelMemory, member: &str, width: usize, size: usize) -> Result<usize, Error> {
    let offset = memory.info().offset(member).ok_or_else(|| missing(format!("OFFSET({member})")))?;
    let last = size.checked_sub(width).map(|last| last as u64);
    if last.is_none_or(|last| offset > last) {
        return Err(Error::Unsupported(format!(
            "VMCOREINFO's OFFSET({member}) is {offset}, which {width} bytes within {size} do not allow"
        )));
    }
    Ok(offset as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeKernel, LE64};

    #[test]
    fn a_kernel_without_any_log_symbol_is_told_which_key_it_lacks() {
        let kernel = FakeKernel::new(LE64);
        let error = read_log(&kernel, &mut Vec::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "VMCOREINFO has no SYMBOL(prb) or SYMBOL(log_buf), which the kernel log needs"
        );
    }

    #[test]
    fn remarks_are_few_and_the_rest_is_counted() {
        let mut progress = Progress::new(LogFormat::Ring);
        (0..20).for_each(|i| progress.skip(|| format!("remark {i}")));
        let summary = progress.finish();
        assert_eq!(summary.skipped, 20);
        assert_eq!(summary.remarks.len(), MAX_REMARKS as usize + 1);
        assert_eq!(summary.remarks.last().unwrap(), "12 more remarks of this kind");
    }

    #[test]
    fn an_output_that_fails_is_not_taken_for_a_damaged_dump() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut kernel = FakeKernel::new(LE64);
        kernel.set_info("SYMBOL(log_buf)=1000\nSYMBOL(log_buf_len)=1010\nSYMBOL(log_end)=1018\n");
        kernel.put(0x1000, &[0, 0x20, 0, 0, 0, 0, 0, 0]);
        kernel.put(0x1010, &[16, 0, 0, 0]);
        kernel.put(0x1018, &[4, 0, 0, 0]);
        kernel.put(0x2000, b"<4>a");
        assert!(matches!(read_log(&kernel, &mut Full), Err(LogError::Write(_))));
    }
}
