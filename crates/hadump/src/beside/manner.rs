//! How a file beside a dump is written: what it is called, who may read it, what it may replace.

use crate::output::{self, FORCE, SinkWriter};
use anyhow::{Context, Result};
use dumpfile::output::OutputFile;
use sealed::{Recipients, Sealer};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// How those of one dump are written.
pub(crate) struct Manner<'a> {
    /// The dump's name.
    pub(crate) name: &'a Path,
    /// They are encrypted if the dump is.
    pub(crate) recipients: Option<&'a Recipients>,
    /// They may take the place of others.
    pub(crate) replace: bool,
}

impl Manner<'_> {
    /// Begins the file `NAME SUFFIX`. An attempt that was killed leaves an unfinished file, which this one replaces.
    pub(super) fn begin(&self, suffix: &str) -> Result<OutputFile> {
        output::create_resumable(&self.clear(suffix)?, self.replace, FORCE)
    }

    /// Removes the unfinished file of an attempt that was killed, and says what it would have been called.
    pub(super) fn clear(&self, suffix: &str) -> Result<PathBuf> {
        let path = path(self.name, suffix, self.recipients.is_some());
        let unfinished = OutputFile::incomplete_name(&path)?;
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{}: cannot be replaced", unfinished.display()))
            }
            _ => Ok(path),
        }
    }

    /// Has `write` write all of the file.
    pub(super) fn fill<T>(
        &self,
        file: &OutputFile,
        write: impl FnOnce(&mut dyn Write) -> Result<T>,
    ) -> Result<T> {
        let mut out = BufWriter::new(SinkWriter::new(file));
        let written = match self.recipients {
            Some(recipients) => {
                let mut sealer = Sealer::new(recipients, &mut out)?;
                let written = write(&mut sealer)?;
                sealer.finish()?;
                written
            }
            None => write(&mut out)?,
        };
        out.flush()?;
        Ok(written)
    }
}

/// `vmcore-dmesg.txt`; `vmcore-dmesg.txt.age` when it is encrypted.
pub(super) fn path(name: &Path, suffix: &str, encrypted: bool) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(suffix);
    if encrypted {
        path.push(".age");
    }
    path.into()
}
