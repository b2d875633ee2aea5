//! A file read through windows of it that are mapped.
//!
//! This is for `/proc/vmcore`. To read a page of it the capture kernel maps that page, copies it and takes the mapping
//! away again, which is 6,500 instructions a page however much is read at once, and global locks; a window of 2 MiB is
//! mapped for 250 a page. Ordinary files gain nothing, and a mapping of one that is cut short ends the program.
//!
//! Nobody gets a reference into a mapping: [`MappedFile::read_exact_at`] copies bytes out, as a read does, so that a
//! caller cannot tell one from the other. `mapping` is the only module of the workspace with `unsafe` in it.
//!
//! ```
//! use mapped::MappedFile;
//!
//! # let place = tempfile::tempdir()?;
//! # let path = place.path().join("vmcore");
//! std::fs::write(&path, [7; 0x3000])?;
//! let vmcore = MappedFile::new(std::fs::File::open(&path)?, 0x3000);
//! let mut page = [0; 0x1000];
//! vmcore.read_exact_at(&mut page, 0x1000)?;
//! assert_eq!(page, [7; 0x1000]);
//! # Ok::<(), std::io::Error>(())
//! ```

#![deny(unsafe_code)]

mod file;
mod mapping;
mod rent;
mod windows;

pub use file::MappedFile;
