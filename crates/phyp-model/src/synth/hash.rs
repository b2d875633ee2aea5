//! What a kernel on the hashed page table leaves of its vmemmap: `vmemmap_list`.
//!
//! `struct vmemmap_backing` (`arch/powerpc/mm/init_64.c`): next, physical address, virtual address; newest first. The
//! size of each piece is that of `mmu_psize_defs[mmu_vmemmap_psize]`.

use crate::bytes::Bytes;
use crate::error::Result;
use crate::memory::Memory;
use crate::synth::pool::Pool;
use crate::synth::statics::StaticData;
use crate::synth::{LINEAR, SynthOptions};

/// Where vmemmap begins: 64 KiB pages.
pub const VMEMMAP_64K: u64 = 0xc00c_0000_0000_0000;
/// Where vmemmap begins: 4 KiB pages.
pub const VMEMMAP_4K: u64 = 0xc000_3f00_0000_0000;

/// `mmu_vmemmap_psize`: MMU_PAGE_4K, MMU_PAGE_64K, MMU_PAGE_16M (`asm/mmu.h`).
pub(crate) fn page_size_index(shift: u32) -> u32 {
    match shift {
        12 => 0,
        16 => 2,
        _ => 9,
    }
}

/// Writes the list for pieces (virtual address, physical address) in the order they were made.
pub(crate) fn write_list(
    options: &SynthOptions,
    memory: &mut Memory,
    pool: &mut Pool,
    data: &StaticData,
    pieces: &[(u64, u64)],
) -> Result<()> {
    let nodes = pool.take(pieces.len() as u64 * 24, 8)?;
    let mut out = Bytes::new(options.order);
    for (n, (address, physical)) in pieces.iter().enumerate() {
        let older = if n == 0 { 0 } else { LINEAR + nodes + (n as u64 - 1) * 24 };
        out.u64(older).u64(*physical).u64(*address);
    }
    memory.write(nodes, &out.bytes)?;
    let newest = pieces.len().checked_sub(1).map_or(0, |last| LINEAR + nodes + last as u64 * 24);
    memory.write(data.vmemmap_list, &options.order.u64(newest))
}
