//! Why something could not be sealed or opened.

use std::io;
use std::path::PathBuf;

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was given as a recipient is none.
    #[error(
        "{given}: neither a recipient (age1..., ssh-ed25519 ..., ssh-rsa ...) nor a file of recipients, one on each line"
    )]
    NoRecipient {
        /// What was given, or the file and the line.
        given: String,
    },
    /// Nobody could open what would be written.
    #[error("no recipient is given")]
    NoRecipients,
    /// The recipients do not go together.
    #[error("these recipients cannot be combined")]
    Recipients(#[source] age::EncryptError),
    /// A file could not be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds no key.
    #[error("{}: {what}", path.display())]
    NoIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The sealed bytes could not be written.
    #[error("cannot write the encrypted stream")]
    Write(#[source] io::Error),
}
