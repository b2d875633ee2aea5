//! Why a dump could not be saved.

use std::io;
use std::path::PathBuf;

/// Why a dump could not be saved, or only in part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The journal could not be written or read.
    #[error("{}: cannot {action}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The journal contradicts itself in a way that no crash can bring about.
    #[error(
        "{}: {found} at offset {offset:#x}, expected {expected}; what was given back is not known, so nothing is read \
         any more: keep the file beside it, which opens as far as it goes", path.display()
    )]
    JournalDamaged {
        /// The journal.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What stands there.
        found: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// Another process saves to the same place.
    #[error("{}: another hadump is at work on it", path.display())]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// The journal is about another dump than the one that waits.
    #[error(
        "{}: it belongs to dump {found:016x}, and the one that waits here is {expected:016x}", path.display()
    )]
    OtherDump {
        /// The journal.
        path: PathBuf,
        /// The identity in the journal.
        found: u64,
        /// That of the dump.
        expected: u64,
    },
    /// The output failed.
    #[error(transparent)]
    Output(#[from] dumpfile::Error),
    /// The list of pages could not be had.
    #[error(transparent)]
    Selection(#[from] vmcore::SelectionError),
    /// The kernel could not be understood.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// What was left cannot be given back as asked.
    #[error("memory cannot be given back range by range: {why}")]
    NoRelease {
        /// What is missing, and what to do.
        why: String,
    },
}
