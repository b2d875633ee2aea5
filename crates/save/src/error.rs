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
    /// The journal contradicts itself in a way that no crash can cause.
    #[error(
        "{}: {found} at offset {offset:#x}, expected {expected}; it is no longer known which memory was released, so nothing \
         more is read; the incomplete dump beside it can still be opened", path.display()
    )]
    JournalDamaged {
        /// The journal.
        path: PathBuf,
        /// The dump that its first record names, if that one is whole.
        dump: Option<u64>,
        /// Where in it, in bytes.
        offset: u64,
        /// What is there.
        found: String,
        /// What should be there.
        expected: &'static str,
    },
    /// The file where the journal should be is something else.
    #[error(
        "{}: not a journal of hadump, so it is left as it is; move it away, or name another file with --journal",
        path.display()
    )]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// A file may be another user's doing.
    #[error("{}: {why}, so it is not believed", path.display())]
    NotBelieved {
        /// The file.
        path: PathBuf,
        /// What speaks against it.
        why: String,
    },
    /// A file in which hadump keeps something could not be used.
    #[error("{}: cannot {action}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The dump's memory is not released while others read it.
    #[error("{} still reads the dump", crate::state::names(holders))]
    Held {
        /// Who they are, as far as that is known.
        holders: Vec<crate::state::Holder>,
    },
    /// Memory was given to the running system while it was read.
    #[error("{why}: what was read since the last checkpoint may not be the dump's, and is not kept")]
    GivenAway {
        /// What shows that.
        why: String,
    },
    /// Another process saves to the same place.
    #[error("{}: in use by another hadump", path.display())]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// The journal belongs to another dump than the pending one.
    #[error(
        "{}: belongs to dump {found:016x}, but dump {expected:016x} is waiting here; to save that one, name another target, \
         or replace the earlier save with --force instead of --resume", path.display()
    )]
    OtherDump {
        /// The journal.
        path: PathBuf,
        /// The identity in the journal.
        found: u64,
        /// The identity of the pending dump.
        expected: u64,
    },
    /// The output failed.
    #[error(transparent)]
    Output(#[from] dumpfile::Error),
    /// The list of pages could not be made or read.
    #[error(transparent)]
    Selection(#[from] vmcore::SelectionError),
    /// The kernel could not be understood.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// Memory cannot be released as asked.
    #[error("memory cannot be released range by range: {why}")]
    NoRelease {
        /// What is missing, and what to do.
        why: String,
    },
}
