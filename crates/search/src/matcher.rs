//! How each kind of pattern is found in a stretch of bytes.

use memchr::memmem::Finder;
use regex::bytes::Regex;
use std::ops::Range;
use vmcore::ByteOrder;

/// Words that are compared at once, so that the compiler uses vectors; which of them it was is looked up only where one fits.
const AT_ONCE: usize = 32;

/// A match: where it begins, and its bytes.
pub(crate) type Match = (u32, u32);

/// A pattern, ready to be looked for.
#[derive(Debug)]
pub(crate) enum Matcher {
    Masked(Box<Masked>),
    Words(Words),
    Regex { regex: Regex, reach: usize, looks_around: bool },
}

impl Matcher {
    /// The most bytes of a match, as far as that is known.
    pub(crate) fn reach(&self) -> usize {
        match self {
            Self::Masked(masked) => masked.value.len(),
            Self::Words(words) => words.size,
            Self::Regex { reach, .. } => *reach,
        }
    }

    /// Bytes of the address that a match begins at a multiple of.
    pub(crate) fn alignment(&self) -> usize {
        if let Self::Words(words) = self { words.size } else { 1 }
    }

    /// Whether what is before a match and behind it counts.
    pub(crate) fn looks_around(&self) -> bool {
        matches!(self, Self::Regex { looks_around: true, .. })
    }

    /// Whether matches are found one behind the other, so that which there are depends on where the search begins.
    pub(crate) fn is_chain(&self) -> bool {
        matches!(self, Self::Regex { .. })
    }

    /// Whether every match has a byte that is not 0, so that none is in memory that is all zeros.
    pub(crate) fn needs_content(&self) -> bool {
        match self {
            Self::Masked(masked) => masked.value.iter().any(|&byte| byte != 0),
            Self::Words(words) => !words.fits(0),
            Self::Regex { .. } => false,
        }
    }

    /// Adds the matches that begin in `begins`, ascending; they may end anywhere in `bytes`.
    pub(crate) fn find(&self, bytes: &[u8], begins: Range<usize>, out: &mut Vec<Match>) {
        match self {
            Self::Masked(masked) => masked.find(bytes, begins, out),
            Self::Words(words) => words.find(bytes, begins, out),
            Self::Regex { regex, .. } => {
                let mut at = begins.start;
                while let Some(found) = regex.find_at(bytes, at).filter(|found| found.start() < begins.end) {
                    out.push((found.start() as u32, found.len() as u32));
                    at = found.end();
                }
            }
        }
    }
}

/// Bytes of which some bits are known. Each place where they are is a match, also where two overlap.
#[derive(Debug)]
pub(crate) struct Masked {
    /// Bits that are not known are 0.
    value: Vec<u8>,
    mask: Vec<u8>,
    /// The longest run of bytes that are known whole, and where it is; `None` where no byte is.
    whole: Option<(usize, Finder<'static>)>,
}

impl Masked {
    /// `mask` is as long as `value`.
    pub(crate) fn new(mut value: Vec<u8>, mask: Vec<u8>) -> Self {
        value.iter_mut().zip(&mask).for_each(|(value, mask)| *value &= mask);
        let mut longest = 0..0;
        let mut start = 0;
        for (i, &mask) in mask.iter().enumerate() {
            if mask != 0xff {
                start = i + 1;
            } else if i + 1 - start > longest.len() {
                longest = start..i + 1;
            }
        }
        let whole = (!longest.is_empty()).then(|| (longest.start, Finder::new(&value[longest]).into_owned()));
        Self { value, mask, whole }
    }

    fn is_at(&self, bytes: &[u8]) -> bool {
        bytes.iter().zip(&self.mask).zip(&self.value).all(|((byte, mask), value)| byte & mask == *value)
    }

