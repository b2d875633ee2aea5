//! The bit stream of Deflate: least significant bit first.

use super::huffman::Code;

/// Appends bits to a slice, eight bytes a store.
pub(super) struct BitWriter<'a> {
    out: &'a mut [u8],
    at: usize,
    buffer: u64,
    filled: u32,
}

impl<'a> BitWriter<'a> {
    /// A writer that begins at `at`. Its stores reach up to eight bytes past what it has written.
    pub(super) fn new(out: &'a mut [u8], at: usize) -> Self {
        Self { out, at, buffer: 0, filled: 0 }
    }

    /// Appends the low `count` bits of `bits`, whose others are zero. At most 56 fit between two calls of
    /// [`BitWriter::flush`].
    #[inline(always)]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        debug_assert!(self.filled + count <= 63 && bits >> count == 0);
        self.buffer |= bits << self.filled;
        self.filled += count;
    }

    /// Appends a code and the extra bits that follow it.
    #[inline(always)]
    pub(super) fn put_code(&mut self, code: Code, extra: u64) {
        self.put(u64::from(code.bits) | extra << code.len, u32::from(code.total));
    }

    /// Stores whole bytes.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        self.out[self.at..self.at + 8].copy_from_slice(&self.buffer.to_le_bytes());
        self.at += self.filled as usize / 8;
        self.buffer >>= self.filled & !7;
        self.filled &= 7;
    }

    /// Fills the last byte up with zeros and returns where the stream ends.
    pub(super) fn finish(mut self) -> usize {
        self.flush();
        if self.filled > 0 {
            self.out[self.at] = self.buffer as u8;
            self.at += 1;
        }
        self.at
    }
}
