//! Dumps as files.
//!
//! One module per format, each with its layout, its reader and its writer side by side. [`open_set`] recognises a file,
//! or the parts of a split set, and returns a [`vmcore::Dump`]; a writer takes a `Dump` and a [`vmcore::Selection`] and makes a file.
//!
//! ```
//! use dumpfile::{Facts, Progress, kdump, output::OutputFile};
//! use vmcore::{DumpLevel, Machine, PageSize, PageState, Pfn, Selection};
//!
//! # let place = tempfile::tempdir()?;
//! # let (memory, vmcore) = (place.path().join("memory"), place.path().join("vmcore"));
//! std::fs::write(&memory, [7; 0x3000])?;
//! let machine = Machine::from_name("x86_64").ok_or("a machine that is known")?;
//! let dump = dumpfile::open_raw(&memory, machine, Some(PageSize::K4), None)?;
//!
//! let all = Selection::everything(&*dump.memory, DumpLevel::default(), None)?;
//! let out = OutputFile::create(&vmcore, false)?;
//! kdump::write(&dump, &all, &Facts::default(), &kdump::Options::default(), &out, &Progress::default())?;
//!
//! let saved = dumpfile::open(&out.commit()?)?;
//! let mut page = [0; 0x1000];
//! assert_eq!(saved.memory.read_page(Pfn(2), &mut page)?, PageState::Present);
//! assert_eq!(page, [7; 0x1000]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod error;
mod input;
mod open;
mod notes;
mod damage;
mod segments;
mod raw;
mod captured;
pub mod elf;
pub mod kdump;
pub mod flattened;
pub mod split;
pub mod codec;
mod pipeline;
mod write;
pub mod output;
mod incomplete;

pub use error::Error;
pub use input::Access;
pub use open::{
    Assume, is_plain, open, open_bytes, open_bytes_assuming, open_file, open_received, open_set,
    open_set_assuming,
};
pub use pipeline::available_memory;
pub use raw::{open_image, open_raw};
pub use write::{Facts, Progress, Room, Written};
