//! From virtual to physical addresses.
//!
//! Each architecture has a translator of its own. They answer not only where a byte lies but how many bytes from there
//! on lie side by side, so that whole arrays are read at once.

mod arm64;
mod loongarch64;
mod lowmem;
mod ppc64;
mod riscv64;
mod s390x;
mod segments;
mod table;
mod tables;
mod virt;
mod x86_64;

use crate::Error;
use crate::address::physical::Physical;
use arm64::Arm64;
use loongarch64::LoongArch64;
use lowmem::Lowmem;
use ppc64::Ppc64;
use riscv64::Riscv64;
use s390x::S390x;
use segments::Segments;
pub(crate) use table::Stop;
pub(crate) use tables::TableVisitor;
use vmcore::{Arch, Dump, PhysAddr, VirtAddr, VmcoreInfo};
use x86_64::X86_64;

/// The smallest pages of any machine.
const SMALLEST: u64 = 4096;
/// What the ends of regions whose addresses are computed are multiples of.
const COMPUTED: u64 = 2 << 20;

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
    Arm64(Arm64),
    S390x(S390x),
    Riscv64(Riscv64),
    LoongArch64(LoongArch64),
    Lowmem(Lowmem),
    /// What the input's segments say is all that is known.
    SegmentsOnly,
}

impl Way {
    fn open(
        dump: &Dump,
        info: &VmcoreInfo,
        segments: &Segments,
        physical: &Physical<'_>,
    ) -> Result<Self, Error> {
        let order = dump.machine.order;
        Ok(match dump.machine.arch {
            Arch::Ppc64 => Self::Ppc64(Ppc64::open(order, info, physical)?),
            Arch::X86_64 => Self::X86_64(X86_64::open(dump, info, segments, physical)?),
            Arch::Aarch64 => Self::Arm64(Arm64::open(order, info, segments, physical)?),
            Arch::S390x => Self::S390x(S390x::open(info, physical)?),
            Arch::Riscv64 => Self::Riscv64(Riscv64::open(info, segments, physical)?),
            Arch::LoongArch64 => Self::LoongArch64(LoongArch64::open(info, physical)?),
            arch @ (Arch::I386 | Arch::Arm | Arch::Ppc) => Self::Lowmem(Lowmem::open(arch, info, physical)?),
            _ => return Err(Error::Unsupported(format!("{}: addresses are not translated", dump.machine))),
        })
    }

    /// Where the kernel's own tables have `addr`.
    fn walk(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Stop> {
        match self {
            Self::Ppc64(way) => way.walk(physical, addr),
            Self::X86_64(way) => way.walk(physical, addr),
            Self::Arm64(way) => way.walk(physical, addr),
            Self::S390x(way) => way.walk(physical, addr),
            Self::Riscv64(way) => way.walk(physical, addr),
            Self::LoongArch64(way) => way.walk(physical, addr),
            Self::Lowmem(way) => way.walk(physical, addr),
            Self::SegmentsOnly => {
                Err(Stop { error: not_mapped(addr, "no segment of the dump holds it"), len: 1 })
            }
        }
    }

    /// Where `addr` lies without looking into tables, as these are not in the dump.
    fn computed(&self, physical: &Physical<'_>, addr: VirtAddr) -> Option<Mapping> {
        match self {
            Self::X86_64(way) => way.computed(addr),
            Self::Arm64(way) => way.computed(physical, addr),
            Self::S390x(way) => way.computed(physical, addr),
            Self::Riscv64(way) => way.computed(physical, addr),
            Self::Ppc64(_) | Self::LoongArch64(_) | Self::Lowmem(_) | Self::SegmentsOnly => None,
        }
    }
}

/// How the dumped kernel's addresses are translated.
pub(crate) struct Translator {
    way: Way,
    segments: Segments,
}

impl Translator {
    /// The translator for the machine of `dump`.
    ///
    /// # Errors
    ///
    /// When VMCOREINFO lacks what leads to the kernel's tables and the input says nothing of virtual addresses either,
    /// and when the input is damaged.
    pub(crate) fn choose(dump: &Dump, info: &VmcoreInfo, physical: &Physical<'_>) -> Result<Self, Error> {
        let segments = Segments::new(dump.machine, &dump.virt);
        let way = match Way::open(dump, info, &segments, physical) {
            Err(Error::Read(error)) => return Err(error.into()),
            // The name and the log can still be read where the input says where the image is.
            Err(_) if !segments.is_empty() => Way::SegmentsOnly,
            way => way?,
        };
        Ok(Self { way, segments })
    }

