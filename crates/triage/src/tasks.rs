//! The tasks, and what each CPU was doing.

use crate::stack::Stack;

/// A task (a thread) of the crashed kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Its number; 0 for idle tasks, of which there is one for each CPU.
    pub pid: u32,
    /// The number of its process.
    pub tgid: u32,
    /// Its parent's process.
    pub parent: Option<u32>,
    /// Its name.
    pub comm: String,
    /// Its state as `ps` prints it: R, S, D, T, t, X, Z, P, I.
    pub state: char,
    /// The CPU that it ran on last.
    pub cpu: Option<u32>,
    /// It was running when the machine crashed.
    pub running: bool,
    /// It is the kernel's own.
    pub kernel_thread: bool,
    /// How long it has not been running, in nanoseconds, where that can be told.
    pub waiting: Option<u64>,
    /// Bytes of memory that its process holds (RSS), where it has memory of its own and that can be told.
    pub rss: Option<u64>,
    /// The address of its `task_struct`.
    pub addr: u64,
    /// Its stack; `None` where it was not asked for or cannot be told.
    pub stack: Option<Stack>,
}

/// What a CPU was doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub cpu: u32,
    /// It was online; `None` where that cannot be told.
    pub online: Option<bool>,
    /// It is the one that crashed.
    pub crashed: bool,
    /// The running task's number.
    pub pid: Option<u32>,
    /// The running task's name.
    pub comm: Option<String>,
    /// Its registers by name, in the order in which the kernel prints them; empty when the dump has none.
    pub registers: Vec<(&'static str, u64)>,
    /// Its stack, across interrupts and exceptions; `None` where it cannot be told.
    pub stack: Option<Stack>,
}
