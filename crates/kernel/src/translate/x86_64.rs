//! x86_64: a walk of the kernel's page table of 4 or 5 levels.

use super::segments::Segments;
use super::{Mapping, missing, not_mapped};
use crate::Error;
use crate::physical::Physical;
use vmcore::{ByteOrder, PhysAddr, VirtAddr, VmcoreInfo};

/// `__START_KERNEL_map`: the virtual address that link address 0 is mapped at.
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
const PRESENT: u64 = 1;
/// `_PAGE_PSE`: the entry maps 1 GiB or 2 MiB.
const HUGE: u64 = 1 << 7;
/// Bits 12 to 51 of an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Names and shifts of the levels, the root of a 5-level table first.
const LEVELS: [(&str, u32); 5] = [("PGD", 48), ("P4D", 39), ("PUD", 30), ("PMD", 21), ("PTE", 12)];

/// The translator of an x86_64 kernel.
pub(crate) struct X86_64 {
    root: u64,
    phys_base: u64,
    /// What an entry's address is made of, the memory encryption bit taken off.
    address: u64,
    levels: &'static [(&'static str, u32)],
}

/// The physical address of link address 0: NUMBER(phys_base), or for kernels before 4.10 what the segment of the
/// kernel's image says.
pub(super) fn phys_base(info: &VmcoreInfo, segments: &Segments) -> Option<u64> {
    let from_image = || {
        let text = info.symbol("_stext")?;
        let mapping = segments.translate(text).filter(|_| text.0 >= KERNEL_MAP)?;
        Some(mapping.phys.0.wrapping_sub(text.0 - KERNEL_MAP))
    };
    info.number("phys_base").map(|n| n as u64).or_else(from_image)
}

impl X86_64 {
    /// Finds the root of the kernel's page table.
    pub(crate) fn open(info: &VmcoreInfo, segments: &Segments) -> Result<Self, Error> {
        const PURPOSE: &str = "address translation";
        // One table, named differently: swapper_pg_dir is a macro for the other two, init_level4_pgt until 4.12.
        let root = ["swapper_pg_dir", "init_top_pgt", "init_level4_pgt"]
            .iter()
            .find_map(|name| info.symbol(name))
            .ok_or_else(|| missing("SYMBOL(swapper_pg_dir)", PURPOSE))?;
        let phys_base = phys_base(info, segments).ok_or_else(|| missing("NUMBER(phys_base)", PURPOSE))?;
        let encryption = info.number("sme_mask").unwrap_or(0) as u64;
        let five = info.number("pgtable_l5_enabled").is_some_and(|n| n != 0);
        let address = ADDRESS & !encryption;
        Ok(Self {
            root: root.0.wrapping_sub(KERNEL_MAP).wrapping_add(phys_base) & address,
            phys_base,
            address,
            levels: if five { &LEVELS } else { &LEVELS[1..] },
        })
    }

    /// Where `addr` lies. The kernel's image is found by its base where a dump lacks its page tables.
    pub(crate) fn translate(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Error> {
        match self.walk(physical, addr) {
            Err(Error::NotInDump { .. }) if addr.0 >= KERNEL_MAP => {
                let phys =
                    addr.0.wrapping_sub(KERNEL_MAP).wrapping_add(self.phys_base) & self.address_and_offset();
                Ok(Mapping { phys: PhysAddr(phys), len: 4096 - (addr.0 & 4095) })
            }
            other => other,
        }
    }

    fn address_and_offset(&self) -> u64 {
        self.address | 0xfff
    }

    fn walk(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Error> {
        let unused = 64 - (self.levels[0].1 + 9);
        if (addr.0 as i64) << unused >> unused != addr.0 as i64 {
            return Err(not_mapped(addr, "it is not canonical"));
        }
        let mut table = self.root;
        for &(name, shift) in self.levels {
            let at = PhysAddr(table + (addr.0 >> shift & 511) * 8);
            let entry = physical.entry(at, ByteOrder::Little, name)?;
            if entry & PRESENT == 0 {
                return Err(not_mapped(addr, format!("the {name} entry at {at} is {entry:#x}")));
            }
            if shift == 12 || shift <= 30 && entry & HUGE != 0 {
                let inside = (1 << shift) - 1;
                let base = entry & self.address & !inside;
                let offset = addr.0 & inside;
                return Ok(Mapping { phys: PhysAddr(base | offset), len: (1 << shift) - offset });
            }
            table = entry & self.address;
        }
        Err(not_mapped(addr, "its page table has no last level"))
    }
}
