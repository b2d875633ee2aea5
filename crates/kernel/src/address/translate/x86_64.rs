//! x86_64: a walk of the kernel's page table of 4 or 5 levels.

use super::segments::Segments;
use super::table::{Entries, Entry, Level, PageTable, Stop, Tree, levels};
use super::tables::{TableVisitor, visit};
use super::{Mapping, missing};
use crate::Error;
use crate::address::physical::Physical;
use crate::uts;
use vmcore::{ByteOrder, Dump, PageSize, PhysAddr, VirtAddr, VmcoreInfo};

/// `__START_KERNEL_map`: the virtual address that link address 0 is mapped at.
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// How far the image may reach there (`KERNEL_IMAGE_SIZE` with KASLR; half of it without).
const IMAGE_SIZE: u64 = 1 << 30;
const PRESENT: u64 = 1;
/// `_PAGE_PSE`: the entry maps 1 GiB or 2 MiB.
const HUGE: u64 = 1 << 7;
/// Bits 12 to 51 of an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// `CONFIG_PHYSICAL_ALIGN` is this at least.
const LOAD_ALIGN: u64 = 2 << 20;

/// The entries of a page table.
#[derive(Debug)]
struct X86Entries {
    /// What an entry's address is made of, the memory encryption bit taken off.
    address: u64,
}

impl Entries for X86Entries {
    fn decode(&self, entry: u64, _index: u64, level: &Level, last: bool) -> Entry {
        if entry & PRESENT == 0 {
            Entry::Nothing
        } else if last || entry & HUGE != 0 {
            // No page is larger than 1 GiB: in the levels above the bit is reserved.
            if level.shift <= 30 { Entry::Memory(entry & self.address) } else { Entry::Nothing }
        } else {
            Entry::Table(entry & self.address)
        }
    }
}

/// The translator of an x86_64 kernel.
pub(super) struct X86_64 {
    table: PageTable<X86Entries>,
    /// The physical address of link address 0.
    pub(super) phys_base: u64,
}

/// The physical address of link address 0: NUMBER(phys_base), or for kernels before 4.10 what the segment of the
/// kernel's image says, or where its own name is, or what the header of the input says.
fn phys_base(
    dump: &Dump,
    info: &VmcoreInfo,
    segments: &Segments,
    physical: &Physical<'_>,
) -> Result<Option<u64>, Error> {
    if let Some(base) = info.number("phys_base") {
        return Ok(Some(base as u64));
    }
    let from_image = || {
        let text = info.symbol("_stext")?;
        let mapping = segments.translate(text).filter(|_| text.0 >= KERNEL_MAP)?;
        Some(mapping.phys.0.wrapping_sub(text.0 - KERNEL_MAP))
    };
    match from_image() {
        Some(base) => Ok(Some(base)),
        None => Ok(search_base(info, physical)?.or(dump.source.phys_base)),
    }
}

/// Looks for the base at which the variable `phys_base` holds that very base and the kernel's name is in its place.
///
/// Kernels before 4.10 name only the variable, whose address says nothing until the base is known. Most of them run
/// where they were linked, the others below 4 GiB.
fn search_base(info: &VmcoreInfo, physical: &Physical<'_>) -> Result<Option<u64>, Error> {
    let (Some(variable), Ok(name)) = (info.symbol("phys_base"), uts::address(info)) else { return Ok(None) };
    if variable.0 < KERNEL_MAP || name.0 < KERNEL_MAP {
        return Ok(None);
    }
    let at = |addr: VirtAddr, base: u64| PhysAddr((addr.0 - KERNEL_MAP).wrapping_add(base));
    let bytes = |addr: PhysAddr, bytes: &mut [u8]| match physical.read(addr, bytes, "phys_base") {
        Ok(()) => Ok(true),
        Err(Error::Read(error)) => Err(Error::Read(error)),
        Err(_) => Ok(false),
    };
    let upwards = (0..(4 << 30) / LOAD_ALIGN).map(|n| n * LOAD_ALIGN);
    let downwards = (1..IMAGE_SIZE / LOAD_ALIGN).map(|n| (n * LOAD_ALIGN).wrapping_neg());
    for base in upwards.chain(downwards) {
        let (mut value, mut linux) = ([0; 8], [0; 6]);
        let here = physical.exists(at(variable, base))
            && bytes(at(variable, base), &mut value)?
            && u64::from_le_bytes(value) == base
            && bytes(at(name, base), &mut linux)?;
        if here && &linux == b"Linux\0" {
            return Ok(Some(base));
        }
    }
    Ok(None)
}

impl X86_64 {
    /// Finds the root of the kernel's page table.
    pub(super) fn open(
        dump: &Dump,
        info: &VmcoreInfo,
        segments: &Segments,
        physical: &Physical<'_>,
    ) -> Result<Self, Error> {
        const PURPOSE: &str = "address translation";
        // One table, named differently: swapper_pg_dir is a macro for the other two, init_level4_pgt until 4.12.
        let root = ["swapper_pg_dir", "init_top_pgt", "init_level4_pgt"]
            .iter()
            .find_map(|name| info.symbol(name))
            .ok_or_else(|| missing("SYMBOL(swapper_pg_dir)", PURPOSE))?;
        let phys_base = phys_base(dump, info, segments, physical)?
            .ok_or_else(|| missing("NUMBER(phys_base)", PURPOSE))?;
        let encryption = info.number("sme_mask").unwrap_or(0) as u64;
        let five = info.number("pgtable_l5_enabled").is_some_and(|n| n != 0);
        let address = ADDRESS & !encryption;
        let table = PageTable {
            root: PhysAddr(root.0.wrapping_sub(KERNEL_MAP).wrapping_add(phys_base) & address),
            levels: levels(PageSize::K4, if five { &[9; 5] } else { &[9; 4] }),
            order: ByteOrder::Little,
            entries: X86Entries { address },
        };
        Ok(Self { table, phys_base })
    }

    pub(super) fn walk(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Stop> {
        self.table.walk_canonical(physical, addr)
    }

    /// Shows all of the kernel's page table.
    pub(super) fn visit(&self, physical: &Physical<'_>, visitor: &mut dyn TableVisitor) -> Result<(), Error> {
        visit(&self.table, physical, self.kernel_half(), visitor)
    }

    /// The kernel's image, found by its base where a dump lacks its page tables.
    pub(super) fn computed(&self, addr: VirtAddr) -> Option<Mapping> {
        let offset = addr.0.checked_sub(KERNEL_MAP).filter(|&offset| offset < IMAGE_SIZE)?;
        Some(Mapping { phys: PhysAddr(offset.wrapping_add(self.phys_base)), len: IMAGE_SIZE - offset })
    }

    /// Where the direct map is at the lowest: the upper half of the address space, which begins with a hole.
    pub(super) fn kernel_half(&self) -> u64 {
        u64::MAX << (self.table.va_bits() - 1)
    }
}
