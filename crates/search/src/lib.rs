//! Finds patterns in a dump's memory.
//!
//! A [`Pattern`] is what the user typed, made ready for one machine; [`scan`] finds all places where it is, with
//! every thread, in ascending order of physical addresses, each once, also where pages meet.
//!
//! This crate knows a dump and its kernel. It knows no files and no terminal.

#![forbid(unsafe_code)]

mod error;
mod address;
pub mod pattern;
mod matcher;
mod area;
mod scan;
mod class;
pub mod place;

pub use address::{Address, Span, number};
pub use area::{Area, Only};
pub use class::Classes;
pub use error::Error;
pub use pattern::Pattern;
pub use scan::{Event, Hit, Searched, scan};
