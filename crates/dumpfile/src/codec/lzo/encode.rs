//! An LZO1X encoder for single pages.
//!
//! Library encoders clear a table of 32 KiB before every page and return their output in new memory. This
//! one has a table that suits a page, writes into the caller's buffer and searches up to the page's very
//! end, which makes up for what the smaller table misses. On the pages that dump level 31 keeps of real
//! dumps (MB/s, ratio):
//!
//! | pages | C lzo1x_1 | | lzo1x crate | | this | |
//! |---|--:|--:|--:|--:|--:|--:|
//! | x86_64, 4 KiB | 1306 | .3671 | 1054 | .3671 | 1413 | .3700 |
//! | ppc64, 4 KiB | 1205 | .3421 | 953 | .3421 | 1295 | .3457 |
//! | ppc64le, 64 KiB | 1448 | .2249 | 1188 | .2249 | 1474 | .2241 |
//!
//! A table of two-byte places is cleared for every page: keeping it and telling pages apart by position, as
//! `deflate::matcher` does, takes wider places and two steps more before each comparison, and was a tenth slower.
//!
//! The format (`Documentation/staging/lzo.rst` of the kernel): an instruction byte below 16 brings
//! literals, one from 16 on a match. The low two bits of a match's last but one byte say how many literals,
//! 0 to 3, follow it without an instruction of their own.

/// Slots of the table for pages of 4 KiB.
const SMALL: usize = 1 << 12;
/// Slots of the table for larger pages: twice as many miss less, but crowd the first-level cache.
const LARGE: usize = 1 << 13;

/// The farthest match that takes two bytes, when it is also no longer than [`NEAR_LEN`].
const NEAR: usize = 0x800;
const NEAR_LEN: usize = 8;
/// The farthest match with 14 bits of distance.
const MIDDLE: usize = 0x4000;
/// The farthest match of all.
const FAR: usize = 0xbfff;

/// Bytes that one store may write past what it has to.
const SLACK: usize = 32;

/// The longest that a stream for `len` bytes gets, and room for stores that write more than they keep.
pub(in crate::codec) const fn bound(len: usize) -> usize {
    len + len / 16 + 64 + 3 + SLACK
}

/// Makes LZO1X streams of pages.
pub(in crate::codec) struct Encoder(Table);

/// Where four bytes with that hash were last.
enum Table {
    Small(Box<[u16; SMALL]>),
    Large(Box<[u16; LARGE]>),
    /// For pages above 64 KiB, of which two bytes cannot name every place.
    Huge(Box<[u32; LARGE]>),
}

/// A place in a page as a table holds it.
trait Place: Copy + Default {
    fn of(at: usize) -> Self;
    fn at(self) -> usize;
}

impl Place for u16 {
    fn of(at: usize) -> Self {
        at as Self
    }

    fn at(self) -> usize {
        usize::from(self)
    }
}

impl Place for u32 {
    fn of(at: usize) -> Self {
        at as Self
    }

    fn at(self) -> usize {
        self as usize
    }
}

impl Encoder {
    pub(in crate::codec) fn new(page_len: usize) -> Self {
        Self(match page_len {
            0..=0x1000 => Table::Small(Box::new([0; SMALL])),
            0x1001..=0x10000 => Table::Large(Box::new([0; LARGE])),
            _ => Table::Huge(Box::new([0; LARGE])),
        })
    }

    /// Returns the stream's length, which may exceed the page's. `page` has the length that the encoder was
    /// made for, `out` at least that of [`bound`].
    pub(in crate::codec) fn encode(&mut self, page: &[u8], out: &mut [u8]) -> usize {
        match &mut self.0 {
            Table::Small(table) => encode(table, page, out),
            Table::Large(table) => encode(table, page, out),
            Table::Huge(table) => encode(table, page, out),
        }
    }
}

