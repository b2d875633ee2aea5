//! What the POWER hypervisor leaves behind after a crash, and its reassembly into a dump.

#![forbid(unsafe_code)]

mod assemble;
mod bytes;
mod cpus;
pub mod crashinfo;
pub mod devtree;
mod error;
mod finding;
pub mod hpte;
mod image;
pub mod kdms;
pub mod notes;
pub mod opal;
mod plan;
mod reassembled;
pub mod region;
pub mod register;
mod registers;
pub mod regsave;
mod report;
pub mod status;
pub mod system;
#[cfg(test)]
mod testimage;
mod values;
mod vmcoreinfo;

pub use assemble::{Leavings, OpalAnswers, Options, assemble};
pub use error::Error;
pub use finding::{Finding, Findings, Severity};
pub use registers::{CpuListing, NamedRegister, hptes, registers};
