//! Text that a terminal shows and does not obey.
//!
//! What a dump says of itself (names of hosts, kernels and notes, VMCOREINFO, firmware's properties) may hold anything: sequences
//! that rename a window, fill the clipboard or delete what was printed, and line ends that make it look like hadump's own lines.
//! So all text for people goes through here, whatever it is made of: a view writes to [`stdout`] or [`stderr`], which escape
//! everything but line ends and tabs, and what is one line by its nature is a [`Line`], which escapes these as well.

use std::fmt::{self, Write as _};
use std::io::{self, StderrLock, StdoutLock, Write};

/// Text that is one line, whatever it holds.
pub(crate) struct Line<'t>(pub(crate) &'t str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| if is_obeyed(c) { escape(f, c) } else { f.write_char(c) })
    }
}

/// Text of several lines, in which a terminal obeys nothing but their ends and tabs, which makedumpfile's tables have.
pub(crate) fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // A string takes everything.
        let _ =
            if !['\n', '\t'].contains(&c) && is_obeyed(c) { escape(&mut out, c) } else { out.write_char(c) };
    }
    out
}

/// Whether a terminal does something else with a character than to show it: controls, and what changes the direction of text.
fn is_obeyed(c: char) -> bool {
    let direction = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'];
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') || direction.contains(&c)
}

fn escape(out: &mut dyn fmt::Write, c: char) -> fmt::Result {
    match u32::from(c) {
        code @ ..0x100 => write!(out, "\\x{code:02x}"),
        code => write!(out, "\\u{{{code:x}}}"),
    }
}

/// Writes what a terminal obeys escaped, but for line ends and tabs.
pub(crate) struct Escaped<W>(W);

/// Standard output for people.
pub(crate) fn stdout() -> Escaped<StdoutLock<'static>> {
    Escaped(io::stdout().lock())
}

/// Standard error.
pub(crate) fn stderr() -> Escaped<StderrLock<'static>> {
    Escaped(io::stderr().lock())
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(lines(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Standard error for the log, whose events are one line each.
pub(crate) struct Events;

impl Write for Events {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        io::stderr().lock().write_all(format!("{}{end}", Line(line)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// JSON in which a terminal obeys nothing: what JSON itself leaves as it is can only be in strings. Text is written to it in
/// whole characters.
pub(crate) struct Json<W>(pub(crate) W);

impl<W: Write> Write for Json<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(json(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match u32::from(c) {
            // JSON's own white space; its other controls are escaped already.
            ..0x7f => out.push(c),
            code if is_obeyed(c) => out.push_str(&format!("\\u{code:04x}")),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_stays_one_and_is_shown_as_it_is_where_that_does_nothing() {
        assert_eq!(
            Line("6.12 ünïcode\t\x1b]52;c;aGk=\x07\r\nhadump: saved").to_string(),
            "6.12 ünïcode\\x09\\x1b]52;c;aGk=\\x07\\x0d\\x0ahadump: saved"
        );
        assert_eq!(lines("one\ntwo\u{202e}\u{9b}31m"), "one\ntwo\\u{202e}\\x9b31m");
        let mut out = Escaped(Vec::new());
        writeln!(out, "a\x1bb").unwrap();
        assert_eq!(out.0, b"a\\x1bb\n");
        assert_eq!(json("{\n\"a\": \"\u{9b}\u{7f}\u{202e}ü\"}"), "{\n\"a\": \"\\u009b\\u007f\\u202eü\"}");
    }

    proptest! {
        #[test]
        fn nothing_that_is_obeyed_is_left(text in any::<String>()) {
            prop_assert!(!Line(&text).to_string().contains(is_obeyed));
            prop_assert!(!lines(&text).contains(|c| c != '\n' && is_obeyed(c)));
            let value = serde_json::to_string_pretty(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&json(&value)).unwrap(), text);
        }
    }
}
