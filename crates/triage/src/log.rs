//! The lines of the log that matter after a crash.
//!
//! The log is read once: [`Entries`] is what all parts look at. It keeps the end of a log that is longer than any real one,
//! so that a hostile dump does not decide how much memory a report takes.

use kernel::KernelMemory;
use kernel::log::{Caller, Entry as Printed, Extent, LogError, read_entries};
use std::collections::{BTreeSet, VecDeque};

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As `dmesg` prints it, with its time, without a line end.
    pub text: String,
    /// How urgent it was: 0 emergency to 7 debug. `None` where the log does not say.
    pub level: Option<u8>,
    /// It belongs to the crash: the oops, the panic, their registers and traces.
    pub crash: bool,
}

/// What is shown of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// How many lines the whole log has.
    pub total: u64,
    /// All lines of level error (3) and more urgent that come before [`Log::tail`].
    pub errors: Vec<Line>,
    /// The last lines.
    pub tail: Vec<Line>,
    /// What was wrong with the log, one sentence per entry.
    pub remarks: Vec<String>,
}

/// How many of the last lines are shown where nobody asks for another number.
pub const TAIL: usize = 50;

/// The most bytes of text, and of entries, that are looked at: the last ones. Distributions' kernels keep 128 KiB to 2 MiB.
const MAX_BYTES: usize = 8 << 20;
const MAX_ENTRIES: usize = 1 << 16;

/// The most lines of errors that are shown, the last ones.
const MAX_ERRORS: usize = 1000;

/// The level `KERN_ERR`.
const ERROR: u8 = 3;

/// An entry of the log, with the text as it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    text: String,
    /// Where the first line's message begins in `text`, behind time and caller.
    message: usize,
    pub(crate) level: Option<u8>,
    /// The kernel printed it, as far as the log can tell: what programs write to `/dev/kmsg` has another facility.
    pub(crate) kernel: bool,
    pub(crate) caller: Option<Caller>,
}

impl Entry {
    fn new(printed: &Printed<'_>, buffer: &mut Vec<u8>) -> Self {
        printed.print(buffer);
        let text = String::from_utf8_lossy(buffer.strip_suffix(b"\n").unwrap_or(buffer)).into_owned();
        let message = printed.message();
        let first = |text: &str| text.split('\n').next().map_or(0, str::len);
        Self {
            message: first(&text).saturating_sub(first(&message)),
            text,
            level: printed.level,
            kernel: printed.facility.is_none_or(|facility| facility == 0),
            caller: printed.caller,
        }
    }

    /// The first line of what was said. Where a kernel prints a text that others gave it, it may have more lines, and those
    /// prove nothing.
    pub(crate) fn message(&self) -> &str {
        self.first().get(self.message..).unwrap_or_default()
    }

    /// The first line, with its time.
    pub(crate) fn first(&self) -> &str {
        self.text.split('\n').next().unwrap_or_default()
    }

    fn lines(&self, crash: bool) -> impl Iterator<Item = Line> {
        let level = self.level;
        self.text.split('\n').map(move |text| Line { text: text.to_owned(), level, crash })
    }

    fn is_error(&self) -> bool {
        self.level.is_some_and(|level| level <= ERROR)
    }
}

/// The entries of the log, or its end.
#[derive(Debug, Default)]
pub struct Entries {
    list: VecDeque<Entry>,
    bytes: usize,
    total: u64,
    /// How many entries were let go, and the errors among them.
    gone: u64,
    early: VecDeque<Line>,
    remarks: Vec<String>,
}

impl Entries {
    /// Reads the log of a kernel.
    ///
    /// # Errors
    ///
    /// As [`read_entries`].
    pub fn read(memory: &dyn KernelMemory) -> Result<Self, LogError> {
        let mut entries = Self::default();
        let mut buffer = Vec::new();
        let summary = read_entries(memory, Extent::Whole, &mut |printed| {
            entries.push(Entry::new(printed, &mut buffer));
            Ok(())
        })?;
        entries.remarks.extend(summary.unwritten_remark());
        entries.remarks.extend(summary.remarks);
        Ok(entries)
    }

