//! What else of the machine a tool looks at: where RTAS, the initial RAM disk and the device tree lie, and how much memory
//! the kernel has.

use std::fmt::Write as _;

use crate::bytes::{ByteOrder, Bytes};
use crate::error::Result;
use crate::extent::{self, Extent};
use crate::machine::Mode;
use crate::scenario::Run;
use crate::tree::Tree;

/// Writes `/proc/meminfo`, `/proc/iomem`, what `/dev/kmsg` says of fadump, what tells of the running kernel, and of a machine with RTAS firmware the properties of `/rtas` and `/chosen` that name
/// places in memory, and `/sys/firmware/fdt`.
///
/// # Errors
///
/// A file cannot be written.
pub(crate) fn write(run: &Run, tree: &Tree) -> Result<()> {
    tree.file("proc/meminfo", 0o444, meminfo(run, run.memory_total()).as_bytes())?;
    tree.file("proc/iomem", 0o444, iomem(run).as_bytes())?;
    tree.file("dev/kmsg", 0o644, kmsg(run).as_bytes())?;
    tree.file("proc/cmdline", 0o444, command_line(run).as_bytes())?;
    tree.file("proc/self/auxv", 0o400, &auxiliary_vector(run))?;
    if let Some(facts) = run.options.mode.facts() {
        tree.file("proc/sys/kernel/osrelease", 0o444, format!("{}.94-model\n", facts.release).as_bytes())?;
        let mmu = if run.options.hash_rma.is_some() { "Hash" } else { "Radix" };
        tree.file("proc/cpuinfo", 0o444, format!("processor\t: 0\n\nMMU\t\t: {mmu}\n").as_bytes())?;
    }
    if run.options.mode == Mode::Opal {
        return Ok(());
    }
    for (node, name, value) in places(run) {
        tree.property(&format!("{node}/{name}"), &value)?;
    }
    if run.options.mode == Mode::Phyp2008 {
        // Its sysfs does not show the tree as it was handed over.
        return Ok(());
    }
    tree.file("sys/firmware/fdt", 0o400, &flattened(run))
}

fn command_line(run: &Run) -> String {
    let options = &run.options;
    let fadump = match options.mode {
        Mode::Phyp2008 => "phyp_dump=1",
        _ if options.nocma => "fadump=nocma",
        _ => "fadump=on",
    };
    let size = options.crashkernel.map(|size| format!(" crashkernel={}M", size >> 20)).unwrap_or_default();
    format!("root=/dev/vda {fadump}{size}\n")
}

/// The auxiliary vector of any program: here the page size and the end of the list.
fn auxiliary_vector(run: &Run) -> Vec<u8> {
    const PAGE_SIZE: u64 = 6;
    let words = [PAGE_SIZE, run.options.page_size, 0, 0];
    words.iter().flat_map(|word| run.options.order.u64(*word)).collect()
}

/// Lines of `/proc/meminfo` of a kernel that manages `bytes` of memory.
pub(crate) fn meminfo(run: &Run, bytes: u64) -> String {
    let (total, lent) = (bytes >> 10, extent::total(&run.lent()) >> 10);
    // Programs have little of it so soon after the boot.
    let free = total / 10 * 9;
    format!(
        "MemTotal:       {total:8} kB\nMemFree:        {free:8} kB\nMemAvailable:   {free:8} kB\n\
         CmaTotal:       {lent:8} kB\n"
    )
}

/// `/proc/iomem`: a line for each range of memory. What lies in it, reserved or not, is nowhere told on this architecture.
fn iomem(run: &Run) -> String {
    let mut out = String::new();
    for extent in &run.ram_now {
        // Writing to a String cannot fail.
        _ = writeln!(out, "{:08x}-{:08x} : System RAM", extent.start, extent.end().saturating_sub(1));
    }
    out
}

/// Records of `/dev/kmsg`: level and facility, number, microseconds, flags, text.
pub(crate) fn kmsg(run: &Run) -> String {
    let records = run.fadump.log.iter().enumerate();
    records.map(|(n, line)| format!("6,{},{},-;{line}\n", 200 + n, 400_000 + n)).collect()
}

/// Properties that name places in memory: node, name, value (`prom_instantiate_rtas`, `prom_check_initrd`).
fn places(run: &Run) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let (rtas, initrd) = (run.options.rtas_extent(), run.options.initrd_extent());
    let cell = |value: u64| (value as u32).to_be_bytes().to_vec();
    vec![
        ("rtas", "linux,rtas-base", cell(rtas.start)),
        ("rtas", "linux,rtas-entry", cell(rtas.start)),
        ("rtas", "rtas-size", cell(rtas.length)),
        ("chosen", "linux,initrd-start", initrd.start.to_be_bytes().to_vec()),
        ("chosen", "linux,initrd-end", initrd.end().to_be_bytes().to_vec()),
    ]
}

/// The first word of a flattened device tree.
const MAGIC: u32 = 0xd00d_feed;
/// Room for this many entries in the reservation map (`MEM_RESERVE_MAP_SIZE`).
const RESERVATIONS: usize = 8;

/// The flattened device tree as `flatten_device_tree` lays it out: header and reservation map, then a page on which the names
/// begin, then one on which the structure does. The tree in it has only the nodes that name places in memory.
///
/// The reservation map lists what `reserve_mem` was called for, in whole pages: the initial RAM disk and RTAS. The tree itself
/// is not in it.
fn flattened(run: &Run) -> Vec<u8> {
    let page = run.options.page_size as usize;
    let mut names = Bytes::new(ByteOrder::Big);
    // An offset of 0 means no name.
    names.u32(0);
    let mut structure = Bytes::new(ByteOrder::Big);
    begin(&mut structure, "");
    for node in ["rtas", "chosen"] {
        begin(&mut structure, node);
        for (_, name, value) in places(run).into_iter().filter(|place| place.0 == node) {
            let at = names.len() as u32;
            names.raw(name.as_bytes()).raw(&[0]);
            // FDT_PROP: length, name, value, padded to a word.
            structure.u32(3).u32(value.len() as u32).u32(at).raw(&value).pad(4);
        }
        // FDT_END_NODE.
        structure.u32(2);
    }
    // FDT_END_NODE, FDT_END.
    structure.u32(2).u32(9);

    let whole_pages = |extent: Extent| {
        let start = extent.start / page as u64 * page as u64;
        (start, extent.end().next_multiple_of(page as u64) - start)
    };
    let (names_at, structure_at) = (page, page + names.len().next_multiple_of(page));
    let size = structure_at + structure.len().next_multiple_of(page);
    let mut out = Bytes::new(ByteOrder::Big);
    // Version 16: the size of the structure is not told yet.
    out.u32(MAGIC).u32(size as u32).u32(structure_at as u32).u32(names_at as u32).u32(40).u32(16).u32(16);
    out.u32(0).u32(names.len() as u32).u32(0);
    let reserved = [run.options.initrd_extent(), run.options.rtas_extent()].map(whole_pages);
    for (start, length) in reserved.into_iter().chain([(0, 0); RESERVATIONS - 2]) {
        out.u64(start).u64(length);
    }
    out.pad(page).raw(&names.bytes).pad(page).raw(&structure.bytes).pad(page);
    out.bytes
}

/// FDT_BEGIN_NODE and the name, padded to a word.
fn begin(out: &mut Bytes, name: &str) {
    out.u32(1).raw(name.as_bytes()).raw(&[0]).pad(4);
}
