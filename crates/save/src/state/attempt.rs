//! What is begun only once in a boot, because nothing else would bound it: a process that is killed over it, for the memory that
//! it takes or a page that the machine cannot read, would be killed again.

use super::State;
use crate::Error;
use rustix::fs::{FlockOperation, OFlags, flock};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};

const REPORTING: &str = "reporting";

/// Something that has been begun, until this is dropped.
#[derive(Debug)]
pub struct Attempt(Option<File>);

impl State {
    /// Begins to report why the machine crashed; `None` where a process of this boot began that and came to no end.
    ///
    /// Nothing is kept where it is not known which boot this is, or while another process reports.
    ///
    /// # Errors
    ///
    /// When the system refuses, or what is there is not believed.
    pub fn begin_report(&self) -> Result<Option<Attempt>, Error> {
        let failed = |source| self.failed(REPORTING, "write to it", source);
        let flags = OFlags::RDWR | OFlags::CREATE;
        let file = self.open(REPORTING, flags)?.ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
        if self.boot.is_empty() || flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(Some(Attempt(None)));
        }
        let mut begun = String::new();
        // What is no text is no boot.
        let _ = (&file).take(self.boot.len() as u64 + 1).read_to_string(&mut begun);
        if begun == self.boot {
            return Ok(None);
        }
        note(&file, &self.boot).map_err(failed)?;
        Ok(Some(Attempt(Some(file))))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // At worst nothing is reported a second time.
        let _ = self.0.as_ref().map(|file| file.set_len(0));
    }
}

fn note(mut file: &File, boot: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(boot.as_bytes())
}
