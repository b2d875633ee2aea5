//! Stacks of the crashed kernel, frame by frame.
//!
//! Every machine has its way to find the caller of a function: tables that the kernel carries, a chain of frame pointers, a
//! chain of stack pointers. Each is a module here; what they share is what they begin with and what they yield.

pub mod arm64;
mod calls;
pub mod loongarch64;
mod orc;
mod path;
pub mod ppc64;
mod pt_regs;
mod registers;
pub mod riscv64;
pub mod s390x;
pub mod x86_64;

pub use orc::Orc;
pub use path::Ground;
pub use registers::Prstatus;

use vmcore::VirtAddr;

#[cfg(test)]
mod tests;

/// The registers with which a walk begins. Those that an architecture does not have are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// The instruction: the next one to run.
    pub pc: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The frame pointer: rbp, x29, s0, fp.
    pub fp: Option<u64>,
    /// The return address, where a register holds it: x30, ra, lr, r14.
    pub link: Option<u64>,
    /// All general registers in the order of the architecture's NT_PRSTATUS note, as far as they are known.
    pub general: Vec<Option<u64>>,
}

/// A place in the code, and where its frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The instruction: for a caller, the one to which it is returned.
    pub pc: VirtAddr,
    /// The stack pointer there.
    pub sp: VirtAddr,
    /// It was found by tables or chains and not by looking for addresses of code on the stack.
    pub certain: bool,
    /// An interrupt or exception hit here, so that `pc` is where it was and not where a call returns to. The first frame
    /// of a running task is of this kind, too.
    pub interrupted: bool,
}

/// Why a walk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At user space, or at the first function of a kernel thread.
    Whole,
    /// It went no further: why.
    Broken(String),
}

/// The frames of one stack, innermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The frames.
    pub frames: Vec<Frame>,
    /// Why there are no more.
    pub end: End,
}
