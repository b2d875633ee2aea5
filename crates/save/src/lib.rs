//! Takes a dump off the machine that crashed, in steps that survive a crash, and gives its memory back.
#![forbid(unsafe_code)]

mod error;
mod guard;
pub mod journal;
pub mod release;

pub use error::Error;
pub use guard::Guarded;
