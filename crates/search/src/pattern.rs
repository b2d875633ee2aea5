//! Patterns as people type them.
//!
//! | typed | found |
//! |---|---|
//! | `text:TEXT`, or anything without a prefix of this table | these bytes |
//! | `hex:BYTES` | these bytes; a `?` stands for any half of one |
//! | `word:VALUE[/MASK]`, and `u16:`, `u32:`, `u64:` | words of the machine, or numbers of this size, aligned and in the dump's byte order, that are VALUE in the bits of MASK |
//! | `pointer:START-END`, `pointer:START+LENGTH` | words of the machine that are an address in this range |
//! | `regex:EXPRESSION` | what a regular expression of the crate `regex` matches, on bytes, without Unicode |
//!
//! Reading one needs no dump ([`Typed`]); what it means on a machine, and where symbols are, does ([`Pattern`]).

use crate::matcher::{Masked, Matcher, Words};
use crate::{Error, Span, number};
use regex::bytes::RegexBuilder;
use vmcore::Machine;

/// The most bytes that a pattern is looked for in at once: what is longer is no pattern. A regular expression that has no end
/// of its own (`a.*b`) ends there or a little later, where the piece of memory ends that is looked at.
pub const LONGEST: usize = 16 << 10;

/// The most memory that a regular expression may take when it is made ready: counted repetitions multiply.
const MOST_OF_REGEX: usize = 8 << 20;

/// A pattern that was typed.
#[derive(Clone, Debug)]
pub enum Typed {
    /// Bytes, of which some bits are known.
    Bytes {
        /// The bytes.
        value: Vec<u8>,
        /// Their bits that count.
        mask: Vec<u8>,
    },
    /// Aligned numbers.
    Word {
        /// Bytes of one; `None` for a word of the machine.
        size: Option<usize>,
        /// The value.
        value: u64,
        /// Its bits that count.
        mask: u64,
    },
    /// Pointers into a range.
    Pointer(Span),
    /// A regular expression.
    Regex(String),
}

impl Typed {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// When it is none, or nothing could be found by it.
    pub fn parse(typed: &[u8]) -> Result<Self, Error> {
        let prefix = typed.iter().position(|&byte| byte == b':').map(|at| (&typed[..at], &typed[at + 1..]));
        let text = |bytes: &'_ [u8]| {
            let text = std::str::from_utf8(bytes).map(str::to_owned);
            text.map_err(|_| Error::typed(String::from_utf8_lossy(bytes), "is no text in UTF-8"))
        };
        let word = |size, rest| word(size, &text(rest)?);
        match prefix {
            Some((b"hex", rest)) => hex(&text(rest)?),
            Some((b"word", rest)) => word(None, rest),
            Some((b"u16", rest)) => word(Some(2), rest),
            Some((b"u32", rest)) => word(Some(4), rest),
            Some((b"u64", rest)) => word(Some(8), rest),
            Some((b"pointer", rest)) => Ok(Self::Pointer(Span::parse(&text(rest)?)?)),
            Some((b"regex", rest)) => Ok(Self::Regex(text(rest)?)),
            Some((b"text", rest)) => bytes(rest.to_vec(), vec![0xff; rest.len()]),
            _ => bytes(typed.to_vec(), vec![0xff; typed.len()]),
        }
    }
}

/// Bytes that are neither none nor too many, nor all unknown.
fn bytes(value: Vec<u8>, mask: Vec<u8>) -> Result<Typed, Error> {
    if value.len() > LONGEST {
        let length = format!("{} bytes", value.len());
        return Err(Error::typed(length, format!("a pattern has at most {LONGEST}")));
    }
    if mask.iter().all(|&mask| mask == 0) {
        return Err(Error::typed("the pattern", "it has no byte that is known, so it would be everywhere"));
    }
    Ok(Typed::Bytes { value, mask })
}

fn hex(text: &str) -> Result<Typed, Error> {
    let expected = || Error::typed(text, "expected pairs of hexadecimal digits, ? for one that may be any");
    let halves: Vec<Option<u32>> = text
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| if c == '?' { Some(None) } else { c.to_digit(16).map(Some) })
        .collect::<Option<_>>()
        .ok_or_else(expected)?;
    if !halves.len().is_multiple_of(2) {
        return Err(expected());
    }
    let half = |half: Option<u32>| half.map_or((0, 0), |digit| (digit as u8, 0xf));
    let pairs = halves.chunks_exact(2).map(|pair| (half(pair[0]), half(pair[1])));
    let (value, mask) = pairs.map(|(high, low)| (high.0 << 4 | low.0, high.1 << 4 | low.1)).unzip();
    bytes(value, mask)
}

fn word(size: Option<usize>, text: &str) -> Result<Typed, Error> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (number(value)?, number(mask)?),
        None => (number(text)?, u64::MAX),
    };
    if mask == 0 {
        return Err(Error::typed(text, "a mask of 0 fits every word"));
    }
    Ok(Typed::Word { size, value, mask })
}

/// A pattern that is ready to be looked for in the memory of one machine.
#[derive(Debug)]
pub struct Pattern {
    pub(crate) matcher: Matcher,
}

