//! Zstandard frames.

use super::{CodecError, Method};
use std::io;
use zstd::bulk::{Compressor, Decompressor};

fn setup(source: io::Error) -> CodecError {
    CodecError::Setup { method: Method::Zstd, source: source.into() }
}

pub(super) struct Encoder(Compressor<'static>);

impl Encoder {
    pub(super) fn new(level: i32) -> Result<Self, CodecError> {
        Compressor::new(level).map(Self).map_err(setup)
    }

    /// Makes each frame end with four bytes of its content's XXH64.
    pub(super) fn add_checksum(&mut self) -> Result<(), CodecError> {
        self.0.include_checksum(true).map_err(setup)
    }

    /// An `out` as long as the page is enough: what does not fit is stored raw.
    ///
    /// The level's own parameters are kept: smaller tables (`hashLog` 10 to 12) gain at most 2 % of speed on real
    /// pages of 4 KiB and cost up to 5 % of size on those of 64 KiB; `minMatch` and `targetLength` cost more
    /// than they gain.
    pub(super) fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        self.0.compress_to_buffer(page, out).ok()
    }
}

pub(super) struct Decoder(Decompressor<'static>);

impl Decoder {
    pub(super) fn new() -> Result<Self, CodecError> {
        Decompressor::new().map(Self).map_err(setup)
    }

    /// Returns how many bytes the frames made.
    pub(super) fn decode(&mut self, stored: &[u8], page: &mut [u8]) -> Result<usize, CodecError> {
        let made = self.0.decompress_to_buffer(stored, page);
        made.map_err(|error| CodecError::stream(Method::Zstd, stored, page, error))
    }
}
