//! Why a session ended that the client did not end.

use std::io;

/// Why a session ended that the client did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection failed.
    #[error("the connection failed")]
    Connection(#[from] io::Error),
    /// What the client sends is not gdb's protocol.
    #[error("the client does not speak gdb's remote protocol: {0}")]
    Protocol(String),
}