#[inline(never)]
fn encode<P: Place, const SLOTS: usize>(table: &mut [P; SLOTS], page: &[u8], out: &mut [u8]) -> usize {
    // An index of that many bits needs no check.
    let slot = |word: u32| (word.wrapping_mul(0x9e37_79b1) >> (32 - SLOTS.ilog2())) as usize;
    // An empty slot names the page's first byte, which is before any that is searched and as good a guess
    // as any.
    table.fill(P::default());
    let mut op = 0;
    // The first byte not yet in the stream.
    let mut done = 0;
    // A stream begins with literals, and fewer than four would need an instruction of their own.
    let mut at = 4;
    while at + 9 <= page.len() {
        // Two places in a row are looked up side by side: neither waits for the other's memory.
        let here = [load(page, at), load(page, at + 1)];
        let mut from = [0; 2];
        for (i, from) in from.iter_mut().enumerate() {
            let entry = &mut table[slot(here[i] as u32)];
            *from = entry.at();
            *entry = P::of(at + i);
        }
        let differ = [load(page, from[0]) ^ here[0], load(page, from[1]) ^ here[1]];
        let (from, differ) = if differ[0] as u32 == 0 && at - from[0] <= FAR {
            (from[0], differ[0])
        } else if differ[1] as u32 == 0 && at + 1 - from[1] <= FAR {
            at += 1;
            (from[1], differ[1])
        } else {
            // The longer nothing matches, the larger the steps.
            at += 2 + ((at - done) >> 4);
            continue;
        };
        op = literals(&page[done..], at - done, out, op);
        let len = match differ {
            0 => 8 + common(page, from + 8, at + 8),
            _ => differ.trailing_zeros() as usize / 8,
        };
        op = put_match(out, op, at - from, len);
        at += len;
        done = at;
    }
    let rest = page.len() - done;
    if rest > 0 {
        op = literals(&page[done..], rest, out, op);
    }
    out[op..op + 3].copy_from_slice(&[0x11, 0, 0]);
    op + 3
}

/// The eight bytes from `at` on.
#[inline(always)]
fn load(page: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(page[at..at + 8].try_into().expect("eight bytes"))
}

