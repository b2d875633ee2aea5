//! Huffman codes of limited length, made without allocation.
//!
//! Symbols are sorted by frequency with a counting sort, the lengths found in place (Moffat and Katajainen,
//! "In-place calculation of minimum-redundancy codes"), and what exceeds the limit brought back under it by
//! lengthening the codes that cost least.

use super::LIMIT;

/// A code as the bit stream wants it.
#[derive(Clone, Copy, Default)]
pub(super) struct Code {
    /// The code, first bit lowest.
    pub(super) bits: u16,
    /// How many bits.
    pub(super) len: u8,
    /// How many bits with the extra bits that follow it.
    pub(super) total: u8,
}

/// Makes codes; its memory is used again for each.
pub(super) struct Builder {
    /// Frequency above, symbol in the low 9 bits, sorted.
    sorted: [u64; 288],
    /// Frequencies, then depths.
    work: [u32; 288],
}

/// The symbol of a sorted entry.
const SYMBOL: u64 = 511;

impl Builder {
    pub(super) fn new() -> Self {
        Self { sorted: [0; 288], work: [0; 288] }
    }

    /// Sets `lens` to the lengths of a complete code, none above `limit`, for the symbols with a frequency.
    /// Symbols without one join in when fewer than two have one: not every reader takes a code of one
    /// symbol.
    pub(super) fn lengths(&mut self, freqs: &[u32], limit: usize, lens: &mut [u8]) {
        lens.fill(0);
        let used = freqs.iter().filter(|&&freq| freq > 0).count();
        if used < 2 {
            let only = freqs.iter().position(|&freq| freq > 0).unwrap_or(0);
            lens[only] = 1;
            lens[usize::from(only == 0)] = 1;
            return;
        }
        self.sort(freqs, used);
        let sorted = &self.sorted[..used];
        let depth = &mut self.work[..used];
        for (d, s) in depth.iter_mut().zip(sorted) {
            *d = (s >> 9) as u32;
        }
        depths(depth);
        let mut counts = [0u32; 64];
        for &d in &*depth {
            counts[d as usize & 63] += 1;
        }
        limit_lengths(&mut counts, limit);
        // The rarest symbols come first and take the longest codes.
        let mut rest = sorted.iter();
        for len in (1..=limit).rev() {
            for s in rest.by_ref().take(counts[len] as usize) {
                lens[(s & SYMBOL) as usize] = len as u8;
            }
        }
    }

    /// Sorts the used symbols by frequency, equal ones by number.
    fn sort(&mut self, freqs: &[u32], used: usize) {
        // Few symbols occur as often as this; they are sorted by comparison.
        const TOP: usize = 255;
        let mut starts = [0u32; TOP + 2];
        for &f in freqs {
            starts[(f as usize).min(TOP) + 1] += 1;
        }
        // Symbols without a frequency are not wanted.
        starts[1] = 0;
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let top = starts[TOP] as usize;
        for (symbol, &f) in freqs.iter().enumerate() {
            if f > 0 {
                let start = &mut starts[(f as usize).min(TOP)];
                self.sorted[*start as usize] = u64::from(f) << 9 | symbol as u64;
                *start += 1;
            }
        }
        self.sorted[top..used].sort_unstable();
    }
}

/// Replaces ascending frequencies, two at least, by the lengths of their codes, which descend.
fn depths(a: &mut [u32]) {
    let n = a.len();
    // Inner nodes take the places of the leaves that were merged; each keeps its parent's place in the end.
    a[0] += a[1];
    let (mut root, mut leaf) = (0, 2);
    for next in 1..n - 1 {
        let mut take = |a: &mut [u32]| {
            if leaf >= n || (root < next && a[root] < a[leaf]) {
                let weight = a[root];
                a[root] = next as u32;
                root += 1;
                weight
            } else {
                leaf += 1;
                a[leaf - 1]
            }
        };
        let first = take(a);
        let second = take(a);
        a[next] = first + second;
    }
    // From parents to depths of inner nodes.
    a[n - 2] = 0;
    for next in (0..n - 2).rev() {
        a[next] = a[a[next] as usize] + 1;
    }
    // From depths of inner nodes to depths of leaves.
    let (mut available, mut depth) = (1, 0);
    let (mut root, mut next) = (n as isize - 2, n as isize - 1);
    while available > 0 {
        let mut inner = 0;
        while root >= 0 && a[root as usize] == depth {
            inner += 1;
            root -= 1;
        }
        for _ in inner..available {
            a[next as usize] = depth;
            next -= 1;
        }
        available = 2 * inner;
        depth += 1;
    }
}

