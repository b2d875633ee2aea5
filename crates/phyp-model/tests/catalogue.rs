//! Every fault case runs, does what its name says, and leaves a root directory.

use phyp_model::catalogue::{Case, Group, catalogue};
use phyp_model::faults::{Amount, Fault};
use phyp_model::root::{self, RootOptions};
use phyp_model::scenario::{Dirt, Event, Run, SECOND_BOOT};
use phyp_model::structure::{KIND_CPU, KIND_HPTE, KIND_REAL_MODE, Structure};
use phyp_model::{Extent, ModelError, Options, extent};

fn case(name: &str) -> Case {
    let found = catalogue().into_iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("no case is called {name}"))
}

fn run(name: &str) -> Run {
    case(name).run(40).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_case_has_a_name_of_its_own_and_every_group_a_case() {
    let cases = catalogue();
    let mut names: Vec<&str> = cases.iter().map(|case| &case.name[..]).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len());
    for group in Group::ALL {
        assert!(cases.iter().any(|case| case.group == group), "{group:?}");
    }
}

#[test]
fn every_case_runs_and_what_it_calls_found_is_there() {
    for case in catalogue() {
        let run = match case.run(24) {
            Ok(run) => run,
            Err(ModelError::Refused { status: -3 }) if case.name == "9 boot memory regions" => continue,
            Err(error) => panic!("{}: {error}", case.name),
        };
        for copy in &run.truth.copied {
            let same = run.memory.equals_at(
                copy.destination,
                &run.truth.image,
                copy.source.start,
                copy.source.length,
            );
            assert!(same.unwrap(), "{}: {copy:x?}", case.name);
        }
        if run.released() || run.event == Event::StaleAfterSecondCrash {
            continue;
        }
        // Whatever is neither lost nor copied nor reserved lies in place, unchanged.
        let above = [Extent::between(run.options.boot_top, u64::MAX)];
        let kept = extent::subtract(&extent::intersect(&run.truth.ram, &above), &run.truth.reserved);
        for piece in extent::subtract(&kept, &run.truth.lost) {
            assert!(run.memory.equals(&run.truth.image, piece).unwrap(), "{}: {piece:x?}", case.name);
        }
    }
}

#[test]
fn every_small_case_can_be_written_as_a_root_directory() {
    for case in catalogue().into_iter().filter(|case| case.options.ram_end() < 128 << 20) {
        let Ok(run) = case.run(8) else { continue };
        let directory = tempfile::tempdir().unwrap();
        let options = RootOptions { memory: false, ..RootOptions::default() };
        root::write(&run, directory.path(), &options)
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let vmcore = directory.path().join("proc/vmcore");
        let wanted =
            run.dump_waits() && run.rejected.is_none() && case.options.mode != phyp_model::Mode::Phyp2008;
        let extra = case.name == "both present";
        assert_eq!(vmcore.exists(), wanted || extra, "{}", case.name);
    }
}

#[test]
fn a_short_copy_loses_exactly_the_bytes_that_are_missing() {
    let size = 16 << 20;
    for (name, lost) in [
        ("boot memory copied 0, phyp", Extent::new(0, size)),
        ("boot memory short by 1 byte, phyp", Extent::new(size - 1, 1)),
        ("boot memory short by a page, phyp", Extent::new(size - 0x1000, 0x1000)),
        ("boot memory half, phyp", Extent::new(size / 2, size / 2)),
    ] {
        let run = run(name);
        assert_eq!(run.truth.lost, [lost], "{name}");
        let section = run.structure.as_ref().unwrap().sections[2];
        assert_eq!(section.copied, size - lost.length, "{name}");
    }
    assert!(run("boot memory said to be more by a page, phyp").truth.lost.is_empty());
}

#[test]
fn a_healthy_dump_loses_nothing_and_the_seed_gap_loses_what_lies_between() {
    assert!(run("boot memory of 5 GiB").truth.lost.is_empty());
    let gap = run("512 MiB used, 256 MiB saved");
    assert_eq!(gap.truth.lost, [Extent::new(256 << 20, 256 << 20)]);
}

#[test]
fn a_copy_into_itself_smears_from_the_second_step_on() {
    let step = phyp_model::copy::STEP;
    let run = run("boot memory copied into itself");
    // The destination [step, 4 * step) lies in boot memory up to 3 * step, which the second boot overwrites;
    // what is left is the copy's last step, read after the first had been written over it.
    let at = |address| run.memory.bytes(address, 4096).unwrap();
    assert_eq!(at(3 * step), run.truth.image.bytes(0, 4096).unwrap());
    assert_eq!(run.truth.lost.first(), Some(&Extent::new(0, 3 * step)));
}

#[test]
fn a_copy_over_the_cpu_area_destroys_it_without_a_word() {
    let run = run("boot memory copied over the CPU area, fadump");
    let structure = run.structure.as_ref().unwrap();
    assert!(structure.sections.iter().all(|section| section.error == 0));
    let cpu = run.section_bytes(KIND_CPU).unwrap().unwrap();
    assert_ne!(cpu[..8], *b"REGSAVE\0");
    assert_eq!(cpu, run.truth.image.bytes(0, cpu.len() as u64).unwrap());
    assert!(run.truth.lost.is_empty(), "boot memory itself is whole");
}

