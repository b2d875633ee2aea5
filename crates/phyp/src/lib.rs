//! What the POWER hypervisor leaves behind after a crash, and its reassembly into a dump.

#![forbid(unsafe_code)]

mod bytes;
pub mod crashinfo;
mod error;
mod finding;
pub mod hpte;
mod image;
pub mod kdms;
pub mod notes;
pub mod opal;
mod reassembled;
pub mod region;
pub mod register;
pub mod regsave;
#[cfg(test)]
mod testimage;
mod values;

pub use error::Error;
pub use finding::{Finding, Findings, Severity};
