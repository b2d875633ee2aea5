//! Bytes of memory for people: their addresses, digits, and what of them can be printed.

use std::fmt::Write;

/// Bytes of a line.
pub(crate) const LINE: usize = 16;

/// A line of at most [`LINE`] bytes from address `at` on; `None` for bytes that are not known.
pub(crate) fn line(at: u64, bytes: &[Option<u8>]) -> String {
    let mut text = format!("{at:012x} ");
    for place in 0..LINE {
        if place % (LINE / 2) == 0 {
            text.push(' ');
        }
        // What is missing at the end leaves its room.
        let digits = bytes.get(place).map_or_else(|| "  ".to_owned(), |byte| digits(*byte));
        let _ = write!(text, "{digits} ");
    }
    let _ = write!(text, " |{}|", bytes.iter().map(|byte| printable(*byte)).collect::<String>());
    text
}

/// The two digits of a byte.
pub(crate) fn digits(byte: Option<u8>) -> String {
    byte.map_or_else(|| "??".to_owned(), |byte| format!("{byte:02x}"))
}

/// ASCII, and a dot for everything else.
pub(crate) fn printable(byte: Option<u8>) -> char {
    byte.map(char::from).filter(|c| c.is_ascii_graphic() || *c == ' ').unwrap_or('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_room_for_all_its_bytes_and_shows_nothing_that_a_terminal_obeys() {
        let bytes: Vec<Option<u8>> =
            b"Linux\x1b\n\xff 6.12".iter().map(|byte| Some(*byte)).chain([None]).collect();
        let text = line(0x1000, &bytes);
        assert_eq!(text, "000000001000  4c 69 6e 75 78 1b 0a ff  20 36 2e 31 32 ??        |Linux... 6.12.|");
        assert_eq!(line(0xffff_ffff_8100_0000, &bytes[..1]).find('|'), text.find('|').map(|at| at + 4));
    }
}
