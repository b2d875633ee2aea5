//! Dumps as files.
//!
//! One module per format, each with its layout, its reader and its writer side by side. [`open_set`] recognises a file,
//! or the parts of a split set, and returns a [`vmcore::Dump`]; a writer takes a `Dump` and a [`vmcore::Selection`] and makes a file.

#![forbid(unsafe_code)]

pub mod codec;
mod damage;
pub mod elf;
mod error;
pub mod flattened;
mod incomplete;
mod input;
pub mod kdump;
mod notes;
mod open;
pub mod output;
mod pipeline;
mod raw;
mod segments;
pub mod split;
mod write;

pub use error::Error;
pub use input::Access;
pub use open::{Assume, is_plain, open, open_bytes, open_file, open_received, open_set, open_set_assuming};
pub use pipeline::available_memory;
pub use raw::{open_image, open_raw};
pub use write::{Facts, Progress, Written};
