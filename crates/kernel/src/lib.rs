//! What a dumped Linux kernel says of itself.
//!
//! [`Kernel`] reads the crashed kernel's own structures out of a dump: it translates virtual addresses, finds the
//! `struct page` of every frame and says which pages a dump level leaves out ([`Kernel::select`]). It goes by no table of
//! kernel versions: VMCOREINFO names what is there, and what it does not name is not guessed. A dump that lacks VMCOREINFO,
//! or some of it, is given it by [`knowledge::complete`]: from its own memory, its BTF and symbols, or a vmlinux.

#![forbid(unsafe_code)]

pub mod btf;
mod crash_notes;
pub mod dwarf;
pub mod erase;
mod error;
mod frames;
mod gate;
pub mod kallsyms;
mod kernel;
pub mod knowledge;
pub mod log;
mod memmodel;
mod memory;
pub mod overlay;
mod page;
mod physical;
mod select;
pub mod symbols;
#[cfg(test)]
mod testing;
mod translate;
pub mod types;
mod uts;
mod value;
pub mod vmcoreinfo;
pub mod vmlinux;
mod walk;

pub use crash_notes::{CrashNotes, crash_notes};
pub use error::Error;
pub use gate::{Check, Gate, Outcome};
pub use kernel::Kernel;
pub use memory::KernelMemory;
pub use select::Selected;
pub use value::Value;
