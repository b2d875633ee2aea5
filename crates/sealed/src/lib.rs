//! Dumps that only the right people can read.
//!
//! A dump holds passwords and keys. Here its bytes become files of the age format (age-encryption.org/v1), for any
//! number of recipients: the machine that saves a dump needs their public keys alone, and `age` or `rage` opens what
//! hadump wrote.
//!
//! A save that is interrupted must go on without the private key, so a sealed dump is a set of files, each complete by
//! itself: [`Part`] names them, a [`Sealer`] writes one, an [`Unsealer`] reads them one behind the other. What they
//! hold together is one flattened stream.

#![forbid(unsafe_code)]

mod error;
mod keys;
mod part;
mod sealer;
mod unsealer;

pub use error::Error;
pub use keys::{Identities, Recipients};
pub use part::Part;
pub use sealer::Sealer;
pub use unsealer::{Unsealer, is_sealed};