    fn push(&mut self, entry: Entry) {
        self.total += entry.text.split('\n').count() as u64;
        self.bytes += entry.text.len();
        self.list.push_back(entry);
        while self.bytes > MAX_BYTES || self.list.len() > MAX_ENTRIES {
            let Some(gone) = self.list.pop_front() else { break };
            self.bytes -= gone.text.len();
            self.gone += 1;
            if gone.is_error() {
                self.early.extend(gone.lines(false));
                let surplus = self.early.len().saturating_sub(MAX_ERRORS);
                self.early.drain(..surplus);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.list.iter()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Entry> {
        self.list.get(index)
    }

    /// What is shown of the log: its last `tail` lines, and the errors before. `crash` are the entries that belong to the
    /// crash.
    pub fn show(&self, tail: usize, crash: &BTreeSet<usize>) -> Log {
        let (mut last, mut errors) = (VecDeque::new(), VecDeque::new());
        for (index, entry) in self.list.iter().enumerate().rev() {
            let mut lines: Vec<_> = entry.lines(crash.contains(&index)).collect();
            while last.len() < tail
                && let Some(line) = lines.pop()
            {
                last.push_front(line);
            }
            if entry.is_error() {
                lines.into_iter().rev().for_each(|line| errors.push_front(line));
            }
        }
        self.early.iter().rev().for_each(|line| errors.push_front(line.clone()));
        let surplus = errors.len().saturating_sub(MAX_ERRORS);
        errors.drain(..surplus);
        let mut remarks = self.remarks.clone();
        if surplus > 0 {
            remarks.push(format!("only the last {MAX_ERRORS} lines of errors are shown; there are more"));
        }
        if self.gone > 0 {
            let kept = self.list.len();
            remarks.push(format!(
                "the cause was looked for in the last {kept} records of the log, not in the {} before",
                self.gone
            ));
        }
        Log { total: self.total, errors: errors.into(), tail: last.into(), remarks }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Entries from the lines of a text: `<30>` is facility and level, `[    1.234567] ` the time, `[      T1] ` the caller.
    /// None of these has to be there; lines that begin with spaces in the place of the time belong to the entry before.
    pub(crate) fn entries(text: &str) -> Entries {
        let mut entries = Entries::default();
        let mut buffer = Vec::new();
        for line in text.lines() {
            let (number, rest) = match line.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
                Some((number, rest)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => {
                    (number.parse::<u32>().ok(), rest)
                }
                _ => (None, line),
            };
            let bracket = |text: &str, first: fn(char) -> bool| -> Option<(String, String)> {
                let (inside, rest) = text.strip_prefix('[')?.split_once("] ")?;
                inside.trim_start().starts_with(first).then(|| (inside.trim().into(), rest.into()))
            };
            let (time, rest) = bracket(rest, |c| c.is_ascii_digit())
                .filter(|(time, _)| time.contains('.'))
                .map_or((None, rest.to_owned()), |(time, rest)| (time.parse::<f64>().ok(), rest));
            let (caller, rest) =
                bracket(&rest, |c| c == 'T' || c == 'C').map_or((None, rest), |(caller, rest)| {
                    let cpu = if caller.starts_with('C') { 1 << 31 } else { 0 };
                    (caller[1..].parse().ok().map(|number: u32| Caller(number | cpu)), rest)
                });
            let printed = Printed {
                ts_nsec: Some(time.map_or(0, |seconds| (seconds * 1e9) as u64)),
                level: number.map(|n| (n & 7) as u8),
                facility: number.map(|n| n >> 3),
                caller,
                text: rest.as_bytes(),
            };
            entries.push(Entry::new(&printed, &mut buffer));
        }
        entries
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn the_last_lines_are_shown_and_the_errors_before_them() {
        let text: String = (0..100).map(|i| format!("<{}>[{i:5}.000000] line {i}\n", i % 7)).collect();
        let log = entries(&text).show(3, &BTreeSet::from([98]));
        assert_eq!(log.total, 100);
        assert_eq!(
            texts(&log.tail),
            ["[   97.000000] line 97", "[   98.000000] line 98", "[   99.000000] line 99"]
        );
        assert_eq!(log.tail.iter().map(|l| l.crash).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(log.errors.len(), (0..97).filter(|i| i % 7 <= 3).count());
        assert!(log.errors.iter().all(|line| line.level.unwrap() <= 3));
        assert_eq!(log.errors.last().unwrap().text, "[   94.000000] line 94");
    }

    #[test]
    fn a_record_of_several_lines_may_be_cut_by_the_tail() {
        let mut entries = Entries::default();
        let text = b"one\ntwo\nthree";
        let printed =
            Printed { ts_nsec: Some(0), level: Some(2), facility: Some(0), caller: Some(Caller(7)), text };
        entries.push(Entry::new(&printed, &mut Vec::new()));
        assert_eq!(entries.get(0).unwrap().message(), "one");
        let log = entries.show(1, &BTreeSet::new());
        assert_eq!(texts(&log.tail)[0].trim(), "three");
        assert_eq!(
            log.errors.iter().map(|l| l.text.trim()).collect::<Vec<_>>(),
            ["[    0.000000] [      T7] one", "two"]
        );
        assert_eq!(log.total, 3);
    }

    #[test]
    fn of_a_log_without_end_the_end_is_kept_and_the_last_errors() {
        let mut entries = Entries::default();
        for number in 0..MAX_ENTRIES + 5000 {
            let text = format!("{number}");
            let level = Some(if number < 3000 { 3 } else { 6 });
            let text = text.as_bytes();
            let printed = Printed { ts_nsec: Some(0), level, facility: Some(0), caller: None, text };
            entries.push(Entry::new(&printed, &mut Vec::new()));
        }
        let log = entries.show(TAIL, &BTreeSet::new());
        assert_eq!(entries.list.len(), MAX_ENTRIES);
        assert_eq!((log.total, log.tail.len()), ((MAX_ENTRIES + 5000) as u64, TAIL));
        assert_eq!((log.errors.len(), log.errors[0].text.as_str()), (MAX_ERRORS, "[    0.000000] 2000"));
        let told = "the cause was looked for in the last 65536 records of the log, not in the 5000 before";
        assert_eq!(log.remarks, [told]);
    }
}
