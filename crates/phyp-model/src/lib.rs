//! The hypervisor and the second boot as an executable model.
//!
//! A [`Machine`] has memory, processors and firmware. [`scenario::run`] lets it register for a dump, crash, have its
//! boot memory copied aside and boot again over the original, and returns what a tool then finds, together with the
//! [`truth`](scenario::Truth) about what was there. From there the machine goes on: [`fadump`] is the running kernel's side,
//! which releases, refuses and registers as kernels do ([`linux`] says which how), [`release`] says which pages that frees and
//! who lived there, and [`again`] lets programs use the memory and the machine crash once more.
//!
//! [`root`] writes a machine down as a directory laid out like its root, [`state`] every state of one, [`corpus`] makes such a
//! directory from a real machine's memory; [`live`] is the machine while memory is released; [`faults`] are all the ways in
//! which it can go wrong; [`sizing`] makes machines of real sizes, [`synth`] kernel images of any size to have something to
//! crash.
//!
//! The model is for tests, the demonstration and benchmarks and is never linked into the program. It writes every
//! layout by its own definitions and shares none with the code that reads them, so that a wrong layout cannot cancel
//! itself out.

#![forbid(unsafe_code)]

pub mod again;
pub mod bytes;
pub mod catalogue;
pub mod content;
pub mod copy;
pub mod corpus;
pub mod crashinfo;
pub mod error;
pub mod extent;
pub mod fadump;
pub mod faults;
pub mod hpte;
pub mod hypervisor;
pub mod invariants;
pub mod layout;
pub mod linux;
pub mod live;
pub mod machine;
pub mod memory;
pub mod notes;
pub mod opal;
pub mod registers;
pub mod regsave;
pub mod release;
pub mod rng;
pub mod root;
pub mod scenario;
pub mod sizing;
pub mod state;
pub mod structure;
mod surroundings;
pub mod synth;
pub mod task;
pub mod tree;
pub mod verdict;
pub mod vmcore;
mod vmcoreinfo;

pub use bytes::ByteOrder;
pub use error::{ModelError, Result};
pub use extent::Extent;
pub use linux::Linux;
pub use machine::{CrashHeader, Firmware, Machine, Mode, Options};
pub use memory::Memory;
