//! Saves a dump from the machine that crashed, in steps that survive another crash, and releases its memory.
//!
//! ```
//! // What is known of a dump by what it holds, whatever it is called.
//! # let place = tempfile::tempdir()?;
//! # let (one, other) = (place.path().join("one"), place.path().join("other"));
//! std::fs::write(&one, [7; 0x3000])?;
//! std::fs::write(&other, [7; 0x4000])?;
//! let open = |path| {
//!     let machine = vmcore::Machine::from_name("x86_64").expect("it is known");
//!     dumpfile::open_raw(path, machine, Some(vmcore::PageSize::K4), None)
//! };
//! assert_eq!(save::identity(&open(&one)?), save::identity(&open(&one)?));
//! assert_ne!(save::identity(&open(&one)?), save::identity(&open(&other)?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod error;
pub mod trust;
pub mod state;
mod guard;
mod estimate;
mod level;
pub mod target;
mod sealed;
pub mod session;
pub mod engine;
mod segment;
pub mod journal;
mod line;
pub mod pace;
pub mod release;

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
