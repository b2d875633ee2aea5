//! The header of a record, and where the next one is.

use crate::input::Input;
use vmcore::{ByteOrder, PhysAddr, Range, ReadError};

/// Bytes of a header: magic, version, first and last address, eight bytes that are reserved (`lime_mem_range_header` of
/// LiME's `lime.h`; AVML's `image.rs`).
pub(super) const HEADER: u64 = 32;

/// Who wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// LiME's, version 1, which AVML writes, too: memory as it is.
    Lime,
    /// AVML's, version 2: compressed.
    Avml,
}

impl Format {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lime => "LiME",
            Self::Avml => "AVML",
        }
    }

    pub(super) fn described(self) -> &'static str {
        match self {
            Self::Lime => "LiME memory image",
            Self::Avml => "AVML memory image (snappy)",
        }
    }
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) format: Format,
    /// Its memory.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Where the header's end is in the file.
    pub(super) data: u64,
    /// Bytes of the file from there on.
    pub(super) there: u64,
}

impl Record {
    /// The memory of which the file has the bytes, if they are not compressed.
    pub(super) fn memory_there(&self) -> Range<PhysAddr> {
        Range::new(PhysAddr(self.start), PhysAddr(self.end.min(self.start.saturating_add(self.there))))
    }

    /// Reads the header at `at`; `None` where the file ends before it does.
    pub(super) fn read(input: &Input, at: u64) -> Result<Option<Self>, ReadError> {
        let data = at.saturating_add(HEADER);
        let Some(there) = input.len().checked_sub(data) else { return Ok(None) };
        let mut bytes = [0; HEADER as usize];
        input.read_at(at, &mut bytes)?;
        let (format, order) = match &bytes[..4] {
            b"EMiL" => (Format::Lime, ByteOrder::Little),
            b"LiME" => (Format::Lime, ByteOrder::Big),
            b"AVML" => (Format::Avml, ByteOrder::Little),
            other => {
                return Err(input.damaged(
                    "a record's magic",
                    at,
                    format!("{other:02x?}"),
                    "EMiL, LiME or AVML",
                ));
            }
        };
        let version = order.u32(&bytes[4..]);
        let right = if format == Format::Lime { 1 } else { 2 };
        if version != right {
            return Err(input.damaged(
                "a record's version",
                at + 4,
                version.to_string(),
                "1 for LiME, 2 for AVML",
            ));
        }
        let (start, last) = (order.u64(&bytes[8..]), order.u64(&bytes[16..]));
        let Some(end) = last.checked_add(1).filter(|&end| end > start) else {
            let found = format!("{start:#x} to {last:#x}");
            return Err(input.damaged(
                "a record's range",
                at + 8,
                found,
                "a last address that is not below the first",
            ));
        };
        Ok(Some(Self { format, start, end, data, there }))
    }
}