impl Pattern {
    /// Makes a pattern ready; `symbol` knows the addresses of the kernel's symbols.
    ///
    /// # Errors
    ///
    /// When a number does not fit into the machine's words, there is no such symbol, and when a regular expression is none, is
    /// too large, or matches where nothing is.
    pub fn new(typed: &Typed, machine: Machine, symbol: &dyn Fn(&str) -> Option<u64>) -> Result<Self, Error> {
        let word = machine.word.bytes();
        let matcher = match typed {
            Typed::Bytes { value, mask } => {
                Matcher::Masked(Box::new(Masked::new(value.clone(), mask.clone())))
            }
            Typed::Word { size, value, mask } => {
                let size = size.unwrap_or(word);
                let all = u64::MAX >> (64 - 8 * size);
                if *value > all || *mask & all == 0 || (*mask > all && *mask != u64::MAX) {
                    let why =
                        format!("does not fit into the {size} bytes of the numbers that are looked for");
                    return Err(Error::typed(format!("{value:#x}/{mask:#x}"), why));
                }
                Matcher::Words(Words::masked(size, machine.order, *value, *mask & all))
            }
            Typed::Pointer(span) => {
                let (first, last) = span.resolve(symbol)?;
                if last > u64::MAX >> (64 - 8 * word) {
                    let why = format!("does not fit into the {word} bytes of this machine's pointers");
                    return Err(Error::typed(format!("{last:#x}"), why));
                }
                Matcher::Words(Words::between(word, machine.order, first, last))
            }
            Typed::Regex(expression) => regex(expression)?,
        };
        Ok(Self { matcher })
    }

    /// Bytes that a match of this pattern spans at most, as far as that is known beforehand.
    pub fn longest(&self) -> usize {
        self.matcher.reach()
    }
}

fn regex(expression: &str) -> Result<Matcher, Error> {
    // The crate's own message has several lines, which show where; the last says what.
    let wrong = |error: &dyn std::fmt::Display| {
        let message = error.to_string();
        let what = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Error::typed(expression, format!("no regular expression: {what}"))
    };
    let mut parser = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build();
    let parsed = parser.parse(expression).map_err(|error| wrong(&error))?;
    let properties = parsed.properties();
    let shortest = properties.minimum_len().unwrap_or(0);
    if shortest == 0 {
        return Err(Error::typed(expression, "it also matches where nothing is, so it would be everywhere"));
    }
    if shortest > LONGEST {
        return Err(Error::typed(
            expression,
            format!("it matches no less than {shortest} bytes, and {LONGEST} is the most"),
        ));
    }
    let regex = RegexBuilder::new(expression).unicode(false).size_limit(MOST_OF_REGEX).build();
    Ok(Matcher::Regex {
        regex: regex.map_err(|error| wrong(&error))?,
        reach: properties.maximum_len().unwrap_or(LONGEST).min(LONGEST),
        looks_around: !properties.look_set().is_empty(),
    })
}

/// A machine of words of 8 bytes in this order, for tests.
#[cfg(test)]
pub(crate) fn machine(order: vmcore::ByteOrder) -> Machine {
    Machine { arch: vmcore::Arch::Ppc64, word: vmcore::WordSize::Bits64, order }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::ByteOrder;

    fn pattern(text: &str) -> Result<Pattern, Error> {
        let symbol = |name: &str| (name == "init_task").then_some(0xc000_0000_0200_0000);
        Pattern::new(&Typed::parse(text.as_bytes())?, machine(ByteOrder::Big), &symbol)
    }

    #[test]
    fn what_has_no_known_prefix_is_text_and_text_may_have_one() {
        for (typed, expected) in [("panic", "panic"), ("text:hex:00", "hex:00"), ("http://x", "http://x")] {
            let Typed::Bytes { value, mask } = Typed::parse(typed.as_bytes()).unwrap() else { panic!() };
            assert_eq!(value, expected.as_bytes());
            assert!(mask.iter().all(|&mask| mask == 0xff));
        }
    }

    #[test]
    fn half_bytes_may_be_unknown() {
        let Typed::Bytes { value, mask } = Typed::parse(b"hex:c? ?0 ?? 1f").unwrap() else { panic!() };
        assert_eq!((value, mask), (vec![0xc0, 0, 0, 0x1f], vec![0xf0, 0x0f, 0, 0xff]));
    }

    #[test]
    fn what_is_no_pattern_or_fits_everything_is_refused() {
        for typed in [
            "",
            "text:",
            "hex:",
            "hex:1",
            "hex:xy",
            "hex:??",
            "word:",
            "word:1/0",
            "word:x",
            "u16:0x10000",
            "u32:1/0x100000000",
            "pointer:0",
            "pointer:none-0x10",
            "pointer:10-10",
            "regex:",
            "regex:a*",
            "regex:(",
            "regex:(?:a{1000}){1000}{1000}",
            "regex:a{16385}",
            "regex:^",
        ] {
            let error = pattern(typed).err();
            assert!(error.is_some(), "{typed}");
            assert_eq!(error.unwrap().to_string().lines().count(), 1, "{typed}");
        }
        assert!(
            Typed::parse(&vec![b'a'; LONGEST]).is_ok() && Typed::parse(&vec![b'a'; LONGEST + 1]).is_err()
        );
        assert!(pattern("pointer:init_task+0x1000").is_ok() && pattern("word:5/0xff").is_ok());
    }

    #[test]
    fn how_far_a_match_reaches_is_known_where_the_expression_says_it() {
        assert_eq!(pattern("regex:a{2,7}b").unwrap().longest(), 8);
        assert_eq!(pattern("regex:a.*b").unwrap().longest(), LONGEST);
        assert_eq!(pattern("hex:00??11").unwrap().longest(), 3);
        assert_eq!(pattern("u32:1").unwrap().longest(), 4);
    }
}
