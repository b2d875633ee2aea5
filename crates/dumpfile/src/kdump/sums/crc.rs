//! CRC-32 of bytes that arrive in any order.
//!
//! A CRC is a linear map but for a constant that depends on the length alone. So the CRC of a chunk is the sum (exclusive
//! or) of what each stretch of it contributes, whenever that is written, and stretches of zeros contribute nothing.

use crc32fast::Hasher;

/// The polynomial of zlib, gzip and Ethernet, the lowest power in the highest bit.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// x to the power of `2^n`, for each n.
const POWERS: [u32; 32] = {
    let mut powers = [1 << 30; 32];
    let mut n = 1;
    while n < powers.len() {
        powers[n] = product(powers[n - 1], powers[n - 1]);
        n += 1;
    }
    powers
};

/// The product of two polynomials modulo [`POLYNOMIAL`].
const fn product(a: u32, mut b: u32) -> u32 {
    let mut sum = 0;
    let mut bit = 1 << 31;
    while bit != 0 {
        if a & bit != 0 {
            sum ^= b;
        }
        b = b >> 1 ^ if b & 1 == 0 { 0 } else { POLYNOMIAL };
        bit >>= 1;
    }
    sum
}

/// What `part` contributes to a CRC, or the state of a CRC, when `len` bytes follow.
pub(super) fn shifted(part: u32, len: u64) -> u32 {
    let mut result = part;
    // The powers of x repeat after 2^32 - 1, which only lengths that no file has could reach twice.
    for n in (0..61).filter(|n| len >> n & 1 != 0) {
        result = product(POWERS[(n + 3) % 32], result);
    }
    result
}

/// The CRC of `len` zeros.
pub(super) fn of_zeros(len: u64) -> u32 {
    !shifted(!0, len)
}

/// The CRC when `len` zeros follow what has the CRC `sum`.
pub(super) fn padded(sum: u32, len: u64) -> u32 {
    !shifted(!sum, len)
}

/// What `bytes` contribute to the CRC of the chunk that they are the end of.
pub(super) fn part(bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(!0);
    hasher.update(bytes);
    !hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stretches_add_up_to_the_crc_of_the_whole(
            bytes in prop::collection::vec(any::<u8>(), 0..5000), cuts in prop::collection::vec(0usize..5000, 0..5),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut < bytes.len()).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|two| shifted(part(&bytes[two[0]..two[1]]), (bytes.len() - two[1]) as u64));
            let sum = parts.fold(0, |sum, part| sum ^ part);
            prop_assert_eq!(sum ^ of_zeros(bytes.len() as u64), crc32fast::hash(&bytes));
        }
    }

    #[test]
    fn zeros_of_any_length_have_the_crc_that_counting_them_gives() {
        for len in [0, 1, 24, 4095, 1 << 20] {
            assert_eq!(of_zeros(len as u64), crc32fast::hash(&vec![0; len]), "{len}");
            assert_eq!(part(&vec![0; len]), 0);
            assert_eq!(
                padded(crc32fast::hash(b"bytes"), len as u64),
                crc32fast::hash(&[b"bytes", &vec![0; len][..]].concat())
            );
        }
    }
}
