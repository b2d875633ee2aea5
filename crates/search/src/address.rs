//! Addresses and numbers as people type them: in hexadecimal, or by the kernel's symbols.

use crate::Error;

/// The longest name of a symbol (the kernel's `KSYM_NAME_LEN`).
const LONGEST_NAME: usize = 512;

/// An address that was typed: a number, or a symbol, and what is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    base: Base,
    offset: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Base {
    Number(u64),
    Symbol(String),
    /// Both a name and a hexadecimal number, such as `fade`: a symbol where the kernel has it.
    Either(String, u64),
}

impl Address {
    /// Reads `0xffffffff81000000`, `ffffffff81000000`, `linux_banner` or `init_task+0x10`.
    ///
    /// # Errors
    ///
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (base, offset) = match text.split_once('+') {
            Some((base, offset)) => (base, number(offset)?),
            None => (text, 0),
        };
        Ok(Self { base: Base::parse(base)?, offset })
    }

    /// The number, if no symbol is needed for it.
    pub fn as_number(&self) -> Option<u64> {
        match self.base {
            Base::Number(number) => Some(number.wrapping_add(self.offset)),
            _ => None,
        }
    }

    /// The address; `symbol` knows those of the kernel's symbols.
    ///
    /// # Errors
    ///
    /// When there is no such symbol.
    pub fn resolve(&self, symbol: &dyn Fn(&str) -> Option<u64>) -> Result<u64, Error> {
        let base = match &self.base {
            Base::Number(number) => *number,
            Base::Either(name, number) => symbol(name).unwrap_or(*number),
            Base::Symbol(name) => symbol(name)
                .ok_or_else(|| Error::typed(name, "no symbol of the dumped kernel has this name"))?,
        };
        Ok(base.wrapping_add(self.offset))
    }
}

impl Base {
    fn parse(text: &str) -> Result<Self, Error> {
        let expected = || {
            Error::typed(
                text,
                "expected a hexadecimal address such as 0xffffffff81000000, or a symbol of the kernel",
            )
        };
        let hex =
            |digits: &str| u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with(['+', '-']));
        if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            return hex(digits).map(Self::Number).ok_or_else(expected);
        }
        let name = !text.is_empty()
            && text.len() <= LONGEST_NAME
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_alphanumeric() || "_.$".contains(c));
        match (hex(text), name) {
            (Some(number), true) => Ok(Self::Either(text.to_owned(), number)),
            (Some(number), false) => Ok(Self::Number(number)),
            (None, true) => Ok(Self::Symbol(text.to_owned())),
            (None, false) => Err(expected()),
        }
    }
}

/// A range of addresses that was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    start: Address,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// The first address behind it.
    At(Address),
    /// Bytes.
    Length(u64),
}

impl Span {
    /// Reads `START-END`, without END itself, or `START+LENGTH`.
    ///
    /// # Errors
    ///
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if let Some((start, end)) = text.split_once('-') {
            return Ok(Self { start: Address::parse(start)?, end: End::At(Address::parse(end)?) });
        }
        let Some((start, length)) = text.rsplit_once('+') else {
            return Err(Error::typed(text, "expected START-END or START+LENGTH"));
        };
        Ok(Self { start: Address::parse(start)?, end: End::Length(number(length)?) })
    }

    /// The first address and the last one.
    ///
    /// # Errors
    ///
    /// When there is no such symbol, and when nothing is in the range.
    pub fn resolve(&self, symbol: &dyn Fn(&str) -> Option<u64>) -> Result<(u64, u64), Error> {
        let start = self.start.resolve(symbol)?;
        let end = match &self.end {
            End::At(end) => end.resolve(symbol)?.checked_sub(1),
            End::Length(length) => length.checked_sub(1).and_then(|more| start.checked_add(more)),
        };
        end.filter(|&last| last >= start).map(|last| (start, last)).ok_or_else(|| {
            Error::typed(format!("{start:#x}"), "the range that begins here must end above it")
        })
    }
}

/// A number: decimal, with a binary unit if it is one of bytes (`4096`, `64K`), or hexadecimal after `0x`.
///
/// # Errors
///
/// When it is neither.
pub fn number(text: &str) -> Result<u64, Error> {
    let expected = || Error::typed(text, "expected a number such as 4096, 0x1000 or 4K");
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let number = u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
        return number.ok_or_else(expected);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase().as_str() {
        "" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err(expected()),
    };
    let number = digits.parse::<u64>().ok().filter(|_| !digits.starts_with('+'));
    number.and_then(|number| number.checked_mul(1 << shift)).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(name: &str) -> Option<u64> {
        [("init_task", 0x1000), ("fade", 0x2000)].iter().find(|known| known.0 == name).map(|known| known.1)
    }

    #[test]
    fn addresses_are_hexadecimal_or_symbols_with_something_added() {
        let at = |text: &str| Address::parse(text).and_then(|address| address.resolve(&symbol));
        for (text, expected) in [
            ("0xFFFFffff81000000", 0xffff_ffff_8100_0000),
            ("ffffffff81000000", 0xffff_ffff_8100_0000),
            ("10", 0x10),
            ("init_task", 0x1000),
            ("init_task+0x10", 0x1010),
            ("init_task+16", 0x1010),
            ("fade", 0x2000),
            ("0xfade", 0xfade),
            ("beef", 0xbeef),
        ] {
            assert_eq!(at(text).unwrap(), expected, "{text}");
        }
        for text in ["", "0x", "+1", "none", "init_task+", "a b", "0x-1", "1g", "init_task+x", "-1"] {
            assert!(at(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_have_an_end_or_a_length() {
        let range = |text: &str| Span::parse(text).and_then(|span| span.resolve(&symbol));
        assert_eq!(range("init_task-fade").unwrap(), (0x1000, 0x1fff));
        assert_eq!(range("init_task+0x10-0x1020").unwrap(), (0x1010, 0x101f));
        assert_eq!(range("init_task+0x10+4K").unwrap(), (0x1010, 0x200f));
        assert_eq!(range("0xffffffffffffff00+256").unwrap(), (0xffff_ffff_ffff_ff00, u64::MAX));
        for text in ["init_task", "fade-init_task", "10-10", "10+0", "0xffffffffffffff00+257", "10-", "-10"] {
            assert!(range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_decimal_unless_they_begin_with_0x() {
        for (text, expected) in [("16", 16), ("0x10", 16), ("4K", 4096), ("1MiB", 1 << 20)] {
            assert_eq!(number(text).unwrap(), expected, "{text}");
        }
        for text in ["", "0x", "ff", "K", "-1", "+1", "1T", "99999999999999999999", "ü"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
