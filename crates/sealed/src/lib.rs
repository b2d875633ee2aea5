//! Encrypted dumps.
//!
//! A dump contains passwords and keys. Here its bytes become files of the age format (age-encryption.org/v1), for any
//! number of recipients: the machine that saves a dump needs only their public keys, and `age` or `rage` can decrypt what
//! hadump wrote.
//!
//! An interrupted save must be resumed without the private key, so an encrypted dump is a set of files, each complete on
//! its own: [`Part`] names them, a [`Sealer`] writes one, an [`Unsealer`] reads them as one stream, which is a flattened
//! dump.
//!
//! ```
//! use sealed::{Recipients, Sealer, is_sealed};
//! use std::io::Write;
//!
//! let recipients =
//!     Recipients::parse(&["age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"])?;
//! let mut sealer = Sealer::new(&recipients, Vec::new())?;
//! sealer.write_all(b"memory with passwords in it")?;
//! assert!(is_sealed(&sealer.finish()?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
