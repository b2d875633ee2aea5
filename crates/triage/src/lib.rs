//! What happened to a crashed Linux kernel, found in its dump alone.
//!
//! A [`Report`] is filled by one module for each thing that is found. What cannot be found is named in [`Report::missing`];
//! nothing is guessed. This crate knows the dump and its kernel, no files and no terminal: text, HTML and JSON are views that
//! others make of the report.
//!
//! Everything in a report that came from a dump is hostile: names, log lines and tasks' names may hold any character. Who
//! prints it makes it safe for where it goes.

#![forbid(unsafe_code)]

pub mod cause;
pub mod log;
pub mod machine;
pub mod stack;
pub mod tasks;
pub mod modules;
pub mod memory;
pub mod notes;
pub mod signature;
pub mod debuginfo;
mod budget;
mod parts;
mod report;
pub mod mini;
pub mod threads;
pub mod subject;

pub use budget::Budget;
pub use report::{Missing, Options, Report, Stacks, examine, examine_within, survey};
pub use subject::Subject;
