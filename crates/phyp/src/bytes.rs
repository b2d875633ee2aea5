//! Numbers at any offset of a byte string, aligned or not; past the end there is `None`.

use vmcore::ByteOrder;

/// Reads numbers in one byte order.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a> {
    bytes: &'a [u8],
    order: ByteOrder,
}

impl<'a> Bytes<'a> {
    /// Firmware structures: big-endian whatever the kernel is.
    pub(crate) fn big(bytes: &'a [u8]) -> Self {
        Self { bytes, order: ByteOrder::Big }
    }

    pub(crate) fn new(bytes: &'a [u8], order: ByteOrder) -> Self {
        Self { bytes, order }
    }

    /// `len` bytes from `at` on.
    pub(crate) fn slice(self, at: usize, len: usize) -> Option<&'a [u8]> {
        self.bytes.get(at..at.checked_add(len)?)
    }

    pub(crate) fn u16(self, at: usize) -> Option<u16> {
        self.slice(at, 2).map(|b| self.order.u16(b))
    }

    pub(crate) fn u32(self, at: usize) -> Option<u32> {
        self.slice(at, 4).map(|b| self.order.u32(b))
    }

    pub(crate) fn u64(self, at: usize) -> Option<u64> {
        self.slice(at, 8).map(|b| self.order.u64(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_odd_offsets_and_not_past_the_end() {
        let bytes = [0, 1, 2, 3, 4, 5, 6, 7, 8];
        let big = Bytes::big(&bytes);
        assert_eq!(big.u64(1), Some(0x0102_0304_0506_0708));
        assert_eq!((big.u16(3), big.u32(5)), (Some(0x0304), Some(0x0506_0708)));
        assert_eq!((big.u64(2), big.u16(8), big.u32(usize::MAX)), (None, None, None));
        assert_eq!(Bytes::new(&bytes, ByteOrder::Little).u16(1), Some(0x0201));
    }
}
