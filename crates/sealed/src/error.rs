//! Why something could not be encrypted or decrypted.

use std::io;
use std::path::PathBuf;

/// Why something could not be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something given as a recipient is not one.
    #[error(
        "{given}: neither a recipient (age1..., ssh-ed25519 ..., ssh-rsa ...) nor a file of recipients, one on each line"
    )]
    NoRecipient {
        /// What was given, or the file and the line.
        given: String,
    },
    /// There is no recipient, so nobody could decrypt the output.
    #[error("no recipient was given")]
    NoRecipients,
    /// The recipients cannot be combined.
    #[error("these recipients cannot be combined")]
    Recipients(#[source] age::EncryptError),
    /// A file could not be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file has no usable key.
    #[error("{}: {what}", path.display())]
    NoIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The encrypted bytes could not be written.
    #[error("cannot write the encrypted stream")]
    Write(#[source] io::Error),
}