    fn find(&self, bytes: &[u8], begins: Range<usize>, out: &mut Vec<Match>) {
        let len = self.value.len();
        let end = begins.end.saturating_add(len - 1).min(bytes.len());
        let mut found = |begin: usize| {
            if bytes.get(begin..begin + len).is_some_and(|bytes| self.is_at(bytes)) {
                out.push((begin as u32, len as u32));
            }
        };
        let Some((offset, finder)) = &self.whole else {
            return begins.for_each(found);
        };
        let mut at = begins.start + offset;
        while let Some(next) = bytes.get(at..end).and_then(|rest| finder.find(rest)) {
            let begin = at + next - offset;
            if begin >= begins.end {
                break;
            }
            found(begin);
            at += next + 1;
        }
    }
}

/// Which words are looked for.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// Those that are `value` in the bits of `mask`.
    Masked { value: u64, mask: u64 },
    /// Those from `first` to `last`.
    Between { first: u64, last: u64 },
}

/// Numbers of one size, aligned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    size: usize,
    order: ByteOrder,
    wanted: Wanted,
}

impl Words {
    /// Numbers of `size` bytes, 2, 4 or 8, that are `value` in the bits of `mask`.
    pub(crate) fn masked(size: usize, order: ByteOrder, value: u64, mask: u64) -> Self {
        Self { size, order, wanted: Wanted::Masked { value: value & mask, mask } }
    }

    /// Numbers of `size` bytes from `first` to `last`.
    pub(crate) fn between(size: usize, order: ByteOrder, first: u64, last: u64) -> Self {
        Self { size, order, wanted: Wanted::Between { first, last } }
    }

    fn fits(&self, word: u64) -> bool {
        match self.wanted {
            Wanted::Masked { value, mask } => word & mask == value,
            Wanted::Between { first, last } => (first..=last).contains(&word),
        }
    }

    fn find(&self, bytes: &[u8], begins: Range<usize>, out: &mut Vec<Match>) {
        match self.size {
            2 => self.find_in::<2>(bytes, begins, out),
            4 => self.find_in::<4>(bytes, begins, out),
            _ => self.find_in::<8>(bytes, begins, out),
        }
    }

    /// Byte order and kind are decided outside of the loops over words.
    fn find_in<const N: usize>(&self, bytes: &[u8], begins: Range<usize>, out: &mut Vec<Match>) {
        let (first, last) =
            (begins.start.next_multiple_of(N), begins.end.saturating_add(N - 1).min(bytes.len()));
        let Some(part) = bytes.get(first..last) else { return };
        let little = |word: [u8; N]| word.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte));
        let big = |word: [u8; N]| word.iter().fold(0, |all, &byte| all << 8 | u64::from(byte));
        match (self.wanted, self.order) {
            (Wanted::Masked { value, mask }, order) => {
                // Put into the dump's order once, the words need not be.
                let put = |number: u64| {
                    let mut bytes = order.put_u64(number);
                    if order == ByteOrder::Big {
                        bytes.rotate_left(8 - N);
                    }
                    let mut word = [0; N];
                    word.copy_from_slice(&bytes[..N]);
                    little(word)
                };
                let (value, mask) = (put(value), put(mask));
                words(part, first, |word| little(word) & mask == value, out);
            }
            (Wanted::Between { first: low, last: high }, ByteOrder::Little) => {
                words(part, first, |word| little(word).wrapping_sub(low) <= high - low, out);
            }
            (Wanted::Between { first: low, last: high }, ByteOrder::Big) => {
                words(part, first, |word| big(word).wrapping_sub(low) <= high - low, out);
            }
        }
    }
}

/// Adds the whole words of `bytes` that fit; the first byte is at `base`.
fn words<const N: usize>(bytes: &[u8], base: usize, fits: impl Fn([u8; N]) -> bool, out: &mut Vec<Match>) {
    let fits = |word: &[u8]| word.try_into().is_ok_and(&fits);
    let mut at = base;
    for block in bytes.chunks(N * AT_ONCE) {
        let words = block.chunks_exact(N);
        if words.clone().fold(false, |any, word| any | fits(word)) {
            let places = (at..).step_by(N).zip(words).filter(|(_, word)| fits(word));
            out.extend(places.map(|(place, _)| (place as u32, N as u32)));
        }
        at += block.len();
    }
}
