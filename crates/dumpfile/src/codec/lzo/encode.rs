//! An LZO1X encoder for single pages.
//!
//! The library encoders clear a dictionary of 32 KiB for every input, which costs a page of 4 KiB a tenth of its time, and allocate.
//! This one keeps the dictionary: what an earlier page left in it is told apart by position, because the pages of
//! an encoder lie one after another in a number space of their own. It reads the page eight bytes at a time up to the
//! very end and puts a match and the literals before it down without branching on their kind.
//!
//! The format (see `Documentation/staging/lzo.rst` of the kernel): an instruction byte below 16 brings literals, one
//! from 16 on a match. The low two bits of a match's last-but-one byte say how many literals, 0 to 3, follow it
//! without an instruction of their own.

/// Slots of the table for pages of 4 KiB.
const SMALL_TABLE: usize = 1 << 12;
/// Slots of the table for larger pages.
const TABLE: usize = 1 << 14;

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

pub(in crate::codec) struct Encoder {
    /// Where four bytes with that hash stood last, counted from the first page on.
    table: Box<[u32]>,
    /// The number of this page's first byte. Smaller ones are of pages before.
    base: u32,
}

fn load32(page: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(page[at..at + 4].try_into().expect("four bytes"))
}

fn load64(page: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(page[at..at + 8].try_into().expect("eight bytes"))
}

impl Encoder {
    pub(in crate::codec) fn new(page_len: usize) -> Self {
        let table = if page_len <= 4096 { SMALL_TABLE } else { TABLE };
        Self { table: vec![0; table].into(), base: 1 }
    }

    /// Answers the stream's length, which may exceed the page's. `out` is at least [`bound`] long.
    pub(in crate::codec) fn encode(&mut self, page: &[u8], out: &mut [u8]) -> usize {
        // An older number less `base` wraps round to one past the page: room for that must stay.
        let len = page.len() as u32;
        if self.base > u32::MAX - 2 * len {
            self.table.fill(0);
            self.base = 1;
        }
        let base = self.base;
        self.base += len;
        match self.table.len() {
            TABLE => matches::<TABLE>(self.table.first_chunk_mut().expect("its length"), base, page, out),
            _ => matches::<SMALL_TABLE>(self.table.first_chunk_mut().expect("its length"), base, page, out),
        }
    }
}

#[inline(never)]
fn matches<const SLOTS: usize>(table: &mut [u32; SLOTS], base: u32, page: &[u8], out: &mut [u8]) -> usize {
    let slot = |word: u32| (word.wrapping_mul(0x9e37_79b1) >> (32 - SLOTS.ilog2())) as usize;
    let mut op = 0;
    // The first byte not yet in the stream.
    let mut done = 0;
    // A stream begins with literals, and fewer than four would need an instruction of their own.
    let mut at = 4;
    if page.len() >= 4 {
        table[slot(load32(page, 0))] = base;
    }
    while let Some(eight) = page.get(at..).and_then(|rest| rest.first_chunk()) {
        // Two positions at a time: the processor cannot foresee where a match begins, but both searches run side by side.
        let eight = u64::from_le_bytes(*eight);
        let words = [eight as u32, (eight >> 8) as u32];
        let now = base + at as u32;
        let entry = &mut table[slot(words[0])];
        let from0 = entry.wrapping_sub(base) as usize;
        *entry = now;
        let entry = &mut table[slot(words[1])];
        let from1 = entry.wrapping_sub(base) as usize;
        *entry = now + 1;
        // A number of an earlier page says nothing; a page's start is as good a guess as any, and guessing
        // spares a branch that the processor cannot foresee.
        let from0 = if from0 < at { from0 } else { 0 };
        let from1 = if from1 <= at { from1 } else { 0 };
        let hit0 = load32(page, from0) == words[0];
        let hit1 = load32(page, from1) == words[1];
        if !(hit0 | hit1) {
            at += 2 + ((at - done) >> 5);
            continue;
        }
        let from = if hit0 { from0 } else { from1 };
        at += usize::from(!hit0);
        if at - from > FAR {
            at += 1;
            continue;
        }
        op = literals(&page[done..], at - done, out, op);
        let len = 4 + common(page, from + 4, at + 4);
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

/// How many bytes from `a` on are those from `b` on, `a < b`, up to the page's end.
#[inline(always)]
fn common(page: &[u8], a: usize, b: usize) -> usize {
    let mut len = 0;
    while b + len + 8 <= page.len() {
        let differ = load64(page, a + len) ^ load64(page, b + len);
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

/// Appends the first `len` bytes of `from`, not more than 3 of which only after a match.
#[inline(always)]
fn literals(from: &[u8], len: usize, out: &mut [u8], mut op: usize) -> usize {
    if len <= 16
        && let Some(chunk) = from.first_chunk::<16>()
    {
        let own = usize::from(len > 3);
        if let Some(before) = out.get_mut(op.wrapping_sub(2)) {
            *before |= if own == 0 { len as u8 } else { 0 };
        }
        out[op] = len.wrapping_sub(3) as u8;
        op += own;
        out[op..op + 16].copy_from_slice(chunk);
        return op + len;
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

    /// Encodes, decodes with the library, compares; answers the stream.
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

    #[test]
    fn numbers_of_old_pages_run_out_without_harm() {
        let mut encoder = Encoder::new(4096);
        let page: Vec<u8> = (0..4096u32).map(|i| ((i * i) >> 7) as u8).collect();
        let stream = check(&mut encoder, &page);
        encoder.base = u32::MAX - 3 * 4096;
        for _ in 0..4 {
            assert_eq!(check(&mut encoder, &page), stream);
        }
        assert!(encoder.base < 1 << 20);
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
