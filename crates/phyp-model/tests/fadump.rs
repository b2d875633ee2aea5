//! What a real kernel does with a dump: what stays after a release, what is freed, what a refusal leaves.

use std::fs;
use std::path::Path;

use phyp_model::faults::{Amount, CrashInfoFault, Fault, SysfsFault};
use phyp_model::hypervisor::State;
use phyp_model::release::{self, Written};
use phyp_model::root::{self, RegionText, RootOptions};
use phyp_model::scenario::{self, Dirt, Event, FREED, RTAS, Run};
use phyp_model::{Extent, Linux, Machine, Mode, Options};

const MIB: u64 = 1 << 20;
const PAGE: u64 = 0x1_0000;

/// The machine of 48 MiB with this kernel: boot memory 16 MiB, dump area from there to 32 MiB and a little more.
fn small(linux: Linux) -> Options {
    Options { mode: Mode::Fadump(linux), ..Options::small_fadump() }
}

/// The same with RTAS above the dump area, where a release frees it.
fn rtas_above(linux: Linux) -> Options {
    Options { rtas: Some(Extent::new(40 * MIB, PAGE)), ..small(linux) }
}

fn crashed(options: Options, faults: &[Fault]) -> Run {
    let mut machine = Machine::new(options).unwrap();
    machine.scatter(30).unwrap();
    scenario::run(machine, Event::CRASH, faults, Dirt::Whole).unwrap()
}

fn released(options: Options) -> Run {
    let mut run = crashed(options, &[]);
    assert_eq!(run.write_release_mem("1").unwrap(), Written::Accepted);
    run
}

fn written(run: &Run) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    root::write(run, directory.path(), &RootOptions { memory: false, ..RootOptions::default() }).unwrap();
    directory
}

