//! FLATMEM: `mem_map` points to one array, whose first element is frame 0 or that at the start of memory.

use super::{PageRun, missing, page_struct, part};
use crate::{Error, Kernel, KernelMemory};
use vmcore::{Arch, Pfn, Range, VirtAddr};

/// The one array.
#[derive(Debug)]
pub(crate) struct Flat {
    array: PageRun,
    page_struct: u64,
}

/// The frame of the array's first element (`ARCH_PFN_OFFSET`): 0, except where memory usually starts high up.
fn first_frame(kernel: &Kernel<'_>) -> Pfn {
    let start = match kernel.machine().arch {
        Arch::Aarch64 => kernel.info().number("PHYS_OFFSET"),
        Arch::Riscv64 => kernel.info().number("phys_ram_base"),
        _ => None,
    };
    Pfn(start.map_or(0, |start| start >> kernel.physical().page_size().shift()) as u64)
}

impl Flat {
    pub(crate) fn open(kernel: &Kernel<'_>) -> Result<Self, Error> {
        let info = kernel.info();
        let symbol = info.symbol("mem_map").ok_or_else(|| missing("SYMBOL(mem_map)"))?;
        let base = kernel.read_word(symbol)?;
        let page_struct = page_struct(kernel)?;
        // With `mem=` the array is shorter than memory. The only node says how long it is.
        let first = first_frame(kernel);
        let from = if (first.0 as i64) < 0 { Pfn(0) } else { first };
        let mut frames = Range::new(from, kernel.memory_map().max_pfn());
        if let (Some(node), Some(start), Some(span)) = (
            info.symbol("contig_page_data"),
            info.offset("pglist_data.node_start_pfn"),
            info.offset("pglist_data.node_spanned_pages"),
        ) {
            let start = kernel.read_word(VirtAddr(node.0.wrapping_add(start)))?;
            let span = kernel.read_word(VirtAddr(node.0.wrapping_add(span)))?;
            frames = frames.intersect(&Range::new(Pfn(start), Pfn(start.saturating_add(span))));
        }
        let skipped = frames.start.0.wrapping_sub(first.0);
        let at = VirtAddr(base.wrapping_add(skipped.wrapping_mul(page_struct)));
        Ok(Self { array: PageRun { frames, at }, page_struct })
    }

    pub(crate) fn runs(&self, frames: Range<Pfn>, out: &mut Vec<PageRun>) {
        out.extend(part(self.array, self.page_struct, frames));
    }
}
