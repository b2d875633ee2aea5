//! The whole of the kernel's page table, from its root down.

use super::table::{Entry, Tree};
use crate::Error;
use crate::address::physical::Physical;
use std::collections::HashSet;
use vmcore::{PhysAddr, Range, VirtAddr};

/// Tables looked at below one entry of the root. A linear map of 512 GiB in pages of 4 KiB needs as many; damage and
/// sanitizers' shadow memory must not keep the walk busy for longer.
const MOST_BELOW: usize = 1 << 18;
/// Tables looked at in all. Remembering them takes less than 10 MiB.
const MOST_TABLES: usize = 1 << 19;

/// Receives the tables and the memory that they map.
pub(crate) trait TableVisitor {
    /// A table lies here.
    fn table(&mut self, at: Range<PhysAddr>);

    /// Memory is mapped at `virt`.
    fn memory(&mut self, virt: VirtAddr, at: Range<PhysAddr>);
}

/// Shows `visitor` the tables of all addresses from `start` on, where the kernel's begin. A table that is not in the dump
/// ends its branch.
///
/// # Errors
///
/// Only when the input is damaged.
pub(super) fn visit(
    tree: &impl Tree,
    physical: &Physical<'_>,
    start: u64,
    visitor: &mut dyn TableVisitor,
) -> Result<(), Error> {
    let Some(level) = tree.levels().first() else { return Ok(()) };
    // Above the bits that there are indices for all addresses are alike.
    let above = u64::MAX.checked_shl(tree.va_bits()).unwrap_or(0) & start;
    let mut walk = Walk { tree, physical, visitor, seen: HashSet::new(), left: 0 };
    // From the end: the linear map, of which there may be too much, is below vmalloc nearly everywhere.
    for (index, entry) in walk.entries(tree.root().0, 0, 0..1 << level.bits)?.into_iter().rev() {
        let virt = above | index << level.shift;
        if virt >= start {
            walk.left = MOST_BELOW.min(MOST_TABLES - walk.seen.len());
            walk.entry((index, entry), 0, virt)?;
        }
    }
    Ok(())
}

struct Walk<'a, 'd, T> {
    tree: &'a T,
    physical: &'a Physical<'d>,
    visitor: &'a mut dyn TableVisitor,
    /// Tables may be shared: those of a sanitizer's shadow are, by the million.
    seen: HashSet<u64>,
    /// How many more are looked at below this entry of the root.
    left: usize,
}

impl<T: Tree> Walk<'_, '_, T> {
    fn entry(&mut self, (index, entry): (u64, u64), depth: usize, virt: u64) -> Result<(), Error> {
        let Some(level) = self.tree.levels().get(depth) else { return Ok(()) };
        match self.tree.decode(entry, index, depth) {
            Entry::Nothing => Ok(()),
            Entry::Memory(at) => {
                let at = at >> level.shift << level.shift;
                let end = at.saturating_add(1 << level.shift);
                self.visitor.memory(VirtAddr(virt), Range::new(PhysAddr(at), PhysAddr(end)));
                Ok(())
            }
            Entry::Table(at) => self.table(at, depth + 1, self.tree.named(entry, depth), virt),
        }
    }

    fn table(
        &mut self,
        at: u64,
        depth: usize,
        indices: std::ops::Range<u64>,
        virt: u64,
    ) -> Result<(), Error> {
        let Some(level) = self.tree.levels().get(depth) else { return Ok(()) };
        if self.left == 0 || !self.seen.insert(at) {
            return Ok(());
        }
        self.left -= 1;
        for found in self.entries(at, depth, indices)? {
            self.entry(found, depth, virt.wrapping_add(found.0 << level.shift))?;
        }
        Ok(())
    }

    /// The entries of a table that are not zero, with their indices.
    fn entries(
        &mut self,
        at: u64,
        depth: usize,
        indices: std::ops::Range<u64>,
    ) -> Result<Vec<(u64, u64)>, Error> {
        let count = indices.end.saturating_sub(indices.start).min(1 << self.tree.levels()[depth].bits);
        let at = at.saturating_add(indices.start * 8);
        let mut bytes = vec![0; count as usize * 8];
        match self.physical.read(PhysAddr(at), &mut bytes, "a page table") {
            Ok(()) => {}
            Err(Error::Read(error)) => return Err(error.into()),
            Err(_) => return Ok(Vec::new()),
        }
        self.visitor.table(Range::new(PhysAddr(at), PhysAddr(at.saturating_add(bytes.len() as u64))));
        let entries = bytes.chunks_exact(8).map(|entry| self.tree.order().u64(entry));
        Ok((indices.start..).zip(entries).filter(|(_, entry)| *entry != 0).collect())
    }
}
