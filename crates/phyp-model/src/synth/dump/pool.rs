//! Memory for the kernel's own structures, out of one stretch that is all the kernel's.

use crate::error::{ModelError, Result};
use crate::extent::Extent;

/// Hands out memory from the bottom up.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) extent: Extent,
    next: u64,
}

impl Pool {
    pub(crate) fn new(extent: Extent) -> Self {
        Self { extent, next: extent.start }
    }

    /// `size` bytes at a multiple of `align`.
    pub(crate) fn take(&mut self, size: u64, align: u64) -> Result<u64> {
        let start = self.next.next_multiple_of(align.max(8));
        if start + size > self.extent.end() {
            let expected = "room for the kernel's structures";
            return Err(ModelError::Options { what: "pool", found: size, expected });
        }
        self.next = start + size;
        Ok(start)
    }
}
