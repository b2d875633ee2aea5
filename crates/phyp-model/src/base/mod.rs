//! What everything here is made of: integers as bytes, ranges, memory and its contents, the generator, the errors.

pub mod bytes;
pub mod content;
pub mod error;
pub mod extent;
pub mod memory;
pub mod rng;
