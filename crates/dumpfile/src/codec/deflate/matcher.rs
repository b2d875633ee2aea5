//! Finding repeats inside one page.
//!
//! Every place of three bytes is kept in a bucket of two; the longer of two repeats is taken at
//! once. zlib's level 1 does much the same with chains. Two things suit pages: the table is never cleared,
//! because the pages of a matcher lie one after another in a number space of their own, and both candidates
//! are weighed without a branch, because what memory holds gives the processor nothing to foresee.

use super::token::Tokens;

/// Shortest match taken.
const MIN_LEN: usize = 3;
/// Longest match of Deflate.
const MAX_LEN: usize = 258;
/// Farthest match of Deflate.
const MAX_DISTANCE: usize = 32768;
/// The longest match whose inner places are kept too. In memory the borders of matches are those of fields:
/// places inside a long match push better ones out of their buckets. zlib's level 1 has the same number.
const KEEP_INSIDE: usize = 4;

/// Buckets for pages of 4 KiB: with what else is in use they stay in the first-level cache.
const SMALL: usize = 1 << 11;
/// Buckets for larger pages.
const LARGE: usize = 1 << 14;

/// The last two places of one hash, newer first, counted from the first page on.
type Bucket = [u32; 2];

pub(super) struct Matcher {
    buckets: Box<[Bucket]>,
    /// The number of this page's first byte. Smaller ones are of pages before.
    base: u32,
}

impl Matcher {
    pub(super) fn new(page_len: usize) -> Self {
        let buckets = if page_len <= 4096 { SMALL } else { LARGE };
        Self { buckets: vec![[0; 2]; buckets].into(), base: 1 }
    }

    /// Leaves no number for another page.
    #[cfg(test)]
    pub(super) fn exhaust(&mut self) {
        self.base = u32::MAX - 3 * 4096;
    }

    /// Appends the tokens of `page`.
    pub(super) fn parse(&mut self, page: &[u8], tokens: &mut Tokens) {
        // A place before the page less `base` must wrap round to one past the page.
        let len = page.len() as u32;
        if self.base > u32::MAX - 2 * len {
            self.buckets.fill([0; 2]);
            self.base = 1;
        }
        let base = self.base;
        self.base += len;
        // A table whose length the compiler knows needs no check of an index made of that many bits.
        if let Ok(buckets) = <&mut [Bucket; SMALL]>::try_from(&mut *self.buckets) {
            parse(buckets, base, page, tokens);
        } else if let Ok(buckets) = <&mut [Bucket; LARGE]>::try_from(&mut *self.buckets) {
            parse(buckets, base, page, tokens);
        }
    }
}

#[inline(never)]
fn parse<const N: usize>(buckets: &mut [Bucket; N], base: u32, page: &[u8], tokens: &mut Tokens) {
    // Of the low three bytes.
    let hash = |bytes: u64| ((bytes as u32) << 8).wrapping_mul(0x9e37_79b1) >> (32 - N.ilog2());
    let mut at = 0;
    if page.len() >= 8 {
        // Nothing can repeat yet, and from here on any place before `at` is inside the page.
        buckets[hash(load(page, 0)) as usize] = [base, 0];
        tokens.literal(page[0]);
        at = 1;
    }
    while at + 8 <= page.len() {
        let here = load(page, at);
        let bucket = &mut buckets[hash(here) as usize];
        let [newer, older] = *bucket;
        *bucket = [base + at as u32, newer];
        let (newer, newer_len) = weigh(page, newer.wrapping_sub(base) as usize, at, here);
        let (older, older_len) = weigh(page, older.wrapping_sub(base) as usize, at, here);
        let (from, mut len) = if older_len > newer_len { (older, older_len) } else { (newer, newer_len) };
        if (len < MIN_LEN) | (at - from > MAX_DISTANCE) {
            tokens.literal(page[at]);
            at += 1;
            continue;
        }
        let mut distance = at - from;
        if len <= KEEP_INSIDE {
            for inside in 1..len {
                let bucket = &mut buckets[hash(here >> (8 * inside)) as usize];
                *bucket = [base + (at + inside) as u32, bucket[0]];
            }
        } else if len == 8 {
            len = extend(page, from, at);
            if older_len == 8 && len < MAX_LEN && at - older <= MAX_DISTANCE {
                let other = extend(page, older, at);
                if other > len {
                    (len, distance) = (other, at - older);
                }
            }
        }
        tokens.repeat(len, distance);
        at += len;
    }
    for &byte in &page[at..] {
        tokens.literal(byte);
    }
}

/// The eight bytes from `at` on.
#[inline(always)]
fn load(page: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(page[at..at + 8].try_into().expect("eight bytes"))
}

/// How many bytes, up to eight, from `place` on are those of `here`, which are at `at`.
///
/// A place that is not before `at` belongs to an earlier page and says nothing; the page's first byte is as
/// good a guess as any then, and guessing spares a branch.
#[inline(always)]
fn weigh(page: &[u8], place: usize, at: usize, here: u64) -> (usize, usize) {
    let place = if place < at { place } else { 0 };
    (place, (load(page, place) ^ here).trailing_zeros() as usize / 8)
}

/// How long the match of `from` at `at` is, of which eight bytes are known.
#[inline(always)]
fn extend(page: &[u8], from: usize, at: usize) -> usize {
    let most = (page.len() - at).min(MAX_LEN);
    let mut len = 8;
    while len + 8 <= most {
        let differ = load(page, from + len) ^ load(page, at + len);
        if differ != 0 {
            return len + differ.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    while len < most && page[from + len] == page[at + len] {
        len += 1;
    }
    len
}
