//! The root directory shows what a kernel of the time would show, and distinguishes the cases of a missing dump.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use phyp_model::catalogue::catalogue;
use phyp_model::faults::{Fault, SysfsFault};
use phyp_model::hypervisor::End;
use phyp_model::root::{self, RegionText, ReleaseText, RootOptions};
use phyp_model::scenario::{self, Dirt, Event, Run};
use phyp_model::tree::MemoryNodes;
use phyp_model::{Extent, Linux, Machine, Mode, Options};

const MIB: u64 = 1 << 20;

fn run(options: Options, event: Event, faults: &[Fault]) -> Run {
    let mut machine = Machine::new(options).unwrap();
    machine.scatter(8).unwrap();
    scenario::run(machine, event, faults, Dirt::Stamps).unwrap()
}

fn written(run: &Run, options: &RootOptions) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    root::write(run, directory.path(), options).unwrap();
    directory
}

fn text(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

const PROPERTY: &str = "proc/device-tree/rtas/ibm,kernel-dump";
const PSTORE: &str = "sys/fs/pstore/dmesg-nvram-0";

#[test]
fn a_waiting_a_missed_an_ordinary_and_a_migrated_machine_differ_in_what_they_show() {
    // Property, vmcore, record of the panic, believed registered, same machine. A kernel that finds no dump registers.
    for (event, shows) in [
        (Event::CRASH, [true, true, false, false, true]),
        (Event::StaleAfterSecondCrash, [true, false, false, false, true]),
        (Event::SecondCrash, [true, true, false, false, true]),
        (Event::CrashUnregistered, [false, false, true, true, true]),
        (Event::End(End::Reboot), [false, false, false, true, true]),
        (Event::CrashAfterMigration, [false, false, true, true, false]),
        (Event::Migrated, [false, false, false, true, false]),
    ] {
        let directory = written(&run(Options::small_fadump(), event, &[]), &RootOptions::default());
        let root = directory.path();
        let seen = [
            root.join(PROPERTY).exists(),
            root.join("proc/vmcore").exists(),
            root.join(PSTORE).exists(),
            text(root, "sys/kernel/fadump/registered") == "1\n",
            text(root, "proc/device-tree/system-id").contains("MODEL01"),
        ];
        assert_eq!(seen, shows, "{event:?}");
        // The file is there wherever the firmware has a dump, whether the kernel took it or not.
        assert_eq!(root.join("sys/kernel/fadump/release_mem").exists(), shows[0], "{event:?}");
    }
}

#[test]
fn the_2008_kernel_shows_either_ranges_to_release_or_its_registration() {
    let waiting = written(&run(Options::small_phyp(), Event::CRASH, &[]), &RootOptions::default());
    let file = waiting.path().join("sys/kernel/release_region");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!waiting.path().join("sys/kernel/phyp_dump_active").exists());
    assert!(!waiting.path().join("proc/vmcore").exists());
    assert!(!waiting.path().join("sys/kernel/fadump").exists());
    // With the error bit it throws the dump away and registers afresh.
    let error =
        written(&run(Options::small_phyp(), Event::CRASH, &[Fault::Status(0xe000)]), &RootOptions::default());
    assert!(!error.path().join("sys/kernel/release_region").exists());
    assert_eq!(text(error.path(), "sys/kernel/phyp_dump_active"), "0x1fee000\n");
}

#[test]
fn every_spelling_of_release_region_is_written() {
    let run = run(Options::small_phyp(), Event::CRASH, &[]);
    let mut seen = Vec::new();
    for release_region in [
        ReleaseText::Shipped,
        ReleaseText::ShippedEarlyScanMissed,
        ReleaseText::Document,
        ReleaseText::Absolute,
    ] {
        let options = RootOptions { release_region, memory: false, ..RootOptions::default() };
        seen.push(text(written(&run, &options).path(), "sys/kernel/release_region"));
    }
    assert_eq!(seen[0], "CPU:0x0-0x0: HPTE:0x10020-0x0: DUMP:0x11020-0x0, 0x1000000-0xfeefe0:\n");
    assert_eq!(seen[1], "CPU:0x0-0x0: HPTE:0x10020-0x0: DUMP:0x11020-0x0, 0x1feefe0-0x0:\n");
    assert!(
        seen[2].starts_with("CPU:0x1fee000-0x10000: HPTE:0x1ffe020-0x1000: /\nDUMP:0x1fff020-0x1000000, ")
    );
    assert_eq!(
        seen[3],
        "CPU:0x1fee000-0x10020: HPTE:0x1ffe020-0x1000: DUMP:0x1fff020-0x1000000, 0x1000000-0xfee000:\n"
    );
}

#[test]
fn the_region_file_has_three_generations() {
    let options = Options { parameter_area: false, ..Options::small_fadump() };
    let run = run(options, Event::CRASH, &[]);
    let cpu = 0x20 + 4 * 79 * 16;
    let end = 0x100_0000 + cpu - 1;
    let generation = |text| root::fadump_region(&run, text).unwrap();
    let a = generation(RegionText::A);
    assert!(a.starts_with(&format!(
        "CPU : [0x00000001000000-{end:#016x}] {cpu:#x} bytes, Dumped: {cpu:#x}\nHPTE: ["
    )));
    assert!(a.contains("\nDUMP: [0x00000001010000-0x0000000200ffff] 0x1000000 bytes, Dumped: 0x1000000\n"));
    let b = generation(RegionText::B);
    assert!(b.starts_with("CPU :[0x00000001000000-"));
    assert!(b.ends_with("\n\nMemory above 0x00000001000000 is reserved for saving crash dump\n"));
    assert_eq!(b, generation(RegionText::C), "they differ only where there is a parameter area");
}

