//! Page tables as most architectures have them: trees of 64-bit entries, an index of the address for each level.

use super::{Mapping, not_mapped};
use crate::Error;
use crate::address::physical::Physical;
use std::ops::Range;
use vmcore::{ByteOrder, PageSize, PhysAddr, VirtAddr};

/// Entries read at once. What the following ones map beside the first makes the mapping longer, so that arrays of
/// `struct page`s in small pages are not walked page by page.
const GROUP: u64 = 32;

/// One level of a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) name: &'static str,
    /// Base-two logarithm of the bytes that one entry stands for.
    pub(super) shift: u32,
    /// Base-two logarithm of the entries in a table. It follows from the architecture and has nothing to do with the
    /// page size: the radix root of POWER has 2^13 entries, 64 KiB, with 4 KiB pages too.
    pub(super) bits: u32,
}

/// The levels of a table whose indices have `bits` bits each, the root's first.
pub(super) fn levels(page: PageSize, bits: &[u32]) -> Vec<Level> {
    let names: &[&'static str] = match bits.len() {
        2 => &["PGD", "PTE"],
        3 => &["PGD", "PMD", "PTE"],
        4 => &["PGD", "PUD", "PMD", "PTE"],
        _ => &["PGD", "P4D", "PUD", "PMD", "PTE"],
    };
    let mut shift = page.shift();
    let mut levels: Vec<Level> = bits
        .iter()
        .rev()
        .zip(names.iter().rev())
        .map(|(&bits, &name)| {
            let level = Level { name, shift, bits };
            shift += bits;
            level
        })
        .collect();
    levels.reverse();
    levels
}

/// Index bits of tables that fill a page each, for addresses of `va_bits` bits; the root may be smaller. `None` for
/// fewer than two or more than five levels, and for more bits than an address has.
pub(super) fn page_sized(page: PageSize, va_bits: u32) -> Option<Vec<u32>> {
    let each = page.shift() - 3;
    let indexed =
        va_bits.checked_sub(page.shift()).filter(|&n| n > each && n <= 5 * each && va_bits <= 64)?;
    let count = indexed.div_ceil(each);
    let root = indexed - (count - 1) * each;
    Some((0..count).map(|i| if i == 0 { root } else { each }).collect())
}

/// What one entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing is mapped here.
    Nothing,
    /// The next table's physical address.
    Table(u64),
    /// The physical address of memory.
    Memory(u64),
}

/// Why a walk ended without an answer.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) error: Error,
    /// Bytes from the address on that the same answer is true for; at least 1.
    pub(crate) len: u64,
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        stop.error
    }
}

/// A tree of tables.
pub(super) trait Tree {
    /// Where the root lies.
    fn root(&self) -> PhysAddr;

    /// The levels, the root's first.
    fn levels(&self) -> &[Level];

    /// The byte order of entries.
    fn order(&self) -> ByteOrder;

    /// Takes apart the entry at `index` of a table of the level `depth`, 0 for the root.
    fn decode(&self, entry: u64, index: u64, depth: usize) -> Entry;

    /// The entries that exist in the table that `entry` of the level `depth` names.
    fn named(&self, _entry: u64, depth: usize) -> Range<u64> {
        0..self.levels().get(depth + 1).map_or(0, |level| 1 << level.bits)
    }

    /// The bits of an address that are looked at.
    fn va_bits(&self) -> u32 {
        self.levels().first().map_or(0, |level| level.shift + level.bits)
    }

