//! The whole of the kernel's page table, from its root down.

use super::table::{Entries, Entry, PageTable};
use crate::Error;
use crate::physical::Physical;
use std::collections::HashSet;
use vmcore::{PhysAddr, Range, VirtAddr};

/// Tables looked at below one entry of the root. A linear map of 512 GiB in pages of 4 KiB needs as many; damage and
/// sanitizers' shadow memory must not keep the walk busy for longer.
const MOST_TABLES: usize = 1 << 18;

/// Who is told of tables and of the memory they map.
pub(crate) trait TableVisitor {
    /// A table lies here.
    fn table(&mut self, at: Range<PhysAddr>);

    /// Memory is mapped at `virt`.
    fn memory(&mut self, virt: VirtAddr, at: Range<PhysAddr>);
}

impl<E: Entries> PageTable<E> {
    /// Shows `visitor` the tables of all addresses from `start` on, where the kernel's begin. A table that is not in the
    /// dump ends its branch.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged.
    pub(super) fn visit(
        &self,
        physical: &Physical<'_>,
        start: u64,
        visitor: &mut dyn TableVisitor,
    ) -> Result<(), Error> {
        let Some(root) = self.levels.first() else { return Ok(()) };
        // Above the bits that the table has indices for all addresses are alike.
        let above = u64::MAX.checked_shl(self.va_bits()).unwrap_or(0) & start;
        let mut walk = Walk { physical, table: self, visitor, seen: HashSet::new(), left: 0 };
        for (index, entry) in walk.entries(self.root.0, 0)? {
            let virt = above | index << root.shift;
            if virt >= start {
                walk.left = MOST_TABLES;
                walk.entry(index, entry, 0, virt)?;
            }
        }
        Ok(())
    }
}

struct Walk<'a, 'd, E> {
    physical: &'a Physical<'d>,
    table: &'a PageTable<E>,
    visitor: &'a mut dyn TableVisitor,
    /// Tables may be shared: those of a sanitizer's shadow are, by the million.
    seen: HashSet<u64>,
    left: usize,
}

impl<E: Entries> Walk<'_, '_, E> {
    fn entry(&mut self, index: u64, entry: u64, depth: usize, virt: u64) -> Result<(), Error> {
        let Some(level) = self.table.levels.get(depth) else { return Ok(()) };
        match self.table.entries.decode(entry, index, level, depth + 1 == self.table.levels.len()) {
            Entry::Nothing => Ok(()),
            Entry::Memory(at) => {
                let at = at >> level.shift << level.shift;
                let end = at.saturating_add(1 << level.shift);
                self.visitor.memory(VirtAddr(virt), Range::new(PhysAddr(at), PhysAddr(end)));
                Ok(())
            }
            Entry::Table(at) => self.below(at, depth + 1, virt),
        }
    }

    fn below(&mut self, at: u64, depth: usize, virt: u64) -> Result<(), Error> {
        let Some(level) = self.table.levels.get(depth) else { return Ok(()) };
        if self.left == 0 || !self.seen.insert(at) {
            return Ok(());
        }
        self.left -= 1;
        for (index, entry) in self.entries(at, depth)? {
            self.entry(index, entry, depth, virt.wrapping_add(index << level.shift))?;
        }
        Ok(())
    }

    /// The entries of a table that are not zero, with their indices.
    fn entries(&mut self, at: u64, depth: usize) -> Result<Vec<(u64, u64)>, Error> {
        let mut bytes = vec![0; 8 << self.table.levels[depth].bits];
        match self.physical.read(PhysAddr(at), &mut bytes, "a page table") {
            Ok(()) => {}
            Err(Error::Read(error)) => return Err(error.into()),
            Err(_) => return Ok(Vec::new()),
        }
        self.visitor.table(Range::new(PhysAddr(at), PhysAddr(at.saturating_add(bytes.len() as u64))));
        let entries = bytes.chunks_exact(8).map(|entry| self.table.order.u64(entry));
        Ok((0..).zip(entries).filter(|(_, entry)| *entry != 0).collect())
    }
}
