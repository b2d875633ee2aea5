//! The program on modelled machines: what it saves, what it says, and how it ends.

mod common;

use common::check;
use common::model::{assembled, nothing_is_wrong, pages_are_right, root, root_with};
use common::reader::elf::Elf;
use common::reader::kdump::Kdump;
use common::run::{self, Run as Output, Scratch};
use phyp_model::catalogue::catalogue;
use phyp_model::faults::{Amount, Fault, RegistersFault, SysfsFault};
use phyp_model::hypervisor::End;
use phyp_model::root::{ReleaseText, RootOptions};
use phyp_model::scenario::{self, Dirt, Event, Run};
use phyp_model::synth::{Fill, Mix, Mmu};
use phyp_model::task::{self, Contents, Made, ModelOptions};
use phyp_model::{Extent, Linux, Machine, Mode, Options, extent};
use proptest::prelude::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn crash(options: Options, event: Event, faults: &[Fault], dirt: Dirt) -> Run {
    let mut machine = Machine::new(options).expect("a machine");
    machine.scatter(64).expect("room for pages");
    scenario::run(machine, event, faults, dirt).expect("a run")
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", output.stdout, output.stderr))
}

/// A machine with a whole kernel in its memory; the expected page sets stand in `expected/` of its root.
fn with_kernel(faults: Vec<Fault>) -> (Scratch, Made) {
    let contents = Contents::Synthetic {
        mmu: Mmu::Radix { huge_vmemmap: false },
        mix: Mix::default(),
        fill: Fill::OneIn(4),
        share_vmemmap: false,
    };
    let root = RootOptions { vmcore: false, ..RootOptions::default() };
    let options = ModelOptions { contents, faults, root, ..ModelOptions::new(Options::small_fadump()) };
    let scratch = Scratch::new("machine");
    let made = task::make(&options, scratch.path()).expect("a root directory");
    (scratch, made)
}

/// Each page that an ELF core covers has the bytes that it had at the crash.
fn bytes_are_those_of_the_crash(made: &Run, elf: &Elf) {
    let page_size = made.options.page_size;
    let (mut found, mut wanted) = (vec![0; page_size as usize], vec![0; page_size as usize]);
    let bytes = made.options.ram_end().div_ceil(8 * page_size) as usize;
    let covered = elf.frames(page_size, bytes);
    for pfn in (0..8 * bytes as u64).filter(|pfn| common::reader::bit(&covered, *pfn)) {
        let frame = Extent::new(pfn * page_size, page_size);
        if !extent::intersect(&made.truth.reserved, &[frame]).is_empty() {
            continue;
        }
        elf.read(frame.start, &mut found);
        made.truth.image.read(frame.start, &mut wanted).expect("the image");
        assert!(found == wanted, "frame {pfn:#x} differs");
    }
}

#[test]
fn a_whole_kernel_is_saved_at_every_kind_of_level_as_the_model_says() {
    let (root, made) = with_kernel(Vec::new());
    let bitmaps = fs::read(root.path().join("expected/bitmaps.bin")).expect("the bitmaps");
    for level in [0, 1, 2, 4, 8, 16, 31] {
        let output = run::to_kdump(root.path(), level, "none");
        let kdump = Kdump::open(output.path());
        let size = bitmaps.len() / 32;
        let expected = &bitmaps[size * level as usize..][..size];
        check::same_frames(&kdump.bitmap2, expected).unwrap_or_else(|wrong| panic!("level {level}: {wrong}"));
        bytes_are_those_of_the_crash(&made.run, &Elf::open(run::to_elf(root.path(), level).path()));
    }
    let log = run::hadump([Path::new("dmesg"), root.path()]).ok().stdout;
    assert_eq!(log, fs::read_to_string(root.path().join("expected/dmesg.txt")).expect("the log"));
}

/// Converts to an ELF core at level 0; returns the report.
fn saved(root: &Path, output: &Path) -> (Output, Value) {
    let output = run::convert(root, output, &["-d", "0", "--format", "elf", "--json"]);
    let report = json(&output);
    (output, report)
}