/// Makes `counts`, the number of codes by length, a complete code without lengths above `limit`.
fn limit_lengths(counts: &mut [u32; 64], limit: usize) {
    let over: u32 = counts[limit + 1..].iter().sum();
    if over == 0 {
        return;
    }
    counts[limit + 1..].fill(0);
    counts[limit] += over;
    let mut space: u32 = (1..=limit).map(|len| counts[len] << (limit - len)).sum();
    while space > 1 << limit {
        // A code of the limit moves beside a shorter one, which gets a bit longer.
        counts[limit] -= 1;
        if let Some(len) = (1..limit).rev().find(|&len| counts[len] > 0) {
            counts[len] -= 1;
            counts[len + 1] += 2;
        }
        space -= 1;
    }
}

/// Gives each symbol its canonical code (RFC 1951, 3.2.2); `extra` says how many extra bits follow each.
pub(super) fn codes(lens: &[u8], extra: &[u8], codes: &mut [Code]) {
    let mut counts = [0u16; LIMIT + 1];
    for &len in lens {
        counts[usize::from(len) & LIMIT] += 1;
    }
    counts[0] = 0;
    let mut next = [0u16; LIMIT + 1];
    for len in 1..=LIMIT {
        next[len] = (next[len - 1] + counts[len - 1]) << 1;
    }
    for ((code, &len), &extra) in codes.iter_mut().zip(lens).zip(extra) {
        let slot = &mut next[usize::from(len) & LIMIT];
        let bits = slot.reverse_bits() >> (16 - u32::from(len)).min(15);
        *code = if len == 0 { Code::default() } else { Code { bits, len, total: len + extra } };
        *slot = slot.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(freqs: &[u32], limit: usize) -> Vec<u8> {
        let mut lens = vec![9; freqs.len()];
        Builder::new().lengths(freqs, limit, &mut lens);
        let space: u32 =
            lens.iter().filter(|&&len| len > 0).map(|&len| 1 << (limit - usize::from(len))).sum();
        assert_eq!(space, 1 << limit, "incomplete or impossible code: {lens:?}");
        for (a, b) in freqs.iter().zip(&lens) {
            assert!(*a == 0 || *b > 0, "a symbol in use has no code");
            for (c, d) in freqs.iter().zip(&lens) {
                assert!(a <= c || b <= d || *b == 0 || *d == 0, "a frequent symbol has a longer code");
            }
        }
        lens
    }

    #[test]
    fn fewer_than_two_symbols_still_make_a_code_of_two() {
        assert_eq!(check(&[0, 0, 0], 15), [1, 1, 0]);
        assert_eq!(check(&[7, 0, 0], 15), [1, 1, 0]);
        assert_eq!(check(&[0, 0, 7], 15), [1, 0, 1]);
    }

    #[test]
    fn a_code_that_wants_to_be_longer_than_the_limit_is_cut() {
        let mut freqs = vec![1, 1];
        while freqs.len() < 30 {
            freqs.push(freqs[freqs.len() - 1] + freqs[freqs.len() - 2]);
        }
        for limit in [5, 7, 15] {
            let lens = check(&freqs, limit);
            assert_eq!(lens.iter().max(), Some(&(limit as u8)));
        }
        assert_eq!(check(&freqs[..16], 15)[15], 1);
    }

    #[test]
    fn canonical_codes_are_those_of_the_rfc() {
        let mut found = [Code::default(); 8];
        codes(&[3, 3, 3, 3, 3, 2, 4, 4], &[0, 0, 0, 0, 0, 0, 0, 5], &mut found);
        let expected = [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111u16];
        for (code, expected) in found.iter().zip(expected) {
            assert_eq!(code.bits.reverse_bits() >> (16 - code.len), expected);
        }
        assert_eq!((found[6].total, found[7].total), (4, 9));
    }

    proptest! {
        #[test]
        fn every_code_is_complete(
            freqs in prop::collection::vec(prop_oneof![Just(0u32), 1u32..4, 1u32..100_000], 2..288),
            limit in 9usize..=15,
        ) {
            check(&freqs, limit);
        }
    }
}
