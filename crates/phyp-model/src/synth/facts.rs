//! What the synthetic kernel says of itself: VMCOREINFO and the static data it points at.
//!
//! Sizes and offsets are those that Linux 6.12 gave in the VMCOREINFO of a 64 KiB and of a 4 KiB ppc64 kernel; the
//! printk ring buffer is `kernel/printk/printk_ringbuffer.c` of that release.

use std::fmt::Write as _;

use crate::bytes::{ByteOrder, Bytes};
use crate::content;
use crate::error::Result;
use crate::extent::Extent;
use crate::memory::Memory;
use crate::notes;
use crate::rng::Rng;
use crate::synth::hash::page_size_index;
use crate::synth::pages::{BUDDY, HUGETLB, OFFLINE, SLAB, Zone, orders};
use crate::synth::sections::{MAX_PHYSMEM_BITS, MEM_SECTION, SECTION_BITS};
use crate::synth::statics::{
    DESCRIPTORS, INFOS, MISC, NODE_DATA, PGDAT, RING, SWAPPER_PG_DIR, StaticData, TEXT, UTS, VMCOREINFO,
};
use crate::synth::{LINEAR, Mmu, SynthOptions, hash, radix};

/// Offsets that differ between the two page sizes.
struct NodeLayout {
    node_size: u64,
    nr_zones: u64,
    zone_size: u64,
    vm_stat: u64,
}

fn node_layout(page_size: u64) -> NodeLayout {
    if page_size == 0x1_0000 {
        NodeLayout { node_size: 20480, nr_zones: 19488, zone_size: 1536, vm_stat: 1408 }
    } else {
        NodeLayout { node_size: 21248, nr_zones: 20256, zone_size: 1920, vm_stat: 1792 }
    }
}

/// The names that `uname` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The node's name.
    pub nodename: &'static str,
    /// The kernel's release.
    pub release: &'static str,
    /// Its build.
    pub version: &'static str,
    /// The machine.
    pub machine: &'static str,
}

/// One line of the kernel log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Nanoseconds since boot.
    pub time: u64,
    /// Its level, 0 to 7.
    pub level: u8,
    /// The text, which may hold line breaks.
    pub text: String,
}

/// Gives the kernel image something to compress.
pub(crate) fn fill_image(memory: &mut Memory, rng: &mut Rng) -> Result<()> {
    let mut page = vec![0; 0x1000];
    for at in (0x1_0000..SWAPPER_PG_DIR).step_by(0x1000) {
        content::fill_page(rng, &mut page);
        memory.write(at, &page)?;
    }
    Ok(())
}

/// Writes `init_uts_ns`: six names of 65 bytes.
pub(crate) fn write_uts(options: &SynthOptions, memory: &mut Memory) -> Result<Release> {
    let machine = if options.order == ByteOrder::Big { "ppc64" } else { "ppc64le" };
    let version = "#1 SMP Mon Nov 23 00:00:00 UTC 2026";
    let release = Release { nodename: "model", release: "6.12.94-synthetic", version, machine };
    for (n, name) in
        ["Linux", release.nodename, release.release, version, machine, "(none)"].iter().enumerate()
    {
        memory.write(UTS + n as u64 * 65, name.as_bytes())?;
    }
    Ok(release)
}

