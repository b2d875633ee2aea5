//! What a dumped Linux kernel says of itself.

#![forbid(unsafe_code)]

mod crash_notes;
mod error;
pub mod kallsyms;
pub mod log;
mod memory;
#[cfg(test)]
mod testing;

pub use crash_notes::{CrashNotes, crash_notes};
pub use error::Error;
pub use memory::KernelMemory;
