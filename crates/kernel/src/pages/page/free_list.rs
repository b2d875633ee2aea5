//! Free pages by the zones' free lists, for kernels whose VMCOREINFO does not export how they are marked (before 3.9).
//!
//! `pglist_data.node_zones[].free_area[order].free_list[migratetype]` links the `struct page` of every free block through
//! `page.lru` (`mm/page_alloc.c`).

use super::fields::missing;
use crate::address::memmodel::{MemModel, PageRun};
use crate::{Error, Kernel, KernelMemory};
use vmcore::{Pfn, Range, VirtAddr, VmcoreInfo};

const FREE: &str = "telling free pages";
/// Blocks that are remembered, 16 bytes each. A machine whose free memory is in more pieces keeps some of it.
const MOST_BLOCKS: usize = 2 << 20;
/// Numbers that no kernel exceeds (`MAX_NUMNODES`, `MAX_NR_ZONES`, `MIGRATE_TYPES`, `MAX_ORDER`): damage must not keep the
/// walk busy for hours.
const MOST_NODES: u64 = 1024;
const MOST_ZONES: u64 = 8;
const MOST_LISTS: u64 = 16;
const MOST_ORDERS: u64 = 20;

/// The free blocks, sorted.
#[derive(Debug, Default)]
pub(crate) struct FreeList {
    blocks: Vec<(Pfn, u32)>,
}

/// Where the lists are.
struct Keys {
    node_zones: u64,
    nr_zones: u64,
    zone: u64,
    free_area: u64,
    area: u64,
    free_list: u64,
    head: u64,
    lru: u64,
    next: u64,
    prev: u64,
    page: u64,
    orders: u64,
    lists: u64,
}

impl Keys {
    fn new(info: &VmcoreInfo) -> Option<Self> {
        let keys = Self {
            node_zones: info.offset("pglist_data.node_zones")?,
            nr_zones: info.offset("pglist_data.nr_zones")?,
            zone: info.size("zone")?,
            free_area: info.offset("zone.free_area")?,
            area: info.size("free_area")?,
            free_list: info.offset("free_area.free_list")?,
            head: info.size("list_head")?,
            lru: info.offset("page.lru")?,
            next: info.offset("list_head.next")?,
            prev: info.offset("list_head.prev")?,
            page: info.size("page")?,
            orders: info.length("zone.free_area")?,
            lists: info.length("free_area.free_list")?,
        };
        (keys.orders <= MOST_ORDERS && keys.lists <= MOST_LISTS && keys.page != 0).then_some(keys)
    }
}

/// The walk through all lists.
struct Walk<'a, 'd> {
    kernel: &'a Kernel<'d>,
    keys: Keys,
    /// Arrays of `struct page` by address.
    arrays: Vec<PageRun>,
    blocks: Vec<(Pfn, u32)>,
    broken: u64,
}

impl FreeList {
    /// Walks the lists. A list that is broken off is left there, and `remarks` says so.
    ///
    /// # Errors
    ///
    /// When VMCOREINFO lacks what the walk needs, and when the input is damaged.
    pub(crate) fn walk(
        kernel: &Kernel<'_>,
        model: &MemModel,
        remarks: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let info = kernel.info();
        // What is missing is the mark, which every kernel since 3.9 has; the lists are only the way round it.
        let no_mark = || missing("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", FREE);
        let keys = Keys::new(info).ok_or_else(no_mark)?;
        let nodes = nodes(kernel)?.ok_or_else(no_mark)?;
        let arrays = arrays(kernel, model, keys.page)?;
        let mut walk = Walk { kernel, keys, arrays, blocks: Vec::new(), broken: 0 };
        for node in nodes {
            walk.node(node)?;
        }
        let Walk { mut blocks, broken, .. } = walk;
        if broken > 0 {
            remarks.push(format!("{broken} free lists are broken; what would follow in them is kept"));
        }
        if blocks.len() >= MOST_BLOCKS {
            remarks.push(format!("free memory is in more than {MOST_BLOCKS} pieces; the rest of it is kept"));
        }
        blocks.sort_unstable();
        Ok(Self { blocks })
    }

    /// The blocks that begin inside `frames`, as first frame and order.
    pub(crate) fn within(&self, frames: Range<Pfn>) -> &[(Pfn, u32)] {
        let start = self.blocks.partition_point(|(pfn, _)| *pfn < frames.start);
        let end = self.blocks.partition_point(|(pfn, _)| *pfn < frames.end);
        &self.blocks[start..end]
    }
}

