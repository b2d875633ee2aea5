//! Properties of the model over random machines.

use phyp_model::catalogue::catalogue;
use phyp_model::copy::STEP;
use phyp_model::faults::{Amount, DestinationFault, Fault};
use phyp_model::invariants::{Seen, Violation, check_cpus, check_pages};
use phyp_model::linux::Checks;
use phyp_model::root::{self, RootOptions};
use phyp_model::scenario::{self, Dirt, Event, Run};
use phyp_model::structure::{KIND_REAL_MODE, Structure};
use phyp_model::{ByteOrder, Extent, Firmware, Linux, Machine, Mode, ModelError, Options, extent};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

/// A simple tool: boot memory where the structure says its copy is, everything else in place. It believes every
/// number it reads.
fn naive(run: &Run, address: u64, page: &mut [u8]) -> Seen {
    let frame = Extent::new(address, page.len() as u64);
    let wanted = extent::intersect(&extent::subtract(&run.ram_now, &run.truth.reserved), &[frame]);
    if wanted.is_empty() {
        return Seen::Absent;
    }
    page.fill(0);
    let property = run.hypervisor.property().and_then(Structure::parse);
    let sections = property.map_or_else(Vec::new, |structure| structure.sections);
    for piece in wanted {
        let mut at = piece.start;
        while at < piece.end() {
            let boot = sections.iter().find(|section| {
                section.kind == KIND_REAL_MODE && Extent::new(section.source, section.copied).contains(at)
            });
            let (from, length) = match boot {
                Some(section) => {
                    let left = section.source + section.copied - at;
                    (section.destination + (at - section.source), left.min(piece.end() - at))
                }
                None if at < run.options.boot_top => return Seen::Lost,
                None => (at, piece.end() - at),
            };
            let offset = (at - address) as usize;
            if run.memory.read(from, &mut page[offset..offset + length as usize]).is_err() {
                return Seen::Lost;
            }
            at += length;
        }
    }
    Seen::Bytes
}

prop_compose! {
    fn machines()(
        mode in prop_oneof![
            Just(Mode::Phyp2008), Just(Mode::Fadump(Linux::V6_1)), Just(Mode::Fadump(Linux::V6_12)),
        ],
        firmware in prop_oneof![Just(Firmware::Papr), Just(Firmware::Qemu), Just(Firmware::QemuLe)],
        order in prop_oneof![Just(ByteOrder::Big), Just(ByteOrder::Little)],
        large_pages in any::<bool>(),
        aligned_destination in any::<bool>(),
        regions in prop::collection::vec(1u64..40, 1..4),
        hole in 0u64..20,
        above in 0u64..60,
        ragged in 0u64..4,
        cpu_section in prop_oneof![Just(None), Just(Some(0x1_0020u64)), Just(Some(0x1_3000))],
        cpus in prop::collection::vec(any::<bool>(), 1..8),
        seed in any::<u64>(),
    ) -> Options {
        let page_size = if large_pages { 0x1_0000 } else { 0x1000 };
        let unit = 16 * page_size;
        // Boot memory regions one after another, a hole in boot memory before the last if there are several.
        let mut at = 0;
        let mut boot_memory = Vec::new();
        for (n, units) in regions.iter().enumerate() {
            if n > 0 && n + 1 == regions.len() && mode != Mode::Phyp2008 {
                at += hole * unit;
            }
            boot_memory.push(Extent::new(at, units * unit));
            at += units * unit;
        }
        if mode == Mode::Phyp2008 {
            boot_memory = vec![Extent::new(0, at)];
        }
        let copy = extent::total(&boot_memory);
        let ram_end = at + copy + (above + 2) * unit + 2 * MIB + ragged * 0x400;
        let ram = extent::merged(
            [boot_memory.clone(), vec![Extent::between(at, ram_end)]].concat(),
        );
        let count = cpus.len() as u32;
        Options {
            mode, firmware, order, page_size, aligned_destination, boot_memory, ram, seed, cpu_section,
            boot_top: at,
            lmb_size: 16 * MIB,
            cpus: (0..count).zip(cpus).map(|(id, online)| (id, online || id == 0)).collect(),
            crashing_cpu: Some(0),
            parameter_area: true,
            pt_regs_size: 384,
            cpu_mask_size: 64,
            hpte_section: if firmware == Firmware::Papr { 0x1000 } else { 0 },
            ..Options::small_fadump()
        }
    }
}

