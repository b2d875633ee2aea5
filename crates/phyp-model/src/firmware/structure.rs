//! The kernel dump memory structure, by which the OS asks for a dump and the firmware answers.
//!
//! LoPAR, "ibm,configure-kernel-dump": a header of 28h bytes and up to ten sections of 28h bytes, big-endian.

use crate::bytes::{ByteOrder, Bytes, be_u16, be_u32, be_u64};

/// Bytes of the header Linux writes, and of each section.
pub const HEADER: usize = 0x28;
/// Bytes of one section.
pub const SECTION: usize = 0x28;

/// The dump was performed.
pub const STATUS_PERFORMED: u16 = 0x8000;
/// It was triggered by the previous boot.
pub const STATUS_TRIGGERED: u16 = 0x4000;
/// Something went wrong.
pub const STATUS_ERROR: u16 = 0x2000;

/// Section type: CPU state.
pub const KIND_CPU: u16 = 1;
/// Section type: hashed page table of the real-mode region.
pub const KIND_HPTE: u16 = 2;
/// Section type: real-mode region, that is boot memory.
pub const KIND_REAL_MODE: u16 = 0x11;
/// Section type: Linux's parameter area, first of the types an OS may define.
pub const KIND_PARAMETER: u16 = 0x100;

/// Error flag: unknown section type.
pub const ERROR_TYPE: u16 = 0x8000;
/// Error flag: source is no memory.
pub const ERROR_SOURCE: u16 = 0x4000;
/// Error flag: length exceeds the source.
pub const ERROR_LENGTH: u16 = 0x2000;
/// Error flag: destination is no memory.
pub const ERROR_DESTINATION: u16 = 0x1000;
/// Error flag: destination too small.
pub const ERROR_TOO_SMALL: u16 = 0x0800;

/// One section: a range of memory to copy and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Request flags; bit 0 asks for a copy to partition memory.
    pub request: u32,
    /// Section type.
    pub kind: u16,
    /// Error flags.
    pub error: u16,
    /// Source address; 0 for CPU state and HPTEs.
    pub source: u64,
    /// Bytes requested.
    pub requested: u64,
    /// Bytes copied.
    pub copied: u64,
    /// Destination address.
    pub destination: u64,
}

/// The whole structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Format version, 1.
    pub version: u32,
    /// The number of sections it claims; faults set it apart from the list's length.
    pub count: u16,
    /// Status bits.
    pub status: u16,
    /// Offset of the first section, 28h in what Linux writes.
    pub first_section: u32,
    /// Block size of the dump disk, 0 without one.
    pub disk_block_size: u32,
    /// First block on the dump disk.
    pub disk_block: u64,
    /// Blocks on the dump disk.
    pub disk_blocks: u64,
    /// Offset of the dump disk's path.
    pub disk_path_offset: u32,
    /// Milliseconds from a non-maskable interrupt to the dump, 0 for never.
    pub max_time: u32,
    /// The sections.
    pub sections: Vec<Section>,
}

impl Structure {
    /// A structure without a disk dump.
    pub fn new(sections: Vec<Section>) -> Self {
        Self {
            version: 1,
            count: sections.len() as u16,
            status: 0,
            first_section: HEADER as u32,
            disk_block_size: 0,
            disk_block: 0,
            disk_blocks: 0,
            disk_path_offset: 0,
            max_time: 0,
            sections,
        }
    }

    /// Its bytes; the sections stand where the header says, unless that is inside the header.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Bytes::new(ByteOrder::Big);
        out.u32(self.version).u16(self.count).u16(self.status).u32(self.first_section);
        out.u32(self.disk_block_size).u64(self.disk_block).u64(self.disk_blocks);
        out.u32(self.disk_path_offset).u32(self.max_time);
        let first = self.first_section as usize;
        // An offset that points nowhere sensible is a fault: the sections then stay where they belong.
        out.bytes.resize(if (HEADER..=0x200).contains(&first) { first } else { HEADER }, 0);
        for section in &self.sections {
            out.u32(section.request).u16(section.kind).u16(section.error).u64(section.source);
            out.u64(section.requested).u64(section.copied).u64(section.destination);
        }
        out.bytes
    }

    /// Reads a structure as the firmware does; `None` if it is shorter than it claims.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let count = be_u16(bytes, 4)?;
        let first_section = be_u32(bytes, 8)?;
        let mut sections = Vec::new();
        for index in 0..usize::from(count) {
            let at = first_section as usize + index * SECTION;
            sections.push(Section {
                request: be_u32(bytes, at)?,
                kind: be_u16(bytes, at + 4)?,
                error: be_u16(bytes, at + 6)?,
                source: be_u64(bytes, at + 8)?,
                requested: be_u64(bytes, at + 16)?,
                copied: be_u64(bytes, at + 24)?,
                destination: be_u64(bytes, at + 32)?,
            });
        }
        Some(Self {
            version: be_u32(bytes, 0)?,
            count,
            status: be_u16(bytes, 6)?,
            first_section,
            disk_block_size: be_u32(bytes, 0xc)?,
            disk_block: be_u64(bytes, 0x10)?,
            disk_blocks: be_u64(bytes, 0x18)?,
            disk_path_offset: be_u32(bytes, 0x20)?,
            max_time: be_u32(bytes, 0x24)?,
            sections,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_sections_take_a0_bytes_and_ten_take_1b8() {
        assert_eq!(Structure::new(vec![Section::default(); 3]).bytes().len(), 0xa0);
        assert_eq!(Structure::new(vec![Section::default(); 10]).bytes().len(), 0x1b8);
    }

    #[test]
    fn a_written_structure_reads_back() {
        let section =
            Section { request: 1, kind: 2, error: 3, source: 4, requested: 5, copied: 6, destination: 7 };
        let structure = Structure { status: 0xe000, ..Structure::new(vec![section; 4]) };
        assert_eq!(Structure::parse(&structure.bytes()), Some(structure));
    }
}