#[test]
fn memory_is_told_in_three_ways_that_mean_the_same() {
    let ram = vec![Extent::new(0, 64 * MIB), Extent::new(96 * MIB, 32 * MIB)];
    let run = run(Options { ram, ..Options::small_fadump() }, Event::CRASH, &[]);
    let read = |directory: &tempfile::TempDir, name: &str| {
        fs::read(directory.path().join("proc/device-tree").join(name)).unwrap()
    };
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    let small = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let with = |memory_nodes| {
        written(&run, &RootOptions { memory_nodes, memory: false, vmcore: false, ..RootOptions::default() })
    };

    let plain = with(MemoryNodes::Plain);
    let reg = read(&plain, "memory@6000000/reg");
    assert_eq!((number(&reg[..8]), number(&reg[8..])), (96 * MIB, 32 * MIB));

    let dynamic = with(MemoryNodes::Dynamic);
    let first = read(&dynamic, "memory@0/reg");
    assert_eq!(number(&first[8..]), 16 * MIB);
    let blocks = read(&dynamic, "ibm,dynamic-reconfiguration-memory/ibm,dynamic-memory");
    assert_eq!(blocks.len(), 4 + 24 * small(&blocks[..4]) as usize);
    let assigned = blocks[4..].chunks(24).filter(|block| small(&block[20..]) & 8 != 0);
    let starts: Vec<u64> = assigned.map(|block| number(&block[..8])).collect();
    assert_eq!(starts, [16 * MIB, 32 * MIB, 48 * MIB, 96 * MIB, 112 * MIB]);

    let second = with(MemoryNodes::DynamicV2);
    let runs = read(&second, "ibm,dynamic-reconfiguration-memory/ibm,dynamic-memory-v2");
    let runs: Vec<(u32, u64, u32)> =
        runs[4..].chunks(24).map(|run| (small(&run[..4]), number(&run[4..12]), small(&run[20..]))).collect();
    assert_eq!(runs, [(3, 16 * MIB, 8), (2, 64 * MIB, 0), (2, 96 * MIB, 8)]);
}

#[test]
fn the_release_file_can_vanish_and_the_kernel_can_reject() {
    let gone = run(Options::small_fadump(), Event::CRASH, &[Fault::Sysfs(SysfsFault::NoReleaseMem)]);
    let directory = written(&gone, &RootOptions::default());
    assert!(directory.path().join("proc/vmcore").exists());
    assert!(!directory.path().join("sys/kernel/fadump/release_mem").exists());
    let rejected = run(Options::small_fadump(), Event::CRASH, &[Fault::Sysfs(SysfsFault::Rejected)]);
    let directory = written(&rejected, &RootOptions::default());
    assert!(directory.path().join(PROPERTY).exists());
    assert!(!directory.path().join("proc/vmcore").exists());
    let freed = rejected.memory.bytes(40 * MIB, 8).unwrap();
    assert_eq!(freed, scenario::FREED, "memory was given back");
}

#[test]
fn old_names_are_links_and_older_kernels_lack_what_came_later() {
    let options = Options { mode: Mode::Fadump(Linux::V6_1), ..Options::small_fadump() };
    let directory = written(&run(options, Event::CRASH, &[]), &RootOptions::default());
    let link = fs::read_link(directory.path().join("sys/kernel/fadump_enabled")).unwrap();
    assert_eq!(link, Path::new("fadump/enabled"));
    assert_eq!(text(directory.path(), "sys/kernel/fadump_registered"), "0\n");
    assert!(!directory.path().join("sys/kernel/fadump/hotplug_ready").exists());
    assert!(!directory.path().join("sys/kernel/fadump/bootargs_append").exists());
}

#[test]
fn opal_shows_its_own_nodes() {
    let directory = written(&run(Options::small_opal(), Event::CRASH, &[]), &RootOptions::default());
    let root = directory.path();
    assert_eq!(fs::read(root.join("proc/device-tree/ibm,opal/dump/mpipl-boot")).unwrap(), []);
    assert!(!root.join("proc/device-tree/rtas").exists());
    let metadata = fs::read(root.join("opal-mpipl/cpu-metadata")).unwrap();
    let address = u64::from_be_bytes(metadata[0x20..0x28].try_into().unwrap());
    let memory = phyp_model::Memory::over(&root.join("dev/mem")).unwrap();
    // The first thread's PIR, and where its entries begin.
    assert_eq!(memory.bytes(address, 4).unwrap(), 8u32.to_be_bytes());
    let inactive: Vec<u8> = (0..4).map(|n| memory.bytes(address + n * 0x2c0 + 4, 1).unwrap()[0]).collect();
    assert_eq!(inactive, [0, 0, 0, 0x0f]);
}

#[test]
fn the_image_in_the_root_is_the_memory_of_the_run() {
    let case = catalogue().into_iter().find(|case| case.name == "a hole in boot memory").unwrap();
    let run = case.run(30).unwrap();
    let directory = written(&run, &RootOptions::default());
    let image = phyp_model::Memory::over(&directory.path().join("dev/mem")).unwrap();
    assert!(image.equals(&run.memory, Extent::new(0, run.memory.size())).unwrap());
}

#[test]
fn a_root_directory_is_never_written_over_another() {
    let run = run(Options::small_fadump(), Event::CRASH, &[]);
    let directory = written(&run, &RootOptions::default());
    let error = root::write(&run, directory.path(), &RootOptions::default()).unwrap_err();
    assert!(error.to_string().contains("over another one"), "{error}");
}