#[test]
fn papr_reports_a_hard_failure_in_the_status_and_qemu_forgets_it() {
    for (name, status) in
        [("boot memory copied beyond RAM, phyp", 0xe000), ("boot memory copied beyond RAM, fadump", 0xc000)]
    {
        let run = run(name);
        let property = Structure::parse(run.hypervisor.property().unwrap()).unwrap();
        assert_eq!(property.status, status, "{name}");
        let boot = property.sections.iter().find(|section| section.kind == KIND_REAL_MODE).unwrap();
        assert_eq!((boot.error, boot.copied), (0x1000, 0), "{name}");
    }
}

#[test]
fn the_register_save_area_of_papr_and_qemu_begin_where_each_puts_its_count() {
    let papr = run("Big-endian kernel on Papr, Phyp2008").section_bytes(KIND_CPU).unwrap().unwrap();
    assert_eq!(papr[..16], [&b"REGSAVE\0"[..], &[0, 0, 0, 0, 0, 0, 0, 0x1c]].concat());
    assert_eq!(papr[0x1c..0x28], [&[0, 0, 0, 4][..], b"CPUSTRT\0"].concat());
    let qemu = run("Little-endian kernel on Qemu, Fadump(V6_12)").section_bytes(KIND_CPU).unwrap().unwrap();
    assert_eq!(qemu[0xc..0x1c], [&[0, 0, 0, 0x10, 0, 0, 0, 4][..], b"CPUSTRT\0"].concat());
    assert_eq!(qemu.len(), 0x20 + 4 * 79 * 16);
}

#[test]
fn the_hpte_save_area_counts_its_entries_in_both_places_unless_told_otherwise() {
    let healthy = run("status 0xe000, phyp").section_bytes(KIND_HPTE).unwrap().unwrap();
    assert_eq!(healthy[..8], *b"HPTESAVE");
    assert_eq!(healthy[0x18..0x20], 24u64.to_be_bytes());
    let torn = run("HPTEs: 18h and 1ch disagree").section_bytes(KIND_HPTE).unwrap().unwrap();
    assert_eq!(torn[0x1c..0x20], 3u32.to_be_bytes());
}

#[test]
fn no_page_of_low_memory_survives_the_second_boot_in_place() {
    let run = run("status 0xc001, fadump");
    for address in (0..run.options.boot_top).step_by(0x1000) {
        assert_eq!(run.memory.bytes(address, 8).unwrap(), SECOND_BOOT, "{address:#x}");
    }
    let mut machine = phyp_model::Machine::new(Options::small_fadump()).unwrap();
    machine.scatter(10).unwrap();
    let stamps = phyp_model::scenario::run(machine, Event::CRASH, &[], Dirt::Stamps).unwrap();
    for address in (0..stamps.options.boot_top).step_by(0x1_0000) {
        assert_eq!(stamps.memory.bytes(address, 8).unwrap(), SECOND_BOOT, "{address:#x}");
        assert_eq!(stamps.memory.bytes(address + 64, 64).unwrap(), [0; 64]);
    }
}

#[test]
fn only_the_events_that_dump_leave_a_property() {
    for (name, waits) in [
        ("ordinary reboot, Phyp2008", false),
        ("reset of a kernel that took the interlock, Phyp2008", false),
        ("reset of a kernel that did not, Phyp2008", true),
        ("crash without registration, Phyp2008", false),
        ("crash after migration, Phyp2008", false),
        ("migrated and running, Phyp2008", false),
        ("second crash, dump intact, Phyp2008", true),
        ("second crash, dump stale, Phyp2008", true),
    ] {
        assert_eq!(run(name).dump_waits(), waits, "{name}");
    }
    let intact = run("second crash, dump intact, Phyp2008");
    assert!(intact.truth.lost.is_empty(), "the second system only ever used boot memory");
    let stale = run("second crash, dump stale, Phyp2008");
    assert_eq!(extent::total(&stale.truth.lost), 48 * (1 << 20) - stale.layout.reserved.length);
}

#[test]
fn a_removed_block_is_lost_and_an_added_one_is_there() {
    let removed = run("block removed, ranges listed");
    assert_eq!(removed.truth.lost, [Extent::new(80 << 20, 16 << 20)]);
    let listed = phyp_model::vmcore::loads(&removed);
    assert!(listed.iter().any(|load| load.paddr.contains(90 << 20)), "kernels before 6.10 still list it");
    let added = run("block added, ranges listed");
    assert!(added.truth.lost.is_empty());
    assert!(!phyp_model::vmcore::loads(&added).iter().any(|load| load.paddr.contains(90 << 20)));
    let seen = run("block added, ranges looked up");
    assert!(phyp_model::vmcore::loads(&seen).iter().any(|load| load.paddr.contains(90 << 20)));
}

#[test]
fn an_opal_region_that_was_not_registered_is_lost() {
    assert!(run("OPAL").truth.lost.is_empty());
    assert_eq!(run("OPAL: one of two regions registered").truth.lost, [Extent::new(8 << 20, 8 << 20)]);
}

#[test]
fn faults_combine() {
    let mut case = case("CPU state half, fadump");
    case.faults.push(Fault::Copied(2, Amount::ShortBy(0x1_0000)));
    case.faults.push(Fault::Status(0xe000));
    let run = case.run(10).unwrap();
    let property = Structure::parse(run.hypervisor.property().unwrap()).unwrap();
    assert_eq!(property.status, 0xe000);
    assert_eq!(property.sections[0].copied, run.layout.cpu.length / 2);
    assert_eq!(run.truth.lost, [Extent::new((16 << 20) - 0x1_0000, 0x1_0000)]);
}
