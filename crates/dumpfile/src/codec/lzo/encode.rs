//! An LZO1X encoder for single pages.
//!
//! Library encoders clear a table of 32 KiB before every page and return their output in new memory. This one has a
//! table that suits a page, writes into the caller's buffer and searches up to the page's very end, which makes up for
//! what the smaller table misses. `docs/performance.md` holds it against liblzo on four architectures.
//!
//! A check of an index costs as much as what it guards. So the page is copied to where every number that the table can
//! hold is inside, and what a bound or a mask proves to be inside is not checked: no look-up has a check.
//!
//! A table of two-byte places is cleared for every page: keeping it and telling pages apart by position, as
//! `deflate::matcher` does, takes wider places and two steps more before each comparison, and was a tenth slower.
//!
//! Every architecture makes the same stream of a page: words are hashed as little-endian ones.

use super::instruction::{BESIDES, append_literals, append_match, mask};

/// The largest page that takes the small table.
const SMALL_PAGE: usize = 0x1000;
/// The largest page of which two bytes can name every place.
const LARGE_PAGE: usize = 0x1_0000;
/// The largest page of all.
const HUGE_PAGE: usize = 0x10_0000;

/// Slots of the table for small pages.
const SMALL: usize = 1 << 12;
/// Slots of the table for larger pages: twice as many miss less, but crowd the first-level cache.
const LARGE: usize = 1 << 13;

/// The farthest match of all.
const FAR: usize = 0xbfff;

/// How far before a page's end the last search begins: what a match is told by lies inside.
const UNSEARCHED: usize = 13;

/// The room for a page's stream: twice the largest page that is encoded the same way, which no stream needs, so that a
/// mask keeps indices inside.
pub(in crate::codec) const fn bound(page_len: usize) -> usize {
    let page = match page_len {
        len if len <= SMALL_PAGE => SMALL_PAGE,
        len if len <= LARGE_PAGE => LARGE_PAGE,
        _ => HUGE_PAGE,
    };
    2 * page + BESIDES
}

/// Makes LZO1X streams of pages.
pub(in crate::codec) struct Encoder(Searches);

enum Searches {
    Small(Search<u16, SMALL, { LARGE_PAGE + BESIDES }>),
    Large(Search<u16, LARGE, { LARGE_PAGE + BESIDES }>),
    Huge(Search<u32, LARGE, { HUGE_PAGE + BESIDES }>),
}

impl Encoder {
    pub(in crate::codec) fn new(page_len: usize) -> Self {
        Self(match page_len {
            len if len <= SMALL_PAGE => Searches::Small(Search::new()),
            len if len <= LARGE_PAGE => Searches::Large(Search::new()),
            _ => Searches::Huge(Search::new()),
        })
    }

    /// Returns the stream's length, which may exceed the page's. `page` has the length that the encoder was
    /// made for, `out` at least that of [`bound`].
    pub(in crate::codec) fn encode(&mut self, page: &[u8], out: &mut [u8]) -> usize {
        match &mut self.0 {
            Searches::Small(search) => search.encode::<{ bound(SMALL_PAGE) }>(page, out),
            Searches::Large(search) => search.encode::<{ bound(LARGE_PAGE) }>(page, out),
            Searches::Huge(search) => search.encode::<{ bound(HUGE_PAGE) }>(page, out),
        }
    }
}

/// A place in a page as a table holds it.
trait Place: Copy + Default {
    /// The last place that there is.
    const LAST: usize;
    fn of(at: usize) -> Self;
    /// Never more than [`Place::LAST`].
    fn at(self) -> usize;
}

impl Place for u16 {
    const LAST: usize = LARGE_PAGE - 1;

    #[inline(always)]
    fn of(at: usize) -> Self {
        at as Self
    }

    #[inline(always)]
    fn at(self) -> usize {
        usize::from(self)
    }
}

impl Place for u32 {
    const LAST: usize = HUGE_PAGE - 1;

    #[inline(always)]
    fn of(at: usize) -> Self {
        at as Self
    }

    #[inline(always)]
    fn at(self) -> usize {
        self as usize & Self::LAST
    }
}

/// What finds repetitions in a page.
struct Search<P, const SLOTS: usize, const ROOM: usize> {
    /// Where four bytes with that hash were last.
    table: Box<[P; SLOTS]>,
    /// The page, and behind it bytes that may be read but mean nothing.
    page: Box<[u8; ROOM]>,
}

