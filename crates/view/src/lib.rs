//! A dump as files that other programs open, without converting it.
//!
//! Tools read ELF files or raw memory. A dump is shown to them as such: a [`Tree`] of files whose bytes are made when
//! they are asked for, out of a [`vmcore::Dump`] of any format. What a file consists of ([`Content`]) knows nothing of how it is
//! shown; [`mount()`] shows a tree through FUSE, and tests read it as it is.
//!
//! What this crate does not know: kernels, and what is said of them. Texts are handed to it.

#![forbid(unsafe_code)]

mod content;
mod cache;
mod pages;
mod elf;
mod physical;
mod ahead;
mod names;
mod tree;
mod fuse;

pub use ahead::Ahead;
pub use content::{Bytes, Content, Failure, LargeNote, Made};
pub use elf::Core;
pub use fuse::{Access, mount};
pub use names::note_name;
pub use pages::{Missing, Pages};
pub use physical::Physical;
pub use tree::{Kind, Node, ROOT, Tree};
