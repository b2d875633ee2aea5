//! What a page is made of: literals and repeats, and how often each symbol occurs.

use super::{DISTANCES, LITERALS};

/// A literal or a repeat: the symbol of the literal/length alphabet in 9 bits, its extra bits in 5, the
/// symbol of the distance alphabet in 5, its extra bits in 13. A literal has the distance symbol
/// [`NO_DISTANCE`], whose code is empty, so that both kinds are written by the same steps.
pub(super) type Token = u32;

/// The distance symbol of a literal.
pub(super) const NO_DISTANCE: usize = 31;
/// The literal/length symbol after the last token.
pub(super) const END_OF_BLOCK: usize = 256;

/// Symbol (9 bits, less 256) and extra bits (5 bits) of each length.
const LENGTHS: [u16; 259] = {
    let mut table = [0; 259];
    let mut symbol = 1;
    let mut len = 3;
    while symbol < 29 {
        let extra = LENGTH_EXTRA[256 + symbol];
        let mut i = 0;
        while i < 1 << extra && len < 259 {
            table[len] = (256 + symbol as u16) | (i as u16) << 9;
            len += 1;
            i += 1;
        }
        symbol += 1;
    }
    table[258] = 285;
    table
};

/// How many extra bits follow each symbol of the literal/length alphabet (RFC 1951, 3.2.5).
pub(super) const LENGTH_EXTRA: [u8; LITERALS] = {
    let mut bits = [0; LITERALS];
    let mut symbol = 265;
    while symbol < 285 {
        bits[symbol] = ((symbol - 261) / 4) as u8;
        symbol += 1;
    }
    bits
};

/// How many extra bits follow each symbol of the distance alphabet.
pub(super) const DISTANCE_EXTRA: [u8; DISTANCES] = {
    let mut bits = [0; DISTANCES];
    let mut symbol = 4;
    while symbol < DISTANCES {
        bits[symbol] = symbol as u8 / 2 - 1;
        symbol += 1;
    }
    bits
};

/// The tokens of one page.
pub(super) struct Tokens {
    tokens: Box<[Token]>,
    len: usize,
    /// How often each symbol of the literal/length alphabet occurs.
    pub(super) literals: [u32; 512],
    /// How often each symbol of the distance alphabet occurs.
    pub(super) distances: [u32; 32],
}

impl Tokens {
    /// Room for the tokens of a page.
    pub(super) fn new(page_len: usize) -> Self {
        Self { tokens: vec![0; page_len].into(), len: 0, literals: [0; 512], distances: [0; 32] }
    }

    /// Begins a page, which has one end.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.literals.fill(0);
        self.literals[END_OF_BLOCK] = 1;
        self.distances.fill(0);
    }

    #[inline(always)]
    pub(super) fn literal(&mut self, byte: u8) {
        self.literals[usize::from(byte)] += 1;
        self.tokens[self.len] = u32::from(byte) | (NO_DISTANCE as u32) << 14;
        self.len += 1;
    }

    #[inline(always)]
    pub(super) fn repeat(&mut self, len: usize, distance: usize) {
        let length = u32::from(LENGTHS[len]);
        let d = (distance - 1) as u32;
        // The two leading bits of a distance make its symbol, the others are extra.
        let bits = (d | 2).ilog2() - 1;
        let symbol = if d < 2 { d } else { 2 * bits + (d >> bits) };
        let extra = if d < 2 { 0 } else { d & ((1 << bits) - 1) };
        self.literals[length as usize & 511] += 1;
        self.distances[symbol as usize & 31] += 1;
        self.tokens[self.len] = length | symbol << 14 | extra << 19;
        self.len += 1;
    }

    /// How many bits the extra bits of all tokens take.
    pub(super) fn extra_bits(&self) -> u32 {
        let bits = |freqs: &[u32], extra: &[u8]| -> u32 {
            freqs.iter().zip(extra).map(|(freq, &bits)| freq * u32::from(bits)).sum()
        };
        bits(&self.literals[END_OF_BLOCK..], &LENGTH_EXTRA[END_OF_BLOCK..])
            + bits(&self.distances, &DISTANCE_EXTRA)
    }

    pub(super) fn as_slice(&self) -> &[Token] {
        &self.tokens[..self.len]
    }
}
