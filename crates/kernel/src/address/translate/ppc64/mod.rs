//! 64-bit POWER, both byte orders, radix and hash MMU.
//!
//! The linear map starts at 0xc000000000000000 and is read off the address. vmemmap is found through `vmemmap_list`
//! where the kernel keeps one, and through the kernel's page tables elsewhere, wherever it lies: 0xf000… (before 4.14,
//! hash), 0xc00c… (radix, and hash with 64 KiB pages since 5.3), 0xc0003f… (hash with 4 KiB pages).

mod linear;
mod vmemmap_list;

use super::table::{Entries, Entry, Level, PageTable, Stop, Tree, levels};
use super::tables::{TableVisitor, visit};
use super::{Mapping, not_mapped};
use crate::Error;
use crate::address::physical::Physical;
pub(super) use linear::LINEAR;
use linear::LINEAR_MASK;
use vmcore::{ByteOrder, PageSize, PhysAddr, VirtAddr, VmcoreInfo};
use vmemmap_list::VmemmapList;

/// `_PAGE_PRESENT` and the valid bit of tables, since 4.6.
const PRESENT: u64 = 1 << 63;
/// `_PAGE_PTE`: the entry maps memory instead of naming a table.
const LEAF: u64 = 1 << 62;
/// What is no address in an entry that names a table: the two bits above and 8 low bits.
const TABLE_FLAGS: u64 = PRESENT | LEAF | 0xff;
/// `PTE_RPN_MASK`, before the bits below the page are taken off: 53 bits.
const LEAF_ADDRESS: u64 = (1 << 53) - 1;
/// `MMU_FTR_TYPE_RADIX` of `cpu_spec.mmu_features`.
const FEATURE_RADIX: u32 = 0x40;

/// The entries of a page table.
struct PowerEntries;

impl Entries for PowerEntries {
    fn decode(&self, entry: u64, _index: u64, _level: &Level, last: bool) -> Entry {
        if entry & PRESENT == 0 {
            Entry::Nothing
        } else if last || entry & LEAF != 0 {
            Entry::Memory(entry & LEAF_ADDRESS)
        } else {
            Entry::Table(entry & !TABLE_FLAGS)
        }
    }
}

/// Index bits of PGD, PUD, PMD and PTE: `RADIX_*_INDEX_SIZE` of the kernel's `radix-4k.h` and `radix-64k.h`, which never
/// changed, and `H_*_INDEX_SIZE` of `hash-4k.h` and `hash-64k.h` since 4.17.
fn index_bits(page: PageSize, radix: bool) -> Option<[u32; 4]> {
    match (page, radix) {
        (PageSize::K64, true) => Some([13, 9, 9, 5]),
        (PageSize::K4, true) => Some([13, 9, 9, 9]),
        (PageSize::K64, false) => Some([8, 10, 10, 8]),
        (PageSize::K4, false) => Some([9, 9, 7, 9]),
        _ => None,
    }
}

/// The translator of a POWER kernel.
pub(super) struct Ppc64 {
    /// Where the linear map ends at the latest, when the kernel says so (6.9).
    vmalloc_start: Option<u64>,
    /// How the rest is found, or why it cannot be. The linear map, where the kernel and its log are, needs nothing.
    rest: Result<Rest, String>,
}

/// What leads to addresses outside the linear map.
struct Rest {
    vmemmap: Option<VmemmapList>,
    /// The kernel's page table, whose entries are big-endian under either byte order since 4.7.
    table: Option<PageTable<PowerEntries>>,
}

impl Rest {
    fn open(order: ByteOrder, info: &VmcoreInfo, physical: &Physical<'_>) -> Result<Self, Error> {
        let radix = is_radix(order, info, physical)?;
        let vmemmap = VmemmapList::open(order, info, physical)?;
        // Hash kernels changed table sizes and entries six times until 4.17, and nothing in VMCOREINFO says which they
        // have. Those that name MAX_PHYSMEM_BITS (5.9) have the last ones. Older ones keep vmalloc addresses to
        // themselves; struct pages and everything else that is asked for lies elsewhere.
        let known = radix || info.number("MAX_PHYSMEM_BITS").is_some();
        let page = physical.page_size();
        let table = info
            .symbol("swapper_pg_dir")
            .filter(|addr| known && addr.0 >> 60 == 0xc)
            .map(|addr| PhysAddr(addr.0 & LINEAR_MASK))
            .zip(index_bits(page, radix))
            .map(|(root, bits)| PageTable {
                root,
                levels: levels(page, &bits),
                order: ByteOrder::Big,
                entries: PowerEntries,
            });
        Ok(Self { vmemmap, table })
    }
}

