//! DISCONTIGMEM, until 5.13: each node's `pglist_data` points to an array of its own.

use super::{PageRun, missing, page_struct, part};
use crate::{Error, Kernel, KernelMemory};
use vmcore::{Pfn, Range, VirtAddr};

/// `1 << CONFIG_NODES_SHIFT` of the kernel is 1024 at most; a longer table is damaged.
const MAX_NODES: u64 = 4096;

/// The arrays of all nodes, by their first frame.
#[derive(Debug)]
pub(crate) struct Nodes {
    arrays: Vec<PageRun>,
    page_struct: u64,
}

impl Nodes {
    /// Reads the nodes; `None` when the kernel's `pglist_data` has no `node_mem_map`, as in every other model.
    pub(crate) fn open(kernel: &Kernel<'_>) -> Result<Option<Self>, Error> {
        let info = kernel.info();
        let (Some(table), Some(map), Some(start), Some(span)) = (
            info.symbol("node_data"),
            info.offset("pglist_data.node_mem_map"),
            info.offset("pglist_data.node_start_pfn"),
            info.offset("pglist_data.node_spanned_pages"),
        ) else {
            return Ok(None);
        };
        let count = info.length("node_data").ok_or_else(|| missing("LENGTH(node_data)"))?;
        if count > MAX_NODES {
            return Err(Error::Implausible {
                what: "LENGTH(node_data)".to_owned(),
                addr: table,
                found: count.to_string(),
                expected: format!("at most {MAX_NODES}"),
            });
        }
        let word = kernel.machine().word.bytes() as u64;
        let mut arrays = Vec::new();
        for node in 0..count {
            let pgdat = kernel.read_word(VirtAddr(table.0.wrapping_add(node * word)))?;
            if pgdat == 0 {
                continue;
            }
            let field = |offset: u64| kernel.read_word(VirtAddr(pgdat.wrapping_add(offset)));
            let (at, start, span) = (field(map)?, field(start)?, field(span)?);
            let frames = Range::new(Pfn(start), Pfn(start.saturating_add(span)));
            if at != 0 && !frames.is_empty() {
                arrays.push(PageRun { frames, at: VirtAddr(at) });
            }
        }
        arrays.sort_by_key(|a| a.frames.start);
        // Nodes may interleave. A frame is looked up in the first node that spans it, as its own node is not known
        // without its struct page.
        let mut end = Pfn(0);
        let page_struct = page_struct(kernel)?;
        let arrays = arrays
            .into_iter()
            .filter_map(|a| {
                let rest = part(a, page_struct, Range::new(end, Pfn(u64::MAX)))?;
                end = rest.frames.end;
                Some(rest)
            })
            .collect();
        Ok(Some(Self { arrays, page_struct }))
    }

    pub(crate) fn runs(&self, frames: Range<Pfn>, out: &mut Vec<PageRun>) {
        let first = self.arrays.partition_point(|a| a.frames.end <= frames.start);
        let touched = self.arrays[first..].iter().take_while(|a| a.frames.start < frames.end);
        out.extend(touched.filter_map(|&a| part(a, self.page_struct, frames)));
    }
}
