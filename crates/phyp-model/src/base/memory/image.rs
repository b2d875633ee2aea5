//! The file below a memory.

use super::{Extent, ModelError, Result};
use std::fs::File;
use std::path::PathBuf;

/// An image, and its length in bytes.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) length: u64,
}

impl Base {
    /// The parts of `extent` that are not holes of the file.
    pub(super) fn data(&self, extent: Extent) -> Result<Vec<Extent>> {
        use rustix::fs::{SeekFrom, seek};
        let mut out = Vec::new();
        let mut at = extent.start;
        let end = extent.end().min(self.length);
        while at < end {
            let failed = |source: rustix::io::Errno| ModelError::Io {
                path: self.path.clone(),
                action: "find the next data",
                source: source.into(),
            };
            let start = match seek(&self.file, SeekFrom::Data(at)) {
                Ok(start) => start,
                // No data up to the end of the file.
                Err(rustix::io::Errno::NXIO) => break,
                Err(error) => return Err(failed(error)),
            };
            if start >= end {
                break;
            }
            let hole = seek(&self.file, SeekFrom::Hole(start)).map_err(failed)?;
            out.push(Extent::between(start, hole.min(end)));
            at = hole;
        }
        Ok(out)
    }
}
