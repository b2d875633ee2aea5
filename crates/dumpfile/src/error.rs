//! Why a dump file could not be read or written.

use std::io;
use std::path::{Path, PathBuf};
use vmcore::{ReadError, SelectionError};

/// Why a dump file could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input is damaged or unreadable.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The input could not be opened.
    #[error("{}: cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The input is something that hadump does not read.
    #[error("{}: {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do about it.
        what: String,
    },
    /// Something that the output needs is not in the input.
    #[error("the dump lacks {what}, which {format} needs")]
    Missing {
        /// What is missing.
        what: String,
        /// The format being written.
        format: &'static str,
    },
    /// The output could not be written.
    #[error("{}: cannot {action}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was being done, with the offset where that says something.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system cannot say that the output is on the disk. It is kept and, as far as the disk takes that, marked as
    /// incomplete.
    #[error("{}: it is kept under this name, and may lack anything, as the system cannot write it out to the disk", path.display())]
    NotDurable {
        /// The name under which it is kept.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The list of pages to keep could not be had.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The user asked to stop.
    #[error("stopped on request")]
    Cancelled,
}

impl Error {
    /// The name under which an output is kept that the system could not write out.
    pub fn kept(&self) -> Option<&Path> {
        match self {
            Self::NotDurable { path, .. } => Some(path),
            _ => None,
        }
    }
}
