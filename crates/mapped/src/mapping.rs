//! One stretch of a file, mapped.
//!
//! The contract that makes this sound:
//!
//! - A [`Mapping`] owns its addresses. They were chosen by the kernel, so they are nobody else's, and are unmapped once,
//!   when it is dropped. It is only ever borrowed meanwhile.
//! - The memory behind it is not the program's: a machine that was dumped does not run any more, but a release by
//!   somebody else makes it live memory of the running kernel, and a file may be written by others. So there never is a
//!   reference to it, whose bytes the compiler might take for unchanging. Bytes are copied out through raw pointers by
//!   one `memcpy`, are the caller's own from then on, and are whatever stood there while they were copied.
//! - It is mapped without write permission, so nothing here changes the file.
//! - A page that cannot be had (a bad one, or one past the end of a file that was cut short) raises SIGBUS when it is
//!   copied. That is no undefined behaviour but the end of the program, and a save is made to survive that
//!   (`docs/save.md`). Mapping a page does not touch it.

#![expect(unsafe_code, reason = "the one module that maps memory")]

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// A mapped stretch of a file.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the addresses belong to the value and are read only; any thread may read them or unmap them.
unsafe impl Send for Mapping {}
// SAFETY: as above; `copy` through a shared reference changes nothing but the caller's buffer.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `file` from `offset` on, both multiples of the page size.
    ///
    /// # Errors
    ///
    /// What the kernel says against it.
    pub(crate) fn new(file: impl AsFd, offset: u64, len: usize) -> rustix::io::Result<Self> {
        // SAFETY: without MAP_FIXED the kernel takes addresses that are free, so no memory of the program changes.
        let start =
            unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, offset)? };
        let start = NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { start, len })
    }

    /// Copies bytes from `at` on into `bytes`; false, and nothing is done, where they are not all mapped.
    #[must_use]
    pub(crate) fn copy(&self, at: usize, bytes: &mut [u8]) -> bool {
        if at.checked_add(bytes.len()).is_none_or(|end| end > self.len) {
            return false;
        }
        // SAFETY: `at..at + bytes.len()` lies in the mapping, as was just checked, and the mapping lives as long as
        // `self`. A buffer that the caller may write does not overlap memory that is mapped without write permission.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start.as_ptr().add(at), bytes.as_mut_ptr(), bytes.len());
        }
        true
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the addresses are the value's own and nobody has a reference to them. Should the kernel refuse, they
        // stay mapped, which costs memory and nothing else.
        let _ = unsafe { munmap(self.start.as_ptr().cast::<c_void>(), self.len) };
    }
}
