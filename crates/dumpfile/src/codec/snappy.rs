//! Raw snappy blocks.

use super::{CodecError, Method};

/// The worst case, which the library demands even for a page that shrinks.
pub(super) fn bound(page_len: usize) -> usize {
    snap::raw::max_compress_len(page_len)
}

pub(super) struct Encoder(snap::raw::Encoder);

impl Encoder {
    pub(super) fn new() -> Self {
        Self(snap::raw::Encoder::new())
    }

    pub(super) fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        self.0.compress(page, out).ok()
    }
}

pub(super) struct Decoder(snap::raw::Decoder);

impl Decoder {
    pub(super) fn new() -> Self {
        Self(snap::raw::Decoder::new())
    }

    /// Returns how many bytes the block made.
    pub(super) fn decode(&mut self, stored: &[u8], page: &mut [u8]) -> Result<usize, CodecError> {
        let made = self.0.decompress(stored, page);
        made.map_err(|error| CodecError::stream(Method::Snappy, stored, page, error))
    }
}