    /// Returns why the kernel's own tables cannot be used, if so: struct pages are not found without them.
    pub(crate) fn check(&self, dump: &Dump, info: &VmcoreInfo, physical: &Physical<'_>) -> Result<(), Error> {
        match &self.way {
            Way::Ppc64(way) => way.check(dump.machine.order, info, physical),
            Way::LoongArch64(way) => way.check(info, physical),
            Way::SegmentsOnly => Way::open(dump, info, &self.segments, physical).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Shows `visitor` the kernel's page table, all of it; nothing where its layout is not known.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged.
    pub(crate) fn visit(&self, physical: &Physical<'_>, visitor: &mut dyn TableVisitor) -> Result<(), Error> {
        match &self.way {
            Way::Ppc64(way) => way.visit(physical, visitor),
            Way::X86_64(way) => way.visit(physical, visitor),
            Way::Arm64(way) => way.visit(physical, visitor),
            Way::Riscv64(way) => way.visit(physical, visitor),
            Way::LoongArch64(way) => way.visit(physical, visitor),
            Way::S390x(way) => way.visit(physical, visitor),
            Way::Lowmem(_) | Way::SegmentsOnly => Ok(()),
        }
    }

    /// Where `addr` lies. The input's segments answer where the kernel's tables do not.
    pub(crate) fn translate(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Error> {
        Ok(self.translate_or_stop(physical, addr)?)
    }

    /// As [`Translator::translate`]. An error says how far it holds, so that whoever looks for more need not ask for
    /// each page: a hostile dump has room for 2^40 of them where nothing is mapped.
    pub(crate) fn translate_or_stop(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Stop> {
        let Stop { error, len } = match self.way.walk(physical, addr) {
            Ok(mapping) => return Ok(mapping),
            Err(stop) => stop,
        };
        let other = match error {
            Error::NotMapped { .. } => self.segments.translate(addr),
            Error::NotInDump { .. } => {
                self.segments.translate(addr).or_else(|| self.way.computed(physical, addr))
            }
            _ => None,
        };
        let len = match error {
            Error::NotMapped { .. } => len.min(self.segments.distance(addr)),
            // Computed addresses begin and end at multiples of this at least, segments anywhere.
            _ => len.min(COMPUTED - addr.0 % COMPUTED).min(self.segments.distance(addr)),
        };
        // Every mapping is a whole number of the smallest pages, whatever the kernel's page size is.
        other.ok_or_else(|| Stop { error, len: len.max(SMALLEST - addr.0 % SMALLEST) })
    }

    /// Where the kernel's link address 0 lies in physical memory, as kdump readers expect it for each architecture.
    pub(crate) fn phys_base(&self, dump: &Dump, info: &VmcoreInfo) -> u64 {
        let number = |name| info.number(name).map(|n| n as u64).or(dump.source.phys_base);
        let lowest = || dump.memory.map().bytes().iter().next().map_or(0, |range| range.start.0);
        match (&self.way, dump.machine.arch) {
            (Way::X86_64(way), _) => way.phys_base,
            (_, Arch::X86_64) => number("phys_base").unwrap_or(0),
            (_, Arch::Aarch64) => number("PHYS_OFFSET").unwrap_or(0),
            (_, Arch::Riscv64) => number("phys_ram_base").unwrap_or_else(lowest),
            (_, Arch::Arm) => lowest(),
            _ => 0,
        }
    }
}

fn not_mapped(addr: VirtAddr, why: impl Into<String>) -> Error {
    Error::NotMapped { addr, why: why.into() }
}

fn missing(key: &str, purpose: &'static str) -> Error {
    Error::MissingKey { key: key.to_owned(), purpose }
}
