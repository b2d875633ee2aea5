//! The headers of a file as they are, for tools that print them.

use super::header::Headers;
use super::layout::{DISKDUMP_SIGNATURE, Header, SIGNATURE, SubHeader};
use crate::input::Input;
use crate::{Error, flattened};
use std::path::Path;

/// Both headers of a kdump-compressed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The main header.
    pub header: Header,
    /// The sub header; fields that are newer than the header's version are 0.
    pub sub: SubHeader,
}

/// Reads the headers of the file at `path`, flattened or not; `None` when it is of another format.
///
/// # Errors
///
/// When the file cannot be read, or its headers make no sense.
pub fn describe(path: &Path) -> Result<Option<Description>, Error> {
    let mut input = Input::open(path)?;
    if starts_with(&input, flattened::SIGNATURE)? {
        input = input.unflattened()?;
    }
    if !starts_with(&input, SIGNATURE)? && !starts_with(&input, DISKDUMP_SIGNATURE)? {
        return Ok(None);
    }
    let Headers { header, sub, .. } = Headers::read(&input)?;
    Ok(Some(Description { header, sub }))
}

fn starts_with(input: &Input, signature: &[u8]) -> Result<bool, Error> {
    let mut start = vec![0; signature.len()];
    if input.len() < start.len() as u64 {
        return Ok(false);
    }
    input.read_at(0, &mut start)?;
    Ok(start == signature)
}
