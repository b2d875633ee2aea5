//! The lengths of a dynamic block's codes, as the block's header says them (RFC 1951, 3.2.7).

use super::bits::BitWriter;
use super::huffman::{self, Builder, Code};
use super::{DISTANCES, LITERALS};

/// The order in which the header lists the lengths of the code for lengths.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// The longest code for a length.
const LIMIT: usize = 7;

/// Repeats the length before 3 to 6 times.
const AGAIN: u16 = 16;
/// 3 to 10 symbols without a code.
const ZEROS: u16 = 17;
/// 11 to 138 symbols without a code.
const MANY_ZEROS: u16 = 18;

/// How many extra bits follow each symbol.
const EXTRA: [u8; 19] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 7];

/// The header of a dynamic block, after the block's type.
pub(super) struct Header {
    /// Lengths with their runs shortened: the symbol in the low 5 bits, its extra bits above.
    items: [u16; LITERALS + DISTANCES],
    count: usize,
    freqs: [u32; 19],
    /// Lengths of the code for the items.
    lens: [u8; 19],
    /// How many lengths the block's two codes have, and how many the code for lengths.
    literals: usize,
    distances: usize,
    listed: usize,
}

impl Header {
    pub(super) fn new() -> Self {
        Self {
            items: [0; LITERALS + DISTANCES],
            count: 0,
            freqs: [0; 19],
            lens: [0; 19],
            literals: 0,
            distances: 0,
            listed: 0,
        }
    }

    /// Prepares the header of these codes and returns its length in bits.
    pub(super) fn prepare(&mut self, literals: &[u8], distances: &[u8], builder: &mut Builder) -> u32 {
        let used = |lens: &[u8], least: usize| {
            lens.iter().rposition(|&len| len != 0).map_or(least, |last| (last + 1).max(least))
        };
        self.literals = used(literals, 257);
        self.distances = used(distances, 1);
        let mut lens = [0; LITERALS + DISTANCES];
        lens[..self.literals].copy_from_slice(&literals[..self.literals]);
        lens[self.literals..][..self.distances].copy_from_slice(&distances[..self.distances]);
        self.shorten(&lens[..self.literals + self.distances]);
        builder.lengths(&self.freqs, LIMIT, &mut self.lens);
        self.listed =
            ORDER.iter().rposition(|&symbol| self.lens[symbol] != 0).map_or(4, |last| (last + 1).max(4));
        let items: u32 =
            (0..19).map(|symbol| self.freqs[symbol] * u32::from(self.lens[symbol] + EXTRA[symbol])).sum();
        14 + 3 * self.listed as u32 + items
    }

    /// Shortens runs.
    fn shorten(&mut self, lens: &[u8]) {
        self.count = 0;
        self.freqs = [0; 19];
        let mut rest = lens;
        while let Some(&len) = rest.first() {
            let mut run = rest.iter().position(|&other| other != len).unwrap_or(rest.len());
            rest = &rest[run..];
            if len == 0 {
                while run >= 11 {
                    let now = run.min(138);
                    self.push(MANY_ZEROS, now - 11);
                    run -= now;
                }
                if run >= 3 {
                    self.push(ZEROS, run - 3);
                    run = 0;
                }
            } else if run >= 4 {
                self.push(u16::from(len), 0);
                run -= 1;
                while run >= 3 {
                    let now = run.min(6);
                    self.push(AGAIN, now - 3);
                    run -= now;
                }
            }
            for _ in 0..run {
                self.push(u16::from(len), 0);
            }
        }
    }

    fn push(&mut self, symbol: u16, extra: usize) {
        self.freqs[usize::from(symbol)] += 1;
        self.items[self.count] = symbol | (extra as u16) << 5;
        self.count += 1;
    }

    /// Writes what was prepared.
    pub(super) fn write(&self, bits: &mut BitWriter<'_>) {
        bits.put((self.literals - 257) as u64, 5);
        bits.put((self.distances - 1) as u64, 5);
        bits.put((self.listed - 4) as u64, 4);
        bits.flush();
        for &symbol in &ORDER[..self.listed] {
            bits.put(u64::from(self.lens[symbol]), 3);
            bits.flush();
        }
        let mut codes = [Code::default(); 32];
        huffman::codes(&self.lens, &EXTRA, &mut codes);
        for &item in &self.items[..self.count] {
            bits.put_code(codes[usize::from(item & 31)], u64::from(item >> 5));
            bits.flush();
        }
    }
}
