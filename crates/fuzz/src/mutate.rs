//! Changing an input so that it stays interesting: numbers rather than noise, in headers rather than in pages.

use crate::rng::Rng;
use crate::target::Seed;

/// Numbers at which checks go wrong.
const NUMBERS: [u64; 26] = [
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    24,
    0x7f,
    0xff,
    0x1000,
    0xffff,
    0x1_0000,
    0x10_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    1 << 40,
    1 << 48,
    1 << 52,
    1 << 62,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 4095,
    u64::MAX,
];

/// A changed copy of `seed`.
pub(crate) fn mutate(seed: &Seed, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seed.bytes.clone();
    // Few, mostly: the first that is refused hides the others.
    let most = 1 + rng.below(6);
    for _ in 0..1 + rng.below(most) {
        if bytes.is_empty() {
            break;
        }
        change(&mut bytes, seed, rng);
    }
    bytes
}

/// A place where a change matters, most of the time.
fn place(bytes: &[u8], seed: &Seed, rng: &mut Rng) -> usize {
    if seed.hot.is_empty() || rng.once_in(6) {
        return rng.below(bytes.len());
    }
    let range = &seed.hot[rng.below(seed.hot.len())];
    (range.start + rng.below(range.len())).min(bytes.len() - 1)
}

fn change(bytes: &mut Vec<u8>, seed: &Seed, rng: &mut Rng) {
    let at = place(bytes, seed, rng);
    if is_text(bytes, at) && !rng.once_in(4) {
        return change_text(bytes, at, rng);
    }
    match rng.below(20) {
        0..2 => bytes[at] = rng.next() as u8,
        2..4 => bytes[at] ^= 1 << rng.below(8),
        4..11 => {
            let number = rng.pick(&NUMBERS);
            put(bytes, at, number, rng);
        }
        11..14 => {
            // A little more or less than it was, or than the length.
            let small = (rng.below(64) as u64).wrapping_sub(32);
            let base = if rng.once_in(3) { bytes.len() as u64 } else { get(bytes, at, rng) };
            put(bytes, at, base.wrapping_add(small), rng);
        }
        14..16 => {
            let from = place(bytes, seed, rng);
            let len = (1 + rng.below(64)).min(bytes.len() - at.max(from));
            bytes.copy_within(from..from + len, at);
        }
        16 => bytes.truncate(at),
        17 => {
            let more = rng.below(9000);
            let byte = if rng.once_in(2) { 0 } else { rng.next() as u8 };
            bytes.resize(bytes.len() + more, byte);
        }
        18 => {
            let len = (1 + rng.below(40)).min(bytes.len() - at);
            bytes.drain(at..at + len);
        }
        _ => {
            let len = 1 + rng.below(40);
            let byte = rng.next() as u8;
            bytes.splice(at..at, std::iter::repeat_n(byte, len));
        }
    }
}

/// The field that `at` lies in, if fields have this width.
fn field(bytes: &[u8], at: usize, width: usize) -> std::ops::Range<usize> {
    // Headers of this family are aligned to four bytes at least.
    let start = at / 4 * 4;
    start..(start + width).min(bytes.len())
}

fn get(bytes: &[u8], at: usize, rng: &mut Rng) -> u64 {
    let width = rng.pick(&[4, 8]);
    let field = &bytes[field(bytes, at, width)];
    let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    if rng.once_in(2) { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) }
}

fn put(bytes: &mut [u8], at: usize, number: u64, rng: &mut Rng) {
    let width = rng.pick(&[2, 4, 4, 8, 8]);
    let big = rng.once_in(2);
    let range = field(bytes, at, width);
    let len = range.len();
    let field = &mut bytes[range];
    if big {
        field.copy_from_slice(&number.to_be_bytes()[8 - len..]);
    } else {
        field.copy_from_slice(&number.to_le_bytes()[..len]);
    }
}

/// Reports whether there is text around `at`: a number put there would end it.
fn is_text(bytes: &[u8], at: usize) -> bool {
    let around = &bytes[at.saturating_sub(8)..(at + 8).min(bytes.len())];
    around.len() > 8
        && around.iter().all(|&byte| byte == b'\n' || byte == b'\t' || (b' '..=b'~').contains(&byte))
}

/// A change after which it still is text.
fn change_text(bytes: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    const MARKS: &[u8] = b" \n\t:,-=.()[]#%x+0179aFkM";
    let end = |from: usize, rng: &mut Rng| (from + 1 + rng.below(12)).min(bytes.len());
    match rng.below(12) {
        0..5 => {
            // The number that is there, or next.
            let start = (at..bytes.len()).find(|&i| bytes[i].is_ascii_hexdigit()).unwrap_or(at);
            let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let number = rng.pick(&NUMBERS);
            let text = if rng.once_in(2) { format!("{number:x}") } else { number.to_string() };
            bytes.splice(start..start + digits, text.into_bytes());
        }
        5..8 => bytes[at] = rng.pick(MARKS),
        8 => {
            let end = end(at, rng);
            bytes.drain(at..end);
        }
        9 => bytes.insert(at, rng.pick(MARKS)),
        _ => {
            let from = rng.below(bytes.len());
            let copied = bytes[from..end(from, rng)].to_vec();
            if is_text(bytes, from) {
                bytes.splice(at..at, copied);
            }
        }
    }
}
