//! The table of memory sections, `mem_section` (SPARSEMEM_EXTREME): a root a page, made where there is memory.

use crate::bytes::Bytes;
use crate::error::Result;
use crate::memory::Memory;
use crate::synth::pool::Pool;
use crate::synth::{LINEAR, SynthOptions};

/// Bytes of a memory section as a power of two.
pub(crate) const SECTION_BITS: u32 = 24;

/// `MAX_PHYSMEM_BITS` of `asm/sparsemem.h`.
pub(crate) const MAX_PHYSMEM_BITS: u32 = 51;
/// Bytes of a `struct mem_section`.
pub(crate) const MEM_SECTION: u64 = 32;

fn roots(page_size: u64) -> (u64, u64) {
    let per_root = page_size / MEM_SECTION;
    ((1 << (MAX_PHYSMEM_BITS - SECTION_BITS)) / per_root, per_root)
}

/// Bytes that [`write`] takes from the pool.
pub(crate) fn bytes(options: &SynthOptions) -> u64 {
    let (count, per_root) = roots(options.page_size);
    let end = options.ram.iter().map(|extent| extent.end()).max().unwrap_or(0);
    count * 8 + ((end >> SECTION_BITS) / per_root + 2) * options.page_size
}

/// Writes `mem_section` (SPARSEMEM_EXTREME); returns its virtual address and its length.
pub(crate) fn write(
    options: &SynthOptions,
    memory: &mut Memory,
    pool: &mut Pool,
    vmemmap: u64,
) -> Result<(u64, u64)> {
    let order = options.order;
    let (count, per_root) = roots(options.page_size);
    let table = pool.take(count * 8, options.page_size)?;
    let mut root = None;
    for extent in &options.ram {
        for section in extent.start >> SECTION_BITS..extent.end().div_ceil(1 << SECTION_BITS) {
            let number = section / per_root;
            let page = match root {
                Some((known, page)) if known == number => page,
                _ => {
                    let page = pool.take(options.page_size, options.page_size)?;
                    memory.write(table + number * 8, &order.u64(LINEAR + page))?;
                    root = Some((number, page));
                    page
                }
            };
            // Present, has a memory map, online, early; the map is kept less its own start, which leaves its base.
            let mut out = Bytes::new(order);
            out.u64(vmemmap | 0xf).u64(LINEAR + page).u64(0).u64(0);
            memory.write(page + (section % per_root) * MEM_SECTION, &out.bytes)?;
        }
    }
    Ok((LINEAR + table, count))
}