/// Writes the printk ring buffer; its oldest lines have been overwritten, and one record wraps around its end.
pub(crate) fn write_log(options: &SynthOptions, memory: &mut Memory) -> Result<Vec<LogLine>> {
    const COUNT_BITS: u32 = 8;
    const SIZE_BITS: u32 = 14;
    // The task that logged every line.
    const CALLER: u32 = 1;
    const FINALIZED: u64 = 2;
    const REUSABLE: u64 = 3;
    let order = options.order;
    let mut lines = Vec::new();
    for n in 0..400u64 {
        let text = match n % 5 {
            0 => format!("model: line {n} of the log, with a number {:#x}", n * 0x9e37),
            1 => format!("memory: node 0 has range {n}"),
            2 => format!("a line broken in two: {n}\nits second half"),
            3 => format!("sysrq: {}", "x".repeat(1 + (n as usize * 7) % 90)),
            _ => format!("device {n}: ready"),
        };
        lines.push(LogLine { time: 1_000_000 * n + n * n, level: (n % 8) as u8, text });
    }
    // Where each record goes: (begin, next) as the ring counts, that is without end.
    let size = 1u64 << SIZE_BITS;
    let mut head = 0;
    let mut places = Vec::new();
    for line in &lines {
        let length = (8 + line.text.len() as u64).next_multiple_of(8);
        let begin = head;
        head = begin + length;
        if begin >> SIZE_BITS != head >> SIZE_BITS {
            // A record that does not fit before the end lies whole at the beginning.
            head = (head >> SIZE_BITS << SIZE_BITS) + length;
        }
        places.push((begin, head));
    }
    let count = 1usize << COUNT_BITS;
    let oldest =
        (0..lines.len()).find(|n| lines.len() - n < count && head - places[*n].0 <= size).unwrap_or(0);
    // Identifiers count from where the kernel begins: before zero, so that they wrap early.
    let id = |n: usize| (n as u64).wrapping_sub(count as u64 + 1) & (u64::MAX >> 2);
    for n in 0..count {
        let mut out = Bytes::new(order);
        out.u64((REUSABLE << 62) | id(n)).u64(1).u64(1);
        memory.write(DESCRIPTORS + (id(n) % count as u64) * 24, &out.bytes)?;
    }
    for n in oldest..lines.len() {
        let slot = id(n) % count as u64;
        let (begin, next) = places[n];
        let mut out = Bytes::new(order);
        out.u64((FINALIZED << 62) | id(n)).u64(begin).u64(next);
        memory.write(DESCRIPTORS + slot * 24, &out.bytes)?;
        let line = &lines[n];
        let mut out = Bytes::new(order);
        // Facility, then five bits of flags and three of level, from the low or the high end.
        let level = if order == ByteOrder::Big { line.level } else { line.level << 5 };
        out.u64(n as u64).u64(line.time).u16(line.text.len() as u16).raw(&[0, level]).u32(CALLER);
        memory.write(INFOS + slot * 88, &out.bytes)?;
        let at = if begin >> SIZE_BITS == next >> SIZE_BITS { begin % size } else { 0 };
        let mut out = Bytes::new(order);
        out.u64(id(n)).raw(line.text.as_bytes());
        memory.write(TEXT + at, &out.bytes)?;
        if at != begin % size {
            memory.write(TEXT + begin % size, &order.u64(id(n)))?;
        }
    }
    let (last, first) = (id(lines.len() - 1), id(oldest));
    let mut out = Bytes::new(order);
    // desc_ring: bits, descriptors, infos, head, tail, last finalised; text_data_ring: bits, data, head, tail; fail.
    out.u32(COUNT_BITS).u32(0).u64(LINEAR + DESCRIPTORS).u64(LINEAR + INFOS).u64(last).u64(first);
    out.u64(lines.len() as u64 - 1);
    out.u32(SIZE_BITS).u32(0).u64(LINEAR + TEXT).u64(head).u64(places[oldest].0).u64(0);
    memory.write(RING, &out.bytes)?;
    memory.write(MISC, &order.u64(LINEAR + RING))?;
    Ok(lines.split_off(oldest))
}

/// Writes `node_data`, the node and its one zone with counters and free lists.
pub(crate) fn write_zone(options: &SynthOptions, memory: &mut Memory, zone: &Zone) -> Result<()> {
    let layout = node_layout(options.page_size);
    let order = options.order;
    let frames = options.ram.iter().map(|extent| extent.end()).max().unwrap_or(0) / options.page_size;
    let mut out = Bytes::zeroed(order, layout.node_size as usize);
    for (rank, lists) in zone.lists.iter().enumerate() {
        for (kind, list) in lists.iter().enumerate() {
            let at = 256 + rank * 104 + kind * 16;
            let head = LINEAR + PGDAT + at as u64;
            let (first, last) = list.unwrap_or((head, head));
            out.u64_at(at, first).u64_at(at + 8, last);
        }
        out.u64_at(256 + rank * 104 + 96, zone.blocks[rank]);
    }
    out.u64_at(136, frames).u64_at(layout.vm_stat as usize, zone.free_pages);
    let nr_zones = layout.nr_zones as usize;
    // nr_zones, start, present and spanned frames, id.
    out.u32_at(nr_zones, 1)
        .u64_at(nr_zones + 8, 0)
        .u64_at(nr_zones + 16, frames)
        .u64_at(nr_zones + 24, frames);
    memory.write(PGDAT, &out.bytes)?;
    memory.write(NODE_DATA, &order.u64(LINEAR + PGDAT))?;
    memory.write(MISC + 0x40, &order.u64(1))
}

