//! Why a dump could not be put together.

use std::io;
use std::path::PathBuf;
use vmcore::{PhysAddr, ReadError};

/// Why what the hypervisor left could not be read or put together.
///
/// Only what leaves nothing to save is an error. A section that is short, a register save area without a magic
/// number, a device tree that disagrees: these are [`Finding`](crate::Finding)s, and there is a dump.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The memory image is damaged or unreadable.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file of the root directory exists and cannot be read.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A firmware structure cannot be what it should be.
    #[error("{what}: {field} at offset {offset:#x} is {found}, expected {expected}")]
    Damaged {
        /// The structure.
        what: &'static str,
        /// The field, as its specification spells it.
        field: &'static str,
        /// Where in the structure, in bytes.
        offset: u64,
        /// What is there.
        found: String,
        /// What would have been right.
        expected: String,
    },
    /// A firmware structure is cut short.
    #[error("{what} is {found} bytes long, expected at least {expected}")]
    Short {
        /// The structure.
        what: &'static str,
        /// Its length in bytes.
        found: usize,
        /// What it must have at least.
        expected: usize,
    },
    /// The text of `release_region` cannot be parsed.
    #[error("release_region: {why} at column {column} of {text:?}")]
    Region {
        /// What is wrong.
        why: String,
        /// Where, in bytes from the start of the text.
        column: usize,
        /// The text, shortened.
        text: String,
    },
    /// The inputs lack something without which nothing can be done.
    #[error("{what} is missing: {advice}")]
    Missing {
        /// What is missing.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// A part of memory that is needed lies outside the image.
    #[error("{what} at {addr} is not in the memory image")]
    NotInImage {
        /// What was being read.
        what: &'static str,
        /// Where it should lie.
        addr: PhysAddr,
    },
}
