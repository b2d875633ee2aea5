//! Decrypting a stream.

use crate::Identities;
use age::DecryptError;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::PathBuf;

/// How an age file begins.
const MAGIC: &[u8] = b"age-encryption.org/v1";

/// Reports whether a file that begins with `prefix` is an age file.
pub fn is_sealed(prefix: &[u8]) -> bool {
    prefix.starts_with(MAGIC)
}

/// Reads the decrypted bytes of one age file, or of several, concatenated.
///
/// Every error names the file, and says whether it was cut off, altered or encrypted for other keys.
pub struct Unsealer<'k, R, I> {
    identities: &'k Identities,
    inputs: I,
    current: Option<(PathBuf, age::stream::StreamReader<BufReader<R>>)>,
}

impl<'k, R: Read, I: Iterator<Item = io::Result<(PathBuf, R)>>> Unsealer<'k, R, I> {
    /// Will read `inputs`, each with its name.
    pub fn new(identities: &'k Identities, inputs: I) -> Self {
        Self { identities, inputs, current: None }
    }

    fn open(
        &self,
        name: PathBuf,
        input: R,
    ) -> io::Result<(PathBuf, age::stream::StreamReader<BufReader<R>>)> {
        let refused = |error: DecryptError| {
            let (kind, why) = match &error {
                DecryptError::NoMatchingKeys => (
                    ErrorKind::PermissionDenied,
                    "encrypted for other keys: no given identity can decrypt it",
                ),
                DecryptError::InvalidMac | DecryptError::DecryptionFailed => {
                    (ErrorKind::InvalidData, "its header was altered")
                }
                DecryptError::InvalidHeader => {
                    (ErrorKind::InvalidData, "not an age file, or its header is damaged")
                }
                DecryptError::UnknownFormat => {
                    (ErrorKind::InvalidData, "of an unknown version of the age format")
                }
                DecryptError::Io(e) if e.kind() == ErrorKind::UnexpectedEof => {
                    (ErrorKind::UnexpectedEof, "it ends inside its header")
                }
                DecryptError::Io(e) => (e.kind(), "cannot be read"),
                _ => (ErrorKind::InvalidData, "cannot be opened"),
            };
            io::Error::new(kind, format!("{}: {why}", name.display()))
        };
        let decryptor = age::Decryptor::new_buffered(BufReader::new(input)).map_err(refused)?;
        let reader = decryptor.decrypt(self.identities.iter()).map_err(refused)?;
        Ok((name, reader))
    }
}

impl<R: Read, I: Iterator<Item = io::Result<(PathBuf, R)>>> Read for Unsealer<'_, R, I> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            let Some((name, reader)) = &mut self.current else {
                let Some(next) = self.inputs.next() else { return Ok(0) };
                let (name, input) = next?;
                self.current = Some(self.open(name, input)?);
                continue;
            };
            match reader.read(bytes) {
                Ok(0) => self.current = None,
                Ok(count) => return Ok(count),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    let why = match e.kind() {
                        ErrorKind::UnexpectedEof => "it was cut off",
                        ErrorKind::InvalidData => "it was altered or cut off",
                        _ => "cannot be read",
                    };
                    return Err(io::Error::new(e.kind(), format!("{}: {why}", name.display())));
                }
            }
        }
    }
}
