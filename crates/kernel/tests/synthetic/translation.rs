//! Addresses of every kind of kernel, and what is said when they cannot be translated.

use crate::image::Image;
use crate::pages::{LRU, Page, World};
use crate::tables::{KINDS, Kind, Machine};
use kernel::{Error, Kernel, KernelMemory};
use vmcore::{DumpLevel, PageSize, PageState, PhysAddr, Range, VirtAddr, VirtSegment};

const MEBI: u64 = 1 << 20;

#[test]
fn the_name_is_read_on_every_kind_of_kernel() {
    for kind in KINDS {
        let image = Machine::new(kind, kind.page().frames(32 * MEBI)).finish();
        let dump = image.dump();
        let uts = Kernel::open(&dump).unwrap().utsname().clone();
        assert_eq!((&*uts.sysname, &*uts.release, &*uts.domainname), ("Linux", "6.0-synthetic", "(none)"));
    }
}

#[test]
fn a_radix_kernel_with_4k_pages_is_not_read_through_the_first_page_of_its_root() {
    // The root is 64 KiB. vmemmap is in its slot 6144; modulo a page of 4 KiB that is slot 0, the linear map, and
    // makedumpfile takes what is at physical 0 for struct pages.
    let mut w = World::new(Kind::Radix4K, 16384);
    for pfn in 4096..4160 {
        w.write(pfn, Page { flags: LRU, mapping: 0x5001, ..Page::default() });
    }
    for pfn in 8192..12288 {
        let at = pfn * 64;
        w.image.put64(at, LRU);
        w.image.put64(at + 24, 0x5001);
    }
    assert_eq!(w.image.dropped(8), (4096..4160).collect());
}

#[test]
fn virtual_arrays_are_found_where_physical_memory_does_not_follow_them() {
    for kind in KINDS {
        let w = World::new(kind, kind.page().frames(64 * MEBI));
        let dump = w.image.dump();
        let kernel = Kernel::open(&dump).unwrap();
        let start = Machine::new(kind, 8192).vmemmap();
        for offset in [0, 8, w.piece - 1, w.piece, w.len - 1] {
            if offset >= w.len {
                continue;
            }
            let phys = kernel.translate(VirtAddr(start + offset)).unwrap();
            assert_eq!(phys, PhysAddr(w.phys(offset)), "{kind:?} {offset:#x}");
        }
        let beyond = kernel.translate(VirtAddr(start + w.len + (1 << 30)));
        assert!(matches!(beyond, Err(Error::NotMapped { .. })), "{kind:?}: {beyond:?}");
    }
}

#[test]
fn a_read_across_mappings_takes_each_part_from_its_own_place() {
    let mut w = World::with_size(Kind::X86Five, 16384, 56);
    for pfn in 0..200 {
        w.put64(pfn, 0, pfn);
    }
    let dump = w.image.dump();
    let kernel = Kernel::open(&dump).unwrap();
    let mut bytes = vec![0; 200 * 56];
    kernel.read(VirtAddr(0xffd4_0000_0000_0000), &mut bytes).unwrap();
    for (pfn, page) in bytes.chunks_exact(56).enumerate() {
        assert_eq!(u64::from_le_bytes(*page.first_chunk().unwrap()), pfn as u64);
    }
}

#[test]
fn older_radix_kernels_are_known_by_the_features_of_their_cpu() {
    let mut w = World::new(Kind::Radix64K, 1024);
    w.write(100, Page { flags: LRU, mapping: 0x5001, ..Page::default() });
    w.image.without("NUMBER(RADIX_MMU)").without("NUMBER(VMALLOC_START)");
    w.image.symbol("cur_cpu_spec", 0xc000_0000_0038_0000).key("OFFSET(cpu_spec.mmu_features)", 32);
    w.image.put64(0x38_0000, 0xc000_0000_0038_1000);
    w.image.put32(0x38_1020, 0x40 | 0x8000_0000);
    assert_eq!(w.image.dropped(8), [100].into());
    // Without the feature it is a hash kernel, whose vmemmap cannot be found without a list.
    w.image.put32(0x38_1020, 0x8000_0000);
    assert!(w.image.select(8).is_err());
}