fn text(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn release_mem_takes_only_one_and_only_while_a_dump_is_active() {
    for linux in Linux::ALL {
        let mut run = crashed(small(linux), &[]);
        for wrong in ["0", "2", "one", "", "1 1", "-1"] {
            assert_eq!(run.write_release_mem(wrong).unwrap(), Written::Invalid, "{wrong:?}");
        }
        assert!(!run.released() && run.fadump.vmcore);
        assert_eq!(run.write_release_mem("0x1\n").unwrap(), Written::Accepted);
        for any in ["1", "0", "one", ""] {
            assert_eq!(run.write_release_mem(any).unwrap(), Written::NotPermitted, "{linux:?}, {any:?}");
        }
    }
}

#[test]
fn after_a_release_only_the_vmcore_is_gone_and_all_else_stays() {
    for (linux, old_names) in [(Linux::V6_1, true), (Linux::V7_2, true), (Linux::Next, false)] {
        let before = written(&crashed(small(linux), &[]));
        let after = written(&released(small(linux)));
        for (root, vmcore) in [(before.path(), true), (after.path(), false)] {
            assert_eq!(root.join("proc/vmcore").exists(), vmcore);
            assert!(root.join("proc/device-tree/rtas/ibm,kernel-dump").exists());
            assert!(root.join("sys/kernel/fadump/release_mem").exists());
            assert_eq!(root.join("sys/kernel/fadump_release_mem").exists(), old_names, "{linux:?}");
            assert_eq!(root.join("sys/kernel/fadump_enabled").exists(), old_names, "{linux:?}");
        }
        for name in ["enabled", "registered", "mem_reserved"] {
            let name = format!("sys/kernel/fadump/{name}");
            assert_eq!(text(before.path(), &name), text(after.path(), &name));
        }
        assert_eq!(text(after.path(), "sys/kernel/fadump/enabled"), "1\n");
        assert_eq!(text(after.path(), "sys/kernel/fadump/registered"), "0\n");
    }
}

#[test]
fn registered_and_bootargs_append_can_be_written_only_without_an_active_dump() {
    let mut run = crashed(small(Linux::V7_2), &[]);
    assert_eq!(run.write_registered("1").unwrap(), Written::NotPermitted);
    assert_eq!(run.write_bootargs_append("nr_cpus=1").unwrap(), Written::NotPermitted);
    run.write_release_mem("1").unwrap();
    assert_eq!(run.write_registered("2").unwrap(), Written::Invalid);
    assert_eq!(run.write_registered("1").unwrap(), Written::Accepted);
    assert!(run.fadump.registered && run.hypervisor.state() == State::Registered);
    // It is one that is registered, too: it unregisters first.
    assert_eq!(run.write_registered("1").unwrap(), Written::Accepted);
    assert_eq!(run.write_registered("0").unwrap(), Written::Accepted);
    assert_eq!((run.fadump.registered, run.hypervisor.state()), (false, State::Idle));
    assert_eq!(run.write_bootargs_append("nr_cpus=1\n").unwrap(), Written::Accepted);
    assert_eq!(run.bootargs_append().unwrap().as_deref(), Some("nr_cpus=1"));
    assert_eq!(run.write_bootargs_append(&"x".repeat(2048)).unwrap(), Written::Invalid);
}

#[test]
fn a_kernel_of_6_1_has_no_parameter_area() {
    let mut run = released(small(Linux::V6_1));
    assert_eq!(run.layout.parameter, None);
    assert_eq!(run.write_bootargs_append("nr_cpus=1").unwrap(), Written::NoFile);
    let root = written(&run);
    assert!(!root.path().join("sys/kernel/fadump/bootargs_append").exists());
    assert!(!root.path().join("sys/kernel/fadump/hotplug_ready").exists());
}

#[test]
fn the_region_file_shows_what_was_dumped_only_while_the_dump_is_active() {
    let mut run = crashed(small(Linux::V6_12), &[]);
    let show = |run: &Run| root::fadump_region(run, RegionText::C).unwrap();
    let waits = show(&run);
    assert!(waits.contains("Dumped: 0x1000000 bytes\n"), "{waits}");
    assert!(
        waits.ends_with("\nMemory above 0x00000001000000 is reserved for saving crash dump\n"),
        "{waits}"
    );
    run.write_release_mem("1").unwrap();
    let after = show(&run);
    assert_eq!(after.matches("Dumped: 0x0").count(), 3, "{after}");
    assert!(!after.contains("Memory above"), "{after}");
    // The parameter area was freed, and the file shows what is in there now.
    assert!(after.contains("cmdline append: 'FREED!!!"), "{after}");
}

#[test]
fn a_firmware_that_does_not_forget_leaves_an_active_dump_without_memory() {
    let mut run = crashed(small(Linux::V7_2), &[Fault::Sysfs(SysfsFault::InvalidateFails)]);
    assert_eq!(run.write_release_mem("1").unwrap(), Written::Accepted);
    assert!(run.released() && run.fadump.dump_active && !run.fadump.vmcore);
    assert_eq!(run.memory.bytes(39 * MIB, 8).unwrap(), FREED);
    // What 0 is answered is what it is answered while a dump waits; the region file shows the same, too.
    assert_eq!(run.write_release_mem("0").unwrap(), Written::Invalid);
    assert_eq!(run.write_registered("1").unwrap(), Written::NotPermitted);
    let region = root::fadump_region(&run, RegionText::C).unwrap();
    assert!(region.contains("Memory above") && region.contains("Dumped: 0x1000000 bytes"), "{region}");
    // The same pages once more, which somebody has by now.
    assert_eq!(run.write_release_mem("1").unwrap(), Written::Oops);
}

#[test]
fn without_a_dump_there_is_no_release_mem_and_the_kernel_registers_by_itself() {
    let mut machine = Machine::new(small(Linux::V7_2)).unwrap();
    machine.scatter(1).unwrap();
    let mut run = scenario::run(machine, Event::CrashUnregistered, &[], Dirt::Whole).unwrap();
    assert_eq!(run.write_release_mem("1").unwrap(), Written::NoFile);
    assert!(run.fadump.registered && run.hypervisor.state() == State::Registered);
    let region = root::fadump_region(&run, RegionText::C).unwrap();
    assert!(region.contains("Dumped: 0x0") && !region.contains("Memory above"), "{region}");
    let mut run = crashed(small(Linux::V7_2), &[Fault::Sysfs(SysfsFault::NoReleaseMem)]);
    assert_eq!(run.write_release_mem("1").unwrap(), Written::NoFile);
}

#[test]
fn a_release_begins_with_the_page_in_which_the_dump_area_ends() {
    let frees = |linux| release::frees(&released(small(linux)));
    // Since 6.10 the area ends with the crash-info header, 1b0h bytes into a page.
    let old = crashed(small(Linux::V6_1), &[]);
    let new = crashed(small(Linux::V6_12), &[]);
    assert_eq!(new.layout.reserved, Extent::between(16 * MIB, 32 * MIB + PAGE + 0x1b0));
    assert_eq!(old.layout.reserved, Extent::between(16 * MIB, 32 * MIB + 2 * PAGE));
    assert_eq!(frees(Linux::V6_12), [Extent::between(32 * MIB + PAGE, 48 * MIB)]);
    assert_eq!(frees(Linux::V6_1), [Extent::between(32 * MIB + 2 * PAGE, 48 * MIB)]);
    let mended = Extent::between(32 * MIB + 2 * PAGE, 48 * MIB - PAGE);
    assert_eq!(frees(Linux::Mended), [mended], "the parameter area's page is spared too");
}

#[test]
fn a_release_spares_the_reserved_ranges_but_not_the_page_in_which_one_ends() {
    let reserved_ranges = vec![Extent::new(36 * MIB + 0x800, 2 * PAGE), Extent::new(44 * MIB, MIB)];
    let run = released(Options { reserved_ranges: reserved_ranges.clone(), ..small(Linux::V6_1) });
    let expected = [
        Extent::between(32 * MIB + 2 * PAGE, 36 * MIB),
        Extent::between(36 * MIB + 2 * PAGE, 44 * MIB),
        Extent::between(45 * MIB, 48 * MIB),
    ];
    assert_eq!(run.fadump.freed, expected);
    assert!(run.memory.equals(&run.truth.image, reserved_ranges[1]).unwrap());
    assert_eq!(run.memory.bytes(36 * MIB + 2 * PAGE, 8).unwrap(), FREED);
}

#[test]
fn holes_and_ragged_ends_of_memory_are_not_freed() {
    let ram = vec![Extent::new(0, 40 * MIB), Extent::new(56 * MIB, 8 * MIB + 0x3000)];
    let run = released(Options { ram, ..small(Linux::V6_1) });
    let expected = [Extent::between(32 * MIB + 2 * PAGE, 40 * MIB), Extent::new(56 * MIB, 8 * MIB)];
    assert_eq!(run.fadump.freed, expected);
}

#[test]
fn nothing_is_freed_between_boot_memory_and_a_dump_area_right_above_it() {
    let first = released(small(Linux::V6_12)).fadump.freed[0].start;
    assert!(first > 32 * MIB);
    // A hole pushes the area up; what lies below it is freed like what lies above.
    let ram = vec![Extent::new(0, 18 * MIB), Extent::new(24 * MIB, 40 * MIB)];
    let run = released(Options { ram, ..small(Linux::V6_12) });
    assert_eq!(run.layout.reserved.start, 24 * MIB);
    assert_eq!(run.fadump.freed[0], Extent::between(16 * MIB, 18 * MIB));
}

#[test]
fn a_release_frees_rtas_the_initrd_the_device_tree_and_the_parameter_area_wherever_they_are() {
    let options = |linux| Options {
        initrd: Some(Extent::new(41 * MIB, 3 * MIB)),
        device_tree: Some(Extent::new(44 * MIB, PAGE)),
        ..rtas_above(linux)
    };
    let names = |run: &Run| release::clashes(run).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let all = ["RTAS", "initrd", "device tree", "parameter area", "crash-info header"];
    for linux in [Linux::V6_12, Linux::V7_2, Linux::Next] {
        assert_eq!(names(&crashed(options(linux), &[])), all, "{linux:?}");
    }
    assert_eq!(names(&crashed(options(Linux::V6_1), &[])), all[..3]);
    assert!(names(&crashed(options(Linux::Mended), &[])).is_empty());
    // By default RTAS and the others lie in boot memory, which is not freed.
    assert_eq!(names(&crashed(small(Linux::V6_12), &[])), all[3..]);
    assert!(names(&crashed(small(Linux::V6_1), &[])).is_empty());

    let mut run = crashed(options(Linux::V6_1), &[]);
    assert_eq!(run.memory.bytes(40 * MIB, 8).unwrap(), RTAS);
    // RTAS stood there before the crash, too; what the other two have written over is gone.
    assert_eq!(run.truth.lost, [Extent::between(41 * MIB, 44 * MIB + PAGE)]);
    run.write_release_mem("1").unwrap();
    assert!(run.is_freed(run.options.rtas_extent()));
    assert_eq!(run.memory.bytes(40 * MIB, 8).unwrap(), FREED);
}

#[test]
fn rtas_inside_the_dump_area_costs_pages_of_the_copy_of_boot_memory_and_is_not_freed() {
    for linux in [Linux::V6_1, Linux::V6_12] {
        let rtas = Extent::new(20 * MIB, 2 * PAGE);
        let run = crashed(Options { rtas: Some(rtas), ..small(linux) }, &[]);
        // What was at 4 MiB less a page was copied there.
        assert_eq!(run.truth.lost, [Extent::new(4 * MIB - PAGE, 2 * PAGE)], "{linux:?}");
        assert_eq!(run.memory.bytes(20 * MIB + PAGE, 8).unwrap(), RTAS);
        assert!(release::clashes(&run).iter().all(|(name, _)| *name != "RTAS"));
        assert_eq!(run.rejected, None, "no kernel looks at the bytes");
    }
}

#[test]
fn a_kernel_that_refuses_the_dump_frees_what_a_release_would_and_shows_the_same_files() {
    let faults = [Fault::CrashInfo(CrashInfoFault::Zero), Fault::Copied(2, Amount::Half)];
    for fault in faults {
        let mut run = crashed(small(Linux::V7_2), std::slice::from_ref(&fault));
        assert!(run.rejected.is_some(), "{fault:?}");
        run.refuse().unwrap();
        assert_eq!(run.fadump.freed, released(small(Linux::V7_2)).fadump.freed);
        assert_eq!(run.write_release_mem("0").unwrap(), Written::NotPermitted);
        let root = written(&run);
        assert!(!root.path().join("proc/vmcore").exists());
        for name in ["proc/device-tree/rtas/ibm,kernel-dump", "sys/kernel/fadump/release_mem"] {
            assert!(root.path().join(name).exists(), "{name}");
        }
        let region = text(root.path(), "sys/kernel/debug/powerpc/fadump_region");
        assert!(region.contains("Dumped: 0x0") && !region.contains("Memory above"), "{region}");
        assert_eq!(run.write_registered("1").unwrap(), Written::Accepted);
    }
}

#[test]
fn what_a_kernel_looks_at_before_it_takes_a_dump_depends_on_its_age() {
    let hpte = Options { hpte_section: 0x1000, firmware: phyp_model::Firmware::Papr, ..small(Linux::V6_1) };
    for (fault, options, by_6_1, by_7_2) in [
        (Fault::Copied(0, Amount::ShortBy(0x20)), &hpte, false, true),
        (Fault::Copied(0, Amount::Nothing), &hpte, true, true),
        (Fault::Copied(1, Amount::Half), &hpte, false, true),
        (Fault::Copied(2, Amount::ShortBy(1)), &hpte, true, true),
        (Fault::Status(0x2000), &hpte, true, false),
        (Fault::Status(0xe000), &hpte, false, false),
        (Fault::CrashInfo(CrashInfoFault::Version(2)), &hpte, false, false),
        (Fault::CrashInfo(CrashInfoFault::Magic(7)), &hpte, true, true),
        (Fault::CrashInfo(CrashInfoFault::Swapped), &hpte, true, true),
    ] {
        for (linux, refuses) in [(Linux::V6_1, by_6_1), (Linux::V7_2, by_7_2)] {
            let run = crashed(
                Options { mode: Mode::Fadump(linux), ..options.clone() },
                std::slice::from_ref(&fault),
            );
            assert_eq!(run.rejected.is_some(), refuses, "{linux:?}, {fault:?}: {:?}", run.rejected);
        }
    }
}

#[test]
fn a_new_registration_writes_its_header_into_a_page_that_was_given_away() {
    for (linux, given_away) in
        [(Linux::V6_1, false), (Linux::V6_12, true), (Linux::V7_2, true), (Linux::Mended, false)]
    {
        let mut run = released(small(linux));
        let header = run.layout.crash_info.unwrap();
        run.write_registered("1").unwrap();
        assert_eq!(run.is_freed(header), given_away, "{linux:?}");
        let expected = if given_away { vec![header] } else { Vec::new() };
        assert_eq!(run.fadump.trespassed, expected, "{linux:?}");
        assert_ne!(run.memory.bytes(header.start, 8).unwrap(), FREED);
    }
}

#[test]
fn bootargs_append_after_a_release_writes_two_kibibytes_into_a_page_that_was_given_away() {
    for (linux, given_away) in [(Linux::V6_12, true), (Linux::Mended, false)] {
        let mut run = released(small(linux));
        let area = run.layout.parameter.unwrap();
        assert_eq!(area, Extent::between(48 * MIB - 0x800, 48 * MIB));
        run.write_bootargs_append("nr_cpus=1").unwrap();
        let expected = if given_away { vec![area] } else { Vec::new() };
        assert_eq!(run.fadump.trespassed, expected, "{linux:?}");
        assert_eq!(run.memory.bytes(area.start + 9, 0x7f7).unwrap(), [0; 0x7f7]);
    }
}

#[test]
fn memory_total_is_below_boot_memory_before_a_release_and_above_it_after() {
    let mut run = crashed(small(Linux::V6_12), &[]);
    let before = run.memory_total();
    assert!(before < 16 * MIB, "{before:#x}");
    run.write_release_mem("1").unwrap();
    let after = run.memory_total();
    assert_eq!(after - before, 16 * MIB - PAGE + 2 * PAGE, "and two buffers of the kernel's own");
    assert!(after > 16 * MIB);
    // A boot without a dump has all memory, the dump area lent out in all but its last pages.
    let machine = Machine::new(small(Linux::V6_12)).unwrap();
    let ordinary = scenario::run(machine, Event::CrashUnregistered, &[], Dirt::Whole).unwrap();
    assert!(ordinary.memory_total() > after);
}
