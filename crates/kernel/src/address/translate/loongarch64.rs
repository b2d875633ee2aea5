//! 64-bit LoongArch: windows that map memory directly, and page tables for vmalloc and vmemmap.
//!
//! Page tables are walked by software, and what is in them is up to the kernel: entries hold the next table's
//! address in the window of cached memory, and where nothing is mapped they hold that of a table of invalid entries.

use super::table::{Entries, Entry, Level, PageTable, Stop, Tree, levels, page_sized};
use super::tables::{TableVisitor, visit};
use super::{Mapping, missing, not_mapped};
use crate::Error;
use crate::address::physical::Physical;
use vmcore::{ByteOrder, PageSize, PhysAddr, VirtAddr, VmcoreInfo};

/// The window of cached memory (`CACHE_BASE`), which the kernel's image is linked in.
pub(super) const CACHED: u64 = 0x9000_0000_0000_0000;
/// `DMW_PABITS`: windows select by the upper 16 bits.
const WINDOW_BITS: u32 = 48;
/// `_PAGE_HUGE` in tables above the last; in the last one the bit means something else.
const HUGE: u64 = 1 << 6;
const PRESENT: u64 = 1 << 7;
/// More than one table is looked into to count levels, as memory in large pages ends a branch early.
const BRANCHES: usize = 4;
const MAX_LEVELS: usize = 4;

/// The physical address, if `addr` is in one of the windows (`XKPRANGE`).
fn window(addr: u64) -> Option<u64> {
    (addr >> 62 == 0b10).then_some(addr & ((1 << WINDOW_BITS) - 1))
}

/// The next table's physical address, if an entry holds one.
fn table(entry: u64) -> Option<u64> {
    window(entry).filter(|_| entry & 0xfff == 0)
}

/// The entries of a page table.
struct LoongEntries {
    /// The bits of a physical address.
    address: u64,
}

impl Entries for LoongEntries {
    fn decode(&self, entry: u64, _index: u64, _level: &Level, last: bool) -> Entry {
        let mapped = entry & PRESENT != 0 && (last || entry & HUGE != 0);
        match table(entry) {
            Some(next) if !last => Entry::Table(next),
            _ if mapped => Entry::Memory(entry & self.address),
            _ => Entry::Nothing,
        }
    }
}

/// The translator of a LoongArch kernel.
pub(super) struct LoongArch64 {
    /// The kernel's page table, or why it is not known.
    table: Result<PageTable<LoongEntries>, String>,
}

impl LoongArch64 {
    pub(super) fn open(info: &VmcoreInfo, physical: &Physical<'_>) -> Result<Self, Error> {
        let table = match Self::table(info, physical) {
            Err(Error::Read(error)) => return Err(Error::Read(error)),
            table => table.map_err(|error| error.to_string()),
        };
        Ok(Self { table })
    }

    /// Returns why addresses outside the windows cannot be translated, if so.
    pub(super) fn check(&self, info: &VmcoreInfo, physical: &Physical<'_>) -> Result<(), Error> {
        match self.table {
            Ok(_) => Ok(()),
            Err(_) => Self::table(info, physical).map(|_| ()),
        }
    }

    fn table(info: &VmcoreInfo, physical: &Physical<'_>) -> Result<PageTable<LoongEntries>, Error> {
        let page = physical.page_size();
        let symbol = info
            .symbol("swapper_pg_dir")
            .ok_or_else(|| missing("SYMBOL(swapper_pg_dir)", "address translation"))?;
        let root =
            window(symbol.0).ok_or_else(|| not_mapped(symbol, "the kernel's page table is in no window"))?;
        let depth = depth(physical, page, root, MAX_LEVELS)?;
        let each = page.shift() - 3;
        let index_bits =
            page_sized(page, page.shift() + depth as u32 * each).ok_or_else(|| Error::Implausible {
                what: "swapper_pg_dir".to_owned(),
                addr: symbol,
                found: format!("a table of {depth} levels of pages of {page}"),
                expected: "two to four levels".to_owned(),
            })?;
        Ok(PageTable {
            root: PhysAddr(root),
            levels: levels(page, &index_bits),
            order: ByteOrder::Little,
            entries: LoongEntries { address: (1 << WINDOW_BITS) - page.bytes() },
        })
    }

    /// Shows all of the kernel's page table.
    pub(super) fn visit(&self, physical: &Physical<'_>, visitor: &mut dyn TableVisitor) -> Result<(), Error> {
        match &self.table {
            Ok(table) => visit(table, physical, 0b11 << 62, visitor),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn walk(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Stop> {
        if let Some(phys) = window(addr.0) {
            let end = physical.end().0.max(phys + 1).min(1 << WINDOW_BITS);
            return Ok(Mapping { phys: PhysAddr(phys), len: end - phys });
        }
        let stop = |why: &str| Stop { error: not_mapped(addr, why), len: 1 };
        if addr.0 >> 62 != 0b11 {
            return Err(stop("it is not an address of the kernel"));
        }
        // The part that page tables are for starts over at each multiple of what they map.
        self.table.as_ref().map_err(|why| stop(why))?.walk(physical, addr)
    }
}

/// How many levels the tables from `at` on have, which the configuration decides and nothing records.
///
/// Each entry of a table but the last names another one, mapped or not, so following any of them finds the last; unless
/// it maps a large page.
fn depth(physical: &Physical<'_>, page: PageSize, at: u64, most: usize) -> Result<usize, Error> {
    let mut bytes = vec![0; page.len()];
    match physical.read(PhysAddr(at), &mut bytes, "page table") {
        Err(Error::Read(error)) => return Err(Error::Read(error)),
        Err(_) if most < MAX_LEVELS => return Ok(0),
        read => read?,
    }
    if most == 1 {
        return Ok(1);
    }
    let entries = bytes.chunks_exact(8).map(|bytes| ByteOrder::Little.u64(bytes));
    let mut next: Vec<u64> = Vec::new();
    for found in entries.filter_map(table) {
        if !next.contains(&found) {
            next.push(found);
        }
        if next.len() == BRANCHES {
            break;
        }
    }
    drop(bytes);
    let mut below = 0;
    for at in next {
        below = below.max(depth(physical, page, at, most - 1)?);
    }
    Ok(1 + below)
}
