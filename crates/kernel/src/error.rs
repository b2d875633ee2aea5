//! Why something could not be learned from the dumped kernel.

use vmcore::{PageState, PhysAddr, ReadError, SelectionError, VirtAddr};

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
    #[error("{what}: physical address {addr} is {state:?} in the dump")]
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
        /// What stands there.
        found: String,
        /// What would make sense.
        expected: String,
    },
    /// hadump does not know this kind of kernel.
    #[error("{0}")]
    Unsupported(String),
}