#[test]
fn pages_whose_copy_is_short_are_lost_and_named_and_the_rest_is_saved() {
    for amount in [Amount::Nothing, Amount::Half, Amount::ShortBy(0x1_0000)] {
        let (root, made) = with_kernel(vec![Fault::Copied(2, amount)]);
        let target = Scratch::new("out.elf");
        let (output, report) = saved(root.path(), target.path());
        assert_eq!(output.code, Some(4), "{amount:?}: {}", output.stderr);
        assert_eq!(report["exit_code"], 4);
        assert_eq!(report["output"]["complete"], false);
        let path = report["output"]["path"].as_str().expect("a path");
        assert!(path.ends_with("-incomplete"), "{path}");
        let lost = extent::total(&made.run.truth.lost);
        // Without VMCOREINFO the page size is not known.
        let page_size = report["input"]["page_size"].as_u64().expect("a number");
        assert_eq!(report["pages"]["lost"], lost / page_size, "{amount:?}");
        let remarks = report["remarks"].to_string();
        assert!(remarks.contains("is lost"), "{remarks}");
        for extent in &made.run.truth.lost {
            assert!(remarks.contains(&format!("{:#x}..{:#x}", extent.start, extent.end())), "{remarks}");
        }
        // What was lost is not in the file, and all else is.
        let elf = Elf::open(Path::new(path));
        bytes_are_those_of_the_crash(&made.run, &elf);
        // The default level needs to know what pages are; where that is not known, they are kept.
        let target = Scratch::new("out.kdump");
        let output = run::convert(root.path(), target.path(), &["--json"]);
        assert_eq!(output.code, Some(4), "{amount:?}: {}", output.stderr);
    }
}

#[test]
fn a_bad_magic_costs_the_registers_and_not_the_dump() {
    let fault = Fault::Registers(RegistersFault::Magic(0x5245_4753_4156_4501));
    let (root, made) = with_kernel(vec![fault]);
    let target = Scratch::new("out.elf");
    let (output, report) = saved(root.path(), target.path());
    assert_eq!((output.code, &report["pages"]["lost"]), (Some(4), &Value::from(0)), "{}", output.stderr);
    assert!(report["remarks"].to_string().contains("the firmware's registers are lost"));
    bytes_are_those_of_the_crash(
        &made.run,
        &Elf::open(Path::new(report["output"]["path"].as_str().unwrap())),
    );
}

#[test]
fn a_structure_cut_in_its_header_leaves_nothing_to_save() {
    let case =
        catalogue().into_iter().find(|case| case.name == "property of 0x8 bytes, fadump").expect("a case");
    let root = root(&case.run(8).expect("a run"));
    let target = Scratch::new("out");
    let output = run::convert(root.path(), target.path(), &[]);
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    assert!(
        output.stderr.contains("ibm,kernel-dump is 8 bytes long, expected at least 40"),
        "{}",
        output.stderr
    );
    assert!(!target.path().exists());
}

/// `CPU:0x177fee000-0x10000: HPTE:0x177ffe020-0x1000: / DUMP:0x177fff020-0x10000000, 0x10000000-0x16F1D370A`, on the
/// machine it was printed on.
#[test]
fn the_seeds_example_is_put_together_and_every_oddity_of_its_line_explained() {
    let run = crash(Options::seed_document(), Event::CRASH, &[], Dirt::Stamps);
    let options =
        RootOptions { vmcore: false, release_region: ReleaseText::Document, ..RootOptions::default() };
    let root = root_with(&run, &options);
    let line = fs::read_to_string(root.path().join("sys/kernel/release_region")).expect("the line");
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>().join(" "),
        "CPU:0x177fee000-0x10000: HPTE:0x177ffe020-0x1000: / DUMP:0x177fff020-0x10000000, 0x10000000-0x16F1D370A"
    );
    // With the device tree, and with nothing but the line.
    for by_line_alone in [false, true] {
        if by_line_alone {
            fs::remove_file(root.path().join("proc/device-tree/rtas/ibm,kernel-dump")).expect("the property");
        }
        let target = Scratch::new("out.elf");
        let output = run::convert(root.path(), target.path(), &["-d", "1", "--format", "elf", "--json"]);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let report = json(&output);
        assert_eq!(report["pages"]["lost"], 0);
        assert_eq!(report["input"]["cpus"], 4);
        assert_eq!(report["input"]["page_size"], 4096);
        let remarks = report["remarks"].to_string();
        for oddity in ODDITIES {
            assert!(remarks.contains(oddity), "by the line alone {by_line_alone}, {oddity}: {remarks}");
        }
        let elf = Elf::open(target.path());
        bytes_are_those_of_the_crash(&run, &elf);
        // Nothing that the crashed system wrote was taken for zeros.
        let mut page = vec![0; 4096];
        let wanted = extent::subtract(&run.truth.ram, &run.truth.reserved);
        for data in wanted.iter().flat_map(|ram| run.truth.image.data_within(*ram).expect("the image")) {
            run.truth.image.read(data.start, &mut page).expect("the image");
            let mut found = vec![0; 4096];
            elf.read(data.start, &mut found);
            assert!(found == page, "{:#x}", data.start);
        }
    }
    let (dump, findings) = assembled(&run, &options).expect("a dump");
    pages_are_right(&run, &dump).unwrap_or_else(|wrong| panic!("{wrong}: {findings:#?}"));
}

