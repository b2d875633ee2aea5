//! The keys of VMCOREINFO that follow from symbols and types, in the kernel's order (`kernel/vmcore_info.c`,
//! `kernel/printk/printk.c`, `arch/*/kernel/vmcore_info.c`) with makedumpfile's additions for older kernels.

/// SYMBOL(name) of kernels today.
pub(super) const SYMBOLS: &[&str] = &[
    "init_uts_ns",
    "node_online_map",
    "swapper_pg_dir",
    "init_top_pgt",
    "init_level4_pgt",
    "_stext",
    "vmap_area_list",
    "mem_map",
    "contig_page_data",
    "mem_section",
    "node_data",
    "prb",
    "printk_rb_static",
    "clear_seq",
    "kallsyms_names",
    "kallsyms_num_syms",
    "kallsyms_token_table",
    "kallsyms_token_index",
    "kallsyms_offsets",
    "kallsyms_relative_base",
    "vmemmap_list",
    "mmu_vmemmap_psize",
    "mmu_psize_defs",
    "cur_cpu_spec",
];

/// SYMBOL(name) that kernels wrote once or makedumpfile wants. They say something only of the kernels they were written
/// for: a function of this name in another kernel is something else.
pub(super) const OLD_SYMBOLS: &[&str] = &[
    "node_states",
    "vmlist",
    "pgdat_list",
    "log_buf",
    "log_buf_len",
    "log_end",
    "logged_chars",
    "log_first_idx",
    "log_next_idx",
    "clear_idx",
    "max_pfn",
    "high_memory",
    "free_huge_page",
    "cpu_pgd",
    "demote_segment_4k",
    "system_utsname",
    "kallsyms_addresses",
];

/// Symbols whose contents the kernel writes in place of their addresses.
pub(super) const CONTENTS: &[&str] = &["mem_section", "node_online_map"];

/// SIZE(name).
pub(super) const SIZES: &[&str] = &[
    "page",
    "mem_section",
    "pglist_data",
    "zone",
    "free_area",
    "list_head",
    "nodemask_t",
    "printk_ringbuffer",
    "prb_desc_ring",
    "prb_desc",
    "prb_data_blk_lpos",
    "printk_info",
    "dev_printk_info",
    "prb_data_ring",
    "atomic_long_t",
    "latched_seq",
    "printk_log",
    "log",
    "vmemmap_backing",
    "mmu_psize_def",
];

/// Names that are typedefs; all others are structs.
pub(super) const TYPEDEFS: &[&str] = &["nodemask_t", "atomic_long_t"];

/// OFFSET(struct.member).
pub(super) const OFFSETS: &[&str] = &[
    "uts_namespace.name",
    "mem_section.section_mem_map",
    "page.flags",
    "page._refcount",
    "page._count",
    "page.mapping",
    "page.lru",
    "page._mapcount",
    "page.private",
    "page.compound_dtor",
    "page.compound_order",
    "page.compound_head",
    "page.compound_info",
    "folio._folio_dtor",
    "folio._folio_order",
    "pglist_data.node_zones",
    "pglist_data.nr_zones",
    "pglist_data.node_mem_map",
    "pglist_data.node_start_pfn",
    "pglist_data.node_spanned_pages",
    "pglist_data.node_id",
    "pglist_data.pgdat_next",
    "zone.free_pages",
    "zone.free_area",
    "zone.vm_stat",
    "zone.spanned_pages",
    "free_area.free_list",
    "list_head.next",
    "list_head.prev",
    "vm_struct.addr",
    "vmap_area.va_start",
    "vmap_area.list",
    "printk_ringbuffer.desc_ring",
    "printk_ringbuffer.text_data_ring",
    "printk_ringbuffer.fail",
    "prb_desc_ring.count_bits",
    "prb_desc_ring.descs",
    "prb_desc_ring.infos",
    "prb_desc_ring.head_id",
    "prb_desc_ring.tail_id",
    "prb_desc.state_var",
    "prb_desc.text_blk_lpos",
    "prb_data_blk_lpos.begin",
    "prb_data_blk_lpos.next",
    "printk_info.seq",
    "printk_info.ts_nsec",
    "printk_info.text_len",
    "printk_info.caller_id",
    "printk_info.dev_info",
    "dev_printk_info.subsystem",
    "dev_printk_info.device",
    "prb_data_ring.size_bits",
    "prb_data_ring.data",
    "prb_data_ring.head_lpos",
    "prb_data_ring.tail_lpos",
    "atomic_long_t.counter",
    "latched_seq.val",
    "printk_log.ts_nsec",
    "printk_log.len",
    "printk_log.text_len",
    "printk_log.dict_len",
    "log.ts_nsec",
    "log.len",
    "log.text_len",
    "log.dict_len",
    "vmemmap_backing.list",
    "vmemmap_backing.phys",
    "vmemmap_backing.virt_addr",
    "mmu_psize_def.shift",
    "cpu_spec.cpu_features",
    "cpu_spec.mmu_features",
];

/// Members whose array's length has a key, too.
pub(super) const MEMBER_LENGTHS: &[&str] =
    &["zone.free_area", "free_area.free_list", "dev_printk_info.subsystem", "dev_printk_info.device"];

/// How LENGTH of such a member is spelled.
pub(super) fn length_name(path: &str) -> String {
    match path.split_once('.') {
        Some(("dev_printk_info", member)) => format!("printk_info_{member}"),
        _ => path.to_owned(),
    }
}

/// Variables whose array's length has a key.
pub(super) const VARIABLE_LENGTHS: &[&str] = &["mem_section", "node_data", "pgdat_list"];

/// NUMBER(enumerator).
pub(super) const ENUMERATORS: &[&str] = &[
    "NR_FREE_PAGES",
    "N_ONLINE",
    "PG_lru",
    "PG_private",
    "PG_swapcache",
    "PG_swapbacked",
    "PG_slab",
    "PG_hwpoison",
    "PG_hugetlb",
    "HUGETLB_PAGE_DTOR",
];

/// All enumerators that are asked for.
pub(super) fn enumerators() -> Vec<&'static str> {
    let types = super::page_types::TYPES.iter().flat_map(|t| [t.number, t.bit]);
    ENUMERATORS.iter().copied().chain(types).chain(["PG_head"]).collect()
}

/// What every kernel that has a symbol table in VMCOREINFO (6.0) must have for its pages to be classified; of each
/// list one key.
pub(super) const NEEDED: &[&[&str]] = &[
    &["SIZE(page)"],
    &["OFFSET(page.flags)"],
    &["OFFSET(page._refcount)"],
    &["OFFSET(page.mapping)"],
    &["OFFSET(page._mapcount)"],
    &["OFFSET(page.private)"],
    &["OFFSET(page.compound_head)", "OFFSET(page.compound_info)"],
    &["NUMBER(PG_lru)"],
    &["NUMBER(PG_private)"],
    &["NUMBER(PG_swapcache)"],
    &["NUMBER(PG_swapbacked)"],
    &["NUMBER(PG_slab)", "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)"],
    &["NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)"],
    &["NUMBER(PG_head_mask)"],
    &["LENGTH(zone.free_area)"],
    &["SYMBOL(mem_section)", "SYMBOL(mem_map)", "SYMBOL(node_data)"],
    &["SIZE(mem_section)", "SYMBOL(mem_map)"],
    &["OFFSET(mem_section.section_mem_map)", "SYMBOL(mem_map)"],
];
