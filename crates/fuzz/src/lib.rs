//! Hostile inputs for every reader, on the stable toolchain.
//!
//! A [`Target`] is a reader with seeds: sound inputs, made in code by hadump's own writers or by hand, and the
//! beginnings of real ones. A [`Runner`] changes
//! a seed here and there, hands it to the reader, and looks at what no input may cause: a panic, a run of more than
//! [`MAX_TIME`], or more memory at once than the input's length and [`MAX_EXTRA`]. Errors are fine. Everything follows from
//! a number, so that a failure can be had again.
//!
//! To add a target: a module in `target/` with a `Target` constant, and a line in [`TARGETS`]. `tests/smoke.rs` then runs it
//! a little with every `cargo test`, `cargo xtask fuzz` as long as one likes.
//!
//! ```
//! let target = fuzz::TARGETS.iter().find(|target| target.name == "elf").expect("a reader");
//! let runner = fuzz::Runner::new(target);
//! assert!(runner.run(0..4).is_ok());
//! ```

#![forbid(unsafe_code)]
#![expect(clippy::single_range_in_vec_init, reason = "the parts of a seed that matter are ranges, often one")]

mod corpus;
mod mutate;
mod pack;
mod rng;
mod runner;
mod sample;
mod target;
mod virt;
mod walk;

pub use runner::{Cost, Failure, MAX_EXTRA, MAX_TIME, Runner, measured};
pub use target::{Seed, TARGETS, Target};

/// Counts what is allocated at once, in every program that has this crate.
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
