//! What the POWER hypervisor leaves behind after a crash, and its reassembly into a dump.
//!
//! The hypervisor (or OPAL) copies low memory, the registers and some page-table entries aside, resets the machine
//! without clearing memory, and boots it again. [`system::System::look`] gathers what the second boot shows of that,
//! from the machine itself or from a directory laid out like its root; [`assemble()`] puts the crashed system's memory and
//! registers together from it and from an image of memory; [`custody::custody`] says whose that memory is by now;
//! [`status::status`] says what there is, and whether it can be believed.
//!
//! Each firmware structure has a module: [`kdms`] (the kernel dump memory structure), [`region`] (`release_region`),
//! [`regsave`] and [`register`] (the register save area), [`hpte`] (page-table entries), [`opal`] (OPAL's variants),
//! [`crashinfo`] (the kernel's own header), [`devtree`] (the device tree), [`notes`] (ELF notes from all that). A parser
//! keeps whatever can be kept and lists the faults; [`Findings`] say what they mean to a reader of the dump.
//!
//! [`giveback`] says what a release of the dump's memory does to the machine, and what the next crash will allow.
//!
//! No file format is read here: memory comes in as a [`vmcore::PhysicalMemory`] that the program opened. Nothing is ever
//! written, to memory or to the system, but for the question that [`custody::probe`] asks the kernel.
//!
//! ```
//! use phyp::{custody, system::System};
//!
//! // The root of a machine that no hypervisor left a dump for.
//! # let place = tempfile::tempdir()?;
//! # let root = place.path();
//! let system = System::look(root)?;
//! assert!(system.leavings.kernel_dump.is_none());
//!
//! let owner = custody::custody(&system, custody::Known::default()).owner;
//! assert_eq!(owner, custody::Owner::NoDump);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod error;
mod bytes;
mod machine;
mod firmware;
mod saved;
mod finding;
mod report;
mod assemble;
#[cfg(test)]
mod testimage;

pub use assemble::{Leavings, OpalAnswers, Options, assemble};
pub use error::Error;
pub use finding::{Finding, Findings, Severity};
pub use firmware::{crashinfo, devtree, kdms, opal, region};
pub use machine::{custody, giveback, meminfo, status, system};
pub use saved::registers::{CpuListing, NamedRegister, hptes, registers};
pub use saved::{hpte, notes, register, regsave};
