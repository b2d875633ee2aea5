//! What the POWER hypervisor leaves behind after a crash, and its reassembly into a dump.

#![forbid(unsafe_code)]

mod bytes;
pub mod crashinfo;
mod error;
mod finding;
pub mod hpte;
pub mod kdms;
pub mod notes;
pub mod opal;
pub mod region;
pub mod register;
pub mod regsave;
mod values;

pub use error::Error;
pub use finding::{Finding, Findings, Severity};