impl Ppc64 {
    /// Learns MMU type, tables and `vmemmap_list`.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged: a kernel whose tables make no sense still has a log.
    pub(super) fn open(order: ByteOrder, info: &VmcoreInfo, physical: &Physical<'_>) -> Result<Self, Error> {
        let rest = match Rest::open(order, info, physical) {
            Err(Error::Read(error)) => return Err(error.into()),
            rest => rest.map_err(|error| error.to_string()),
        };
        Ok(Self { vmalloc_start: info.number("VMALLOC_START").map(|n| n as u64), rest })
    }

    /// Returns why addresses outside the linear map cannot be translated, if so.
    pub(super) fn check(
        &self,
        order: ByteOrder,
        info: &VmcoreInfo,
        physical: &Physical<'_>,
    ) -> Result<(), Error> {
        match self.rest {
            Ok(_) => Ok(()),
            Err(_) => Rest::open(order, info, physical).map(|_| ()),
        }
    }

    /// Where `addr` lies.
    pub(super) fn walk(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Stop> {
        let vmemmap = self.rest.as_ref().ok().and_then(|rest| rest.vmemmap.as_ref());
        if let Some(mapping) = vmemmap.and_then(|list| list.translate(addr)) {
            return Ok(mapping);
        }
        if let Some(mapping) = self.linear(physical, addr) {
            return Ok(mapping);
        }
        let stop = |why: &str| Stop { error: not_mapped(addr, why), len: 1 };
        if addr.0 >> 60 < 0xc {
            return Err(stop("it is not an address of the kernel"));
        }
        let rest = self.rest.as_ref().map_err(|why| stop(why))?;
        match &rest.table {
            Some(table) => table.walk(physical, addr),
            None => Err(stop("VMCOREINFO does not give the kernel's page table and its layout")),
        }
    }

    /// Shows all of the kernel's page table.
    pub(super) fn visit(&self, physical: &Physical<'_>, visitor: &mut dyn TableVisitor) -> Result<(), Error> {
        match self.rest.as_ref().ok().and_then(|rest| rest.table.as_ref()) {
            Some(table) => visit(table, physical, LINEAR, visitor),
            None => Ok(()),
        }
    }

    /// The linear map. It reaches as far as memory does: kernels before 6.9 do not say where other regions start, but
    /// all lie above any memory.
    fn linear(&self, physical: &Physical<'_>, addr: VirtAddr) -> Option<Mapping> {
        if addr.0 >> 60 != 0xc {
            return None;
        }
        let phys = addr.0 & LINEAR_MASK;
        let mut end = physical.end().0;
        if let Some(vmalloc) = self.vmalloc_start.filter(|v| v >> 60 == 0xc) {
            end = end.min(vmalloc & LINEAR_MASK);
        }
        (phys < end).then(|| Mapping { phys: PhysAddr(phys), len: end - phys })
    }
}

/// Which MMU the kernel ran on: NUMBER(RADIX_MMU) of 6.9, else the feature bits of the CPU. Kernels that say neither
/// are older than the radix MMU.
fn is_radix(order: ByteOrder, info: &VmcoreInfo, physical: &Physical<'_>) -> Result<bool, Error> {
    if let Some(radix) = info.number("RADIX_MMU") {
        return Ok(radix == 1);
    }
    let Some((symbol, offset)) = info.symbol("cur_cpu_spec").zip(info.offset("cpu_spec.mmu_features")) else {
        return Ok(false);
    };
    let mut bytes = [0; 8];
    physical.read(PhysAddr(symbol.0 & LINEAR_MASK), &mut bytes, "cur_cpu_spec")?;
    let spec = order.u64(&bytes).wrapping_add(offset) & LINEAR_MASK;
    let mut bytes = [0; 4];
    physical.read(PhysAddr(spec), &mut bytes, "cur_cpu_spec->mmu_features")?;
    Ok(order.u32(&bytes) & FEATURE_RADIX != 0)
}
