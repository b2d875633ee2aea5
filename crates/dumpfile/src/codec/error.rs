//! Why a page could not be compressed or decompressed.

use super::Method;
use std::ops::RangeInclusive;

/// Why an encoder could not be made or a stored page not be decompressed.
///
/// Who decompresses knows the file, the frame and the offset; this says what was wrong with the stream there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The method has levels, and this is not one of them.
    #[error("{method} has no level {level}, only {} to {}", levels.start(), levels.end())]
    Level {
        /// The method.
        method: Method,
        /// The level asked for.
        level: i32,
        /// The levels there are.
        levels: RangeInclusive<i32>,
    },
    /// The method has no levels to choose from.
    #[error("{method} has no levels, so it cannot have level {level}")]
    NoLevels {
        /// The method.
        method: Method,
        /// The level asked for.
        level: i32,
    },
    /// This build does without the method.
    #[error("this build of hadump lacks {method}: it was made without the feature {feature}")]
    Disabled {
        /// The method.
        method: Method,
        /// The Cargo feature that brings it.
        feature: &'static str,
    },
    /// The library could not make its state.
    #[error("cannot set up {method}")]
    Setup {
        /// The method.
        method: Method,
        /// What the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The stream is damaged, or makes more than a page.
    #[error("{stored} bytes are no {method} stream of one page of {page} bytes")]
    Stream {
        /// The method.
        method: Method,
        /// The length of the stored bytes.
        stored: usize,
        /// The length of a page.
        page: usize,
        /// What the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The stream ends too early or makes another number of bytes than a page has.
    #[error(
        "{stored} bytes of {method} make {found} bytes or more, expected a page of {expected} and the stream's end"
    )]
    Length {
        /// The method.
        method: Method,
        /// The length of the stored bytes.
        stored: usize,
        /// How many bytes the stream made before it ended or was stopped.
        found: usize,
        /// The length of a page.
        expected: usize,
    },
}

impl CodecError {
    /// A stream that its library refused.
    pub(super) fn stream(
        method: Method,
        stored: &[u8],
        page: &[u8],
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Stream { method, stored: stored.len(), page: page.len(), source: source.into() }
    }
}
