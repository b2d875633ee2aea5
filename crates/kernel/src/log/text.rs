//! Records as lines of text.

use std::io::Write;

/// The thread or CPU that printed a record (kernel: `printk_caller_id`), as a kernel with
/// `CONFIG_PRINTK_CALLER` shows it: `T` and the thread's number, or `C` and the CPU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller(
    /// The number of the thread, or with its highest bit set that of the CPU.
    pub u32,
);

impl Caller {
    /// Set when the record was printed outside of any task.
    const CPU: u32 = 1 << 31;
    /// The width that makedumpfile gives the name, so that columns line up up to a seven-digit thread number.
    const WIDTH: usize = 8;

    fn write(self, line: &mut Vec<u8>) {
        let kind = if self.0 & Self::CPU == 0 { 'T' } else { 'C' };
        let name = format!("{kind}{}", self.0 & !Self::CPU);
        write!(line, "[{name:>width$}] ", width = Self::WIDTH).expect("a Vec takes every byte");
    }
}

/// Replaces `line` by one record as it is printed, with a line end.
pub(super) fn format_record(line: &mut Vec<u8>, ts_nsec: u64, caller: Option<Caller>, text: &[u8]) {
    line.clear();
    let (seconds, rest) = (ts_nsec / 1_000_000_000, ts_nsec % 1_000_000_000);
    write!(line, "[{seconds:5}.{:06}] ", rest / 1000).expect("a Vec takes every byte");
    if let Some(caller) = caller {
        caller.write(line);
    }
    let indent = line.len();
    for &byte in text {
        push(line, byte);
        if byte == b'\n' {
            line.resize(line.len() + indent, b' ');
        }
    }
    line.push(b'\n');
}

/// Appends `byte` so that a terminal shows it and obeys nothing: as it is when C's `isprint` or `isspace` knows it
/// in the C locale, else as `\xHH`.
///
/// The peer's `\x%02x` of a signed `char` prints `\xffffffc3` for 0xc3 on x86; two digits are what it means.
pub(super) fn push(line: &mut Vec<u8>, byte: u8) {
    match byte {
        b' '..=b'~' | b'\t'..=b'\r' => line.push(byte),
        _ => write!(line, "\\x{byte:02x}").expect("a Vec takes every byte"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(ts_nsec: u64, caller: Option<Caller>, text: &[u8]) -> String {
        let mut line = b"left over".to_vec();
        format_record(&mut line, ts_nsec, caller, text);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn time_is_printed_in_microseconds_and_seconds_grow_past_their_width() {
        assert_eq!(formatted(8_960_653_999, None, b"x"), "[    8.960653] x\n");
        assert_eq!(formatted(1_234_567_000_001_000, None, b""), "[1234567.000001] \n");
        assert_eq!(formatted(u64::MAX, None, b""), "[18446744073.709551] \n");
    }

    #[test]
    fn a_caller_is_a_thread_or_a_cpu() {
        assert_eq!(formatted(0, Some(Caller(1)), b"x"), "[    0.000000] [      T1] x\n");
        assert_eq!(formatted(0, Some(Caller(0x8000_0000 | 63)), b"x"), "[    0.000000] [     C63] x\n");
        assert_eq!(formatted(0, Some(Caller(0x7fff_ffff)), b"x"), "[    0.000000] [T2147483647] x\n");
    }

    #[test]
    fn later_lines_stand_under_the_first() {
        assert_eq!(formatted(0, None, b"a\nb\n"), "[    0.000000] a\n               b\n               \n");
        assert_eq!(formatted(0, Some(Caller(7)), b"a\nb").lines().nth(1).unwrap(), format!("{:26}b", ""));
    }

    #[test]
    fn bytes_that_a_terminal_obeys_are_spelled_out() {
        assert_eq!(
            formatted(0, None, b"\x1b[31m\0\t\xc3\xa9\x7f~"),
            "[    0.000000] \\x1b[31m\\x00\t\\xc3\\xa9\\x7f~\n"
        );
    }
}
