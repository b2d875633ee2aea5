//! The kernel dump memory structure: what the hypervisor was asked to copy, and what it did.
//!
//! The operating system hands this structure to `ibm,configure-kernel-dump` when it registers; after a crash the
//! firmware returns it, with results, in the device-tree property `/rtas/ibm,kernel-dump`. It is big-endian whatever the
//! kernel's byte order. Layout: LoPAR "Configure Platform Assisted Kernel Dump Option"; Linux `struct
//! rtas_fadump_mem_struct` (`arch/powerpc/platforms/pseries/rtas-fadump.h`), `struct phyp_dump_header` before that.
//!
//! Parsing keeps whatever is there, unknown section types and reserved bits included; what is wrong is said by
//! [`KernelDump::faults`], section by section, and left for the caller to judge.

use crate::Error;
use crate::bytes::Bytes;
use std::fmt;
use vmcore::{PhysAddr, Range, RangeSet};

/// The length of the header in bytes, and where Linux puts the first section.
pub const HEADER: usize = 0x28;
/// The length of a section in bytes.
pub const SECTION: usize = 0x28;
/// The most sections that LoPAR allows.
pub const MAX_SECTIONS: usize = 10;

const NAME: &str = "ibm,kernel-dump";

/// Status bits of the whole dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub u16);

impl Status {
    /// The dump was performed.
    pub const PERFORMED: u16 = 0x8000;
    /// The dump was triggered in the previous boot.
    pub const TRIGGERED: u16 = 0x4000;
    /// An error was met.
    pub const ERROR: u16 = 0x2000;

    /// Reports whether all of `bits` are set.
    pub fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }

    /// The bits that the specification reserves.
    pub fn reserved(self) -> u16 {
        self.0 & !(Self::PERFORMED | Self::TRIGGERED | Self::ERROR)
    }
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// The registers of every CPU (1).
    CpuState,
    /// The page-table entries of the real-mode region (2).
    Hpte,
    /// Memory of the real-mode region (11h), which Linux calls boot memory.
    RealMode,
    /// An identification of the operating system (12h).
    OsIdentification,
    /// Defined by the operating system (100h to ffffh); Linux keeps its parameter area in 100h.
    Os(u16),
    /// Not in the specification.
    Unknown(u16),
}

impl SectionKind {
    /// The kind that a section's type field names.
    pub fn from_type(kind: u16) -> Self {
        match kind {
            1 => Self::CpuState,
            2 => Self::Hpte,
            0x11 => Self::RealMode,
            0x12 => Self::OsIdentification,
            0x100.. => Self::Os(kind),
            other => Self::Unknown(other),
        }
    }

    /// Reports whether the firmware copies memory for this kind, instead of making something up itself.
    pub fn copies_memory(self) -> bool {
        matches!(self, Self::RealMode | Self::OsIdentification | Self::Os(_))
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CpuState => f.write_str("CPU state"),
            Self::Hpte => f.write_str("HPTE"),
            Self::RealMode => f.write_str("boot memory"),
            Self::OsIdentification => f.write_str("OS identification"),
            Self::Os(0x100) => f.write_str("parameter area"),
            Self::Os(kind) => write!(f, "OS-defined {kind:#x}"),
            Self::Unknown(kind) => write!(f, "unknown type {kind:#x}"),
        }
    }
}

/// One section: a request and its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Request flags; bit 1 asks for a copy to partition memory.
    pub request: u32,
    /// What the section holds.
    pub kind: SectionKind,
    /// Error flags.
    pub errors: u16,
    /// Where the memory was, where the kind copies memory.
    pub source: PhysAddr,
    /// The length asked for, in bytes.
    pub requested: u64,
    /// The length copied, in bytes.
    pub copied: u64,
    /// Where the copy lies.
    pub destination: PhysAddr,
}

impl Section {
    /// Request flag: copy to partition memory.
    pub const COPY: u32 = 1;
    /// The error flags with their meanings.
    pub const ERRORS: [(u16, &str); 5] = [
        (0x8000, "invalid type"),
        (0x4000, "invalid source address"),
        (0x2000, "length exceeds the source"),
        (0x1000, "invalid destination address"),
        (0x0800, "destination too small"),
    ];

    /// Reports whether a copy was asked for.
    pub fn is_requested(&self) -> bool {
        self.request & Self::COPY != 0
    }

    /// The part of the destination that holds something: what was copied, at most what was asked for.
    pub fn filled(&self) -> Range<PhysAddr> {
        self.span(self.destination, self.copied.min(self.requested))
    }

    /// The destination as it was asked for.
    pub fn target(&self) -> Range<PhysAddr> {
        self.span(self.destination, self.requested)
    }

    /// The memory that was to be copied.
    pub fn source_range(&self) -> Range<PhysAddr> {
        self.span(self.source, self.requested)
    }

    fn span(&self, start: PhysAddr, len: u64) -> Range<PhysAddr> {
        Range::new(start, PhysAddr(start.0.saturating_add(len)))
    }

    /// Reports whether source and destination are the same, as in Linux's parameter area: nothing moves.
    pub fn is_in_place(&self) -> bool {
        self.kind.copies_memory() && self.source == self.destination
    }
}

