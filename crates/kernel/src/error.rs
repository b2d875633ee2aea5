//! Why something could not be learned from the dumped kernel.

use std::io;
use std::path::PathBuf;
use vmcore::{PageSize, PageState, PhysAddr, ReadError, SelectionError, VirtAddr};

/// Why something could not be learned from the dumped kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dump's file is damaged or unreadable.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The selection's work file could not be written or read.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The kernel's page tables do not map an address.
    #[error("virtual address {addr} is not mapped: {why}")]
    NotMapped {
        /// The address.
        addr: VirtAddr,
        /// Which table ended the walk, and how.
        why: String,
    },
    /// Memory that is needed is not in the dump.
    #[error("{what}: physical address {addr} {}", spelled(*state))]
    NotInDump {
        /// What was being read.
        what: String,
        /// Where.
        addr: PhysAddr,
        /// What the dump knows of it.
        state: PageState,
    },
    /// VMCOREINFO lacks something.
    #[error("VMCOREINFO has no {key}, which {purpose} needs")]
    MissingKey {
        /// The key, as VMCOREINFO spells it.
        key: String,
        /// What it is needed for.
        purpose: &'static str,
    },
    /// A structure of the kernel holds values that make no sense.
    #[error("{what} at {addr} is {found}, expected {expected}")]
    Implausible {
        /// The structure and field.
        what: String,
        /// Where it lies.
        addr: VirtAddr,
        /// What is there.
        found: String,
        /// What would make sense.
        expected: String,
    },
    /// A file that was given to explain the kernel could not be read.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What could not be done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file that was given to explain the kernel does not do so.
    #[error("{}: {why}", path.display())]
    Given {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// A file that was given to explain the kernel belongs to another one.
    #[error("{}: {why}", path.display())]
    AnotherKernel {
        /// The file.
        path: PathBuf,
        /// Both kernels by what distinguishes them.
        why: String,
    },
    /// The page size that the user gave is not that of the kernel.
    #[error(
        "pages of {given} were given (--page-size), but VMCOREINFO says {stated}, and it leads to its kernel only with \
         these; leave --page-size away"
    )]
    PageSize {
        /// What the user gave.
        given: PageSize,
        /// What the kernel says.
        stated: PageSize,
    },
    /// A description of the kernel's types contradicts itself.
    #[error("{what} at offset {offset:#x} is damaged: {why}")]
    DebugInfo {
        /// `BTF`, or a section and its file.
        what: String,
        /// Where in it.
        offset: u64,
        /// What was found and what expected.
        why: String,
    },
    /// A rule of what to erase cannot be followed.
    #[error("line {line}, column {column}: {why}")]
    Rule {
        /// The line of the rule, from 1.
        line: usize,
        /// The character in it, from 1.
        column: usize,
        /// What is not known, or does not fit.
        why: String,
    },
    /// hadump does not know this kind of kernel.
    #[error("{0}")]
    Unsupported(String),
}

/// What became of memory that is needed, in words.
fn spelled(state: PageState) -> &'static str {
    match state {
        PageState::Present | PageState::Zero => "is in the dump",
        PageState::Excluded => "was left out of the dump by an earlier filter",
        PageState::Lost => "is lost",
        PageState::Absent => "is where the dump has no memory",
    }
}
