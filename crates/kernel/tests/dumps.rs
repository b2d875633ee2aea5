//! Dumps of synthetic kernels of every sort: at each of the 32 levels the library keeps what the generator says it must,
//! and the gate stays open.

#[path = "support/synth.rs"]
mod synth;

use kernel::Kernel;
use phyp_model::synth::dump::catalogue::catalogue;
use phyp_model::synth::dump::{self, Arch, Dump, Generation, Model, Spec};
use proptest::prelude::*;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use vmcore::{DumpLevel, MemoryMap, PageState, Pfn, PhysAddr, PhysicalMemory, ReadError, Reason, VirtAddr};

/// What a report calls a reason of the truth.
fn reason(why: dump::Why) -> Reason {
    match why {
        dump::Why::Free => Reason::Free,
        dump::Why::Cache => Reason::Cache,
        dump::Why::CachePrivate => Reason::CachePrivate,
        dump::Why::User => Reason::User,
        dump::Why::HwPoison => Reason::HwPoison,
        dump::Why::Offline => Reason::Offline,
    }
}

/// What is wrong with the library's answers about one dump.
fn judge(made: &Dump) -> Vec<String> {
    let mut wrong = Vec::new();
    let dump = synth::open(made);
    let kernel = match Kernel::open(&dump) {
        Ok(kernel) => kernel,
        Err(error) => return vec![format!("does not open: {error}")],
    };
    let release = kernel.utsname().release.clone();
    if release != made.release {
        wrong.push(format!("the release is {release}"));
    }
    for (address, physical) in &made.translations {
        let found = kernel.translate(VirtAddr(*address));
        let right = match (&found, physical) {
            (Ok(found), Some(physical)) => found.0 == *physical,
            (Err(kernel::Error::NotMapped { .. }), None) => true,
            _ => false,
        };
        if !right {
            wrong.push(format!("{address:#x} should lead to {physical:x?}, but: {found:x?}"));
        }
    }
    for level in 0..32 {
        let selected = match kernel.select(DumpLevel::new(level).unwrap(), None) {
            Ok(selected) => selected,
            Err(error) => {
                wrong.push(format!("level {level}: {error}"));
                continue;
            }
        };
        if selected.gate.held_back() {
            wrong.push(format!("level {level}: the gate holds pages back: {:?}", selected.gate));
        }
        let found = synth::dropped(&selected.selection);
        let expected = made.truth.dropped(level);
        if found != expected {
            let differ = found.iter().zip(&expected).find(|(found, expected)| found != expected);
            let what = match differ {
                Some((found, expected)) => {
                    format!(
                        "{found:x?} instead of {expected:x?}; it is {:?}",
                        made.truth.of(found.0.min(expected.0))
                    )
                }
                None => format!("{} runs instead of {}", found.len(), expected.len()),
            };
            wrong.push(format!("level {level} leaves out {what}"));
            continue;
        }
        let counts = made.truth.counts(level);
        for why in [
            dump::Why::Free,
            dump::Why::Cache,
            dump::Why::CachePrivate,
            dump::Why::User,
            dump::Why::HwPoison,
            dump::Why::Offline,
        ] {
            let expected = counts.get(&why).copied().unwrap_or(0);
            let counted = selected.selection.reasons().get(reason(why));
            if counted != expected {
                wrong.push(format!("level {level}: {counted} left out as {why:?} instead of {expected}"));
            }
        }
        let rest = selected.selection.reasons().get(Reason::Earlier) + selected.undecided;
        if rest != 0 {
            wrong.push(format!("level {level}: {rest} frames undecided or left out earlier"));
        }
    }
    wrong
}

/// What is wrong when the input says nothing of virtual addresses, as a kdump file does not.
fn judge_without_segments(made: &Dump) -> Vec<String> {
    let mut dump = synth::open(made);
    dump.virt.clear();
    let kernel = match Kernel::open(&dump) {
        Ok(kernel) => kernel,
        Err(error) => return vec![format!("does not open: {error}")],
    };
    let mut wrong = Vec::new();
    for (address, physical) in &made.translations {
        let found = kernel.translate(VirtAddr(*address)).ok().map(|found| found.0);
        if found != *physical {
            wrong.push(format!("{address:#x} should lead to {physical:x?}, not to {found:x?}"));
        }
    }
    let segments = kernel.virt_segments();
    let has = |phys: u64, virt: Option<u64>| {
        segments.iter().any(|s| {
            let distance = s.virt.0.wrapping_sub(s.phys.start.0);
            s.phys.contains(PhysAddr(phys)) && virt.is_none_or(|virt| distance == virt.wrapping_sub(phys))
        })
    };
    for load in &made.loads {
        let known = (load.address != 0).then_some(load.address);
        let (start, last) = (load.physical.start, load.physical.end() - 1);
        if !has(start, known) || !has(last, known.map(|virt| virt.wrapping_add(last - start))) {
            wrong.push(format!("{load:x?} is not in {segments:x?}"));
        }
    }
    // Every one of them is what the kernel's tables say, too.
    for (virt, phys) in segments.iter().flat_map(|s| {
        let last = s.phys.len() - 1;
        [(s.virt.0, s.phys.start.0), (s.virt.0.wrapping_add(last), s.phys.start.0 + last)]
    }) {
        if let Ok(found) = kernel.translate(VirtAddr(virt))
            && found.0 != phys
        {
            wrong.push(format!("{virt:#x} is said to be {phys:#x} and leads to {found}"));
        }
    }
    wrong
}

fn judge_all(of: impl Fn(&Spec) -> bool + Sync) {
    judge_each(of, judge);
}

