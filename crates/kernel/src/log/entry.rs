//! An entry of the log, whatever form the kernel kept it in.

use super::text::{Caller, format_record, push};

/// One record of the log, or of a character buffer one line.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When it was printed, in nanoseconds of the kernel's clock. `None` for a character buffer, whose lines hold their time
    /// as text.
    pub ts_nsec: Option<u64>,
    /// How urgent it is: 0 emergency to 7 debug; `None` where the dump does not say.
    pub level: Option<u8>,
    /// Who printed it: 0 is the kernel, and what programs write to `/dev/kmsg` never has that; `None` where the dump does
    /// not say.
    pub facility: Option<u32>,
    /// The thread or CPU that printed it.
    pub caller: Option<Caller>,
    /// Its bytes, as the kernel has them. Of a character buffer with level, time and line end, and a line of more than
    /// 4096 bytes in pieces.
    pub text: &'a [u8],
}

impl Entry<'_> {
    /// Replaces `line` by the entry as it is printed, with a line end. A piece of a character buffer ends as it does there.
    pub fn print(&self, line: &mut Vec<u8>) {
        match self.ts_nsec {
            Some(ts_nsec) => format_record(line, ts_nsec, self.caller, self.text),
            None => {
                line.clear();
                self.text.iter().for_each(|&byte| push(line, byte));
            }
        }
    }

    /// What was said, without the level and time that a character buffer has in the text, and without a line end. Bytes that
    /// a terminal would obey are spelled out as [`Entry::print`] does; later lines follow after a line end.
    pub fn message(&self) -> String {
        let mut text = self.text;
        if self.ts_nsec.is_none() {
            text = prefix(text).map_or(text, |(_, rest)| rest);
            text = after_time(text).unwrap_or(text);
            text = text.strip_suffix(b"\n").unwrap_or(text);
        }
        let mut line = Vec::with_capacity(text.len());
        text.iter().for_each(|&byte| push(&mut line, byte));
        // Only printable ASCII and white space are left.
        String::from_utf8_lossy(&line).into_owned()
    }
}

/// The number of `<6>` at a line's start, facility and level in one, and what follows it.
pub(super) fn prefix(line: &[u8]) -> Option<(u32, &[u8])> {
    let rest = line.strip_prefix(b"<")?;
    let end = rest.iter().take(5).position(|&byte| byte == b'>')?;
    let number = std::str::from_utf8(&rest[..end]).ok()?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    Some((number.parse().ok()?, &rest[end + 1..]))
}

/// What follows `[    1.234567] `.
fn after_time(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"[")?;
    let end = rest.iter().take(24).position(|&byte| byte == b']')?;
    rest[..end].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b' ')).then_some(())?;
    let rest = &rest[end + 1..];
    Some(rest.strip_prefix(b" ").unwrap_or(rest))
}

/// The level of a record that has it in the upper three bits of a byte of which the lower five are flags, as bit fields are
/// laid out (kernel: `struct printk_info`, `struct printk_log`).
pub(super) fn level(machine: vmcore::Machine, byte: u8) -> u8 {
    match machine.order {
        vmcore::ByteOrder::Little => byte >> 5,
        vmcore::ByteOrder::Big => byte & 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_characters(text: &[u8]) -> Entry<'_> {
        Entry { ts_nsec: None, level: None, facility: None, caller: None, text }
    }

    #[test]
    fn a_message_is_what_was_said_without_level_and_time() {
        for (text, message) in [
            (&b"<6>[    1.234567] one\n"[..], "one"),
            (b"<4>two", "two"),
            (b"[Hardware Error]: three\n", "[Hardware Error]: three"),
            (b"<tag> four", "<tag> four"),
            (b"<>five", "<>five"),
            (b"", ""),
            (b"<6", "<6"),
            (b"[  5.0]\x1b", "\\x1b"),
        ] {
            assert_eq!(of_characters(text).message(), message);
        }
        let record = Entry { ts_nsec: Some(1), text: b"<6>[  1.0] kept", ..of_characters(b"") };
        assert_eq!(record.message(), "<6>[  1.0] kept");
    }
}
