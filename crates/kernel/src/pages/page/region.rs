//! The parts of a chunk that are kept whole where their `struct page`s make no sense.

use vmcore::CHUNK_FRAMES;

/// Frames of one cell, which are kept or left out together. Their struct pages fill a page of 4 KiB, and their bits one
/// word of a chunk.
pub(crate) const CELL: u64 = 64;
/// Frames of one region.
pub(crate) const REGION: u64 = CHUNK_FRAMES / 64;

/// The regions of a chunk, a bit for each.
pub(crate) type Regions = u64;
