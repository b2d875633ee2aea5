//! Why a dump's bytes could not be had.

use std::io;
use std::path::PathBuf;

/// Why a dump could not be read.
///
/// A page that is legitimately missing is a [`PageState`](crate::PageState), never one of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refused to hand out bytes that the file should have.
    #[error("{}: cannot read {len} bytes at offset {offset:#x}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// How many bytes were asked for.
        len: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The file contradicts itself, its format or its own length.
    #[error("{}: {field} at offset {offset:#x} is {found}, expected {expected}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The field, as the format's source spells it.
        field: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is there.
        found: String,
        /// What would have been right.
        expected: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_file_field_offset_and_expectation() {
        let error = ReadError::Damaged {
            path: "vmcore".into(),
            field: "e_phentsize".into(),
            offset: 0x36,
            found: "0x20".into(),
            expected: "56".into(),
        };
        assert_eq!(error.to_string(), "vmcore: e_phentsize at offset 0x36 is 0x20, expected 56");
    }
}
