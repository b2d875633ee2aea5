//! What the POWER hypervisor leaves behind after a crash, and its reassembly into a dump.

#![forbid(unsafe_code)]

mod bytes;
mod cpus;
pub mod crashinfo;
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
pub mod regsave;
mod report;
#[cfg(test)]
mod testimage;
mod values;
mod vmcoreinfo;

pub use error::Error;
pub use finding::{Finding, Findings, Severity};
