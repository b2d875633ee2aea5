//! Small readers of dump files that share no code with hadump's own, so that a wrong layout cannot cancel out.
//!
//! They trust their input: they read what hadump wrote and what the corpus holds, and panic on anything else.
//! `cargo xtask demo` verifies with them too.

pub mod elf;
pub mod kdump;

/// Reads numbers at offsets, in one byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whether the most significant byte comes first.
    pub big: bool,
}

impl Order {
    fn number<const N: usize>(self, bytes: &[u8], at: usize) -> u64 {
        let field = &bytes[at..at + N];
        let digit = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if self.big { field.iter().fold(0, digit) } else { field.iter().rev().fold(0, digit) }
    }

    /// The 16-bit number at `at`.
    pub fn u16(self, bytes: &[u8], at: usize) -> u64 {
        self.number::<2>(bytes, at)
    }

    /// The 32-bit number at `at`.
    pub fn u32(self, bytes: &[u8], at: usize) -> u64 {
        self.number::<4>(bytes, at)
    }

    /// The 64-bit number at `at`.
    pub fn u64(self, bytes: &[u8], at: usize) -> u64 {
        self.number::<8>(bytes, at)
    }
}

/// Whether frame `pfn` is set in a bitmap: bit `pfn & 7` of byte `pfn >> 3`.
pub fn bit(bitmap: &[u8], pfn: u64) -> bool {
    bitmap.get((pfn >> 3) as usize).is_some_and(|byte| byte >> (pfn & 7) & 1 != 0)
}