/// Writes the variables of address translation and the note itself.
pub(crate) fn write_vmcoreinfo(
    options: &SynthOptions,
    memory: &mut Memory,
    data: &StaticData,
    release: &Release,
) -> Result<(Extent, String)> {
    let order = options.order;
    let radix = matches!(options.mmu, Mmu::Radix { .. });
    let shift = match options.mmu {
        Mmu::Hash { vmemmap_shift } => vmemmap_shift,
        Mmu::Radix { .. } => options.page_size.trailing_zeros(),
    };
    let psize = page_size_index(shift);
    memory.write(MISC + 0x110, &order.u32(psize))?;
    memory.write(MISC + 0x200 + u64::from(psize) * 96, &order.u32(shift))?;
    memory.write(MISC + 0x120, &order.u64(LINEAR + MISC + 0x180))?;
    memory.write(MISC + 0x180 + 32, &order.u32(if radix { 0x40 } else { 0 }))?;
    let vmemmap = match (radix, options.page_size) {
        (true, _) => radix::VMEMMAP,
        (false, 0x1000) => hash::VMEMMAP_4K,
        (false, _) => hash::VMEMMAP_64K,
    };
    let vmalloc = if !radix && options.page_size == 0x1000 { 0xc000_3d00_0000_0000 } else { radix::VMALLOC };
    let text = text(options, data, release, vmemmap, vmalloc);
    let note = notes::note(order, "VMCOREINFO", 0, text.as_bytes());
    memory.write(VMCOREINFO, &note)?;
    Ok((Extent::new(VMCOREINFO, note.len() as u64), text))
}

