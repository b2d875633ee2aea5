//! LZO1X.

use super::{CodecError, Method};

#[cfg(feature = "lzo")]
pub(super) struct Encoder;

#[cfg(feature = "lzo")]
impl Encoder {
    pub(super) fn new() -> Self {
        Self
    }

    pub(super) fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        let stream = lzo1x::compress(page, lzo1x::CompressLevel::new(3));
        out.get_mut(..stream.len())?.copy_from_slice(&stream);
        Some(stream.len())
    }
}

/// Answers the length of a page; the library takes nothing else.
#[cfg(feature = "lzo")]
pub(super) fn decode(stored: &[u8], page: &mut [u8]) -> Result<usize, CodecError> {
    match lzo1x::decompress(stored, page) {
        Ok(()) => Ok(page.len()),
        Err(error) => Err(CodecError::stream(Method::Lzo, stored, page, error)),
    }
}

#[cfg(not(feature = "lzo"))]
pub(super) fn decode(_stored: &[u8], _page: &mut [u8]) -> Result<usize, CodecError> {
    Err(missing())
}

#[cfg(not(feature = "lzo"))]
pub(super) fn missing() -> CodecError {
    CodecError::Disabled { method: Method::Lzo, feature: "lzo" }
}