#[test]
fn a_vmemmap_list_that_runs_in_a_circle_ends_in_an_error() {
    let mut w = World::new(Kind::HashBig4K, 16384);
    let head = w.image.get64(2 * MEBI, w.image.order());
    let mut node = head & 0x0fff_ffff_ffff_ffff;
    while w.image.get64(node, w.image.order()) != 0 {
        node = w.image.get64(node, w.image.order()) & 0x0fff_ffff_ffff_ffff;
    }
    w.image.put64(node, head);
    match w.image.select(2).map(|_| ()) {
        Err(Error::Implausible { what, .. }) => assert_eq!(what, "vmemmap_list"),
        other => panic!("{other:?}"),
    }
    // The log is not lost with it.
    let dump = w.image.dump();
    assert_eq!(Kernel::open(&dump).unwrap().utsname().sysname, "Linux");
}

#[test]
fn a_key_of_the_vmemmap_list_that_is_missing_is_named() {
    for key in [
        "SYMBOL(mmu_psize_defs)",
        "SIZE(mmu_psize_def)",
        "OFFSET(vmemmap_backing.phys)",
        "OFFSET(vmemmap_backing.list)",
    ] {
        let mut w = World::new(Kind::HashLittle64K, 1024);
        w.image.without(key);
        assert!(matches!(w.image.select(2), Err(Error::MissingKey { key: named, .. }) if named == key));
    }
}

#[test]
fn a_name_that_is_not_linux_is_refused_with_what_was_found() {
    let mut image = Machine::new(Kind::X86Four, 8192).finish();
    let name = image.get64(2 * MEBI + 0x104, image.order());
    image.put64(2 * MEBI + 0x104, name ^ 0x20);
    let dump = image.dump();
    let error = Kernel::open(&dump).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("\"linux\", expected \"Linux\""), "{error}");
    assert!(matches!(Kernel::open(&dump), Err(Error::Implausible { .. })));
}

#[test]
fn missing_page_tables_are_made_up_for_by_the_segments_of_the_input() {
    let mut image = Machine::new(Kind::X86Four, 8192).finish();
    image.ram.gone.insert((3 * MEBI) >> 12, PageState::Lost);
    let linear = VirtAddr(0xffff_8880_0012_3456);
    {
        let dump = image.dump();
        let kernel = Kernel::open(&dump).unwrap();
        assert!(matches!(kernel.translate(linear), Err(Error::NotInDump { .. })));
    }
    image.virt.push(VirtSegment {
        virt: VirtAddr(0xffff_8880_0000_0000),
        phys: Range::new(PhysAddr(0), PhysAddr(32 * MEBI)),
    });
    let dump = image.dump();
    let kernel = Kernel::open(&dump).unwrap();
    assert_eq!(kernel.translate(linear).unwrap(), PhysAddr(0x12_3456));
}

#[test]
fn a_base_that_the_note_lacks_is_taken_from_the_segment_of_the_image() {
    let mut image = Machine::new(Kind::X86Four, 8192).finish();
    let before = {
        let dump = image.dump();
        Kernel::open(&dump).unwrap().phys_base()
    };
    image.without("NUMBER(phys_base)");
    {
        let dump = image.dump();
        let missing = Kernel::open(&dump).map(|_| ());
        assert!(matches!(missing, Err(Error::MissingKey { key, .. }) if key == "NUMBER(phys_base)"));
    }
    let text = 0xffff_ffff_8000_0000 + 16 * MEBI;
    image.symbol("_stext", text);
    image
        .virt
        .push(VirtSegment { virt: VirtAddr(text), phys: Range::new(PhysAddr(2 * MEBI), PhysAddr(4 * MEBI)) });
    let dump = image.dump();
    assert_eq!(Kernel::open(&dump).unwrap().phys_base(), before);
}

#[test]
fn a_base_that_only_a_variable_holds_is_found_where_it_says_itself() {
    let mut image = Machine::new(Kind::X86Four, 8192).finish();
    let base = (2 * MEBI).wrapping_sub(16 * MEBI);
    image.without("NUMBER(phys_base)");
    image.symbol("phys_base", 0xffff_ffff_8000_0000 + 16 * MEBI + 0x2000);
    let variable = 2 * MEBI + 0x2000;
    image.put64(variable, base);
    {
        let dump = image.dump();
        let kernel = Kernel::open(&dump).unwrap();
        assert_eq!((kernel.phys_base(), kernel.utsname().sysname.as_str()), (base, "Linux"));
    }
    // The right place with a wrong number is not the right place, and a header is believed only then.
    image.put64(variable, 0);
    let mut dump = image.dump();
    assert!(matches!(Kernel::open(&dump), Err(Error::MissingKey { key, .. }) if key == "NUMBER(phys_base)"));
    dump.source.phys_base = Some(base);
    assert_eq!(Kernel::open(&dump).unwrap().phys_base(), base);
}

