//! Saves a dump from the machine that crashed, in steps that survive another crash, and releases its memory.
#![forbid(unsafe_code)]

pub mod engine;
mod error;
mod estimate;
mod guard;
pub mod journal;
mod level;
mod line;
pub mod pace;
pub mod release;
mod sealed;
mod segment;
pub mod session;
pub mod state;
pub mod target;
pub mod trust;

pub use error::Error;
pub use estimate::{Estimate, estimate};
pub use guard::Guarded;
pub use level::raised;
pub use pace::Paced;
pub use sealed::{SealedTarget, skeleton_beside};
pub use segment::Segments;

use vmcore::Dump;

/// Bytes of a page's descriptor in a kdump file.
const DESCRIPTOR_LEN: u64 = 24;

/// A number that identifies a dump: a checksum of its notes, which have the registers and the time of the crash, and of its
/// memory map.
pub fn identity(dump: &Dump) -> u64 {
    let map = dump.memory.map();
    let edges = map.bytes().iter().flat_map(|r| [r.start.0, r.end.0]).chain([map.page_size().bytes()]);
    let edges: Vec<u8> = edges.flat_map(u64::to_le_bytes).collect();
    u64::from(crc32fast::hash(dump.notes.raw())) << 32 | u64::from(crc32fast::hash(&edges))
}
