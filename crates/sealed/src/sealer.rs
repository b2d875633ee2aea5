//! Encrypting a stream.

use crate::{Error, Recipients};
use std::io::{self, Write};

/// Encrypts what is written to it, as one age file.
///
/// Dropped without [`Sealer::finish`], it leaves a file whose reader finds that it was cut off.
pub struct Sealer<W: Write>(age::stream::StreamWriter<W>);

impl<W: Write> Sealer<W> {
    /// Begins an age file in `out`.
    ///
    /// # Errors
    ///
    /// When the recipients cannot be combined or the header cannot be written.
    pub fn new(recipients: &Recipients, out: W) -> Result<Self, Error> {
        let encryptor = age::Encryptor::with_recipients(recipients.iter()).map_err(Error::Recipients)?;
        encryptor.wrap_output(out).map(Self).map_err(Error::Write)
    }

    /// Ends the age file, and returns what it was written to.
    ///
    /// # Errors
    ///
    /// When the last bytes cannot be written.
    pub fn finish(self) -> Result<W, Error> {
        self.0.finish().map_err(Error::Write)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
