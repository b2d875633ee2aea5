//! How single pages are compressed in kdump files.
//!
//! Every page of a kdump-compressed file is a stream of its own, or is stored raw where compression would not
//! shrink it. A [`Method`] is one of the four compressions that readers of the format know; an [`Encoder`]
//! belongs to one worker thread and one page size; a [`Decoder`] takes whatever method a page descriptor
//! names. Both keep their state from page to page and allocate nothing for a page.
//!
//! This module knows nothing of descriptors or files, and it never decides which method a page gets.

mod choice;
mod deflate;
mod error;
mod lzo;
mod method;
mod snappy;
mod zlib;
mod zstd;

pub use choice::{Choice, Methods, NoChoice};
pub use error::CodecError;
pub use method::Method;

use vmcore::PageSize;

/// Compresses pages of one size with one method.
pub struct Encoder {
    page_len: usize,
    out_len: usize,
    state: State,
}

enum State {
    Deflate(Box<deflate::Encoder>),
    Zlib(zlib::Encoder),
    Lzo(lzo::Encoder),
    Snappy(Box<snappy::Encoder>),
    Zstd(zstd::Encoder),
}

impl Encoder {
    /// An encoder for pages of `page_size`; `level` is the method's default when `None`.
    ///
    /// # Errors
    ///
    /// When the method has no such level, or its library cannot be set up.
    pub fn new(method: Method, level: Option<i32>, page_size: PageSize) -> Result<Self, CodecError> {
        let level = checked_level(method, level)?;
        let page_len = page_size.len();
        let (state, out_len) = match method {
            Method::Zlib if level == 1 => {
                (State::Deflate(Box::new(deflate::Encoder::new(page_len))), deflate::bound(page_len))
            }
            Method::Zlib => (State::Zlib(zlib::Encoder::new(level)), page_len),
            Method::Lzo => (State::Lzo(lzo::Encoder::new(page_len)), lzo::bound(page_len)),
            Method::Snappy => (State::Snappy(Box::new(snappy::Encoder::new())), snappy::bound(page_len)),
            Method::Zstd => (State::Zstd(zstd::Encoder::new(level)?), page_len),
        };
        Ok(Self { page_len, out_len, state })
    }

    /// Makes the encoder end each page with a checksum of it, where the method has one that can be left out: zstd.
    ///
    /// # Errors
    ///
    /// When its library cannot be set up.
    pub fn with_checksum(mut self) -> Result<Self, CodecError> {
        if let State::Zstd(encoder) = &mut self.state {
            encoder.add_checksum()?;
        }
        Ok(self)
    }

    /// The length in bytes that [`Encoder::encode`] wants `out` to have. It covers the worst case of the
    /// method, where that is longer than a page.
    pub fn out_len(&self) -> usize {
        self.out_len
    }

    /// Compresses `page` into the front of `out` and returns the length, when that is less than the page's
    /// own.
    ///
    /// `None` means that the page is to be stored raw; `out` then holds nothing of use.
    ///
    /// # Panics
    ///
    /// When `page` has another length than the encoder's page size, or `out` is shorter than
    /// [`Encoder::out_len`].
    pub fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        assert_eq!(page.len(), self.page_len, "length of a page to compress");
        let out = &mut out[..self.out_len];
        let len = match &mut self.state {
            State::Deflate(encoder) => encoder.encode(page, out),
            State::Zlib(encoder) => encoder.encode(page, out),
            State::Lzo(encoder) => Some(encoder.encode(page, out)),
            State::Snappy(encoder) => encoder.encode(page, out),
            State::Zstd(encoder) => encoder.encode(page, out),
        };
        len.filter(|&len| len < self.page_len)
    }
}

/// Decompresses pages of any method.
pub struct Decoder {
    zlib: zlib::Decoder,
    snappy: snappy::Decoder,
    /// Made by the first page that needs it: few files do.
    zstd: Option<zstd::Decoder>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder for all methods and page sizes.
    pub fn new() -> Self {
        Self { zlib: zlib::Decoder::new(), snappy: snappy::Decoder::new(), zstd: None }
    }

    /// Decompresses `stored`, the bytes that a page descriptor points at, into `page`.
    ///
    /// The stream must make exactly one page. Bytes that follow a zlib stream are ignored; zstd may come as
    /// several frames and with skippable ones, with or without the content's size: crash, libkdumpfile and
    /// makedumpfile take all of these.
    ///
    /// # Errors
    ///
    /// When the stream is damaged, makes more or less than a page, or this build lacks the method. What
    /// `page` holds is then of no use.
    pub fn decode(&mut self, method: Method, stored: &[u8], page: &mut [u8]) -> Result<(), CodecError> {
        let made = match method {
            Method::Zlib => self.zlib.decode(stored, page),
            Method::Lzo => lzo::decode(stored, page),
            Method::Snappy => self.snappy.decode(stored, page),
            Method::Zstd => match &mut self.zstd {
                Some(zstd) => zstd.decode(stored, page),
                none => none.insert(zstd::Decoder::new()?).decode(stored, page),
            },
        }?;
        if made != page.len() {
            return Err(CodecError::Length {
                method,
                stored: stored.len(),
                found: made,
                expected: page.len(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

/// The level to encode with, 0 for a method without levels.
fn checked_level(method: Method, level: Option<i32>) -> Result<i32, CodecError> {
    match (level.or(method.default_level()), method.levels()) {
        (None, _) => Ok(0),
        (Some(level), None) => Err(CodecError::NoLevels { method, level }),
        (Some(level), Some(levels)) if levels.contains(&level) => Ok(level),
        (Some(level), Some(levels)) => Err(CodecError::Level { method, level, levels }),
    }
}
