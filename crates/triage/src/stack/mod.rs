//! Stacks, with names.

mod find;
mod places;
pub(crate) mod registers;
mod x86_64;

pub use find::stack_size;
pub(crate) use find::{find, of_cpu};

/// How sure it is that a frame was called by the one behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// By unwind tables, a chain of frames, or saved registers.
    Unwound,
    /// An address of code that lies on the stack, and no more is known. Printed with `?`, as the kernel does.
    Scanned,
}

/// A place in the kernel's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The address of the instruction: the next one to run for a return address.
    pub pc: u64,
    /// Where the frame begins on the stack.
    pub sp: u64,
    /// The function, demangled if it is one of Rust; `None` where no symbol is known.
    pub function: Option<String>,
    /// How far behind the function's start.
    pub offset: u64,
    /// The function's size, where known.
    pub size: Option<u64>,
    /// The module, `None` for the kernel itself.
    pub module: Option<String>,
    /// How sure it is.
    pub proof: Proof,
    /// An interrupt or exception hit here: the instruction was about to run, or running.
    pub interrupted: bool,
}

/// Why a stack ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// Where it began: user space, or the first function of a kernel thread.
    #[default]
    Whole,
    /// The walk went no further: why, in a sentence without a full stop.
    Broken(String),
}

/// The frames of a task, innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// The frames.
    pub frames: Vec<Frame>,
    /// Why there are no more.
    pub end: End,
}

impl Frame {
    /// As the kernel prints it: `name+0x1f/0x40 [module]`, or the address in hexadecimal. Without the `?`.
    pub fn spelled(&self) -> String {
        let Some(function) = &self.function else { return format!("{:#x}", self.pc) };
        let size = self.size.map_or_else(String::new, |size| format!("/{size:#x}"));
        let module = self.module.as_ref().map_or_else(String::new, |module| format!(" [{module}]"));
        format!("{function}+{:#x}{size}{module}", self.offset)
    }
}
