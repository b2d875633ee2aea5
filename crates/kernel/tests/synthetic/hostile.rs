//! Damaged kernels: whatever is in memory and in VMCOREINFO, an answer comes and nothing panics.

use crate::pages::{HEAD, LRU, Page, World};
use crate::tables::KINDS;
use kernel::Kernel;
use proptest::prelude::*;
use vmcore::{DumpLevel, VirtAddr};

/// Numbers that break things more often than random ones do.
fn nasty() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0u64..4,
        (0u32..64).prop_map(|b| 1 << b),
        (0u32..64).prop_map(|b| u64::MAX << b),
        (0u64..64 << 20).prop_map(|a| 0xc000_0000_0000_0000 | a),
        (0u64..64 << 20).prop_map(|a| 0xc000_0000_0000_0000 | a.swap_bytes()),
        (0u64..64 << 8).prop_map(|a| a << 12 | 0x63),
        (0u64..64 << 8).prop_map(|a| (a << 12 | 3 << 62).swap_bytes()),
    ]
}

const KEYS: [&str; 30] = [
    "SIZE(page)",
    "OFFSET(page.flags)",
    "OFFSET(page.mapping)",
    "OFFSET(page.private)",
    "OFFSET(page._mapcount)",
    "OFFSET(page.compound_head)",
    "OFFSET(page.compound_order)",
    "OFFSET(page.compound_dtor)",
    "OFFSET(uts_namespace.name)",
    "LENGTH(zone.free_area)",
    "LENGTH(mem_section)",
    "SIZE(mem_section)",
    "OFFSET(mem_section.section_mem_map)",
    "NUMBER(SECTION_SIZE_BITS)",
    "NUMBER(MAX_PHYSMEM_BITS)",
    "NUMBER(PG_lru)",
    "NUMBER(PG_head_mask)",
    "NUMBER(PG_hwpoison)",
    "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)",
    "NUMBER(phys_base)",
    "NUMBER(sme_mask)",
    "NUMBER(pgtable_l5_enabled)",
    "NUMBER(RADIX_MMU)",
    "NUMBER(VMALLOC_START)",
    "SIZE(mmu_psize_def)",
    "OFFSET(mmu_psize_def.shift)",
    "OFFSET(vmemmap_backing.list)",
    "OFFSET(vmemmap_backing.virt_addr)",
    "OFFSET(pglist_data.node_mem_map)",
    "LENGTH(node_data)",
];

const SYMBOLS: [&str; 8] = [
    "mem_section",
    "mem_map",
    "node_data",
    "contig_page_data",
    "vmemmap_list",
    "mmu_psize_defs",
    "swapper_pg_dir",
    "free_huge_page",
];

/// A kernel with some pages of every sort, of which `writes` hit the tables.
fn damage(
    kind: usize,
    writes: &[(prop::sample::Index, u64)],
    keys: &[(usize, u64)],
    symbols: &[(usize, u64)],
) -> World {
    let kind = KINDS[kind % KINDS.len()];
    let frames = kind.page().frames(32 << 20);
    let mut w = World::new(kind, frames);
    for pfn in (0..frames).step_by(16) {
        w.compound(pfn, 3, Page { flags: LRU | HEAD, mapping: 0x5001, ..Page::default() });
    }
    // Tables, lists and struct pages are all there is in the frames that were written.
    let written = w.image.written();
    for (at, value) in writes {
        let pfn = written[at.index(written.len())];
        let offset = ((value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % w.image.page.bytes()) & !7;
        w.image.put64(w.image.page.addr(vmcore::Pfn(pfn)).0 + offset, *value);
    }
    for (key, value) in keys {
        let key = KEYS[key % KEYS.len()];
        w.image.key(key, *value as i64 >> (value % 64));
    }
    for (symbol, value) in symbols {
        w.image.symbol(SYMBOLS[symbol % SYMBOLS.len()], *value);
    }
    w
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn damaged_tables_and_notes_end_in_an_answer(
        kind in 0usize..KINDS.len(),
        writes in prop::collection::vec((any::<prop::sample::Index>(), nasty()), 0..200),
        keys in prop::collection::vec((any::<usize>(), nasty()), 0..4),
        symbols in prop::collection::vec((any::<usize>(), nasty()), 0..2),
        addresses in prop::collection::vec(nasty(), 0..8),
    ) {
        let w = damage(kind, &writes, &keys, &symbols);
        let dump = w.image.dump();
        if let Ok(kernel) = Kernel::open(&dump) {
            for addr in addresses {
                let _ = kernel.translate(VirtAddr(addr));
            }
            if let Ok(selected) = kernel.select(DumpLevel::ALL, None) {
                let selection = &selected.selection;
                let all = selection.map().frames().total();
                prop_assert_eq!(selection.kept() + selection.reasons().total(), all);
            }
        }
    }

    #[test]
    fn struct_pages_of_random_bytes_are_judged(
        kind in 0usize..KINDS.len(),
        words in prop::collection::vec(nasty(), 64..256),
    ) {
        let kind = KINDS[kind];
        let frames = kind.page().frames(32 << 20);
        let mut w = World::new(kind, frames);
        for (i, word) in words.iter().cycle().take(frames as usize * 8).enumerate() {
            w.put64(i as u64 / 8, i as u64 % 8 * 8, word.rotate_left(i as u32 / 7));
        }
        let selected = w.image.select(31).unwrap();
        let selection = &selected.selection;
        prop_assert_eq!(selection.kept() + selection.reasons().total(), frames);
    }
}
