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
//!
//! ```
//! use phyp_model::hypervisor::End;
//! use phyp_model::scenario::{self, Dirt, Event};
//! use phyp_model::{Machine, Options};
//!
//! let machine = Machine::new(Options::small_fadump())?;
//! let run = scenario::run(machine, Event::End(End::OsTerm), &[], Dirt::default())?;
//! assert!(run.dump_waits());
//! # Ok::<(), phyp_model::ModelError>(())
//! ```

#![forbid(unsafe_code)]

mod base;
pub mod machine;
pub mod registers;
pub mod faults;
pub mod scenario;
mod kernel;
mod firmware;
mod shown;
pub mod again;
pub mod invariants;
pub mod catalogue;
pub mod synth;
pub mod task;

pub use base::bytes::ByteOrder;
pub use base::error::{ModelError, Result};
pub use base::extent::Extent;
pub use base::memory::Memory;
pub use base::{bytes, content, error, extent, memory, rng};
pub use firmware::vendor::Firmware;
pub use firmware::{copy, hpte, hypervisor, opal, regsave, structure};
pub use kernel::linux::{CrashHeader, Linux};
pub use kernel::{crashinfo, fadump, layout, linux, notes, release, sizing, verdict, vmcore};
pub use machine::{Machine, Mode, Options};
pub use shown::{corpus, live, root, state, tree};
