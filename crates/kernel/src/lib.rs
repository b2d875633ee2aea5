//! What a dumped Linux kernel says of itself.
//!
//! [`Kernel`] reads the crashed kernel's own structures out of a dump: it translates virtual addresses, finds the
//! `struct page` of every frame and says which pages a dump level leaves out ([`Kernel::select`]). It goes by no table of
//! kernel versions: VMCOREINFO names what is there, and what it does not name is not guessed. A dump that lacks VMCOREINFO,
//! or some of it, is given it by [`knowledge::complete`]: from its own memory, its BTF and symbols, or a vmlinux.

#![forbid(unsafe_code)]

mod address;
mod crash_notes;
mod description;
pub mod erase;
mod error;
mod kernel;
pub mod knowledge;
mod lent;
pub mod log;
mod memory;
mod pages;
#[cfg(test)]
mod testing;
mod uts;

pub use address::overlay;
pub use crash_notes::{CrashNotes, crash_notes};
pub use description::{btf, dwarf, kallsyms, symbols, types, vmlinux};
pub use error::Error;
pub use kernel::Kernel;
pub use lent::lent;
pub use memory::KernelMemory;
pub use pages::gate::{Check, Gate, Outcome};
pub use pages::select::Selected;
pub use pages::worth::Value;
