//! All that was found, and what could not be.

use crate::cause::Cause;
use crate::debuginfo::DebugInformation;
use crate::log::Log;
use crate::machine::Machine;
use crate::memory::Memory;
use crate::modules::Modules;
use crate::notes::DumpNote;
use crate::signature::Signature;
use crate::tasks::{Cpu, Task};

/// What was found in a dump, most important first.
///
/// Each part stands for itself: one that could not be found is empty, and [`Report::missing`] says why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What happened.
    pub cause: Cause,
    /// The machine and its kernel.
    pub machine: Machine,
    /// Every CPU with its running task and that one's stack.
    pub cpus: Vec<Cpu>,
    /// All tasks, by pid; idle tasks, whose pid is 0, first and by CPU.
    pub tasks: Vec<Task>,
    /// The modules.
    pub modules: Modules,
    /// Who had the memory; `None` where it cannot be told.
    pub memory: Option<Memory>,
    /// The log.
    pub log: Log,
    /// Device dumps and other notes that are nobody's registers.
    pub notes: Vec<DumpNote>,
    /// What crashes of the same kind have in common.
    pub signature: Option<Signature>,
    /// Where debug information is to be had.
    pub debug_information: DebugInformation,
    /// What could not be found, and why.
    pub missing: Vec<Missing>,
}

/// A part of the report, or some of it, that could not be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The part, in a few words: `stacks of sleeping tasks`.
    pub part: String,
    /// Why, in a sentence without a full stop: `the kernel has no BTF, and no --vmlinux was given`.
    pub why: String,
}
