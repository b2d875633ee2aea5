//! The vocabulary of kernel dumps.
//!
//! Addresses and frame numbers ([`PhysAddr`], [`VirtAddr`], [`Pfn`]), the machine a dump came from
//! ([`Machine`]), its ELF notes ([`Notes`]) and VMCOREINFO ([`VmcoreInfo`]), random access to its memory
//! ([`PhysicalMemory`]), the dump as a whole ([`Dump`]) and a set of pages chosen from it ([`Selection`]).
//!
//! Every other crate of the workspace speaks in these types, so nothing here knows a file format or decides
//! which page is worth keeping. Machine, byte order, word size and page size are values read from the input,
//! never properties of the program.
//!
//! ```
//! use vmcore::{MemoryMap, PageSize, Pfn, PhysAddr, Range};
//!
//! let bytes = [Range::new(PhysAddr(0), PhysAddr(0x2800))].into_iter().collect();
//! let map = MemoryMap::new(PageSize::K4, bytes);
//! assert_eq!(map.max_pfn(), Pfn(3));
//! assert_eq!(map.partial_frames(), 1);
//! ```

#![forbid(unsafe_code)]

mod error;
mod addr;
mod ranges;
mod machine;
mod zero;
mod map;
mod memory;
mod chunk;
mod repaged;
mod note;
mod vmcoreinfo;
mod dump;
mod level;
mod selection;

pub use addr::{PageSize, Pfn, PhysAddr, VirtAddr};
pub use chunk::{CHUNK_FRAMES, Chunk};
pub use dump::{Dump, PageSizeBy, Source, Utsname, VirtSegment};
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
