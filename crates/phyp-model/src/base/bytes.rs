//! Integers as bytes, in either order.

/// The order in which a kernel, or the firmware, writes its integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// Most significant byte first: the firmware always, and ppc64 kernels.
    Big,
    /// Least significant byte first: ppc64le kernels.
    Little,
}

impl ByteOrder {
    /// Two bytes.
    pub fn u16(self, value: u16) -> [u8; 2] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Little => value.to_le_bytes(),
        }
    }

    /// Four bytes.
    pub fn u32(self, value: u32) -> [u8; 4] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Little => value.to_le_bytes(),
        }
    }

    /// Eight bytes.
    pub fn u64(self, value: u64) -> [u8; 8] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Little => value.to_le_bytes(),
        }
    }

    /// Sixteen bytes.
    pub fn u128(self, value: u128) -> [u8; 16] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Little => value.to_le_bytes(),
        }
    }

    /// The opposite order.
    pub fn swapped(self) -> Self {
        match self {
            Self::Big => Self::Little,
            Self::Little => Self::Big,
        }
    }
}

/// Bytes under construction, written front to back or patched at an offset.
#[derive(Clone, Debug)]
pub struct Bytes {
    /// What has been written so far.
    pub bytes: Vec<u8>,
    /// The order of every integer.
    pub order: ByteOrder,
}

impl Bytes {
    /// Starts empty.
    pub fn new(order: ByteOrder) -> Self {
        Self { bytes: Vec::new(), order }
    }

    /// Starts as `length` zero bytes, to be patched.
    pub fn zeroed(order: ByteOrder, length: usize) -> Self {
        Self { bytes: vec![0; length], order }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&self.order.u16(value))
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&self.order.u32(value))
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&self.order.u64(value))
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends zeros until the length is a multiple of `multiple`.
    pub fn pad(&mut self, multiple: usize) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(multiple), 0);
        self
    }

    /// Overwrites bytes at `offset`, growing if they reach past the end.
    pub fn at(&mut self, offset: usize, bytes: &[u8]) -> &mut Self {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self
    }

    /// Overwrites four bytes at `offset`.
    pub fn u32_at(&mut self, offset: usize, value: u32) -> &mut Self {
        self.at(offset, &self.order.u32(value))
    }

    /// Overwrites eight bytes at `offset`.
    pub fn u64_at(&mut self, offset: usize, value: u64) -> &mut Self {
        self.at(offset, &self.order.u64(value))
    }
}

/// A big-endian integer at `offset`; `None` past the end.
pub(crate) fn be_u16(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(offset..offset.checked_add(2)?)?.try_into().ok()?))
}

/// A big-endian integer at `offset`; `None` past the end.
pub(crate) fn be_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(offset..offset.checked_add(4)?)?.try_into().ok()?))
}

/// A big-endian integer at `offset`; `None` past the end.
pub(crate) fn be_u64(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(offset..offset.checked_add(8)?)?.try_into().ok()?))
}