/// The addresses of all `pglist_data`; `None` when VMCOREINFO does not say.
fn nodes(kernel: &Kernel<'_>) -> Result<Option<Vec<u64>>, Error> {
    let info = kernel.info();
    let Some((table, count)) = info.symbol("node_data").zip(info.length("node_data")) else {
        return Ok(info.symbol("contig_page_data").map(|node| vec![node.0]));
    };
    let word = kernel.machine().word.bytes() as u64;
    let mut nodes = Vec::new();
    for i in 0..count.min(MOST_NODES) {
        let node = kernel.read_word(VirtAddr(table.0.wrapping_add(i * word)))?;
        if node != 0 {
            nodes.push(node);
        }
    }
    Ok(Some(nodes))
}

/// Every array of `struct page`, by address, with those joined that follow one another.
fn arrays(kernel: &Kernel<'_>, model: &MemModel, page: u64) -> Result<Vec<PageRun>, Error> {
    let mut arrays: Vec<PageRun> = Vec::new();
    let mut runs = Vec::new();
    for frames in kernel.memory_map().frames().iter() {
        runs.clear();
        model.runs(kernel, frames, &mut runs)?;
        for &run in &runs {
            match arrays.last_mut() {
                Some(last)
                    if last.frames.end == run.frames.start
                        && last.at.0.wrapping_add(last.frames.len().wrapping_mul(page)) == run.at.0 =>
                {
                    last.frames.end = run.frames.end;
                }
                _ => arrays.push(run),
            }
        }
    }
    arrays.sort_by_key(|a| a.at);
    Ok(arrays)
}

impl Walk<'_, '_> {
    fn node(&mut self, node: u64) -> Result<(), Error> {
        let zones = self.kernel.read_u32(VirtAddr(node.wrapping_add(self.keys.nr_zones)))?;
        for zone in 0..u64::from(zones).min(MOST_ZONES) {
            let zone =
                node.wrapping_add(self.keys.node_zones).wrapping_add(zone.wrapping_mul(self.keys.zone));
            for order in 0..self.keys.orders {
                let area = zone
                    .wrapping_add(self.keys.free_area)
                    .wrapping_add(order.wrapping_mul(self.keys.area))
                    .wrapping_add(self.keys.free_list);
                for list in 0..self.keys.lists {
                    self.list(area.wrapping_add(list.wrapping_mul(self.keys.head)), order as u32)?;
                }
            }
        }
        Ok(())
    }

    /// Follows one list. Each entry must point back to the one before it, which also rules out circles.
    fn list(&mut self, head: u64, order: u32) -> Result<(), Error> {
        let mut previous = head;
        let mut entry = self.link(head, self.keys.next)?;
        while let Some(at) = entry.filter(|&at| at != head) {
            if self.blocks.len() >= MOST_BLOCKS {
                return Ok(());
            }
            if self.link(at, self.keys.prev)? != Some(previous) {
                entry = None;
                break;
            }
            let frame = self.frame(at.wrapping_sub(self.keys.lru));
            if let Some(pfn) = frame.filter(|pfn| pfn.0 & ((1 << order) - 1) == 0) {
                self.blocks.push((pfn, order));
            }
            previous = at;
            entry = self.link(at, self.keys.next)?;
        }
        self.broken += u64::from(entry.is_none());
        Ok(())
    }

    /// A pointer of the entry at `at`, when it can be read.
    fn link(&self, at: u64, offset: u64) -> Result<Option<u64>, Error> {
        match self.kernel.read_word(VirtAddr(at.wrapping_add(offset))) {
            Ok(pointer) => Ok(Some(pointer)),
            Err(Error::Read(error)) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// The frame whose `struct page` is at `page`, when its memory exists.
    fn frame(&self, page: u64) -> Option<Pfn> {
        let next = self.arrays.partition_point(|a| a.at.0 <= page);
        let array = self.arrays[..next].last()?;
        let offset = page - array.at.0;
        let pfn = array.frames.start.0.checked_add(offset / self.keys.page)?;
        (offset.is_multiple_of(self.keys.page) && pfn < array.frames.end.0).then_some(Pfn(pfn))
    }
}
