//! 32-bit kernels: the part of memory that is always mapped, where the image and the log are.

use super::table::Stop;
use super::{Mapping, missing, not_mapped};
use crate::Error;
use crate::address::physical::Physical;
use vmcore::{Arch, PhysAddr, VirtAddr, VmcoreInfo};

/// The translator of a 32-bit kernel.
pub(super) struct Lowmem {
    /// `PAGE_OFFSET`.
    start: u64,
    /// Where vmalloc begins at the earliest.
    end: u64,
    /// The physical address of `start`.
    phys: u64,
}

impl Lowmem {
    /// Takes the start of kernel addresses from `_stext`, in whose first 256 MiB the image is.
    pub(super) fn open(arch: Arch, info: &VmcoreInfo, physical: &Physical<'_>) -> Result<Self, Error> {
        let text = info.symbol("_stext").ok_or_else(|| missing("SYMBOL(_stext)", "address translation"))?;
        if !(0x4000_0000..0xf000_0000).contains(&text.0) {
            return Err(not_mapped(text, "_stext is not an address of a 32-bit kernel"));
        }
        let (end, phys) = match arch {
            // 128 MiB are vmalloc's, 256 MiB elsewhere.
            Arch::I386 => (0xf800_0000, 0),
            Arch::Arm => (0xf000_0000, physical.start().0),
            _ => (0xf000_0000, 0),
        };
        Ok(Self { start: text.0 & 0xf000_0000, end, phys })
    }

    pub(super) fn walk(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Stop> {
        let phys = addr.0.checked_sub(self.start).map(|offset| PhysAddr(offset.saturating_add(self.phys)));
        match phys.filter(|&phys| addr.0 < self.end && physical.exists(phys)) {
            Some(phys) => Ok(Mapping { phys, len: self.end - addr.0 }),
            None => Err(Stop {
                error: not_mapped(addr, "it is outside the memory that a 32-bit kernel always maps"),
                len: 1,
            }),
        }
    }

    /// The virtual address of physical 0, and the end of physical memory that is mapped there.
    pub(super) fn linear(&self) -> (u64, u64) {
        (self.start.wrapping_sub(self.phys), self.phys.saturating_add(self.end - self.start))
    }
}
