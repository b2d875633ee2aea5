//! What a dumped Linux kernel says of itself.
//!
//! [`Kernel`] reads the crashed kernel's own structures out of a dump: it translates virtual addresses, finds the
//! `struct page` of every frame and says which pages a dump level leaves out ([`Kernel::select`]). It goes by no table of
//! kernel versions: VMCOREINFO names what is there, and what it does not name is not guessed. A dump that lacks VMCOREINFO,
//! or some of it, is given it by [`knowledge::complete`]: from its own memory, its BTF and symbols, or a vmlinux.
//!
//! ```
//! use kernel::Kernel;
//! use vmcore::DumpLevel;
//!
//! # let Some(real) = corpus::dump(corpus::POWER) else { return Ok(()) };
//! # let path = real.elf;
//! let dump = dumpfile::open(&path)?;
//! let kernel = Kernel::open(&dump)?;
//! assert_eq!(kernel.utsname().sysname, "Linux");
//!
//! let selected = kernel.select(DumpLevel::ALL, None)?;
//! assert!(selected.selection.kept() < selected.selection.map().frames().total());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod error;
mod memory;
pub mod knowledge;
mod description;
mod kernel;
mod uts;
mod address;
mod lent;
mod pages;
pub mod log;
mod crash_notes;
pub mod unwind;
pub mod erase;
#[cfg(test)]
mod testing;

pub use address::overlay;
pub use address::reverse::Reverse;
pub use crash_notes::{CrashNotes, crash_notes};
pub use description::{btf, dwarf, kallsyms, symbol_map, symbols, types, vmlinux};
pub use error::Error;
pub use kernel::Kernel;
pub use lent::lent;
pub use memory::KernelMemory;
pub use pages::gate::{Check, Gate, Outcome};
pub use pages::select::Selected;
pub use pages::slab::{Slab, Slabs};
pub use pages::worth::Value;
