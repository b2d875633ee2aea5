//! A file whose reads go through mapped windows where that is cheaper, and are reads of the file where it is not.

use crate::mapping::Mapping;
use crate::rent::Rent;
use crate::windows::{Window, Windows};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a window. Instructions a page of `/proc/vmcore`, copying included, in Debian's 7.2 on x86_64: 941 in windows of
/// 256 KiB, 783 of 1 MiB, 767 of 2 MiB, 751 of 4 MiB, 740 of 16 MiB. Larger ones map more of what nobody reads at high dump
/// levels; smaller ones are unmapped more often, which interrupts the other processors.
const WINDOW: u64 = 2 << 20;

/// The bytes of a window that are read before it is mapped. To map it costs as much as to read 19 pages, but whoever has
/// read a few will read more: over all reads of a dump at the levels 31 and 1, mapping after 8 pages costs 4 and 1 % more
/// than mapping at once, and after 19 pages 13 and 40 % more. A page that stands alone costs no mapping.
const PRICE: u64 = 8 * PAGE;

/// The bytes that are one page to the count, whatever the machine's pages are.
const PAGE: u64 = 4096;

/// A file read at any position, by any number of threads, through windows that are mapped.
#[derive(Debug)]
pub struct MappedFile {
    file: File,
    /// The length of what can be mapped, whole pages.
    len: u64,
    windows: Windows,
    rent: Rent,
    /// The kernel does not map this file.
    off: AtomicBool,
}

impl MappedFile {
    /// A file of `len` bytes, for as many threads as the machine has processors.
    pub fn new(file: File, len: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let page = rustix::param::page_size() as u64;
        let off = AtomicBool::new(false);
        Self { file, len: len / page * page, windows: Windows::new(threads), rent: Rent::new(), off }
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`FileExt::read_exact_at`].
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut bytes, mut offset) = (bytes, offset);
        while !bytes.is_empty() && !self.off.load(Ordering::Relaxed) {
            let inside = offset % WINDOW;
            let here = bytes.len().min((WINDOW - inside) as usize);
            let (part, rest) = bytes.split_at_mut(here);
            let copied = match self.window(offset / WINDOW, here as u64) {
                Some(Window::Mapped(mapping)) => mapping.copy(inside as usize, part),
                Some(Window::Refused) | None => false,
            };
            if !copied {
                self.file.read_exact_at(part, offset)?;
            }
            (bytes, offset) = (rest, offset.saturating_add(here as u64));
        }
        self.file.read_exact_at(bytes, offset)
    }

    /// The window `number` of which `len` bytes are asked for; `None` where it is cheaper to read them.
    fn window(&self, number: u64, len: u64) -> Option<Window> {
        self.windows.get(number, || {
            let start = number * WINDOW;
            let there = self.len.saturating_sub(start).min(WINDOW);
            let paid = self.rent.pay(number, len.div_ceil(PAGE));
            if there == 0 || paid * PAGE < PRICE.min(there) {
                return None;
            }
            match Mapping::new(&self.file, start, there as usize) {
                Ok(mapping) => Some(Window::Mapped(Arc::new(mapping))),
                Err(why) => {
                    tracing::debug!("{there:#x} bytes at {start:#x} cannot be mapped and are read: {why}");
                    self.off.fetch_or(is_for_good(why), Ordering::Relaxed);
                    Some(Window::Refused)
                }
            }
        })
    }
}

/// Whether an error says that the file cannot be mapped at all, and not only that this range of it cannot: before 3.11 the
/// kernel could not, and without an MMU none can.
fn is_for_good(why: Errno) -> bool {
    [Errno::NODEV, Errno::NOSYS, Errno::IO, Errno::OPNOTSUPP, Errno::ACCESS, Errno::PERM].contains(&why)
}
