//! The two structures of the format.

use vmcore::ByteOrder;

/// How the file begins.
pub(crate) const SIGNATURE: &[u8; 16] = b"makedumpfile\0\0\0\0";
/// The length in bytes of the header, most of which is unused.
pub(super) const HEADER_LEN: usize = 4096;
/// The length in bytes of what is before each piece.
pub(super) const RECORD_LEN: usize = 16;
/// No piece ends above this: 256 TiB, more than any dump file has.
pub(super) const MAX_END: u64 = 1 << 48;

/// The only type and version that there are.
pub(super) const TYPE: u64 = 1;
pub(super) const VERSION: u64 = 1;

/// A field that holds what it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) field: &'static str,
    /// From the start of the structure.
    pub(super) offset: u64,
    pub(super) found: String,
    pub(super) expected: &'static str,
}

/// Checks a header whose signature is right.
pub(super) fn check_header(bytes: &[u8; HEADER_LEN]) -> Result<(), Bad> {
    for (field, offset, expected) in [("type", 16, TYPE), ("version", 24, VERSION)] {
        let found = ByteOrder::Big.u64(&bytes[offset..]);
        if found != expected {
            let offset = offset as u64;
            return Err(Bad { field, offset, found: found.to_string(), expected: "1" });
        }
    }
    Ok(())
}

/// What is before a piece, or at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// `size` bytes follow that belong at `offset`.
    Piece { offset: u64, size: u64 },
    /// Nothing follows.
    End,
}

impl Record {
    /// Decodes a record.
    pub(super) fn decode(bytes: &[u8; RECORD_LEN]) -> Result<Self, Bad> {
        let [offset, size] = [0, 8].map(|at| ByteOrder::Big.u64(&bytes[at..]));
        if (offset, size) == (u64::MAX, u64::MAX) {
            return Ok(Self::End);
        }
        let bad = |field, at, found: u64, expected| {
            Err(Bad { field, offset: at, found: (found as i64).to_string(), expected })
        };
        if offset > MAX_END {
            return bad("offset of a piece", 0, offset, "0 to 2^48, or -1 at the end");
        }
        if size > MAX_END - offset {
            return bad("size of a piece", 8, size, "a length that ends below 2^48");
        }
        Ok(Self::Piece { offset, size })
    }
}
