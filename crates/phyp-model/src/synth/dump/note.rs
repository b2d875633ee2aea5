//! VMCOREINFO, line by line as each release wrote it (`kernel/kexec.c`, `crash_core.c`, `vmcore_info.c`).

use std::fmt::Write as _;

use crate::synth::dump::arch::{Arch, Orders, Space, image};
use crate::synth::dump::generation::{Compound, Generation, Type};
use crate::synth::dump::page::destructor;
use crate::synth::dump::place::Sections;
use crate::synth::dump::zone;
use crate::synth::dump::{Model, Spec};

/// Where the name is in `uts_namespace`: after a counter until 5.10.
pub(crate) fn uts_name(generation: Generation) -> u64 {
    if generation < Generation::V6_1 { 4 } else { 0 }
}

/// The release's name.
pub(crate) fn release(spec: &Spec) -> String {
    format!("{}.7-synthetic", spec.generation.release())
}

/// The text of the note.
pub(crate) fn text(spec: &Spec, space: &Space, orders: &Orders, sections: Option<&Sections>) -> String {
    use Generation as G;
    let generation = spec.generation;
    let since = |first: Generation| generation >= first;
    let at = generation.layout();
    let node = zone::layout(spec, orders.free);
    let symbol = |offset: u64| space.image.wrapping_add(space.image_at + offset);
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut line = |text: String| _ = writeln!(out, "{text}");
    line(format!("OSRELEASE={}", release(spec)));
    if since(G::V5_10) {
        line("BUILD-ID=0123456789abcdef0123456789abcdef01234567".to_owned());
    }
    line(format!("PAGESIZE={}", spec.page_size));
    line(format!("SYMBOL(init_uts_ns)={:x}", symbol(image::UTS)));
    if since(G::V6_1) {
        line(format!("OFFSET(uts_namespace.name)={}", uts_name(generation)));
    }
    line(format!("SYMBOL(node_online_map)={:x}", symbol(image::MISC + 0x40)));
    line(format!("SYMBOL(swapper_pg_dir)={:x}", symbol(image::SWAPPER)));
    line(format!("SYMBOL(_stext)={:x}", symbol(0)));
    if since(G::V6_9) {
        line(format!("NUMBER(VMALLOC_START)={:#x}", space.vmalloc & !0xff_ffff));
    } else if since(G::V3_10) {
        line(format!("SYMBOL(vmap_area_list)={:x}", symbol(image::MISC + 0x80)));
    } else {
        line(format!("SYMBOL(vmlist)={:x}", symbol(image::MISC + 0x80)));
    }
    if !spec.is_numa() {
        line(format!("SYMBOL(mem_map)={:x}", symbol(image::MISC + 0x8)));
        line(format!("SYMBOL(contig_page_data)={:x}", symbol(image::CONTIG)));
    }
    if since(G::V6_12) && spec.model == Model::Vmemmap {
        line(format!("SYMBOL(vmemmap)={:x}", space.vmemmap));
    }
    if let Some(sections) = sections {
        line(format!("SYMBOL(mem_section)={:x}", sections.symbol));
        line(format!("LENGTH(mem_section)={}", sections.length));
        line(format!("SIZE(mem_section)={}", sections.size));
        line("OFFSET(mem_section.section_mem_map)=0".to_owned());
        if since(G::V6_1) {
            line(format!("NUMBER(SECTION_SIZE_BITS)={}", space.section_bits));
        }
        if since(G::V5_10) {
            line(format!("NUMBER(MAX_PHYSMEM_BITS)={}", space.physmem_bits));
        }
    }
    line(format!("SIZE(page)={}", spec.struct_page));
    line(format!("SIZE(pglist_data)={}", node.node));
    line(format!("SIZE(zone)={}", node.zone));
    line(format!("SIZE(free_area)={}", node.area));
    line("SIZE(list_head)=16".to_owned());
    line("SIZE(nodemask_t)=8".to_owned());
    line("OFFSET(page.flags)=0".to_owned());
    line(format!("OFFSET(page.{})={}", if since(G::V4_14) { "_refcount" } else { "_count" }, at.refcount));
    line(format!("OFFSET(page.mapping)={}", at.mapping));
    line(format!("OFFSET(page.lru)={}", at.lru));
    if since(G::V3_10) {
        line(format!("OFFSET(page._mapcount)={}", at.mapcount));
        line(format!("OFFSET(page.private)={}", at.private));
    }
    let bytes = spec.struct_page as usize;
    match generation.compound() {
        Compound::Words => {
            line(format!("OFFSET(page.compound_dtor)={}", at.lru + 8));
            line(format!("OFFSET(page.compound_order)={}", at.lru + 12));
        }
        Compound::Bytes if since(G::V6_3) => {
            line(format!("OFFSET(folio._folio_dtor)={}", bytes + at.lru + 8));
            line(format!("OFFSET(folio._folio_order)={}", bytes + at.lru + 9));
        }
        Compound::Bytes => {
            line(format!("OFFSET(page.compound_dtor)={}", at.lru + 8));
            line(format!("OFFSET(page.compound_order)={}", at.lru + 9));
        }
        Compound::List | Compound::Flags => {}
    }
    if let Some(offset) = generation.head_pointer() {
        let name = if since(G::V7_1) { "compound_info" } else { "compound_head" };
        line(format!("OFFSET(page.{name})={offset}"));
    }
    line("OFFSET(pglist_data.node_zones)=0".to_owned());
    line(format!("OFFSET(pglist_data.nr_zones)={}", node.nr_zones));
    if let Some(offset) = node.node_mem_map {
        line(format!("OFFSET(pglist_data.node_mem_map)={offset}"));
    }
    line(format!("OFFSET(pglist_data.node_start_pfn)={}", node.start));
    line(format!("OFFSET(pglist_data.node_spanned_pages)={}", node.span));
    line(format!("OFFSET(pglist_data.node_id)={}", node.id));
    line(format!("OFFSET(zone.free_area)={}", node.free_area));
    line(format!("OFFSET(zone.vm_stat)={}", node.vm_stat));
    line(format!("OFFSET(zone.spanned_pages)={}", node.spanned));
    line("OFFSET(free_area.free_list)=0".to_owned());
    line("OFFSET(list_head.next)=0".to_owned());
    line("OFFSET(list_head.prev)=8".to_owned());
    if !since(G::V3_10) {
        line("OFFSET(vm_struct.addr)=8".to_owned());
    } else if !since(G::V6_9) {
        line("OFFSET(vmap_area.va_start)=0".to_owned());
        line(format!("OFFSET(vmap_area.list)={}", if since(G::V5_10) { 40 } else { 48 }));
    }
    line(format!("LENGTH(zone.free_area)={}", orders.free));
    line(format!("LENGTH(free_area.free_list)={}", node.lists));
    line("NUMBER(NR_FREE_PAGES)=0".to_owned());
    flags(spec, &mut line);
    for own in &space.lines {
        line(own.clone());
    }
    line("CRASHTIME=1795388515".to_owned());
    out
}

