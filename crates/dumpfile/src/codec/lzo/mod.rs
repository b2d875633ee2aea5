//! LZO1X: an encoder of our own; reading takes the GPL library behind the feature `lzo`.

use super::{CodecError, Method};

mod encode;
mod instruction;

pub(super) use encode::{Encoder, bound};

/// Returns the length of a page; the library takes nothing else.
#[cfg(feature = "lzo")]
pub(super) fn decode(stored: &[u8], page: &mut [u8]) -> Result<usize, CodecError> {
    match lzo1x::decompress(stored, page) {
        Ok(()) => Ok(page.len()),
        Err(error) => Err(CodecError::stream(Method::Lzo, stored, page, error)),
    }
}

#[cfg(not(feature = "lzo"))]
pub(super) fn decode(_stored: &[u8], _page: &mut [u8]) -> Result<usize, CodecError> {
    Err(CodecError::Disabled { method: Method::Lzo, feature: "lzo" })
}