/// How many bytes from `a` on are those from `b` on, `a < b`, up to the page's end.
#[inline(always)]
fn common(page: &[u8], a: usize, b: usize) -> usize {
    let mut len = 0;
    while b + len + 8 <= page.len() {
        let differ = load(page, a + len) ^ load(page, b + len);
        if differ != 0 {
            return len + differ.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    while b + len < page.len() && page[a + len] == page[b + len] {
        len += 1;
    }
    len
}

/// Appends the first `len` bytes of `from`; fewer than 4 only after a match.
#[inline(always)]
fn literals(from: &[u8], len: usize, out: &mut [u8], op: usize) -> usize {
    if len == 0 {
        return op;
    }
    if let Some(chunk) = from.first_chunk::<16>() {
        if len <= 3 {
            out[op - 2] |= len as u8;
            out[op..op + 4].copy_from_slice(&chunk[..4]);
            return op + len;
        }
        if len <= 16 {
            out[op] = (len - 3) as u8;
            out[op + 1..op + 17].copy_from_slice(chunk);
            return op + 1 + len;
        }
    }
    long_literals(&from[..len], out, op)
}

#[inline(never)]
fn long_literals(from: &[u8], out: &mut [u8], mut op: usize) -> usize {
    match from.len() {
        len @ 0..=3 => out[op - 2] |= len as u8,
        len @ 4..=18 => {
            out[op] = (len - 3) as u8;
            op += 1;
        }
        len => op = put_length(out, op, 0, len - 18),
    }
    out[op..op + from.len()].copy_from_slice(from);
    op + from.len()
}

/// Appends an instruction whose length field overflowed, and what the length has above it.
fn put_length(out: &mut [u8], op: usize, instruction: u8, rest: usize) -> usize {
    let zeros = (rest - 1) / 255;
    out[op] = instruction;
    for zero in &mut out[op + 1..op + 1 + zeros] {
        *zero = 0;
    }
    out[op + 1 + zeros] = (rest - zeros * 255) as u8;
    op + zeros + 2
}

/// Appends a match of `len` bytes, at least 4, from `distance` bytes before.
#[inline(always)]
fn put_match(out: &mut [u8], op: usize, distance: usize, len: usize) -> usize {
    if len <= 33 && distance <= MIDDLE {
        let d = (distance - 1) as u32;
        let near = (distance <= NEAR) & (len <= NEAR_LEN);
        let two = ((len as u32 - 1) << 5) | ((d & 7) << 2) | (d >> 3 << 8);
        let three = 0x20 | (len as u32 - 2) | (d << 10);
        let mask = u32::from(near).wrapping_neg();
        let bytes = (two & mask) | (three & !mask);
        out[op..op + 4].copy_from_slice(&bytes.to_le_bytes());
        return op + 3 - usize::from(near);
    }
    put_long_match(out, op, distance, len)
}

#[inline(never)]
fn put_long_match(out: &mut [u8], mut op: usize, distance: usize, len: usize) -> usize {
    let (instruction, d, most) = if distance <= MIDDLE {
        (0x20, distance - 1, 33)
    } else {
        let d = distance - MIDDLE;
        (0x10 | (d >> 11 & 8) as u8, d & 0x3fff, 9)
    };
    if len <= most {
        out[op] = instruction | (len - 2) as u8;
        op += 1;
    } else {
        op = put_length(out, op, instruction, len - most);
    }
    out[op..op + 2].copy_from_slice(&((d << 2) as u16).to_le_bytes());
    op + 2
}

#[cfg(all(test, feature = "lzo"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Encodes, decodes with the library, compares; returns the stream.
    fn check(encoder: &mut Encoder, page: &[u8]) -> Vec<u8> {
        let mut out = vec![0xee; bound(page.len())];
        let len = encoder.encode(page, &mut out);
        out.truncate(len);
        let mut back = vec![0xdd; page.len()];
        lzo1x::decompress(&out, &mut back).unwrap();
        assert!(back == page);
        out
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut seed = 7u64;
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn noise_stays_below_the_bound() {
        for len in [4096, 65536, 1 << 20] {
            assert!(check(&mut Encoder::new(len), &noise(len)).len() + SLACK <= bound(len));
        }
    }

    #[test]
    fn every_number_of_literals_before_a_match_survives() {
        let mut encoder = Encoder::new(4096);
        for literals in (0..40).chain([236, 237, 238, 239, 272, 273, 274, 275, 528, 529, 1500]) {
            let mut page = noise(4096);
            page[..512].fill(9);
            let after = 512 + literals;
            page.copy_within(100..600.min(after), after);
            page[after + 300..].fill(1);
            check(&mut encoder, &page);
        }
    }

    #[test]
    fn every_length_at_every_kind_of_distance_survives() {
        let mut encoder = Encoder::new(65536);
        for distance in
            [1, 2, 7, 8, 2047, 2048, 2049, 16383, 16384, 16385, 32767, 32768, 32769, 49150, 49151, 49152]
        {
            for len in (3..50).chain([255, 263, 264, 265, 287, 288, 289, 519, 543, 600]) {
                let mut page = noise(65536);
                let at = 50000;
                for i in 0..len {
                    page[at + i] = page[at + i - distance];
                }
                check(&mut encoder, &page);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn pages_come_back_and_do_not_depend_on_those_before(
            pieces in prop::collection::vec((any::<u64>(), 0usize..60, 1usize..60000, 0usize..700), 1..300),
            shift in 12u32..=16,
        ) {
            let len = 1 << shift;
            let mut page = vec![1];
            for (bytes, literals, distance, repeat) in pieces.iter().cycle() {
                page.extend(bytes.to_le_bytes().iter().cycle().take(*literals + 1));
                let from = page.len() - distance.min(&page.len());
                for i in 0..*repeat {
                    page.push(page[from + i]);
                }
                if page.len() >= len {
                    break;
                }
            }
            page.truncate(len);
            let mut encoder = Encoder::new(len);
            let first = check(&mut encoder, &page);
            check(&mut encoder, &noise(len));
            prop_assert!(check(&mut encoder, &page) == first);
        }
    }
}
