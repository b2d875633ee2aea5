//! Marking a core as incomplete that was written as a whole one.

use super::header::{Header, Segment};
use super::note::OwnNote;
use super::reader::{FLAG_INCOMPLETE, has_free_flags};
use crate::Error;
use crate::input::Input;
use crate::output::write_error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Sets the flag of an incomplete dump in `e_flags`, where these mean nothing else, and in hadump's note. `path` is for
/// messages.
///
/// # Errors
///
/// When the headers are damaged, or the file cannot be read or written.
pub(crate) fn flag_incomplete(file: &File, path: &Path) -> Result<(), Error> {
    let clone = file.try_clone().map_err(|source| Error::Open { path: path.to_owned(), source })?;
    let input = Input::of_file(clone, path)?;
    let header = Header::read(&input)?;
    let order = header.machine.order;
    let put = |word: u32, at: u64| {
        file.write_all_at(&order.put_u32(word), at).map_err(|e| write_error(path, "mark it as incomplete", e))
    };
    if has_free_flags(header.machine.arch) {
        put(header.flags | FLAG_INCOMPLETE, if header.is_64 { 48 } else { 36 })?;
    }
    header.segments(&input, |_, segment| {
        if segment.kind != Segment::NOTE {
            return Ok(());
        }
        let mut at = segment.offset;
        let end = segment.offset.saturating_add(segment.filesz).min(input.len());
        while at + 12 <= end {
            let mut words = [0; 12];
            input.read_at(at, &mut words)?;
            let [name, desc] = [0, 4].map(|i| u64::from(order.u32(&words[i..])).next_multiple_of(4));
            let desc_at = at + 12 + name;
            let mut start = [0; OwnNote::NAME_AND_FLAGS];
            if desc_at + desc <= end && name + desc >= start.len() as u64 {
                input.read_at(at + 12, &mut start)?;
                if let Some(flags) = OwnNote::incomplete_flags(order.u32(&words[8..]), &start, order) {
                    put(flags, desc_at + OwnNote::FLAGS_AT)?;
                }
            }
            at = desc_at + desc;
        }
        Ok(())
    })
}