/// What the firmware was asked to write to a disk; all zero when there is no disk dump, as in Linux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskDump {
    /// The block size in bytes.
    pub block_size: u32,
    /// The first block.
    pub first_block: u64,
    /// The number of blocks.
    pub blocks: u64,
    /// The offset of the disk's path in the structure.
    pub path_offset: u32,
}

/// What is wrong with the structure or with one of its sections.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The version is not 1; the structure was read as version 1.
    Version(u32),
    /// The header counts more sections than LoPAR allows.
    TooManySections(u16),
    /// The header counts more sections than the property holds.
    MissingSections {
        /// What the header counts.
        claimed: u16,
        /// What is there.
        found: usize,
    },
    /// The header counts fewer sections than the property, by its length, holds; all were read.
    MoreSections {
        /// What the header counts.
        claimed: u16,
        /// What is there.
        found: usize,
    },
    /// There is no section at all.
    NoSections,
    /// The first section is not at 28h; the offset was followed.
    FirstSection(u32),
    /// The first section's offset lies in the header or past the end; by the property's length it is 28h.
    FirstSectionOutside(u32),
    /// The status has the error bit.
    StatusError,
    /// The status does not say that a dump was performed in the previous boot.
    NotPerformed(Status),
    /// Bits of the status that the specification reserves.
    ReservedStatus(u16),
    /// A section was not asked for.
    NotRequested(usize),
    /// Nothing of a section was copied.
    NotCopied(usize),
    /// A section was copied in part.
    CopiedShort(usize),
    /// More was copied than was asked for; what follows the destination may be overwritten.
    CopiedMore(usize),
    /// An error flag of a section; the meaning is in [`Section::ERRORS`].
    ErrorFlag(usize, u16),
    /// An error flag stored in the wrong byte order, as QEMU does on little-endian hosts: the flag as it was meant.
    SwappedErrorFlag(usize, u16),
    /// Bits of a section's error flags that the specification reserves.
    ReservedError(usize, u16),
    /// A section's type is not in the specification.
    UnknownType(usize, u16),
    /// The destination reaches past memory.
    OutsideMemory(usize),
    /// The destination overlaps another section's destination.
    Overlap(usize, usize),
    /// The destination overlaps the memory that another section, or this one, was to copy.
    OverSource(usize, usize),
}

/// The structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelDump {
    /// The format's version; 1.
    pub version: u32,
    /// The number of sections that the header counts.
    pub claimed_sections: u16,
    /// The status of the whole dump.
    pub status: Status,
    /// Where the first section is, in bytes.
    pub first_section: u32,
    /// The disk dump.
    pub disk: DiskDump,
    /// The longest time in milliseconds between an interrupt and an automatic dump; 0 is never.
    pub max_wait_ms: u32,
    /// The sections, in the firmware's order.
    pub sections: Vec<Section>,
    raw: Vec<u8>,
}

