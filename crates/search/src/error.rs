//! Why a search could not be made.

use vmcore::ReadError;

/// Why a search could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dump's file is damaged or unreadable.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The kernel does not tell what is needed of it.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// What was typed is no pattern or address.
    #[error("{given}: {why}")]
    Typed {
        /// What was typed, as far as it matters.
        given: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
}

impl Error {
    pub(crate) fn typed(given: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Typed { given: given.into(), why: why.into() }
    }
}
