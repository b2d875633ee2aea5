//! The kdump-compressed format: makedumpfile's file of single compressed pages.
//!
//! A main header, a sub header with the ELF notes after it, two bitmaps (frames that have memory, frames that are in
//! the file), a descriptor for each page in the file, and the pages' bytes wherever the descriptors say. The
//! structures are in [`layout`]. The file says nowhere which byte order and word size it has: they are those of the
//! machine that dumped, so [`write`](fn@write) takes them from the dump and the reader infers them.

mod describe;
mod header;
pub mod layout;
mod mark;
mod outline;
mod reader;
mod skeleton;
mod sums;
mod writer;

pub use describe::{Description, describe};
pub(crate) use mark::flag_incomplete;
pub use mark::{Marked, mark_incomplete};
pub use outline::{Outline, identity_note};
pub(crate) use reader::open;
use reader::open_unfinished;
pub use skeleton::Skeleton;
pub use writer::{Checkpoint, Options, Unfinished, Writer, room, write};

#[cfg(test)]
mod tests;
