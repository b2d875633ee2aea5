//! Radix page tables of ppc64 (`arch/powerpc/include/asm/book3s/64/radix*.h`).
//!
//! Entries are big-endian in memory whatever the kernel's order. The top table has 2^13 entries, 64 KiB, whatever the
//! page size: with 4 KiB pages it is sixteen pages long.

use crate::error::Result;
use crate::extent::{Extent, covers};
use crate::memory::Memory;
use crate::synth::pool::Pool;
use crate::synth::statics::SWAPPER_PG_DIR;
use crate::synth::{LINEAR, SynthOptions};

/// Where vmalloc begins.
pub const VMALLOC: u64 = 0xc008_0000_0000_0000;
/// Where vmemmap begins.
pub const VMEMMAP: u64 = 0xc00c_0000_0000_0000;

const VALID: u64 = 1 << 63;
const LEAF: u64 = 1 << 62;
/// Accessed, dirty, read and write for the kernel.
const KERNEL: u64 = 0x100 | 0x80 | 0x4 | 0x2 | 0x8;

/// Index sizes from the top: PGD, PUD, PMD, PTE.
fn index_bits(page_size: u64) -> [u32; 4] {
    if page_size == 0x1_0000 { [13, 9, 9, 5] } else { [13, 9, 9, 9] }
}

/// The size of a leaf one, two or three levels from the bottom, in bytes.
pub(crate) const HUGE: u64 = 2 << 20;

/// Maps `size` bytes, the page size, 2 MiB or 1 GiB, at `address` to `physical`, making tables as needed.
pub(crate) fn map(
    page_size: u64,
    memory: &mut Memory,
    pool: &mut Pool,
    address: u64,
    physical: u64,
    size: u64,
) -> Result<()> {
    let bits = index_bits(page_size);
    let mut shift = page_size.trailing_zeros() + bits.iter().sum::<u32>();
    let mut table = SWAPPER_PG_DIR;
    for (level, width) in bits.iter().enumerate() {
        shift -= width;
        let index = (address >> shift) & ((1 << width) - 1);
        let slot = table + index * 8;
        if 1 << shift == size {
            return memory.write(slot, &(VALID | LEAF | physical | KERNEL).to_be_bytes());
        }
        let mut entry = [0; 8];
        memory.read(slot, &mut entry)?;
        let entry = u64::from_be_bytes(entry);
        table = if entry & VALID == 0 {
            let next = bits.get(level + 1).copied().unwrap_or(0);
            let bytes = 8u64 << next;
            let new = pool.take(bytes, bytes)?;
            // The low byte is the size of the table it points to.
            memory.write(slot, &(VALID | new | u64::from(next)).to_be_bytes())?;
            new
        } else {
            entry & !0xc000_0000_0000_00ff
        };
    }
    Ok(())
}

/// Maps all of RAM at the linear address, in leaves of 1 GiB, 2 MiB or a page, and a few pages of vmalloc.
pub(crate) fn map_linear_and_vmalloc(
    options: &SynthOptions,
    memory: &mut Memory,
    pool: &mut Pool,
) -> Result<Vec<(u64, Option<u64>)>> {
    let page = options.page_size;
    let mut known = Vec::new();
    for extent in &options.ram {
        let mut at = extent.start.next_multiple_of(page);
        while at + page <= extent.end() {
            let fits = |size: u64| at.is_multiple_of(size) && covers(&[*extent], Extent::new(at, size));
            let size = [1 << 30, HUGE].into_iter().find(|size| fits(*size)).unwrap_or(page);
            map(page, memory, pool, LINEAR + at, at, size)?;
            if at == extent.start {
                known.push((LINEAR + at + 0x123, Some(at + 0x123)));
            }
            at += size;
        }
    }
    // Every other page, in descending order of physical address: neither contiguous nor in order.
    let area = pool.take(8 * page, page)?;
    for n in 0..8 {
        let (address, physical) = (VMALLOC + 0x40_0000 + 2 * n * page, area + (7 - n) * page);
        map(page, memory, pool, address, physical, page)?;
        memory.write(physical, &address.to_be_bytes())?;
        known.push((address + 8, Some(physical + 8)));
        known.push((address + page, None));
    }
    Ok(known)
}