fn crash(options: Options, faults: &[Fault]) -> Run {
    let mut machine = Machine::new(options).unwrap();
    machine.scatter(60).unwrap();
    scenario::run(machine, Event::CRASH, faults, Dirt::Whole).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn without_faults_every_byte_of_the_crash_can_be_read_back(options in machines()) {
        let page_size = options.page_size;
        let run = crash(options, &[]);
        prop_assert!(run.dump_waits());
        // QEMU fills of the CPU section what the CPUs that run need; a kernel that wants all of it is not content.
        let strict = run.options.mode.facts().is_some_and(|facts| facts.checks == Checks::EverySection);
        let short = strict
            && run.options.mode != Mode::Opal
            && run.structure.as_ref().is_some_and(|it| it.sections[0].copied < it.sections[0].requested);
        prop_assert_eq!(run.rejected, short.then_some("a section is not whole"));
        prop_assert_eq!(&run.truth.lost, &[]);
        let counts = check_pages(&run.truth, page_size, |address, page| naive(&run, address, page)).unwrap();
        let counts = counts.unwrap();
        prop_assert!(counts.present > 0 && counts.lost == 0 && counts.absent > 0);
        let online: Vec<u32> = run.truth.cpus.iter().map(|cpu| cpu.id).collect();
        prop_assert_eq!(check_cpus(&run.truth, &online), Ok(()));
    }

    #[test]
    fn a_short_copy_that_says_so_loses_what_is_missing_and_nothing_else(options in machines(), cut in 1u64..600_000) {
        let page_size = options.page_size;
        let size = options.boot_memory[0].length;
        let run = crash(options, &[Fault::Copied(2, Amount::ShortBy(cut))]);
        prop_assert_eq!(extent::total(&run.truth.lost), cut.min(size));
        let counts = check_pages(&run.truth, page_size, |address, page| naive(&run, address, page)).unwrap();
        prop_assert_eq!(counts.unwrap().lost, cut.min(size).div_ceil(page_size));
    }

    #[test]
    fn a_tool_that_reads_low_memory_in_place_is_caught(options in machines()) {
        let page_size = options.page_size;
        let run = crash(options, &[]);
        let wrong = check_pages(&run.truth, page_size, |address, page| {
            let seen = naive(&run, address, page);
            if seen == Seen::Bytes && address == 2 * page_size {
                run.memory.read(address, page).unwrap();
            }
            seen
        });
        let at_low = matches!(wrong.unwrap(), Err(Violation::Bytes { address, .. }) if address == 2 * page_size);
        prop_assert!(at_low);
    }

    #[test]
    fn whatever_goes_wrong_at_once_what_is_said_to_be_found_is_found(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..6), host in any::<prop::sample::Index>(),
    ) {
        let cases = catalogue();
        let small: Vec<_> = cases.iter().filter(|case| case.options.ram_end() < 128 * MIB).collect();
        let mut case = host.get(&small).to_owned().clone();
        case.faults = picks.iter().flat_map(|pick| pick.get(&small).faults.clone()).collect();
        // Blocks of memory that come and go must not be the ones that this machine lives in.
        case.faults.retain(|fault| !matches!(fault, Fault::LmbAdded(_) | Fault::LmbRemoved(_)));
        let run = match case.run(12) {
            Ok(run) => run,
            Err(ModelError::Refused { .. }) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        for copy in &run.truth.copied {
            let source = copy.source;
            let same = run.memory.equals_at(copy.destination, &run.truth.image, source.start, source.length);
            prop_assert!(same.unwrap(), "{copy:x?}");
        }
        let above = [Extent::between(run.options.boot_top, u64::MAX)];
        let kept = extent::subtract(&extent::intersect(&run.truth.ram, &above), &run.truth.reserved);
        for piece in extent::subtract(&kept, &run.truth.lost) {
            prop_assert!(run.memory.equals(&run.truth.image, piece).unwrap(), "{piece:x?}");
        }
        let directory = tempfile::tempdir().unwrap();
        let root = RootOptions { memory: false, ..RootOptions::default() };
        prop_assert!(root::write(&run, directory.path(), &root).is_ok());
    }

    #[test]
    fn a_run_is_the_same_whenever_it_is_repeated(options in machines()) {
        let (first, second) = (crash(options.clone(), &[]), crash(options, &[]));
        prop_assert!(first.memory.equals(&second.memory, Extent::new(0, first.memory.size())).unwrap());
        prop_assert_eq!(first.hypervisor.property(), second.hypervisor.property());
    }
}

#[test]
fn a_tool_that_believes_an_overlapping_copy_is_caught() {
    let options = Options {
        ram: vec![Extent::new(0, 512 * MIB)],
        boot_memory: vec![Extent::new(0, 3 * STEP)],
        boot_top: 3 * STEP,
        page_size: 0x1_0000,
        ..Options::small_fadump()
    };
    let run = crash(options, &[Fault::Destination(DestinationFault::InsideSource(STEP))]);
    let verdict = check_pages(&run.truth, 0x1_0000, |address, page| naive(&run, address, page)).unwrap();
    let caught = matches!(verdict, Err(Violation::State { address: 0, expected: "lost", .. }));
    assert!(caught, "{verdict:?}");
}

#[test]
fn a_machine_of_four_tebibytes_costs_what_was_written_to_it() {
    let options = Options {
        ram: vec![Extent::new(0, 4 << 40)],
        boot_memory: vec![Extent::new(0, 20 << 30)],
        boot_top: 20 << 30,
        ..Options::small_fadump()
    };
    let run = crash(options, &[]);
    assert!(run.truth.lost.is_empty());
    // 60 pages of content, their copies, the second boot's pattern: far from 4 TiB of anything.
    let data = run.memory.data_within(Extent::between(20 << 30, 4 << 40)).unwrap();
    assert!(extent::total(&data) < 16 * MIB);
}