impl KernelDump {
    /// Parses the property's bytes.
    ///
    /// Sections that the header counts and the property lacks, or past the tenth, are left out; see
    /// [`KernelDump::faults`].
    ///
    /// # Errors
    ///
    /// When the property is shorter than its header, or the first section's offset points into the header or past
    /// the end and the property's length does not say where the sections are either.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let short = || Error::Short { what: NAME, found: bytes.len(), expected: HEADER };
        let get = Bytes::big(bytes);
        let header = || -> Option<Self> {
            get.slice(0, HEADER)?;
            Some(Self {
                version: get.u32(0)?,
                claimed_sections: get.u16(4)?,
                status: Status(get.u16(6)?),
                first_section: get.u32(8)?,
                disk: DiskDump {
                    block_size: get.u32(0xc)?,
                    first_block: get.u64(0x10)?,
                    blocks: get.u64(0x18)?,
                    path_offset: get.u32(0x20)?,
                },
                max_wait_ms: get.u32(0x24)?,
                sections: Vec::new(),
                raw: bytes.to_vec(),
            })
        };
        let mut dump = header().ok_or_else(short)?;
        // Firmware returns exactly the header and the sections; that shows a wrong count or offset.
        let body = bytes.len() - HEADER;
        let by_length = body.is_multiple_of(SECTION).then_some(body / SECTION).filter(|n| *n <= MAX_SECTIONS);
        let claimed = usize::from(dump.claimed_sections);
        let mut first = dump.first_section as usize;
        if dump.is_first_outside() {
            if by_length.is_none_or(|n| n == 0 || (claimed != n && claimed != 0)) {
                return Err(Error::Damaged {
                    what: NAME,
                    field: "offset of the first section",
                    offset: 8,
                    found: format!("{first:#x}"),
                    expected: format!("{HEADER:#x} to {:#x}", bytes.len()),
                });
            }
            first = HEADER;
        }
        let exact = by_length.filter(|n| first == HEADER && *n > claimed).unwrap_or(claimed);
        let room = bytes.get(first..).unwrap_or_default();
        dump.sections =
            room.chunks_exact(SECTION).take(exact.min(MAX_SECTIONS)).filter_map(section).collect();
        Ok(dump)
    }

    fn is_first_outside(&self) -> bool {
        !(HEADER..=self.raw.len()).contains(&(self.first_section as usize))
    }

    /// The property as it was.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Memory of the crashed system that the firmware copied aside, so that the second boot could use it.
    pub fn boot_memory(&self) -> RangeSet<PhysAddr> {
        let copied = |s: &&Section| s.kind == SectionKind::RealMode && s.is_requested() && !s.is_in_place();
        self.sections.iter().filter(copied).map(Section::source_range).collect()
    }

    /// The first section of a kind.
    pub fn find(&self, kind: SectionKind) -> Option<&Section> {
        self.sections.iter().find(|s| s.kind == kind)
    }

    /// What is wrong, the structure first, then section by section; `memory` is where the machine has memory, when
    /// that is known.
    pub fn faults(&self, memory: Option<&RangeSet<PhysAddr>>) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.version != 1 {
            faults.push(Fault::Version(self.version));
        }
        let claimed = self.claimed_sections;
        if usize::from(claimed) > MAX_SECTIONS {
            faults.push(Fault::TooManySections(claimed));
        }
        if self.sections.len() < usize::from(claimed).min(MAX_SECTIONS) {
            faults.push(Fault::MissingSections { claimed, found: self.sections.len() });
        }
        if self.sections.len() > usize::from(claimed) {
            faults.push(Fault::MoreSections { claimed, found: self.sections.len() });
        }
        if self.sections.is_empty() {
            faults.push(Fault::NoSections);
        } else if self.is_first_outside() {
            faults.push(Fault::FirstSectionOutside(self.first_section));
        } else if self.first_section as usize != HEADER {
            faults.push(Fault::FirstSection(self.first_section));
        }
        // Linux up to 2025 compared the whole field with 2000h, so that e000h passed for a good dump.
        if self.status.has(Status::ERROR) {
            faults.push(Fault::StatusError);
        }
        if !self.status.has(Status::PERFORMED | Status::TRIGGERED) {
            faults.push(Fault::NotPerformed(self.status));
        }
        if self.status.reserved() != 0 {
            faults.push(Fault::ReservedStatus(self.status.reserved()));
        }
        for (i, section) in self.sections.iter().enumerate() {
            section_faults(i, section, &mut faults);
            self.placement_faults(i, section, memory, &mut faults);
        }
        faults
    }

    fn placement_faults(
        &self,
        i: usize,
        section: &Section,
        memory: Option<&RangeSet<PhysAddr>>,
        faults: &mut Vec<Fault>,
    ) {
        let target = section.target();
        if !section.is_requested() || section.requested == 0 {
            return;
        }
        let wraps = section.destination.0.checked_add(section.requested).is_none();
        let inside = |m: &RangeSet<PhysAddr>| m.within(target).map(|r| r.len()).sum::<u64>() == target.len();
        if wraps || memory.is_some_and(|m| !inside(m)) {
            faults.push(Fault::OutsideMemory(i));
        }
        for (k, other) in self.sections.iter().enumerate() {
            if !other.is_requested() {
                continue;
            }
            if k > i && !target.intersect(&other.target()).is_empty() {
                faults.push(Fault::Overlap(i, k));
            }
            let moves = other.kind.copies_memory() && !(k == i && section.is_in_place());
            if moves && !target.intersect(&other.source_range()).is_empty() {
                faults.push(Fault::OverSource(i, k));
            }
        }
    }
}

fn section(bytes: &[u8]) -> Option<Section> {
    let get = Bytes::big(bytes);
    Some(Section {
        request: get.u32(0)?,
        kind: SectionKind::from_type(get.u16(4)?),
        errors: get.u16(6)?,
        source: PhysAddr(get.u64(8)?),
        requested: get.u64(0x10)?,
        copied: get.u64(0x18)?,
        destination: PhysAddr(get.u64(0x20)?),
    })
}

fn section_faults(i: usize, section: &Section, faults: &mut Vec<Fault>) {
    if let SectionKind::Unknown(kind) = section.kind {
        faults.push(Fault::UnknownType(i, kind));
    }
    if !section.is_requested() {
        faults.push(Fault::NotRequested(i));
    } else if section.copied == 0 && section.requested > 0 {
        faults.push(Fault::NotCopied(i));
    } else if section.copied < section.requested {
        faults.push(Fault::CopiedShort(i));
    } else if section.copied > section.requested {
        faults.push(Fault::CopiedMore(i));
    }
    let mut rest = section.errors;
    for (flag, _) in Section::ERRORS {
        if section.errors & flag != 0 {
            faults.push(Fault::ErrorFlag(i, flag));
        }
        rest &= !flag;
    }
    for (flag, _) in Section::ERRORS {
        if rest & flag.swap_bytes() != 0 {
            faults.push(Fault::SwappedErrorFlag(i, flag));
            rest &= !flag.swap_bytes();
        }
    }
    if rest != 0 {
        faults.push(Fault::ReservedError(i, rest));
    }
}

#[cfg(test)]
#[path = "kdms_tests.rs"]
mod tests;
