//! The vocabulary of kernel dumps.
//!
//! Addresses and frame numbers ([`PhysAddr`], [`VirtAddr`], [`Pfn`]), the machine a dump came from
//! ([`Machine`]), its ELF notes ([`Notes`]) and VMCOREINFO ([`VmcoreInfo`]), random access to its memory
//! ([`PhysicalMemory`]), the dump as a whole ([`Dump`]) and a set of pages chosen from it ([`Selection`]).
//!
//! Every other crate of the workspace speaks in these types, so nothing here knows a file format or decides
//! which page is worth keeping. Machine, byte order, word size and page size are values read from the input,
//! never properties of the program.

#![forbid(unsafe_code)]

mod addr;
mod chunk;
mod dump;
mod error;
mod level;
mod machine;
mod map;
mod memory;
mod note;
mod ranges;
mod repaged;
mod selection;
mod vmcoreinfo;
mod zero;

pub use addr::{PageSize, Pfn, PhysAddr, VirtAddr};
pub use chunk::{CHUNK_FRAMES, Chunk};
pub use dump::{Dump, Source, Utsname, VirtSegment};
pub use error::ReadError;
pub use level::{DumpLevel, Reason, ReasonCounts};
pub use machine::{Arch, ByteOrder, Machine, WordSize};
pub use map::MemoryMap;
pub use memory::{Check, Damage, PageState, PhysicalMemory};
pub use note::{Far, Found, MAX_NOTES, Note, NoteError, NotePlace, NoteRoom, NoteSource, Notes};
pub use ranges::{Range, RangeSet};
pub use selection::{Selection, SelectionError};
pub use vmcoreinfo::VmcoreInfo;
pub use zero::is_zero;
