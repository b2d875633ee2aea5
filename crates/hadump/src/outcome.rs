//! How a run ended, and its exit code.

/// How a run ended, short of failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything that was asked for.
    Complete,
    /// Complete, but more pages were kept than asked for.
    MoreKept,
    /// The output lacks pages that it should have, and is marked so.
    Incomplete,
    /// The two dumps that were compared differ.
    Different,
    /// Another process of this run failed, and said why.
    Said,
}

impl Outcome {
    /// The outcome of writing a dump that is `complete`, or not, with `more_kept` than asked for, or not.
    pub(crate) fn of(complete: bool, more_kept: bool) -> Self {
        match (complete, more_kept) {
            (false, _) => Self::Incomplete,
            (true, false) => Self::Complete,
            (true, true) => Self::MoreKept,
        }
    }

    /// The exit code of a run that ended so.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::MoreKept => 3,
            Self::Incomplete => 4,
            Self::Different => 1,
            Self::Said => FAILED,
        }
    }
}

/// The exit code of a run that left nothing usable.
pub(crate) const FAILED: u8 = 1;

/// The exit code of `diff` where it could not compare; 1 means that the dumps differ, as in `diff` and `cmp`.
pub(crate) const NOT_COMPARED: u8 = 2;

/// The exit code of wrong usage, which clap has, too.
pub(crate) const MISUSED: u8 = 2;

/// What was asked for cannot be, which only the dump shows: a symbol that its kernel does not have.
#[derive(Debug)]
pub(crate) struct Misused(pub(crate) String);

impl std::fmt::Display for Misused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misused {}

/// The error of a run in which what was typed cannot be, or the dump cannot be read.
pub(crate) fn misused(error: search::Error) -> anyhow::Error {
    match error {
        search::Error::Typed { .. } => Misused(error.to_string()).into(),
        error => error.into(),
    }
}
