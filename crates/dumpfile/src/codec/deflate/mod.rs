//! A Deflate encoder for single pages.
//!
//! In a page of 4 KiB little is found and a block's codes must be built all the same, which is where general
//! encoders spend their time. This one makes one block a page, keeps its tables from page to page without
//! clearing them, writes into the caller's buffer, and gives up before writing when the page is better stored
//! raw.
//!
//! On the pages that dump level 31 keeps of real dumps it is more than twice as fast as C zlib 1.2.13 at
//! level 1 (what makedumpfile runs), and its output no larger, within 1 %:
//!
//! | pages | C zlib MB/s | ratio | this MB/s | ratio |
//! |---|--:|--:|--:|--:|
//! | x86_64, 4 KiB | 132 | .2660 | 325 | .2645 |
//! | ppc64, 4 KiB | 124 | .2605 | 321 | .2616 |
//! | ppc64le, 64 KiB | 224 | .1710 | 523 | .1711 |
//!
//! `cargo bench -p dumpfile --bench codec` measures this side again on the pages in `HADUMP_BENCH_PAGES`.

mod bits;
mod header;
mod huffman;
mod matcher;
mod token;

use bits::BitWriter;
use header::Header;
use huffman::{Builder, Code};
use matcher::Matcher;
use token::{DISTANCE_EXTRA, END_OF_BLOCK, LENGTH_EXTRA, Tokens};

/// Symbols of the literal/length alphabet, with the two that occur in no stream and yet have a place in the
/// fixed code.
const LITERALS: usize = 288;
/// Symbols of the distance alphabet.
const DISTANCES: usize = 30;
/// The longest code of either alphabet.
const LIMIT: usize = 15;

/// How far a store of the bit writer reaches past the stream.
const SLACK: usize = 8;

/// How long the buffer for a page of `page_len` bytes must be.
pub(in crate::codec) const fn bound(page_len: usize) -> usize {
    page_len + SLACK
}

/// Makes zlib streams of pages.
pub(in crate::codec) struct Encoder {
    matcher: Matcher,
    tokens: Tokens,
    builder: Builder,
    header: Header,
    lens: Lengths,
    literal_codes: [Code; 512],
    distance_codes: [Code; 32],
}

/// The lengths of both codes of a block.
struct Lengths {
    literals: [u8; LITERALS],
    distances: [u8; DISTANCES],
}

impl Lengths {
    /// The codes of a fixed block (RFC 1951, 3.2.6).
    const FIXED: Self = {
        let mut literals = [8; LITERALS];
        let mut symbol = 144;
        while symbol < 280 {
            literals[symbol] = if symbol < 256 { 9 } else { 7 };
            symbol += 1;
        }
        Self { literals, distances: [5; DISTANCES] }
    };

    /// How many bits the codes of all tokens take.
    fn cost(&self, tokens: &Tokens) -> u32 {
        let bits = |freqs: &[u32], lens: &[u8]| -> u32 {
            freqs.iter().zip(lens).map(|(freq, &len)| freq * u32::from(len)).sum()
        };
        bits(&tokens.literals, &self.literals) + bits(&tokens.distances, &self.distances)
    }
}

impl Encoder {
    pub(in crate::codec) fn new(page_len: usize) -> Self {
        Self {
            matcher: Matcher::new(page_len),
            tokens: Tokens::new(page_len),
            builder: Builder::new(),
            header: Header::new(),
            lens: Lengths::FIXED,
            literal_codes: [Code::default(); 512],
            distance_codes: [Code::default(); 32],
        }
    }

    /// Returns the stream's length, `None` when it would be no shorter than the page. `out` is at least
    /// [`bound`] long.
    pub(in crate::codec) fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        self.tokens.clear();
        self.matcher.parse(page, &mut self.tokens);
        let fixed = Lengths::FIXED.cost(&self.tokens);
        self.builder.lengths(&self.tokens.literals[..LITERALS], LIMIT, &mut self.lens.literals);
        self.builder.lengths(&self.tokens.distances[..DISTANCES], LIMIT, &mut self.lens.distances);
        let header = self.header.prepare(&self.lens.literals, &self.lens.distances, &mut self.builder);
        let dynamic = header + self.lens.cost(&self.tokens);

        let block = 3 + fixed.min(dynamic) + self.tokens.extra_bits();
        let len = 2 + block.div_ceil(8) as usize + 4;
        if len >= page.len() {
            return None;
        }
        // A window of 32 KiB, the fastest level.
        out[..2].copy_from_slice(&[0x78, 0x01]);
        let mut bits = BitWriter::new(out, 2);
        bits.put(1, 1);
        if dynamic < fixed {
            bits.put(2, 2);
            self.header.write(&mut bits);
        } else {
            bits.put(1, 2);
            self.lens = Lengths::FIXED;
        }
        huffman::codes(&self.lens.literals, &LENGTH_EXTRA, &mut self.literal_codes);
        huffman::codes(&self.lens.distances, &DISTANCE_EXTRA, &mut self.distance_codes);
        bits.flush();
        for &token in self.tokens.as_slice() {
            // The code of a literal's distance is empty: no branch on the kind of token.
            bits.put_code(self.literal_codes[token as usize & 511], u64::from(token >> 9 & 31));
            bits.put_code(self.distance_codes[token as usize >> 14 & 31], u64::from(token >> 19));
            bits.flush();
        }
        bits.put_code(self.literal_codes[END_OF_BLOCK], 0);
        let end = bits.finish();
        out[end..end + 4].copy_from_slice(&adler32(page).to_be_bytes());
        debug_assert_eq!(end + 4, len);
        Some(end + 4)
    }
}

/// The checksum of a zlib stream (RFC 1950, 8.2).
fn adler32(page: &[u8]) -> u32 {
    // In 64 bits the sums of a page cannot overflow: the remainders wait until the end.
    let (mut a, mut b) = (1u64, 0u64);
    let (chunks, rest) = page.as_chunks::<32>();
    for chunk in chunks {
        let (mut sum, mut weighted) = (0, 0);
        for (i, &byte) in (0..).zip(chunk) {
            sum += u32::from(byte);
            weighted += (32 - i) * u32::from(byte);
        }
        b += 32 * a + u64::from(weighted);
        a += u64::from(sum);
    }
    for &byte in rest {
        a += u64::from(byte);
        b += a;
    }
    (((b % 65521) << 16) | (a % 65521)) as u32
}

#[cfg(test)]
mod tests;
