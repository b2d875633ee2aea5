//! What is done in a capture kernel, and what was seen of it: JSON between the host, which plans and judges, and the guest.

use crate::task::measure::Taken;
use serde::{Deserialize, Serialize};

/// One thing to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Task {
    /// Reads all of `/proc/vmcore`, page by page into a buffer.
    Read(Way),
    /// Runs a program.
    Run(Run),
    /// Compares the pages in two files that runs have kept, and removes the files.
    Compare { level: u32, method: String, ours: String, theirs: String },
}

/// How memory is read.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum Way {
    /// As hadump does.
    Hadump,
    /// By `read`, so many bytes at once.
    Read(usize),
    /// By `mmap`, so many bytes at once.
    Map(usize),
}

/// Whose program.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum Who {
    Hadump,
    Peer,
    /// `hadump save`, whose standard output is kept.
    Save,
    /// `hadump report`.
    Report,
}

/// One run of a program.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Run {
    pub(super) who: Who,
    pub(super) level: u32,
    pub(super) method: String,
    pub(super) command: Vec<String>,
    /// The file that it writes.
    pub(super) output: String,
    /// Whether that file stays.
    pub(super) keep: bool,
}

/// What came of a [`Task`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Seen {
    Read {
        way: Way,
        pages: u64,
        /// User and system time.
        seconds: f64,
    },
    Ran {
        who: Who,
        level: u32,
        method: String,
        taken: Taken,
        /// Bytes of the output.
        size: u64,
        /// Standard output, where it is kept.
        said: String,
    },
    Compared {
        level: u32,
        method: String,
        /// Pages in both, and in one alone.
        both: u64,
        ours: u64,
        theirs: u64,
    },
}
