//! From virtual to physical addresses.
//!
//! Each architecture has a translator of its own. They answer not only where a byte lies but how many bytes from there
//! on lie side by side, so that whole arrays are read at once.

mod ppc64;
mod segments;
mod vmemmap_list;
mod x86_64;

use crate::Error;
use crate::physical::Physical;
use ppc64::Ppc64;
use segments::Segments;
use vmcore::{Arch, Dump, PhysAddr, VirtAddr, VmcoreInfo};
use x86_64::X86_64;

/// Where a virtual address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The physical address.
    pub(crate) phys: PhysAddr,
    /// Bytes from there on that are mapped side by side; at least 1.
    pub(crate) len: u64,
}

/// The way of one architecture.
enum Way {
    Ppc64(Ppc64),
    X86_64(X86_64),
    /// What the input's segments say is all that is known.
    SegmentsOnly,
}

/// How the dumped kernel's addresses are translated.
pub(crate) struct Translator {
    way: Way,
    segments: Segments,
}

impl Translator {
    /// The translator for the machine of `dump`.
    pub(crate) fn choose(dump: &Dump, info: &VmcoreInfo, physical: &Physical<'_>) -> Result<Self, Error> {
        let segments = Segments::new(&dump.virt);
        let way = match dump.machine.arch {
            Arch::Ppc64 => Way::Ppc64(Ppc64::open(dump.machine.order, info, physical)?),
            Arch::X86_64 => Way::X86_64(X86_64::open(info, &segments)?),
            _ => Way::SegmentsOnly,
        };
        Ok(Self { way, segments })
    }

    /// Answers why the kernel's own tables cannot be used, if so: struct pages are not found without them.
    pub(crate) fn check(&self, dump: &Dump, info: &VmcoreInfo, physical: &Physical<'_>) -> Result<(), Error> {
        match &self.way {
            Way::Ppc64(ppc64) => ppc64.check(dump.machine.order, info, physical),
            Way::X86_64(_) | Way::SegmentsOnly => Ok(()),
        }
    }

    /// Where `addr` lies. The input's segments answer where the kernel's tables do not.
    pub(crate) fn translate(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Error> {
        let walked = match &self.way {
            Way::Ppc64(ppc64) => ppc64.translate(physical, addr),
            Way::X86_64(x86) => x86.translate(physical, addr),
            Way::SegmentsOnly => Err(not_mapped(addr, "no segment of the dump holds it")),
        };
        match walked {
            Err(Error::NotMapped { .. } | Error::NotInDump { .. }) => {
                self.segments.translate(addr).map_or(walked, Ok)
            }
            other => other,
        }
    }
}

/// Where the kernel's link address 0 lies in physical memory, as kdump readers expect it for each architecture.
pub(crate) fn phys_base(dump: &Dump, info: &VmcoreInfo) -> u64 {
    let number = |name| info.number(name).map(|n| n as u64);
    match dump.machine.arch {
        Arch::X86_64 => x86_64::phys_base(info, &Segments::new(&dump.virt)).unwrap_or(0),
        Arch::Aarch64 => number("PHYS_OFFSET").unwrap_or(0),
        Arch::Riscv64 => number("phys_ram_base").unwrap_or(0),
        Arch::Arm => dump.memory.map().bytes().iter().next().map_or(0, |r| r.start.0),
        _ => 0,
    }
}

fn not_mapped(addr: VirtAddr, why: impl Into<String>) -> Error {
    Error::NotMapped { addr, why: why.into() }
}

fn missing(key: &str, purpose: &'static str) -> Error {
    Error::MissingKey { key: key.to_owned(), purpose }
}
