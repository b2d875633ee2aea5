//! The instructions of an LZO1X stream, as they are written.
//!
//! The format (`Documentation/staging/lzo.rst` of the kernel): an instruction byte below 16 brings
//! literals, one from 16 on a match. The low two bits of a match's last but one byte say how many literals,
//! 0 to 3, follow it without an instruction of their own.
//!
//! Indices are masked where nothing else proves that they are inside: `out` is longer than any stream, so a mask changes
//! nothing, and it costs less than a check.

/// Bytes behind a power of two that may be read and written for nothing: copies take 16 bytes at a time.
pub(super) const BESIDES: usize = 32;

/// The farthest match that takes two bytes, when it is also no longer than [`NEAR_LEN`].
const NEAR: usize = 0x800;
const NEAR_LEN: usize = 8;
/// The farthest match with 14 bits of distance.
const MIDDLE: usize = 0x4000;
/// The longest match of those whose length fits its instruction.
const MIDDLE_LEN: usize = 33;
const FAR_LEN: usize = 9;

/// The mask for indices of an array of a power of two and [`BESIDES`] bytes.
pub(super) const fn mask(len: usize) -> usize {
    len - BESIDES - 1
}

/// Appends `len` bytes of `page` from `at` on; fewer than 4 only after a match.
#[inline(always)]
pub(super) fn append_literals<const PAGE: usize, const OUT: usize>(
    page: &[u8; PAGE],
    at: usize,
    len: usize,
    out: &mut [u8; OUT],
    op: usize,
) -> usize {
    if len <= 3 {
        out[op.wrapping_sub(2) & mask(OUT)] |= len as u8;
        out[op & mask(OUT)..][..4].copy_from_slice(&page[at..at + 4]);
        return op + len;
    }
    if len <= 16 {
        let op = op & mask(OUT);
        out[op] = (len - 3) as u8;
        out[op + 1..op + 17].copy_from_slice(&page[at..at + 16]);
        return op + 1 + len;
    }
    append_many_literals(page, at, len, out, op)
}

#[inline(never)]
fn append_many_literals<const PAGE: usize, const OUT: usize>(
    page: &[u8; PAGE],
    at: usize,
    len: usize,
    out: &mut [u8; OUT],
    mut op: usize,
) -> usize {
    if len <= 18 {
        out[op & mask(OUT)] = (len - 3) as u8;
        op += 1;
    } else {
        op = append_length(out, op, 0, len - 18);
    }
    for done in (0..len).step_by(16) {
        let (at, op) = ((at + done) & mask(PAGE), (op + done) & mask(OUT));
        out[op..op + 16].copy_from_slice(&page[at..at + 16]);
    }
    op + len
}

/// Appends an instruction whose length field overflowed, and what the length has above it.
#[inline(always)]
fn append_length<const OUT: usize>(
    out: &mut [u8; OUT],
    op: usize,
    instruction: u8,
    mut rest: usize,
) -> usize {
    let mut op = op & mask(OUT);
    out[op] = instruction;
    while rest > 255 {
        op = (op + 1) & mask(OUT);
        out[op] = 0;
        rest -= 255;
    }
    out[op + 1] = rest as u8;
    op + 2
}

/// Appends a match of `len` bytes, at least 4, from `distance` bytes before.
#[inline(always)]
pub(super) fn append_match<const OUT: usize>(
    out: &mut [u8; OUT],
    op: usize,
    distance: usize,
    len: usize,
) -> usize {
    let op = op & mask(OUT);
    let d = (distance - 1) as u32;
    if len <= NEAR_LEN && distance <= NEAR {
        let near = ((len as u32 - 1) << 5) | ((d & 7) << 2) | (d >> 3 << 8);
        out[op..op + 2].copy_from_slice(&(near as u16).to_le_bytes());
        return op + 2;
    }
    if len <= MIDDLE_LEN && distance <= MIDDLE {
        let middle = 0x20 | (len as u32 - 2) | (d << 10);
        out[op..op + 4].copy_from_slice(&middle.to_le_bytes());
        return op + 3;
    }
    append_long_match(out, op, distance, len)
}

#[inline(never)]
fn append_long_match<const OUT: usize>(out: &mut [u8; OUT], op: usize, distance: usize, len: usize) -> usize {
    let (instruction, d, most) = if distance <= MIDDLE {
        (0x20, distance - 1, MIDDLE_LEN)
    } else {
        let d = distance - MIDDLE;
        (0x10 | (d >> 11 & 8) as u8, d & 0x3fff, FAR_LEN)
    };
    let mut op = op & mask(OUT);
    if len <= most {
        out[op] = instruction | (len - 2) as u8;
        op += 1;
    } else {
        op = append_length(out, op, instruction, len - most);
    }
    let op = op & mask(OUT);
    out[op..op + 2].copy_from_slice(&((d << 2) as u16).to_le_bytes());
    op + 2
}