fn judge_each(of: impl Fn(&Spec) -> bool + Sync, judge: impl Fn(&Dump) -> Vec<String> + Sync) {
    let only = std::env::var("HADUMP_SYNTH").unwrap_or_default();
    let specs: Vec<Spec> =
        catalogue().into_iter().filter(|spec| of(spec) && spec.name.contains(&only)).collect();
    let wrong: Vec<String> = specs
        .par_iter()
        .flat_map_iter(|spec| {
            let found = match dump::build(spec) {
                Ok(made) => judge(&made),
                Err(error) => vec![format!("cannot be built: {error}")],
            };
            found.into_iter().take(6).map(|what| format!("{}: {what}", spec.name)).collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} specs:\n{}", wrong.len(), specs.len(), wrong.join("\n"));
}

#[test]
fn x86_64_dumps_are_filtered_as_their_generator_says() {
    judge_all(|spec| spec.mmu.arch() == Arch::X86_64);
}

#[test]
fn ppc64_dumps_are_filtered_as_their_generator_says() {
    judge_all(|spec| spec.mmu.arch() == Arch::Ppc64);
}

#[test]
fn arm64_dumps_are_filtered_as_their_generator_says() {
    judge_all(|spec| spec.mmu.arch() == Arch::Arm64);
}

#[test]
fn s390x_dumps_are_filtered_as_their_generator_says() {
    judge_all(|spec| spec.mmu.arch() == Arch::S390x);
}

#[test]
fn riscv64_dumps_are_filtered_as_their_generator_says() {
    judge_all(|spec| spec.mmu.arch() == Arch::Riscv64);
}

#[test]
fn loongarch64_dumps_are_filtered_as_their_generator_says() {
    judge_all(|spec| spec.mmu.arch() == Arch::LoongArch64);
}

#[test]
fn kernels_are_understood_without_the_segments_of_the_input() {
    judge_each(|spec| spec.placed.is_empty(), judge_without_segments);
}

#[test]
fn a_dump_by_name_is_filtered_as_its_generator_says() {
    assert_eq!(judge(&synth::build("x86_64-4k-numa-6.12")), [""; 0]);
}

/// Memory that counts how often each frame is read.
struct Counting {
    memory: Box<dyn PhysicalMemory>,
    reads: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Counting {
    fn count(&self, first: Pfn, count: usize) {
        let mut reads = self.reads.lock().unwrap();
        (first.0..).take(count).for_each(|pfn| *reads.entry(pfn).or_default() += 1);
    }
}

impl PhysicalMemory for Counting {
    fn map(&self) -> &MemoryMap {
        self.memory.map()
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        self.count(pfn, 1);
        self.memory.read_page(pfn, page)
    }

    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        self.count(first, states.len());
        self.memory.read_run(first, pages, states)
    }
}

#[test]
fn struct_pages_that_share_a_frame_are_read_once_for_each_window() {
    let dump = synth::open(&synth::build("x86_64-4k-gigantic-hvo-6.12"));
    let reads = Arc::default();
    let counting = Counting { memory: dump.memory, reads: Arc::clone(&reads) };
    let dump = vmcore::Dump { memory: Box::new(counting), ..dump };
    // Gigantic pages are kept, and so each of their tails is looked at: 2^18 in 32 windows.
    Kernel::open(&dump).unwrap().select(DumpLevel::new(7).unwrap(), None).unwrap();
    let most = reads.lock().unwrap().values().copied().max().unwrap();
    assert!(most < 100, "a frame is read {most} times");
}

/// Whether the architecture says where its nodes are, as walking free lists needs.
fn tells_nodes(spec: &Spec) -> bool {
    matches!(spec.mmu.arch(), Arch::X86_64 | Arch::Ppc64) || spec.generation >= Generation::V3_10
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn dumps_of_any_seed_are_filtered_as_their_generator_says(
        which in any::<prop::sample::Index>(),
        seed in any::<u64>(),
        addresses in any::<bool>(),
        small in any::<bool>(),
        shared_vmemmap in any::<bool>(),
        nodes in prop::collection::vec(0u64..5, 8),
        cma in prop::option::of(0u64..3),
    ) {
        // Gigantic pages make the catalogue's own test long enough.
        let specs: Vec<Spec> = catalogue().into_iter().filter(|spec| spec.placed.is_empty()).collect();
        let mut spec = which.get(&specs).clone();
        (spec.seed, spec.addresses, spec.fill) = (seed, addresses, 0);
        spec.shared_vmemmap = shared_vmemmap;
        if small && spec.struct_page == 64 {
            spec.struct_page = 56;
        }
        if matches!(spec.model, Model::SparseExtreme | Model::Vmemmap) && tells_nodes(&spec) {
            for (bank, node) in spec.banks.iter_mut().zip(nodes) {
                bank.node = node % (1 << spec.mmu.arch().node_bits());
            }
        }
        if let (Some(place), Some(bank), true) = (cma, spec.banks.last(), spec.cma.is_empty()) {
            // At the beginning of the last bank, in the middle, or all of it.
            let quarter = bank.extent.length / 4 / spec.page_size * spec.page_size;
            let (start, length) = [(0, quarter), (quarter, quarter), (0, bank.extent.length)][place as usize];
            spec.cma.push(phyp_model::Extent::new(bank.extent.start + start, length));
            spec.absent.extend((place == 1).then_some(spec.cma[0]));
        }
        let made = dump::build(&spec).unwrap();
        prop_assert_eq!(judge(&made), [""; 0], "{:?}", spec);
    }
}
