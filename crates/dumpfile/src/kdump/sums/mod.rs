//! Checksums that prove a file of hadump's bit for bit, where no other reader looks.
//!
//! ```text
//! ... bitmaps | descriptors | page of zeros | seal | front | sums of bitmaps and descriptors | sums of pages | pages ...
//! ```
//!
//! Each sum is the CRC-32 of a chunk: of everything before the bitmaps, of 16 KiB or more of bitmaps and descriptors with
//! the page of zeros, of 16 KiB of pages. A note announces them, and the seal, which is written last, says that all are
//! there. They are beside the descriptors and not behind the pages, because a save of terabytes could neither keep them
//! in memory until its end nor, when it is resumed and what it wrote is encrypted, make them again.
//!
//! CRC-32 finds every single bad bit and every burst of up to 32, and of all other damage all but one in four billion. It
//! is no protection against somebody who changes the file on purpose: who can do that can also write the sums.

mod crc;
mod layout;
mod reading;
mod writing;

pub(in crate::kdump) use layout::{Places, each_page, is_note};
pub(in crate::kdump) use reading::{Found, Sums, announced_data, find, take_note};
pub(in crate::kdump) use writing::SumsWriter;
