//! Takes a dump off the machine that crashed, in steps that survive a crash, and gives its memory back.
#![forbid(unsafe_code)]

mod error;
mod estimate;
mod guard;
pub mod journal;
mod level;
pub mod release;
mod segment;

pub use error::Error;
pub use estimate::{Estimate, estimate};
pub use guard::Guarded;
pub use level::raised;
pub use segment::Segments;
