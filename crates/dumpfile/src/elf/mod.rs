//! ELF core files: `/proc/vmcore`, what `makedumpfile -E` and hypervisors write, and hadump's own.
//!
//! An ELF dump is a table of PT_LOAD entries, each saying which physical memory (`p_paddr`, `p_memsz`) is where
//! in the file (`p_offset`, `p_filesz`) and where the kernel maps it (`p_vaddr`), and PT_NOTE entries with registers
//! and VMCOREINFO. Layout: `include/uapi/linux/elf.h`; what kernels write: `fs/proc/vmcore.c`,
//! `arch/powerpc/kernel/fadump.c`, `kernel/crash_core.c`.
//!
//! Section headers, symbols and everything else that ELF is good for are of no interest here and never read, but for
//! section header 0, which holds the number of program headers when there are more than 65,534.

mod header;
mod headers;
mod image;
mod layout;
mod limits;
mod lost;
mod mark;
mod note;
mod reader;
#[cfg(test)]
mod testfile;
mod writer;

pub use image::Image;
pub(crate) use mark::flag_incomplete;
pub(crate) use reader::open;
pub use writer::{Writer, room, write};
