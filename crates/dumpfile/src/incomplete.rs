//! Marking a file that was written to its end as incomplete after all, because the system lost some of it.

use crate::flattened;
use crate::{Error, elf, kdump};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The first bytes of an age file.
const AGE: &[u8] = b"age-encryption.org/";

/// Marks the dump in `file` as incomplete in the way of its format, as far as the disk takes that. What is no dump is left
/// as it is. `path` is for messages.
///
/// Nothing is made durable: this is for files of which the system lost a part already.
pub(crate) fn mark(file: &File, path: &Path) {
    if let Err(error) = try_mark(file, path) {
        tracing::warn!("cannot mark the dump as incomplete: {error}");
    }
}

fn try_mark(file: &File, path: &Path) -> Result<(), Error> {
    let mut prefix = [0; 32];
    let Ok(have) = file.read_at(&mut prefix, 0) else { return Ok(()) };
    let prefix = &prefix[..have];
    if prefix.starts_with(kdump::layout::SIGNATURE) {
        return kdump::flag_incomplete(file, path);
    }
    if prefix.starts_with(b"\x7fELF") {
        return elf::flag_incomplete(file, path);
    }
    if prefix.starts_with(flattened::SIGNATURE) || prefix.starts_with(AGE) {
        // The missing end is the mark.
        let shorter = file.metadata().and_then(|meta| file.set_len(meta.len().saturating_sub(1)));
        return shorter.map_err(|e| crate::output::write_error(path, "cut off its end", e));
    }
    Ok(())
}
