//! Everything the firmware, the second kernel and the administrator can get wrong.
//!
//! A fault is data. The stage it belongs to picks it out of the list and applies it, so that any number of them can be
//! combined. [`crate::catalogue`] lists the cases that tests run.

use crate::extent::Extent;

/// One thing that goes wrong in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The section with this index is copied in part, or said to be.
    Copied(usize, Amount),
    /// The section with this index gets error flags.
    SectionFlags {
        /// Index of the section in the structure.
        section: usize,
        /// Flags to set.
        flags: u16,
        /// Whether its bytes are copied, and said to be, all the same.
        copied_in_full: bool,
    },
    /// The status field is this, whatever happened.
    Status(u16),
    /// The property's header is wrong.
    Header(HeaderFault),
    /// The register save area is wrong.
    Registers(RegistersFault),
    /// The HPTE save area is wrong.
    Hptes(HpteFault),
    /// A destination is where it must not be.
    Destination(DestinationFault),
    /// The crash-info header is wrong.
    CrashInfo(CrashInfoFault),
    /// The firmware did not save the CPU that crashed.
    CrashingCpuNotSaved,
    /// The hypervisor ended the partition: the kernel wrote no registers, mask or CRASHTIME.
    PartitionEnded,
    /// Memory that appeared after registration; it must be a hole until then.
    LmbAdded(Extent),
    /// Memory that went away after registration.
    LmbRemoved(Extent),
    /// `/proc/vmcore` is damaged.
    Vmcore(VmcoreFault),
    /// The VMCOREINFO note is wrong.
    Vmcoreinfo(VmcoreinfoFault),
    /// sysfs does not fit what is there.
    Sysfs(SysfsFault),
    /// OPAL's metadata or CPU data is wrong.
    Opal(OpalFault),
}

/// How much of a section is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Nothing.
    Nothing,
    /// This many bytes less than asked.
    ShortBy(u64),
    /// Half.
    Half,
    /// All, but the structure says this many bytes more.
    SaysMore(u64),
}

impl Amount {
    /// Bytes really copied and bytes said to be copied.
    pub fn of(self, requested: u64) -> (u64, u64) {
        let short = match self {
            Self::Nothing => 0,
            Self::ShortBy(bytes) => requested.saturating_sub(bytes),
            Self::Half => requested / 2,
            Self::SaysMore(bytes) => return (requested, requested.saturating_add(bytes)),
        };
        (short, short)
    }
}

/// What is wrong with the header of `ibm,kernel-dump`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// Another format version.
    Version(u32),
    /// Another number of sections than follow.
    SectionCount(u16),
    /// Another offset of the first section; from 28h to 200h the sections move there.
    FirstSection(u32),
    /// The property is cut to this many bytes.
    Length(usize),
}

/// What is wrong with the register save area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistersFault {
    /// Another magic number.
    Magic(u64),
    /// Another version.
    Version(u32),
    /// The count is at this offset, and the header says so.
    CountAt(u32),
    /// The header says this offset, but the count is where it always does.
    SaysCountAt(u32),
    /// Another number of CPUs than are there.
    Count(u32),
    /// The first CPU has no start marker.
    NoStart,
    /// The last CPU has no end marker.
    NoEnd,
    /// The first CPU's end marker names this id.
    EndId(u32),
    /// The first CPU appears twice.
    DuplicateCpu,
    /// The first CPU's id is this in both markers, as large as no kernel allows.
    CpuId(u32),
    /// An entry with this identifier is after the first CPU's start marker.
    ExtraEntry([u8; 8], u64),
    /// GPR05 of the first CPU appears twice, the second time inverted.
    DuplicateRegister,
    /// 32-bit registers carry rubbish in their upper half.
    DirtyUpperHalves,
    /// Each CPU's registers are in reverse order.
    OutOfOrder,
    /// The last entry ends after this many bytes.
    TruncatedAt(usize),
    /// CPUs that did not run are saved too.
    OfflineIncluded,
    /// CPUs stand in descending order.
    DescendingCpus,
}

/// What is wrong with the HPTE save area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HpteFault {
    /// Another magic number.
    Magic(u64),
    /// Another count than entries, at 18h and 1ch alike.
    Count(u64),
    /// Another value at 1ch than at 18h.
    CountAt1c(u32),
    /// All entries have the same index.
    DuplicateIndices,
}

/// Where the section of boot memory is copied to instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationFault {
    /// Boot memory is copied over the CPU save area.
    OverCpuArea,
    /// Boot memory is copied into itself, this many bytes further up.
    InsideSource(u64),
    /// Boot memory is to go past the end of RAM.
    BeyondRam,
    /// Boot memory is to go to this address, for holes and overlaps that a test lays out itself.
    At(u64),
}

/// What is wrong with the crash-info header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashInfoFault {
    /// Another magic number, in the kernel's byte order.
    Magic(u64),
    /// The magic, and all else, in the other byte order.
    Swapped,
    /// All zeros.
    Zero,
    /// Another version (`FADMPSIG` only).
    Version(u32),
    /// Another crashing CPU: all ones, an offline one, or a PIR.
    CrashingCpu(u32),
}

/// How `/proc/vmcore` is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmcoreFault {
    /// Cut at this many bytes.
    CutAt(u64),
    /// Cut inside the program headers.
    CutInProgramHeaders,
    /// Cut inside the notes.
    CutInNotes,
    /// Cut in the middle of the last PT_LOAD.
    CutInLoad,
    /// Empty.
    Empty,
    /// No program headers.
    NoProgramHeaders,
    /// A PT_NULL entry is in the middle of the table.
    NullEntry,
}

/// What is wrong with the VMCOREINFO note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmcoreinfoFault {
    /// There is no note at all.
    Missing,
    /// The crash-info header points at the original place, which the second boot has overwritten.
    NotRelocated,
    /// The note claims more bytes than its text has before the memory turns to zeros.
    Truncated,
    /// A second, older note is below the right one.
    TwoNotes,
    /// CRASHTIME is missing.
    NoCrashTime,
}

/// How sysfs contradicts what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysfsFault {
    /// `release_mem` has vanished although a dump is pending.
    NoReleaseMem,
    /// The firmware refuses to forget the dump.
    InvalidateFails,
    /// The kernel rejected the dump: property, but no `/proc/vmcore`, and memory already released.
    Rejected,
    /// `/proc/vmcore` of another origin is beside the property.
    BothPresent,
}

/// What is wrong with OPAL's metadata or CPU data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpalFault {
    /// The first thread's core state is 0f: inactive, skipped.
    InactiveCore,
    /// Bytes per thread is 0.
    ThreadSizeZero,
    /// The CPU data's size is no multiple of the thread size.
    SizeNotMultiple,
    /// Only this many of the regions were registered; later ones were never copied.
    Registered(u16),
    /// The metadata's version is this.
    Version(u8),
    /// Threads after the first have zeros for entry offset, count and size.
    OffsetInFirstThreadOnly,
    /// Region addresses carry the firmware's flag in bit 63.
    FlaggedAddresses,
}

/// The faults that `select` takes, in their order: each stage takes its own.
pub(crate) fn pick<'a, T>(
    faults: &'a [Fault],
    select: impl Fn(&'a Fault) -> Option<T> + 'a,
) -> impl Iterator<Item = T> + 'a {
    faults.iter().filter_map(select)
}