impl<P: Place, const SLOTS: usize, const ROOM: usize> Search<P, SLOTS, ROOM> {
    fn new() -> Self {
        Self { table: zeroed(), page: zeroed() }
    }

    #[inline(never)]
    fn encode<const OUT: usize>(&mut self, bytes: &[u8], out: &mut [u8]) -> usize {
        let out: &mut [u8; OUT] = out.first_chunk_mut().expect("room of the encoder's bound");
        let (table, len) = (&mut *self.table, bytes.len());
        self.page[..len].copy_from_slice(bytes);
        let page = &*self.page;
        // An empty slot names the page's first byte, which is before any that is searched and as good a guess
        // as any.
        table.fill(P::default());
        // An index of that many bits needs no check.
        let slot =
            |word: u32| (u32::from_le(word).wrapping_mul(0x9e37_79b1) >> (32 - SLOTS.ilog2())) as usize;
        let end = (len - UNSEARCHED).min(P::LAST - UNSEARCHED);
        let mut op = 0;
        // The first byte not yet in the stream.
        let mut done = 0;
        // A stream begins with literals, and fewer than four would need an instruction of their own.
        let mut at = 4;
        while at <= end {
            let here = four(page, at);
            let entry = &mut table[slot(here)];
            let mut from = entry.at();
            *entry = P::of(at);
            // The eight bytes that follow the four that are equal.
            let differ = if four(page, from) == here {
                eight(page, from + 4) ^ eight(page, at + 4)
            } else {
                let here = four(page, at + 1);
                let entry = &mut table[slot(here)];
                from = entry.at();
                *entry = P::of(at + 1);
                if four(page, from) != here {
                    // The longer nothing matches, the larger the steps.
                    let missed = at - done;
                    at += 2 + if SLOTS == SMALL { (missed * 3) >> 6 } else { missed >> 4 };
                    continue;
                }
                at += 1;
                eight(page, from + 4) ^ eight(page, at + 4)
            };
            if SLOTS != SMALL && at - from > FAR {
                at += 1;
                continue;
            }
            let len = match differ {
                0 => 12 + common(page, from + 12, at + 12, len),
                _ => 4 + equal_bytes(differ),
            };
            if at != done {
                op = append_literals(page, done & P::LAST, at - done, out, op);
            }
            op = append_match(out, op, at - from, len);
            at += len;
            done = at;
        }
        if done != len {
            op = append_literals(page, done & P::LAST, len - done, out, op);
        }
        out[op & mask(OUT)..][..3].copy_from_slice(&[0x11, 0, 0]);
        op + 3
    }
}

fn zeroed<T: Copy + Default, const N: usize>() -> Box<[T; N]> {
    let items = vec![T::default(); N].into_boxed_slice();
    items.try_into().unwrap_or_else(|_| unreachable!("a box of N items"))
}

/// The four bytes from `at` on, in this machine's order.
#[inline(always)]
fn four(page: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(page[at..at + 4].try_into().expect("four bytes"))
}

/// The eight bytes from `at` on, in this machine's order.
#[inline(always)]
fn eight(page: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(page[at..at + 8].try_into().expect("eight bytes"))
}

/// How many bytes are equal in memory before the first that differs.
#[inline(always)]
fn equal_bytes(differ: u64) -> usize {
    let bits = if cfg!(target_endian = "big") { differ.leading_zeros() } else { differ.trailing_zeros() };
    bits as usize / 8
}

/// How many bytes from `a` on are those from `b` on, `a < b`, up to `end`.
#[inline(always)]
fn common<const ROOM: usize>(page: &[u8; ROOM], a: usize, b: usize, end: usize) -> usize {
    let most = end - b;
    // The last pieces may reach past the page's end.
    let whole = most.next_multiple_of(16);
    let (a, b) = (page[a..a + whole].as_chunks::<16>().0, page[b..b + whole].as_chunks::<16>().0);
    let mut len = 0;
    for (a, b) in a.iter().zip(b) {
        let (first, second) = (eight(a, 0) ^ eight(b, 0), eight(a, 8) ^ eight(b, 8));
        if first | second != 0 {
            len += if first != 0 { equal_bytes(first) } else { 8 + equal_bytes(second) };
            break;
        }
        len += 16;
    }
    len.min(most)
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
    fn noise_grows_by_little() {
        for len in [4096, 65536, 1 << 20] {
            assert!(check(&mut Encoder::new(len), &noise(len)).len() <= len + len / 255 + 5);
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
