//! What the kernel counted, of as many copies: else hadump's gate finds more free memory than the kernel had.

use super::{Original, Patch, Tables};
use anyhow::{Context, Result};

/// NR_FREE_PAGES and the counters of the five LRU lists after it.
const COUNTERS: u64 = 6;

/// The counters of every zone times `copies`, and nodes that reach to the end of the last copy.
pub(super) fn patches(dump: &Original, tables: &Tables, copies: u64) -> Result<Vec<Patch>> {
    let mut patches = Vec::new();
    let mut times = |at: u64, more: &dyn Fn(u64) -> u64| -> Result<()> {
        let address = physical(dump, at)?;
        let value = more(word(dump, at)?);
        let bytes = if dump.elf.order.big { value.to_be_bytes() } else { value.to_le_bytes() };
        patches.push(Patch { address, bytes: bytes.to_vec() });
        Ok(())
    };
    let offset = |key: &str| dump.number(&format!("OFFSET({key})"));
    let node = word(dump, dump.symbol("node_data")?)?;
    let apart = tables.stride / dump.number("PAGESIZE")? * (copies - 1);
    times(node + offset("pglist_data.node_spanned_pages")?, &|span| span + apart)?;
    let zones = dump.bytes(physical(dump, node + offset("pglist_data.nr_zones")?)?, 4)?;
    let lists = dump.number("LENGTH(free_area.free_list)")? * dump.number("SIZE(list_head)")?;
    for zone in 0..dump.elf.order.u32(&zones, 0) {
        let zone = node + offset("pglist_data.node_zones")? + zone * dump.number("SIZE(zone)")?;
        for order in 0..dump.number("LENGTH(zone.free_area)")? {
            let area = zone + offset("zone.free_area")? + order * dump.number("SIZE(free_area)")?;
            times(area + offset("free_area.free_list")? + lists, &|blocks| blocks * copies)?;
        }
        let counters = zone + offset("zone.vm_stat")? + dump.number("NUMBER(NR_FREE_PAGES)")? * 8;
        for counter in 0..COUNTERS {
            times(counters + counter * 8, &|pages| pages.wrapping_mul(copies))?;
        }
    }
    Ok(patches)
}

fn word(dump: &Original, at: u64) -> Result<u64> {
    Ok(dump.elf.order.u64(&dump.bytes(physical(dump, at)?, 8)?, 0))
}

/// The physical address of a virtual one, as the segments have it.
fn physical(dump: &Original, at: u64) -> Result<u64> {
    let mut loads = dump.elf.loads.iter();
    let load = loads.find(|load| at >= load.vaddr && at - load.vaddr < load.filesz);
    load.map(|load| load.paddr + (at - load.vaddr)).with_context(|| format!("{at:#x} is in no segment"))
}