/// The slash and the line break, the missing colon, the upper-case digits, the CPU area that is short by its header, the
/// copy that begins inside a page, the last pair that reaches into the save areas, and its ragged ends.
const ODDITIES: [&str; 7] = [
    "has a line continuation, which is the document's",
    "does not end with a colon",
    "has upper-case hexadecimal digits",
    "CPU is 0x10000 bytes long, HPTE begins 0x10020 bytes after its start",
    "begins at 0x177fff020, inside a page",
    "ends at 0x17f1d370a, 0x71e570a bytes past the start of the save areas at 0x177fee000",
    "0x10000000-0x16f1d370a does not begin and end at pages",
];

fn status(root: &Path) -> Value {
    json(&run::hadump(["status".as_ref(), "--json".as_ref(), "--root".as_ref(), root.as_os_str()]))
}

#[test]
fn status_tells_what_the_last_boot_left() {
    let phyp = Options::small_phyp();
    let fadump = Options::small_fadump();
    let inf = Options { mode: Mode::Fadump(Linux::V6_1), ..fadump.clone() };
    let rejected = [Fault::Sysfs(SysfsFault::Rejected)];
    for options in [phyp, fadump, inf] {
        let mode = options.mode;
        let mut cases: Vec<(&str, Event, &[Fault])> = vec![
            ("dump_waiting", Event::CRASH, &[]),
            ("dump_waiting", Event::End(End::Reset { nmi_interlock: false }), &[]),
            ("dump_waiting", Event::SecondCrash, &[]),
            ("missed", Event::CrashUnregistered, &[]),
            ("missed", Event::CrashAfterMigration, &[]),
            ("ordinary", Event::End(End::Reboot), &[]),
            ("ordinary", Event::Migrated, &[]),
        ];
        if mode == Mode::Phyp2008 {
            cases.push(("stale_dump", Event::StaleAfterSecondCrash, &[]));
        } else {
            // These kernels look at the dump, refuse it and use the memory.
            cases.push(("refused_by_the_kernel", Event::StaleAfterSecondCrash, &[]));
            cases.push(("refused_by_the_kernel", Event::CRASH, &rejected));
        }
        for (expected, event, faults) in cases {
            let run = crash(options.clone(), event, faults, Dirt::Whole);
            let root = root_with(&run, &RootOptions::default());
            let answer = status(root.path());
            assert_eq!(answer["last_boot"], expected, "{mode:?}, {event:?}, {faults:?}: {answer:#}");
            let evidence = answer["evidence"].to_string();
            assert_eq!(
                evidence.contains("lost by a migration"),
                matches!(event, Event::Migrated | Event::CrashAfterMigration),
                "{mode:?}, {event:?}: {evidence}"
            );
            assert!(!answer["evidence"].as_array().expect("a list").is_empty());
            let lost = answer["readiness"] == "lost_by_migration";
            // A kernel that finds no dump registers by itself: on the new machine, which is not recorded yet.
            if event != Event::CrashAfterMigration {
                assert_eq!(lost, event == Event::Migrated, "{mode:?}, {event:?}: {answer:#}");
            }
        }
    }
}

#[test]
fn status_counts_a_damaged_dump_as_damaged() {
    let run = crash(Options::small_fadump(), Event::CRASH, &[Fault::Copied(2, Amount::Half)], Dirt::Whole);
    let root = root(&run);
    let answer = run::hadump(["status".as_ref(), "--root".as_ref(), root.path().as_os_str()]);
    assert_eq!(answer.code, Some(4), "{}", answer.stdout);
    assert!(answer.stdout.contains("boot memory"), "{}", answer.stdout);
}