    /// Where `addr` lies. Bits above those that there are indices for are not looked at.
    fn walk(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Stop> {
        let mut table = self.root().0;
        let mut indices = 0..self.levels().first().map_or(0, |level| 1 << level.bits);
        for (depth, level) in self.levels().iter().enumerate() {
            let index = addr.0 >> level.shift & ((1 << level.bits) - 1);
            let inside = addr.0 & ((1 << level.shift) - 1);
            let stop = |error| Stop { error, len: (1 << level.shift) - inside };
            if !indices.contains(&index) {
                let why = format!("its {} table has the entries {indices:?}, not {index}", level.name);
                return Err(stop(not_mapped(addr, why)));
            }
            // All groups are of aligned entries, so none leaves its table.
            let count = (GROUP - index % GROUP).min(indices.end - index) as usize;
            let at = PhysAddr(table.saturating_add(index * 8));
            let mut bytes = [0; GROUP as usize * 8];
            let bytes = &mut bytes[..count * 8];
            physical.read(at, bytes, level.name).map_err(stop)?;
            let mut entries = bytes.chunks_exact(8).zip(index..).map(|(bytes, index)| {
                let entry = self.order().u64(bytes);
                (entry, self.decode(entry, index, depth))
            });
            match entries.next() {
                Some((entry, Entry::Table(next))) => {
                    table = next;
                    indices = self.named(entry, depth);
                }
                Some((_, Entry::Memory(base))) => {
                    let base = base >> level.shift << level.shift;
                    let beside = |(i, (_, entry)): (u64, (u64, Entry))| matches!(entry, Entry::Memory(next) if base.checked_add(i << level.shift) == Some(next));
                    let run = 1 + (1..).zip(entries).take_while(|&next| beside(next)).count() as u64;
                    let len = (run << level.shift) - inside;
                    return Ok(Mapping { phys: PhysAddr(base | inside), len });
                }
                found => {
                    let entry = found.map_or(0, |(entry, _)| entry);
                    let why = format!("the {} entry at {at} is {entry:#x}", level.name);
                    let more = entries.take_while(|(_, entry)| *entry == Entry::Nothing).count() as u64;
                    let Stop { error, len } = stop(not_mapped(addr, why));
                    return Err(Stop { error, len: len + (more << level.shift) });
                }
            }
        }
        Err(Stop { error: not_mapped(addr, "its page table has no last level"), len: 1 })
    }

    /// As [`walk`](Self::walk), where the bits above must all be as the highest one that there is an index for.
    fn walk_canonical(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Stop> {
        let unused = 64 - self.va_bits();
        if (addr.0 as i64) << unused >> unused != addr.0 as i64 {
            return Err(Stop { error: not_mapped(addr, "it is not canonical"), len: 1 });
        }
        self.walk(physical, addr)
    }
}

/// The entries of one architecture.
pub(super) trait Entries {
    /// Takes apart the entry at `index` of its table.
    fn decode(&self, entry: u64, index: u64, level: &Level, last: bool) -> Entry;
}

/// A page table whose tables are whole and whose levels are alike.
#[derive(Debug)]
pub(super) struct PageTable<E> {
    pub(super) root: PhysAddr,
    pub(super) levels: Vec<Level>,
    pub(super) order: ByteOrder,
    pub(super) entries: E,
}

impl<E: Entries> Tree for PageTable<E> {
    fn root(&self) -> PhysAddr {
        self.root
    }

    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn order(&self) -> ByteOrder {
        self.order
    }

    fn decode(&self, entry: u64, index: u64, depth: usize) -> Entry {
        self.entries.decode(entry, index, &self.levels[depth], depth + 1 == self.levels.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_named_and_stand_on_one_another() {
        let levels = levels(PageSize::K64, &[13, 9, 9, 5]);
        let shown: Vec<_> = levels.iter().map(|l| (l.name, l.shift, l.bits)).collect();
        assert_eq!(shown, [("PGD", 39, 13), ("PUD", 30, 9), ("PMD", 21, 9), ("PTE", 16, 5)]);
    }

    #[test]
    fn the_root_takes_the_bits_that_full_tables_leave() {
        let k16 = PageSize::new(1 << 14).unwrap();
        assert_eq!(page_sized(PageSize::K4, 39), Some(vec![9, 9, 9]));
        assert_eq!(page_sized(PageSize::K4, 52), Some(vec![4, 9, 9, 9, 9]));
        assert_eq!(page_sized(PageSize::K64, 52), Some(vec![10, 13, 13]));
        assert_eq!(page_sized(PageSize::K64, 42), Some(vec![13, 13]));
        assert_eq!(page_sized(k16, 48), Some(vec![1, 11, 11, 11]));
        assert_eq!(page_sized(k16, 36), Some(vec![11, 11]));
        assert_eq!(page_sized(PageSize::K4, 57), Some(vec![9, 9, 9, 9, 9]));
        for va_bits in [0, 12, 21, 58, u32::MAX] {
            assert_eq!(page_sized(PageSize::K4, va_bits), None, "{va_bits}");
        }
    }
}
