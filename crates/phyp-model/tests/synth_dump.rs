//! Dumps of synthetic kernels: what the catalogue's have in them.

use std::collections::BTreeSet;

use phyp_model::synth::dump::catalogue::{catalogue, named};
use phyp_model::synth::dump::{self, Arch, Class, Dump, Generation, Model, Spec};

fn build(name: &str) -> Dump {
    dump::build(&named(name).unwrap()).unwrap()
}

/// The classes that a dump of this sort must have.
fn expected(spec: &Spec) -> BTreeSet<Class> {
    let mut classes =
        BTreeSet::from([Class::Kernel, Class::Free, Class::Cache, Class::CachePrivate, Class::Anonymous]);
    let mut add = |class, holds| {
        if holds {
            classes.insert(class);
        }
    };
    add(Class::Hugetlb, spec.generation >= Generation::V3_19);
    add(Class::HwPoison, spec.memory_failure && spec.generation >= Generation::V3_10);
    add(Class::Offline, spec.generation >= Generation::V5_10);
    classes
}

#[test]
fn every_dump_has_pages_of_every_class_that_its_kernel_tells() {
    let mut wrong = Vec::new();
    for spec in catalogue() {
        let made = dump::build(&spec).unwrap();
        let classes: BTreeSet<Class> = made.truth.classes().into_keys().collect();
        let mut wanted = expected(&spec);
        // The smallest huge page of LoongArch with 64 KiB pages, 512 MiB, is larger than its banks.
        if spec.mmu.arch() == Arch::LoongArch64 && spec.page_size == 0x1_0000 {
            wanted.remove(&Class::Hugetlb);
        }
        if classes != wanted {
            wrong.push(format!("{}: {classes:?} instead of {wanted:?}", spec.name));
        }
        let dumped: u64 = made.loads.iter().map(|load| load.physical.length).sum();
        let image = if made.loads.len() > spec.banks.len() + spec.absent.len() { 0x20_0000 } else { 0 };
        let frames = (dumped - image) / spec.page_size;
        if !spec.absent.is_empty() || made.truth.frames() == frames {
            continue;
        }
        wrong.push(format!("{}: {} frames of {frames} have a class", spec.name, made.truth.frames()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_catalogue_has_every_architecture_page_size_model_and_generation() {
    let all = catalogue();
    let has = |what: &dyn Fn(&Spec) -> bool| all.iter().any(what);
    for arch in [Arch::X86_64, Arch::Ppc64, Arch::Arm64, Arch::S390x, Arch::Riscv64, Arch::LoongArch64] {
        assert!(has(&|spec| spec.mmu.arch() == arch), "{arch:?}");
    }
    for generation in Generation::ALL {
        assert!(has(&|spec| spec.generation == generation), "{generation:?}");
    }
    for model in [Model::Flat, Model::Discontig, Model::Sparse, Model::SparseExtreme, Model::Vmemmap] {
        assert!(has(&|spec| spec.model == model), "{model:?}");
    }
    for page_size in [0x1000, 0x4000, 0x1_0000] {
        assert!(has(&|spec| spec.mmu.arch() == Arch::Arm64 && spec.page_size == page_size));
        assert!(has(&|spec| spec.mmu.arch() == Arch::LoongArch64 && spec.page_size == page_size));
    }
}

#[test]
fn huge_pages_lie_across_shards_and_chunks() {
    let crosses = |name: &str, edge: u64| {
        let made = build(name);
        let spec = &made.spec;
        spec.placed.iter().any(|placed| {
            let (first, count) = (placed.address / spec.page_size, (1 << placed.shift) / spec.page_size);
            first / edge != (first + count - 1) / edge
                && made.truth.of(first + count - 1).is_some_and(|run| run.class == Class::Hugetlb)
        })
    };
    for name in ["x86_64-4k-gigantic-hvo-6.6", "ppc64le-64k-radix-1g-6.9", "aarch64-64k-gigantic-6.6"] {
        assert!(crosses(name, 4096), "{name}");
    }
    for name in ["ppc64-4k-hash-16g-6.12", "s390x-4k-gigantic-6.6", "s390x-4k-gigantic-6.12"] {
        assert!(crosses(name, 1 << 18), "{name}");
    }
}

#[test]
fn a_seed_gives_the_same_dump_again_and_another_seed_another() {
    let spec = named("riscv64-4k-sv39-6.12").unwrap();
    let (one, two) = (dump::build(&spec).unwrap(), dump::build(&spec).unwrap());
    assert_eq!(one.truth.runs, two.truth.runs);
    assert_eq!((&one.notes, &one.vmcoreinfo), (&two.notes, &two.vmcoreinfo));
    for load in &one.loads {
        assert!(one.memory.equals(&two.memory, load.physical).unwrap());
    }
    let other = dump::build(&Spec { seed: spec.seed + 1, ..spec }).unwrap();
    assert_ne!(one.truth.runs, other.truth.runs);
}

#[test]
fn the_counter_of_free_pages_is_what_the_buddy_allocator_has_but_for_a_few() {
    // One node in the image, which the linear map shows on POWER.
    let made = build("ppc64le-64k-flat-6.12");
    let value = |key: &str| made.vmcoreinfo.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let number = |key: &str| value(key).parse::<u64>().unwrap();
    let node = u64::from_str_radix(value("SYMBOL(contig_page_data)="), 16).unwrap() & 0x0fff_ffff_ffff_ffff;
    let counted: u64 = (0..3)
        .map(|zone| {
            let at = node + zone * number("SIZE(zone)=") + number("OFFSET(zone.vm_stat)=");
            u64::from_le_bytes(made.memory.bytes(at, 8).unwrap().try_into().unwrap())
        })
        .sum();
    assert!(
        made.free_frames > 500 && counted.abs_diff(made.free_frames) <= 3 * 7,
        "{counted} {}",
        made.free_frames
    );
    let free = made.truth.classes()[&Class::Free];
    assert_eq!(free, made.free_frames);
}

#[test]
fn a_dump_file_is_sparse_and_has_its_notes_and_memory() {
    use std::os::unix::fs::MetadataExt;
    let made = build("s390x-4k-gigantic-6.12");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vmcore");
    made.write_elf(&path).unwrap();
    let metadata = path.metadata().unwrap();
    assert!(metadata.len() > 2 << 30 && metadata.blocks() * 512 < 64 << 20, "{metadata:?}");
    let head = std::fs::File::open(&path).unwrap();
    let mut bytes = vec![0; 0x3000];
    std::os::unix::fs::FileExt::read_exact_at(&head, &mut bytes, 0).unwrap();
    // Big-endian, 64 bits, ET_CORE, EM_S390.
    assert_eq!((&bytes[..6], &bytes[16..20]), (&b"\x7fELF\x02\x02"[..], &[0, 4, 0, 22][..]));
    let text = b"OSRELEASE=6.12.7-synthetic\n";
    assert!(bytes.windows(text.len()).any(|window| window == text));
}
