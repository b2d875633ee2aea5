//! POWER with the radix MMU and pages of 64 KiB.
//!
//! One entry of 2 MiB maps the `struct page`s of 2 GiB, which is more than the small dumps have. It is replaced by a
//! table of 64 KiB pages, which covers 64 MiB each; these tables go after the table they hang from, into the rest of
//! the page that the kernel had taken for it.

use super::{Original, Patch, Tables};
use anyhow::{Result, ensure};

const PAGE: u64 = 64 << 10;
const LINEAR_MASK: u64 = 0x0fff_ffff_ffff_ffff;
/// Bits that an entry of a page table has: valid, and leaf.
const PRESENT: u64 = 1 << 63;
const LEAF: u64 = 1 << 62;
/// Entries of a table of the last level (`RADIX_PTE_INDEX_SIZE`, 5 bits), and of the one above.
const LAST: u64 = 32;
const ABOVE: u64 = 512;

pub(super) fn tables(dump: &Original) -> Result<Tables> {
    ensure!(dump.number("PAGESIZE")? == PAGE, "pages of {} bytes; 64 KiB are known", dump.value("PAGESIZE")?);
    ensure!(dump.value("NUMBER(RADIX_MMU)").is_ok_and(|radix| radix == "1"), "not the radix MMU");
    let stride = dump.stride(PAGE)?;
    let room = (PAGE - 8 * ABOVE) / (8 * LAST) * LAST;
    Ok(Tables { stride, most: dump.sections_in_root(stride)?.min(room / (stride / dump.told_by(PAGE)?)) })
}

pub(super) fn patches(dump: &Original, tables: &Tables, copies: u64) -> Result<Vec<Patch>> {
    let order = dump.elf.order;
    let pointer = |address: u64| -> Result<u64> { Ok(order.u64(&dump.bytes(address, 8)?, 0) & LINEAR_MASK) };
    let roots = dump.symbol("mem_section")? & LINEAR_MASK;
    let root = pointer(roots)?;
    let vmemmap = dump.symbol("vmemmap")?;

    // Entries are big-endian under either byte order.
    let entry = |address: u64| -> Result<u64> {
        let bytes = dump.bytes(address, 8)?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let mut table = dump.symbol("swapper_pg_dir")? & LINEAR_MASK;
    for (shift, bits) in [(39, 13), (30, 9)] {
        let found = entry(table + 8 * (vmemmap >> shift & ((1 << bits) - 1)))?;
        ensure!(found & (PRESENT | LEAF) == PRESENT, "vmemmap's table entry at {table:#x} is {found:#x}");
        table = found & !(PRESENT | LEAF | 0xff);
    }
    ensure!(
        table.is_multiple_of(PAGE) && vmemmap >> 21 & (ABOVE - 1) == 0,
        "vmemmap begins in the middle of a table"
    );
    let leaf = entry(table)?;
    ensure!(leaf & (PRESENT | LEAF) == PRESENT | LEAF, "vmemmap is not mapped by 2 MiB: {leaf:#x}");
    let rest = dump.bytes(table + 8, PAGE as usize - 8)?;
    ensure!(
        rest.iter().all(|byte| *byte == 0),
        "the page of the table at {table:#x} has something else in it"
    );

    let each = tables.stride / dump.told_by(PAGE)?;
    let entries = copies * each;
    let mut bytes = vec![0; PAGE as usize];
    let mut put = |at: u64, value: u64| bytes[at as usize..][..8].copy_from_slice(&value.to_be_bytes());
    for index in 0..entries {
        let (copy, original) = (index / each, index % each);
        put(8 * ABOVE + 8 * index, leaf + original * PAGE + copy * tables.stride);
    }
    for index in 0..entries.div_ceil(LAST) {
        // The low bits say how many bits index the table.
        put(8 * index, PRESENT | (table + 8 * ABOVE + 8 * LAST * index) | 5);
    }
    Ok(vec![Patch { address: table, bytes }, dump.sections(root, tables.stride, copies)?])
}