#[test]
fn a_direct_map_that_no_note_tells_is_found_in_the_tables() {
    for (kind, linear, image_virt) in [
        (Kind::X86Four, 0xffff_8880_0000_0000, 0xffff_ffff_8100_0000),
        (Kind::X86Five, 0xff11_0000_0000_0000, 0xffff_ffff_8100_0000),
    ] {
        let dump = Machine::new(kind, 8192).finish().dump();
        let segments = Kernel::open(&dump).unwrap().virt_segments();
        let expected =
            [(linear, 0, 32 * MEBI), (image_virt, 2 * MEBI, 4 * MEBI)].map(|(virt, start, end)| {
                VirtSegment { virt: VirtAddr(virt), phys: Range::new(PhysAddr(start), PhysAddr(end)) }
            });
        assert_eq!(segments, expected, "{kind:?}");
    }
    for kind in [Kind::Radix4K, Kind::Radix64K, Kind::HashLittle64K, Kind::HashBig4K] {
        let dump = Machine::new(kind, kind.page().frames(32 * MEBI)).finish().dump();
        let all = VirtSegment {
            virt: VirtAddr(0xc000_0000_0000_0000),
            phys: Range::new(PhysAddr(0), PhysAddr(32 * MEBI)),
        };
        assert_eq!(Kernel::open(&dump).unwrap().virt_segments(), [all], "{kind:?}");
    }
}

#[test]
fn kernels_of_32_bits_are_read_in_the_memory_they_always_map() {
    for (machine, text, start, end) in [
        ("i686", 0xc100_0000_u64, 0, 0x3800_0000),
        ("i686", 0x8010_0000, 0, 0x7800_0000),
        ("armv7l", 0xc010_8000, 0x6000_0000, 0x9000_0000),
        ("ppc", 0xc000_0000, 0, 0x3000_0000),
    ] {
        // More memory than is mapped.
        let mut image = Image::with_banks(machine, PageSize::K4, &[(start, 2 << 30)]);
        let base = text & 0xf000_0000;
        image.symbol("_stext", text);
        image.name(text + 0x5000, text - base + start + 0x5000);
        let dump = image.dump();
        let kernel = Kernel::open(&dump).unwrap();
        let segment = VirtSegment { virt: VirtAddr(base), phys: Range::new(PhysAddr(start), PhysAddr(end)) };
        assert_eq!(kernel.virt_segments(), [segment], "{machine}");
        assert_eq!(kernel.phys_base(), start);
        assert!(kernel.translate(VirtAddr(0xff00_0000)).is_err());
        let kept = kernel.select(DumpLevel::new(1).unwrap(), None).unwrap();
        assert_eq!(kept.selection.kept(), 2 << (30 - 12));
        let refused = kernel.select_unchecked(DumpLevel::ALL, None).map(|_| ()).unwrap_err();
        assert!(matches!(&refused, Error::Unsupported(why) if why.contains(machine)), "{refused}");
    }
}

#[test]
fn kernels_of_other_machines_are_read_through_segments_and_their_pages_kept() {
    let mut image = Image::new("aarch64", PageSize::K4, 1024);
    let start = 0xffff_8000_8000_0000;
    image.name(start + 0x2000, 0x2000);
    image.key("NUMBER(PHYS_OFFSET)", "0x40000000");
    image
        .virt
        .push(VirtSegment { virt: VirtAddr(start), phys: Range::new(PhysAddr(0), PhysAddr(0x40_0000)) });
    let dump = image.dump();
    let kernel = Kernel::open(&dump).unwrap();
    assert_eq!(kernel.phys_base(), 0x4000_0000);
    let selected = kernel.select(DumpLevel::new(1).unwrap(), None).unwrap();
    assert_eq!((selected.selection.kept(), selected.remarks.len()), (1024, 1));
    assert!(matches!(kernel.select_unchecked(DumpLevel::ALL, None), Err(Error::MissingKey { .. })));
}

#[test]
fn a_dump_without_vmcoreinfo_says_so() {
    let mut dump = Image::new("x86_64", PageSize::K4, 16).dump();
    dump.vmcoreinfo = None;
    let error = Kernel::open(&dump).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("VMCOREINFO"), "{error}");
}
