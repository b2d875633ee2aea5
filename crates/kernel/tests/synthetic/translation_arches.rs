//! Addresses, page sets and segments of the kernels that [`crate::arches`] makes.

use crate::arches::{IMAGE_LEN, Made, Spec, specs};
use crate::image::dropped;
use crate::pages::LRU;
use kernel::{Error, Kernel, Value};
use proptest::prelude::*;
use std::collections::BTreeSet;
use vmcore::{DumpLevel, PageState, PhysAddr, Range, Selection, VirtAddr, VirtSegment};

const MEBI: u64 = 1 << 20;

/// Fails with the name of the kernel that a test was about.
fn for_each(test: impl Fn(&Spec)) {
    for spec in specs() {
        let name = spec.name.clone();
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&spec))) {
            eprintln!("in the kernel {name}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn names_bases_and_addresses_are_found() {
    for_each(|spec| {
        let made = spec.make();
        let dump = made.image.dump();
        let kernel = Kernel::open(&dump).unwrap();
        assert_eq!(kernel.utsname().sysname, "Linux");
        assert_eq!(kernel.phys_base(), spec.phys_base);
        for (start, len) in spec.banks_with_len() {
            for phys in [start, start + 0x1234, start + len - 1] {
                let virt = VirtAddr(phys.wrapping_add(spec.distance));
                assert_eq!(kernel.translate(virt).unwrap(), PhysAddr(phys));
            }
        }
    });
}

#[test]
fn pages_of_both_banks_are_told_apart() {
    for_each(|spec| {
        let mut made = spec.make();
        let mut users = BTreeSet::new();
        for (start, len) in spec.banks_with_len() {
            let (first, end) = (start >> spec.page.shift(), (start + len) >> spec.page.shift());
            for pfn in (first..end).filter(|pfn| pfn % 7 == 3) {
                made.write(pfn, LRU, 0x5001);
                users.insert(pfn);
            }
        }
        let selected = made.image.select(8).unwrap();
        assert_eq!(dropped(&selected), users);
        assert_eq!((selected.undecided, selected.remarks), (0, vec![]));
    });
}

#[test]
fn page_tables_and_what_they_map_beside_the_direct_map_are_essential() {
    for_each(|spec| {
        let mut made = spec.make();
        // A page that vmalloc has mapped, in the middle of the low bank, among pages of processes.
        let page = spec.page.bytes();
        let phys = spec.banks[0] + 40 * MEBI;
        let (first, bits) = made.tree.levels[0];
        let above = u64::MAX.checked_shl(first + bits).unwrap_or(0);
        let above = if spec.name.starts_with("s390x") { 0 } else { above };
        let virt = above | ((1 << bits) * 21 / 32) << first;
        made.tree.map(&mut made.image, virt, phys, 0);
        for pfn in phys / page - 3..phys / page + 3 {
            made.write(pfn, LRU, 0x5001);
        }
        let dump = made.image.dump();
        let kernel = Kernel::open(&dump).unwrap();
        assert_eq!(kernel.translate(VirtAddr(virt)).unwrap(), PhysAddr(phys));
        let whole = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
        let parts = kernel.by_value(&whole, &tempfile::tempfile).unwrap();
        let value = |pfn: u64| {
            let has = |part: &Selection| {
                (0..part.chunk_count()).any(|i| {
                    let (first, chunk) = part.chunk(i).unwrap();
                    pfn >= first.0 && pfn - first.0 < vmcore::CHUNK_FRAMES && chunk.contains(pfn - first.0)
                })
            };
            parts.iter().find(|(_, part)| has(part)).map(|(value, _)| *value).unwrap()
        };
        assert_eq!(value(phys / page), Value::Essential);
        assert_eq!([value(phys / page - 1), value(phys / page + 1)], [Value::User; 2]);
        assert_eq!(value(made.tree.root / page), Value::Essential);
        // The table made last: that of the page.
        assert_eq!(value(made.image.alloc(0, 1) / page), Value::Essential);
    });
}

#[test]
fn segments_say_where_memory_and_the_image_are_mapped() {
    for_each(|spec| {
        let made = spec.make();
        let dump = made.image.dump();
        let segments = Kernel::open(&dump).unwrap().virt_segments();
        let mut expected: Vec<VirtSegment> = Vec::new();
        let mut segment = |virt, start, len| {
            let phys = Range::new(PhysAddr(start), PhysAddr(start + len));
            expected.push(VirtSegment { virt: VirtAddr(virt), phys });
        };
        for (start, len) in spec.banks_with_len() {
            segment(start.wrapping_add(spec.distance), start, len);
        }
        if let Some(image) = spec.image {
            // All of it, also what is not mapped any more.
            segment(image, spec.banks[0] + 2 * MEBI, IMAGE_LEN);
        }
        assert_eq!(segments, expected);
    });
}

#[test]
fn segments_of_the_input_stand_in_for_tables_that_nothing_leads_to() {
    for_each(|spec| {
        let mut made = spec.make();
        made.image.without("SYMBOL(swapper_pg_dir)");
        let (start, len) = spec.banks_with_len()[0];
        let windows = spec.name.starts_with("loongarch");
        {
            let dump = made.image.dump();
            let error = Kernel::open(&dump).map(|_| ());
            assert!(
                windows == error.is_ok()
                    && (windows
                        || matches!(error, Err(Error::MissingKey { key, .. }) if key == "SYMBOL(swapper_pg_dir)"))
            );
        }
        let image = spec.image.unwrap_or((start + 2 * MEBI).wrapping_add(spec.distance));
        made.image.virt = vec![VirtSegment {
            virt: VirtAddr(image),
            phys: Range::new(PhysAddr(start + 2 * MEBI), PhysAddr(start + len)),
        }];
        let dump = made.image.dump();
        let kernel = Kernel::open(&dump).unwrap();
        let selected = kernel.select(DumpLevel::new(1).unwrap(), None).unwrap();
        assert_eq!(selected.remarks.len(), 1);
        assert!(
            matches!(kernel.select_unchecked(DumpLevel::ALL, None), Err(Error::MissingKey { key, .. }) if key == "SYMBOL(swapper_pg_dir)")
        );
    });
}

#[test]
fn the_image_is_read_where_a_dump_lacks_page_tables() {
    for_each(|spec| {
        let mut made = spec.make();
        let frame = made.tree.root >> spec.page.shift();
        // The root of these has the number of levels or the type.
        if spec.name.starts_with("s390x") || spec.name.contains("untold") {
            return;
        }
        made.image.ram.gone.insert(frame, PageState::Lost);
        let dump = made.image.dump();
        let kernel = Kernel::open(&dump).unwrap();
        assert_eq!(kernel.utsname().sysname, "Linux");
    });
}

#[test]
fn a_tag_in_the_top_byte_of_an_arm64_pointer_is_not_part_of_it() {
    for spec in specs().iter().filter(|spec| spec.name.starts_with("arm64")) {
        let dump = spec.make().image.dump();
        let kernel = Kernel::open(&dump).unwrap();
        let start = spec.banks[0];
        let virt = start.wrapping_add(spec.distance) & !(0xff << 56) | 0xf4 << 56;
        assert_eq!(kernel.translate(VirtAddr(virt)).unwrap(), PhysAddr(start), "{}", spec.name);
    }
}

#[test]
fn address_bits_that_no_arm64_kernel_has_are_named() {
    let spec = &specs()[0];
    for bits in ["0", "35", "53", "64", "-1"] {
        let mut made = spec.make();
        made.image.key("NUMBER(VA_BITS)", bits);
        let dump = made.image.dump();
        let error = Kernel::open(&dump).map(|_| ()).unwrap_err();
        assert!(matches!(&error, Error::Unsupported(why) if why.contains("VA_BITS")), "{error}");
    }
}

#[test]
fn napot_entries_of_riscv_map_64_kib_together() {
    let spec = specs().into_iter().find(|spec| spec.name == "riscv64 Sv39").unwrap();
    let mut made = spec.make();
    let (virt, phys) = (0xffff_ffc8_0000_0000, spec.banks[0] + 16 * MEBI);
    made.tree.map(&mut made.image, virt, phys, 0);
    // The last table was made just now, at the lowest address.
    let table = made.image.alloc(0, 1);
    for i in 0..16 {
        made.image.put64(table + i * 8, 1 << 63 | ((phys >> 12) | 8) << 10 | 0xef);
    }
    let dump = made.image.dump();
    let kernel = Kernel::open(&dump).unwrap();
    for offset in [0, 0x1000, 0x5432, 0xffff] {
        assert_eq!(kernel.translate(VirtAddr(virt + offset)).unwrap(), PhysAddr(phys + offset));
    }
    assert!(kernel.translate(VirtAddr(virt + 0x1_0000)).is_err());
}

#[test]
fn region_tables_of_z_may_begin_late_and_end_early() {
    let spec = specs().into_iter().find(|spec| spec.name.starts_with("s390x, 2")).unwrap();
    let mut made = spec.make();
    let phys = spec.banks[0] + 16 * MEBI;
    // Entry 600 of a region-third table of which only the second quarter exists.
    let virt = 5 << 42 | 600 << 31;
    made.tree.map(&mut made.image, virt, phys, 0);
    let entry = made.tree.root + 5 * 8;
    let named = made.image.get64(entry, made.image.order());
    for (length, offset, reachable) in
        [(3, 0, true), (1, 1, true), (0, 0, false), (3, 2, false), (1, 2, false)]
    {
        made.image.put64(entry, named & !0xc3 | offset << 6 | length);
        let dump = made.image.dump();
        let found = Kernel::open(&dump).unwrap().translate(VirtAddr(virt));
        assert_eq!(found.is_ok(), reachable, "offset {offset}, length {length}");
    }
    let dump = made.image.dump();
    let beyond = Kernel::open(&dump).unwrap().translate(VirtAddr(1 << 53)).unwrap_err().to_string();
    assert!(beyond.contains("more than the 53 bits"), "{beyond}");
}

#[test]
fn tables_whose_entries_all_name_themselves_are_looked_at_once() {
    // With five levels that would be 2^36 tables.
    let spec = specs().into_iter().find(|spec| spec.name == "arm64 4K VA 52 on 52").unwrap();
    let mut made = spec.make();
    let table = made.image.alloc(4096, 4096);
    for i in 0..512 {
        made.image.put64(table + i * 8, table | 3);
    }
    for i in 2..10 {
        made.image.put64(made.tree.root + i * 8, table | 3);
    }
    let dump = made.image.dump();
    let kernel = Kernel::open(&dump).unwrap();
    let whole = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
    let start = std::time::Instant::now();
    let parts = kernel.by_value(&whole, &tempfile::tempfile).unwrap();
    assert_eq!(parts.iter().map(|(_, part)| part.kept()).sum::<u64>(), whole.kept());
    assert_eq!(kernel.virt_segments().len(), 3);
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
}

/// Entries of memory at a level that has none, tables that name themselves, and addresses outside memory.
#[test]
fn hostile_tables_end_in_an_answer() {
    for_each(|spec| {
        let made = spec.make();
        let height = made.tree.levels.len() - 1;
        let (shift, _) = made.tree.levels[0];
        let virt = u64::MAX << shift;
        let slot = made.tree.root + (virt >> shift & ((1 << made.tree.levels[0].1) - 1)) * 8;
        // A root that names itself; memory in the root; the end of the address space; all bits.
        for entry in
            [made.tree.root | 0x8000_0000_0000_0003, 0xef, u64::MAX, u64::MAX << 12, 0x8000_0000_0000_0481]
        {
            let mut image = made.image.clone();
            image.put64(slot, entry);
            let dump = image.dump();
            if let Ok(kernel) = Kernel::open(&dump) {
                for addr in [virt, u64::MAX, virt | 0x1234_5678] {
                    let _ = kernel.translate(VirtAddr(addr));
                }
                let _ = kernel.virt_segments();
            }
        }
        assert!(height >= 1);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_mapping_of_any_table_is_found(
        which in any::<prop::sample::Index>(),
        maps in prop::collection::vec((any::<u64>(), any::<u64>(), 0usize..3), 1..20),
        inside in any::<u64>(),
    ) {
        let specs = specs();
        let spec = which.get(&specs);
        let mut made: Made = spec.make();
        let (shift, bits) = made.tree.levels[0];
        // The first quarter of the root's second half is used by no kernel here, or by a few of its entries.
        let mut used: Vec<(u64, u64)> = Vec::new();
        let sign = if spec.name.starts_with("s390x") || shift + bits >= 64 { 0 } else { u64::MAX << (shift + bits) };
        for (virt, phys, height) in maps {
            // Pages, and larger ones where the architecture has them.
            let height = height.min(made.tree.levels.len() - 2);
            let height = if height == 2 && spec.page.bytes() != 4096 { 1 } else { height };
            let size = made.tree.size(height);
            let root_slots = 1u64 << bits;
            let slot = root_slots / 2 + virt % (root_slots / 8).max(1);
            let virt = sign | slot << shift | virt & ((1 << shift) - 1) & !(size - 1);
            let phys = phys & ((1 << 44) - 1) & !(size - 1);
            // One large page's worth of addresses each, so that nothing is mapped twice.
            let block = virt & !(made.tree.size((made.tree.levels.len() - 2).min(2)) - 1);
            let taken = {
                let dump = made.image.dump();
                Kernel::open(&dump).unwrap().translate(VirtAddr(virt)).is_ok()
            };
            if taken || used.iter().any(|&(at, _)| at == block) {
                continue;
            }
            used.push((block, virt));
            made.tree.map(&mut made.image, virt, phys, height);
            let dump = made.image.dump();
            let kernel = Kernel::open(&dump).unwrap();
            let offset = inside & (size - 1);
            prop_assert_eq!(
                kernel.translate(VirtAddr(virt + offset)).unwrap(),
                PhysAddr(phys + offset),
                "{} at height {}", &spec.name, height
            );
        }
    }

    #[test]
    fn damaged_kernels_end_in_an_answer(
        which in any::<prop::sample::Index>(),
        writes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>(), any::<u64>(), 0u32..64), 0..200),
        addresses in prop::collection::vec(any::<u64>(), 0..8),
        key in (0usize..8, any::<u64>(), 0u32..64),
    ) {
        let specs = specs();
        let spec = which.get(&specs);
        let mut made = spec.make();
        let written = made.image.written();
        for (frame, at, value, shift) in writes {
            let pfn = written[frame.index(written.len())];
            let offset = (u64::from(at) % spec.page.bytes()) & !7;
            made.image.put64((pfn << spec.page.shift()) + offset, value >> shift);
        }
        let name = [
            "NUMBER(VA_BITS)", "NUMBER(kimage_voffset)", "NUMBER(PHYS_OFFSET)", "NUMBER(TCR_EL1_T1SZ)",
            "NUMBER(va_kernel_pa_offset)", "NUMBER(PAGE_OFFSET)", "KERNELOFFPHYS", "NUMBER(SECTION_SIZE_BITS)",
        ][key.0];
        made.image.key(name, (key.1 >> key.2) as i64);
        let dump = made.image.dump();
        if let Ok(kernel) = Kernel::open(&dump) {
            for addr in addresses {
                let _ = kernel.translate(VirtAddr(addr));
                let _ = kernel.translate(VirtAddr(addr | u64::MAX << 47));
            }
            let _ = kernel.virt_segments();
            let whole = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
            let parts = kernel.by_value(&whole, &tempfile::tempfile).unwrap();
            prop_assert_eq!(parts.iter().map(|(_, part)| part.kept()).sum::<u64>(), whole.kept());
            if let Ok(selected) = kernel.select_unchecked(DumpLevel::ALL, None) {
                let selection = &selected.selection;
                let all = selection.map().frames().total();
                prop_assert_eq!(selection.kept() + selection.reasons().total(), all);
            }
        }
    }
}