fn text(options: &SynthOptions, data: &StaticData, release: &Release, vmemmap: u64, vmalloc: u64) -> String {
    let mut out = String::new();
    let mut line = |name: &str, key: &str, value: String| {
        // Writing to a String cannot fail.
        _ = writeln!(out, "{name}({key})={value}");
    };
    let layout = node_layout(options.page_size);
    for (key, address) in [
        ("init_uts_ns", UTS),
        ("node_online_map", MISC + 0x40),
        ("swapper_pg_dir", SWAPPER_PG_DIR),
        ("_stext", 0),
        ("prb", MISC),
        ("printk_rb_static", RING),
        ("clear_seq", MISC + 0x60),
        ("node_data", NODE_DATA),
        ("vmemmap_list", data.vmemmap_list),
        ("mmu_vmemmap_psize", MISC + 0x110),
        ("mmu_psize_defs", MISC + 0x200),
        ("cur_cpu_spec", MISC + 0x120),
    ] {
        line("SYMBOL", key, format!("{:x}", LINEAR + address));
    }
    line("SYMBOL", "vmemmap", format!("{vmemmap:x}"));
    line("SYMBOL", "mem_section", format!("{:x}", data.mem_section.0));
    line("NUMBER", "VMALLOC_START", format!("{vmalloc:#x}"));
    let orders = u64::from(orders(options.page_size));
    for (key, value) in [
        ("mem_section", data.mem_section.1),
        ("zone.free_area", orders),
        ("printk_info_subsystem", 16),
        ("printk_info_device", 48),
        ("free_area.free_list", 6),
        ("node_data", 256),
    ] {
        line("LENGTH", key, value.to_string());
    }
    for (key, value) in [
        ("mem_section", MEM_SECTION),
        ("page", 64),
        ("pglist_data", layout.node_size),
        ("zone", layout.zone_size),
        ("free_area", 104),
        ("list_head", 16),
        ("nodemask_t", 32),
        ("printk_ringbuffer", 88),
        ("prb_desc_ring", 48),
        ("prb_desc", 24),
        ("prb_data_blk_lpos", 16),
        ("printk_info", 88),
        ("dev_printk_info", 64),
        ("prb_data_ring", 32),
        ("atomic_long_t", 8),
        ("latched_seq", 24),
        ("vmemmap_backing", 24),
        ("mmu_psize_def", 96),
    ] {
        line("SIZE", key, value.to_string());
    }
    for (key, value) in [
        ("uts_namespace.name", 0),
        ("mem_section.section_mem_map", 0),
        ("page.flags", 0),
        ("page._refcount", 52),
        ("page.mapping", 24),
        ("page.lru", 8),
        ("page._mapcount", 48),
        ("page.private", 40),
        ("page.compound_head", 8),
        ("pglist_data.node_zones", 0),
        ("pglist_data.nr_zones", layout.nr_zones),
        ("pglist_data.node_start_pfn", layout.nr_zones + 8),
        ("pglist_data.node_spanned_pages", layout.nr_zones + 24),
        ("pglist_data.node_id", layout.nr_zones + 32),
        ("zone.free_area", 256),
        ("zone.vm_stat", layout.vm_stat),
        ("zone.spanned_pages", 136),
        ("free_area.free_list", 0),
        ("list_head.next", 0),
        ("list_head.prev", 8),
        ("printk_ringbuffer.desc_ring", 0),
        ("printk_ringbuffer.text_data_ring", 48),
        ("printk_ringbuffer.fail", 80),
        ("prb_desc_ring.count_bits", 0),
        ("prb_desc_ring.descs", 8),
        ("prb_desc_ring.infos", 16),
        ("prb_desc_ring.head_id", 24),
        ("prb_desc_ring.tail_id", 32),
        ("prb_desc.state_var", 0),
        ("prb_desc.text_blk_lpos", 8),
        ("prb_data_blk_lpos.begin", 0),
        ("prb_data_blk_lpos.next", 8),
        ("printk_info.seq", 0),
        ("printk_info.ts_nsec", 8),
        ("printk_info.text_len", 16),
        ("printk_info.caller_id", 20),
        ("printk_info.dev_info", 24),
        ("dev_printk_info.subsystem", 0),
        ("dev_printk_info.device", 16),
        ("prb_data_ring.size_bits", 0),
        ("prb_data_ring.data", 8),
        ("prb_data_ring.head_lpos", 16),
        ("prb_data_ring.tail_lpos", 24),
        ("atomic_long_t.counter", 0),
        ("latched_seq.val", 8),
        ("vmemmap_backing.list", 0),
        ("vmemmap_backing.phys", 8),
        ("vmemmap_backing.virt_addr", 16),
        ("mmu_psize_def.shift", 0),
        ("cpu_spec.cpu_features", 16),
        ("cpu_spec.mmu_features", 32),
    ] {
        line("OFFSET", key, value.to_string());
    }
    let radix = i64::from(matches!(options.mmu, Mmu::Radix { .. }));
    // Page types are printed as signed numbers.
    let kind = |value: u32| i64::from(value as i32);
    for (key, value) in [
        ("SECTION_SIZE_BITS", i64::from(SECTION_BITS)),
        ("MAX_PHYSMEM_BITS", i64::from(MAX_PHYSMEM_BITS)),
        ("NR_FREE_PAGES", 0),
        ("PG_lru", 5),
        ("PG_private", 14),
        ("PG_swapcache", 10),
        ("PG_swapbacked", 17),
        ("PAGE_SLAB_MAPCOUNT_VALUE", kind(SLAB)),
        ("PG_head_mask", 64),
        ("PAGE_BUDDY_MAPCOUNT_VALUE", kind(BUDDY)),
        ("PAGE_HUGETLB_MAPCOUNT_VALUE", kind(HUGETLB)),
        ("PAGE_OFFLINE_MAPCOUNT_VALUE", kind(OFFLINE)),
        ("RADIX_MMU", radix),
    ] {
        line("NUMBER", key, value.to_string());
    }
    let (name, page_size) = (release.release, options.page_size);
    let build = "0123456789abcdef0123456789abcdef01234567";
    format!(
        "OSRELEASE={name}\nBUILD-ID={build}\nPAGESIZE={page_size}\n{out}KERNELOFFSET=0\nCRASHTIME=1795388515\n"
    )
}
