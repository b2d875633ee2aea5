//! Deflate in a zlib wrapper by the library: levels 2 to 9, and reading.

use super::{CodecError, Method};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

pub(super) struct Encoder(Compress);

impl Encoder {
    pub(super) fn new(level: i32) -> Self {
        Self(Compress::new(Compression::new(level.unsigned_abs()), true))
    }

    /// An `out` as long as the page is enough: what does not fit is stored raw.
    pub(super) fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        self.0.reset();
        match self.0.compress(page, out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => Some(self.0.total_out() as usize),
            // Out of room, which is not an error to flate2.
            _ => None,
        }
    }
}

pub(super) struct Decoder(Decompress);

impl Decoder {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Returns how many bytes the stream made; its end must be reached.
    pub(super) fn decode(&mut self, stored: &[u8], page: &mut [u8]) -> Result<usize, CodecError> {
        self.0.reset(true);
        let status = self
            .0
            .decompress(stored, page, FlushDecompress::Finish)
            .map_err(|error| CodecError::stream(Method::Zlib, stored, page, error))?;
        let made = self.0.total_out() as usize;
        match status {
            Status::StreamEnd => Ok(made),
            _ => Err(CodecError::Length {
                method: Method::Zlib,
                stored: stored.len(),
                found: made,
                expected: page.len(),
            }),
        }
    }
}