/// One mistake that the firmware reports, so that a tool can know of it.
fn admitted() -> impl Strategy<Value = Vec<Fault>> {
    prop_oneof![
        Just(Vec::new()),
        (0u64..0x80_0000).prop_map(|bytes| vec![Fault::Copied(2, Amount::ShortBy(bytes))]),
        Just(vec![Fault::Copied(2, Amount::Nothing)]),
        Just(vec![Fault::Status(0xe000)]),
    ]
}

prop_compose! {
    fn machines()(
        mode in prop_oneof![
            Just(Mode::Phyp2008), Just(Mode::Fadump(Linux::V6_1)), Just(Mode::Fadump(Linux::V6_12)),
        ],
        big in any::<bool>(),
        large_pages in any::<bool>(),
        aligned_destination in any::<bool>(),
        units in 1u64..24,
        above in 0u64..40,
        hole in 0u64..8,
        cpus in prop::collection::vec(any::<bool>(), 1..8),
        seed in any::<u64>(),
    ) -> Options {
        let page_size = if large_pages { 0x1_0000 } else { 0x1000 };
        let unit = 8 * 0x1_0000;
        // Boot memory may have a hole, as on machines whose first block is small.
        let first = Extent::new(0, 8 * unit);
        let second = Extent::new((8 + hole) * unit, units * unit);
        let (boot_memory, top) = if mode == Mode::Phyp2008 {
            (vec![Extent::new(0, (8 + units) * unit)], (8 + units) * unit)
        } else {
            (extent::merged(vec![first, second]), second.end())
        };
        let end = top + extent::total(&boot_memory) + (above + 8) * unit + 0x40_0000;
        let ram = extent::merged([boot_memory.clone(), vec![Extent::between(top, end)]].concat());
        Options {
            mode, page_size, aligned_destination, boot_memory, ram, seed,
            order: if big { phyp_model::ByteOrder::Big } else { phyp_model::ByteOrder::Little },
            boot_top: top,
            cpus: (0u32..).zip(cpus).map(|(id, online)| (id, online || id == 0)).collect(),
            crashing_cpu: Some(0),
            parameter_area: true,
            cpu_mask_size: 64,
            ..Options::small_fadump()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 64, ..ProptestConfig::default() })]

    /// The invariants of any dump: every byte is that of the crash or lost, and lost only where the
    /// firmware did not copy it; one set of registers for each CPU that ran.
    #[test]
    fn whatever_the_machine_every_byte_is_right_or_lost(options in machines(), faults in admitted()) {
        let run = crash(options, Event::CRASH, &faults, Dirt::Whole);
        let (dump, findings) = assembled(&run, &RootOptions::default()).expect("a dump");
        let counts = pages_are_right(&run, &dump);
        prop_assert!(counts.is_ok(), "{}: {findings:#?}", counts.unwrap_err());
        prop_assert_eq!(counts.unwrap().lost > 0, extent::total(&run.truth.lost) > 0);
        let pids: Vec<u32> = common::model::cpus(&dump);
        prop_assert_eq!(phyp_model::invariants::check_cpus(&run.truth, &pids), Ok(()));
    }

    #[test]
    fn whatever_the_faults_no_byte_is_wrong_that_the_firmware_did_not_move(
        options in machines(), index in any::<prop::sample::Index>(), also in admitted()
    ) {
        let cases = catalogue();
        let movable = |case: &&phyp_model::catalogue::Case| {
            use phyp_model::catalogue::Group::*;
            matches!(
                case.group,
                Copies | Flags | Header | Registers | Hptes | CrashingCpu | Vmcore | Vmcoreinfo
            )
        };
        let cases: Vec<_> = cases.iter().filter(movable).collect();
        let faults = [cases[index.index(cases.len())].faults.clone(), also].concat();
        let run = crash(options, Event::CRASH, &faults, Dirt::Whole);
        if let Ok((dump, findings)) = assembled(&run, &RootOptions::default()) {
            let right = nothing_is_wrong(&run.truth, &dump);
            prop_assert!(right.is_ok(), "{faults:?}: {}: {findings:#?}", right.unwrap_err());
        }
    }
}
