//! Why the model refused.

use std::path::{Path, PathBuf};

/// Why a modelled machine could not be built, run or written down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file of the root directory, or a memory image, could not be read or written.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The options describe a machine that cannot exist.
    #[error("{what}: {found:#x} where {expected} is needed")]
    Options {
        /// The option, as its field is called.
        what: &'static str,
        /// The value found.
        found: u64,
        /// What would do.
        expected: &'static str,
    },
    /// An address outside the modelled machine.
    #[error("{length:#x} bytes at physical address {address:#x} do not fit into memory of {size:#x} bytes")]
    OutsideMemory {
        /// First byte of the access.
        address: u64,
        /// Bytes asked for.
        length: u64,
        /// Size of the memory image in bytes.
        size: u64,
    },
    /// The first kernel could not register for a dump.
    #[error("the hypervisor refused the registration with status {status}")]
    Refused {
        /// The RTAS status: -3 parameter, -9 already registered, -10 dump active.
        status: i32,
    },
    /// The machine is past crashing.
    #[error("the machine hangs: {what}")]
    Hangs {
        /// Why.
        what: &'static str,
    },
    /// A firmware file of the corpus is not what its name says.
    #[error("{}: {field} is {found:#x}, expected {expected}", path.display())]
    Firmware {
        /// The file.
        path: PathBuf,
        /// The field, as PAPR spells it.
        field: &'static str,
        /// The value found.
        found: u64,
        /// What would do.
        expected: &'static str,
    },
}

impl ModelError {
    /// A file error that remembers what was tried.
    pub(crate) fn io<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io { path: path.to_path_buf(), action, source }
    }
}

/// The model's result.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;
