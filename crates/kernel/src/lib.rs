//! What a dumped Linux kernel says of itself.

#![forbid(unsafe_code)]

mod error;
pub mod kallsyms;
pub mod log;
mod memory;
#[cfg(test)]
mod testing;

pub use error::Error;
pub use memory::KernelMemory;
