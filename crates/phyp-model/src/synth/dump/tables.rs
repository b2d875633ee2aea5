//! Page tables, as each architecture's kernel builds them.

use std::collections::HashMap;

use crate::bytes::ByteOrder;
use crate::error::{ModelError, Result};
use crate::extent::Extent;
use crate::memory::Memory;
use crate::synth::dump::pool::Pool;

/// One level of a page table: the lowest bit of its index, and how many bits it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) shift: u32,
    pub(crate) bits: u32,
}

/// How an architecture writes entries.
pub(crate) trait Entries {
    /// The levels, root first.
    fn levels(&self) -> &[Level];

    /// The byte order of entries, which is not the kernel's on POWER.
    fn order(&self) -> ByteOrder;

    /// An entry of `level` that names the next table.
    fn table(&self, level: usize, physical: u64) -> u64;

    /// An entry of `level` that maps memory; `None` where the architecture has none there.
    fn leaf(&self, level: usize, physical: u64) -> Option<u64>;

    /// What is in an entry of `level` that maps nothing.
    fn blank(&self, _level: usize) -> u64 {
        0
    }
}

/// A kernel's page table under construction.
pub(crate) struct Tables {
    entries: Box<dyn Entries>,
    root: u64,
    /// Where each table is, by level and the address bits above it.
    made: HashMap<(usize, u64), u64>,
    /// Memory that tables below the root take.
    pub(crate) taken: Vec<Extent>,
}

impl Tables {
    /// Begins with the root at `root`.
    pub(crate) fn new(entries: Box<dyn Entries>, root: u64, memory: &mut Memory) -> Result<Self> {
        let bits = entries.levels().first().map_or(0, |level| level.bits);
        let tables = Self { entries, root, made: HashMap::new(), taken: Vec::new() };
        tables.clear(memory, root, 0, bits)?;
        Ok(tables)
    }

    fn clear(&self, memory: &mut Memory, at: u64, level: usize, bits: u32) -> Result<()> {
        let blank = self.entries.order().u64(self.entries.blank(level));
        memory.write(at, &blank.repeat(1 << bits))
    }

    /// Maps `length` bytes at `address` to `physical` by the largest entries that fit, none above `largest` bytes.
    pub(crate) fn map_range(
        &mut self,
        memory: &mut Memory,
        pool: &mut Pool,
        (address, physical, length): (u64, u64, u64),
        largest: u64,
    ) -> Result<()> {
        let mut done = 0;
        while done < length {
            let (at, to) = (address.wrapping_add(done), physical + done);
            let levels = self.entries.levels();
            let fits = |level: &usize| {
                let size = 1u64.checked_shl(levels[*level].shift).unwrap_or(0);
                let aligned = size != 0 && at.is_multiple_of(size) && to.is_multiple_of(size);
                aligned && size <= largest && size <= length - done && self.entries.leaf(*level, to).is_some()
            };
            let Some(level) = (0..levels.len()).find(fits) else {
                let expected = "whole pages to map";
                return Err(ModelError::Options { what: "page tables", found: at, expected });
            };
            let size = 1 << levels[level].shift;
            self.map(memory, pool, at, to, level)?;
            done += size;
        }
        Ok(())
    }

    fn map(
        &mut self,
        memory: &mut Memory,
        pool: &mut Pool,
        address: u64,
        physical: u64,
        target: usize,
    ) -> Result<()> {
        let order = self.entries.order();
        let mut table = self.root;
        for level in 0..=target {
            let Level { shift, bits } = self.entries.levels()[level];
            let slot = table + ((address >> shift) & ((1 << bits) - 1)) * 8;
            if level == target {
                let entry = self.entries.leaf(level, physical).unwrap_or_default();
                return memory.write(slot, &order.u64(entry));
            }
            let key = (level + 1, address >> shift);
            table = match self.made.get(&key) {
                Some(next) => *next,
                None => {
                    let bits = self.entries.levels()[level + 1].bits;
                    let next = pool.take(8 << bits, 8 << bits)?;
                    self.taken.push(Extent::new(next, 8 << bits));
                    self.clear(memory, next, level + 1, bits)?;
                    memory.write(slot, &order.u64(self.entries.table(level, next)))?;
                    self.made.insert(key, next);
                    next
                }
            };
        }
        Ok(())
    }
}
