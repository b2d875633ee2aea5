//! x86_64 with 4 levels of page tables, vmemmap in pages of 2 MiB.

use super::{Original, Patch, Tables};
use anyhow::{Result, ensure};

/// The memory that an entry of the third level maps.
const HUGE: u64 = 2 << 20;
/// `_PAGE_PRESENT` and `_PAGE_PSE`.
const LEAF: u64 = 1 | 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// `__START_KERNEL_map`.
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;

pub(super) fn tables(dump: &Original) -> Result<Tables> {
    let stride = dump.stride(HUGE)?;
    let entries = stride / dump.told_by(HUGE)?;
    Ok(Tables { stride, most: dump.sections_in_root(stride)?.min(512 / entries) })
}

pub(super) fn patches(dump: &Original, tables: &Tables, copies: u64) -> Result<Vec<Patch>> {
    let order = dump.elf.order;
    let number = |address: u64| -> Result<u64> { Ok(order.u64(&dump.bytes(address, 8)?, 0)) };
    let linear = dump.loads[0].vaddr - dump.loads[0].paddr;
    // In VMCOREINFO since 4.16 the table of roots itself.
    let root = number(dump.symbol("mem_section")? - linear)? - linear;
    let vmemmap = number(root + dump.number("OFFSET(mem_section.section_mem_map)")?)? & ADDRESS_OF_MAP;

    let top = dump.symbol("swapper_pg_dir")?.wrapping_sub(KERNEL_MAP);
    let mut table = top.wrapping_add(dump.number("NUMBER(phys_base)")?);
    for shift in [39, 30] {
        let entry = number(table + 8 * (vmemmap >> shift & 511))?;
        ensure!(entry & LEAF == 1, "vmemmap's table entry at {table:#x} is {entry:#x}");
        table = entry & ADDRESS;
    }
    let first = vmemmap >> 21 & 511;
    ensure!(first == 0, "vmemmap begins in the middle of a table");
    let entries = tables.stride / dump.told_by(HUGE)?;
    let mut bytes = Vec::new();
    for copy in 0..copies {
        for index in 0..entries {
            let entry = number(table + 8 * index)?;
            ensure!(entry & LEAF == LEAF, "vmemmap is not mapped by 2 MiB: {entry:#x}");
            bytes.extend((entry + copy * tables.stride).to_le_bytes());
        }
    }
    let map = Patch { address: table, bytes };
    Ok(vec![map, dump.sections(root, tables.stride, copies)?])
}

/// `section_mem_map` without its flags.
const ADDRESS_OF_MAP: u64 = !0xfff;