/// Flags and page types.
fn flags(spec: &Spec, line: &mut impl FnMut(String)) {
    use Generation as G;
    let generation = spec.generation;
    let since = |first: Generation| generation >= first;
    let arch = spec.mmu.arch();
    let mut flag = |name: &str| {
        if let Some(number) = generation.flag_number(arch, name) {
            line(format!("NUMBER(PG_{name})={number}"));
        }
    };
    for name in ["lru", "private", "swapcache"] {
        flag(name);
    }
    if since(G::V4_14) {
        flag("swapbacked");
    }
    if since(G::V3_10) {
        flag("slab");
    }
    if since(G::V3_10) && spec.memory_failure {
        flag("hwpoison");
    }
    let mut kind = |name: &str, kind: Type| {
        if let Some(word) = generation.type_word(kind) {
            line(format!("NUMBER(PAGE_{name}_MAPCOUNT_VALUE)={}", word as i32));
        }
    };
    kind_if(since(G::V6_10), &mut kind, "SLAB", Type::Slab);
    kind_if(since(G::V3_10), &mut kind, "BUDDY", Type::Buddy);
    kind_if(since(G::V6_9), &mut kind, "HUGETLB", Type::Hugetlb);
    kind_if(generation.tells_offline(), &mut kind, "OFFLINE", Type::Offline);
    let unaccepted = arch == Arch::X86_64 && generation.tells_unaccepted();
    kind_if(unaccepted, &mut kind, "UNACCEPTED", Type::Unaccepted);
    if generation.tells_compounds() {
        line(format!("NUMBER(PG_head_mask)={}", generation.flag(arch, "head")));
    }
    match generation {
        G::V3_19 => line(format!("SYMBOL(free_huge_page)={:x}", destructor(2))),
        G::V4_4 | G::V4_14 | G::V5_10 | G::V6_1 | G::V6_3 => line("NUMBER(HUGETLB_PAGE_DTOR)=2".to_owned()),
        G::V6_6 => {
            let number = generation.flag_number(arch, "active").unwrap_or_default();
            line(format!("NUMBER(PG_hugetlb)={number}"));
        }
        _ => {}
    }
}

fn kind_if(holds: bool, kind: &mut impl FnMut(&str, Type), name: &str, which: Type) {
    if holds {
        kind(name, which);
    }
}
