//! A crashed kernel as gdb's remote protocol shows it.
//!
//! [`Target`] is what there is to see: CPUs and tasks as threads with their registers, memory by virtual address through
//! the kernel's own tables, and where the kernel's image lies. [`serve`] talks with one client about it, over any pair of
//! streams, until the client leaves. Nothing can be written and nothing runs on.
//!
//! The client is as hostile as the dump: a packet has a largest size, what is no packet ends the session, and no answer
//! grows with what the client sends. This crate knows no files, no sockets and no terminal; what it asks of the program
//! around it is a [`Host`].

#![forbid(unsafe_code)]

mod error;
mod packet;
mod host;
mod machine;
mod text;
mod threads;
mod target;
mod monitor;
mod session;

pub use error::Error;
pub use host::Host;
pub use packet::LONGEST;
pub use session::{End, serve};
pub use target::Target;
