//! makedumpfile's flattened format: a dump file as pieces in the order they were made, for pipes.
//!
//! ```text
//! 4096 bytes: "makedumpfile" and zeros to 16 bytes, type 1, version 1 (64 bits each), zeros
//! pieces:     offset, size (64 bits each), then `size` bytes that belong at `offset` of the file
//! end:        offset -1, size -1
//! ```
//!
//! All numbers are signed and big endian, whatever the dump inside is (`struct makedumpfile_header` and
//! `struct makedumpfile_data_header` of makedumpfile's `makedumpfile.h`). Where pieces overlap the later one counts, as
//! it would after writing them in turn; what no piece covers is zero. There is neither a length nor a checksum, so a
//! stream that was cut off shows by its missing end alone.

mod covered;
mod index;
mod record;
mod stream;
mod writer;

pub use covered::Covered;
pub(crate) use index::Index;
pub(crate) use record::SIGNATURE;
pub use stream::{StreamEnd, Unflattened, unflatten};
pub use writer::FlattenedSink;

#[cfg(test)]
mod tests;
