//! Encrypted dumps.
//!
//! A dump contains passwords and keys. Here its bytes become files of the age format (age-encryption.org/v1), for any
//! number of recipients: the machine that saves a dump needs only their public keys, and `age` or `rage` can decrypt what
//! hadump wrote.
//!
//! An interrupted save must be resumed without the private key, so an encrypted dump is a set of files, each complete on
//! its own: [`Part`] names them, a [`Sealer`] writes one, an [`Unsealer`] reads them as one stream, which is a flattened
//! dump.

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
