//! `hadump save` where there is little room: on a small disk, and in a small memory.

mod common;

use common::peer;
use common::run::{HADUMP, Run as Output, Scratch, hadump, peak};
use common::small::Small;
use phyp_model::layout::Layout;
use phyp_model::root::{self, RootOptions};
use phyp_model::scenario::{self, Dirt, Event};
use phyp_model::synth::{self, Fill, Mix, SynthOptions};
use phyp_model::{Extent, Machine, Memory, Options};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// The root of a machine with `ram` bytes, a quarter of which the second boot took, after its crash.
fn machine(ram: u64, page_size: u64, mix: Mix, fill: Fill) -> Scratch {
    let boot = (ram / 4).min(1 << 30);
    let options = Options {
        ram: vec![Extent::new(0, ram)],
        boot_memory: vec![Extent::new(0, boot)],
        boot_top: boot,
        page_size,
        lmb_size: 16 * MIB,
        ..Options::small_fadump()
    };
    let layout = Layout::plan(&options).expect("a layout");
    let mut memory = Memory::new(ram);
    let base = SynthOptions::for_machine(&options, layout.reserved);
    let share_vmemmap = fill == Fill::Nothing;
    let synth = SynthOptions { mix, fill, share_vmemmap, ..base };
    let kernel = synth::build(&synth, &mut memory).expect("a kernel");
    let machine = Machine::with_memory(options, memory, Some(kernel.vmcoreinfo)).expect("a machine");
    let run = scenario::run(machine, Event::CRASH, &[], Dirt::Stamps).expect("a run");
    let root = Scratch::new("root");
    root::write(&run, root.path(), &RootOptions { vmcore: false, ..RootOptions::default() }).expect("a root");
    root
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", output.stdout, output.stderr))
}

fn save(root: &Path, to: &Path, options: &[&str]) -> Output {
    let compression = if options.contains(&"-c") { &[][..] } else { &["-c", "none"] };
    let mut command = Command::new(HADUMP);
    command.args(["save", "--json", "--segment", "16M", "--root"]).arg(root).arg("--to").arg(to);
    Output::of(command.args(compression).args(options))
}

#[test]
fn a_dump_that_does_not_fit_at_its_level_is_saved_whole_at_a_higher_one() {
    let Some(small) = Small::new() else { return };
    let mix = Mix { free: 6, anonymous: 14, cache: 12, slab: 1, kernel: 1, hugetlb: 0, ..Mix::default() };
    let root = machine(288 * MIB, 4096, mix, Fill::OneIn(1));
    let target = small.0.path().join("vmcore");
    let output = save(root.path(), &target, &["-d", "0"]).ok();
    let report = json(&output);
    assert_eq!((&report["asked_level"], &report["ended"]), (&0.into(), &"whole".into()), "{report}");
    let level = report["output"]["dump_level"].as_u64().expect("a level");
    assert!([17, 25, 27, 31].contains(&level), "{level}");
    assert!(report["remarks"].to_string().contains("the level is raised to 17"), "{report}");
    assert!(report["pages"]["kept"].as_u64().unwrap() * 4096 < 64 * MIB);
    let info: Value = serde_json::from_str(&hadump(["info", "--json", target.to_str().unwrap()]).ok().stdout)
        .expect("information");
    assert!(info.to_string().contains(&format!("\"dump_level\":{level}")), "{info}");
    // All that level 0 would have taken is not what was there.
    let whole = Scratch::new("whole");
    let whole = json(&save(root.path(), whole.path(), &["-d", "0"]).ok());
    assert!(whole["output"]["bytes"].as_u64().unwrap() > 200 * MIB, "{whole}");
}

#[test]
fn a_dump_that_does_not_fit_at_all_keeps_what_is_worth_most_opens_and_goes_on_where_there_is_room() {
    let Some(small) = Small::new() else { return };
    let mix = Mix {
        free: 0,
        anonymous: 0,
        anonymous_folio: 0,
        cache: 0,
        cache_folio: 0,
        shmem: 0,
        cache_private: 0,
        slab: 1,
        kernel: 4,
        hugetlb: 0,
        offline: 0,
    };
    let root = machine(288 * MIB, 4096, mix, Fill::OneIn(1));
    let target = small.0.path().join("vmcore");
    let output = save(root.path(), &target, &[]);
    let report = json(&output);
    assert_eq!(output.code, Some(4), "{}", output.stderr);
    assert_eq!(
        (&report["ended"], &report["output"]["complete"]),
        (&"no_room".into(), &false.into()),
        "{report}"
    );
    let [kept, unwritten] = [&report["pages"]["data"], &report["unwritten"]].map(|n| n.as_u64().unwrap());
    assert!(kept * 4096 > 55 * MIB && unwritten * 4096 > 100 * MIB, "{report}");
    let incomplete = small.0.path().join("vmcore-incomplete");
    assert_eq!(report["output"]["path"], incomplete.to_str().unwrap());
    // The log and what leads to it are among what is worth most.
    let log = hadump(["dmesg", incomplete.to_str().unwrap()]).ok().stdout;
    assert_eq!(log, fs::read_to_string(small.0.path().join("vmcore-dmesg.txt")).expect("the log"));
    if let Some(python) = peer::python_kdumpfile() {
        let script =
            "import sys, kdumpfile; c = kdumpfile.kdumpfile(sys.argv[1]); print(c.attr['arch.page_size'])";
        let open = Output::of(Command::new(python).args(["-c", script]).arg(&incomplete)).ok();
        assert_eq!(open.stdout.split_whitespace().next(), Some("4096"), "{}", open.stdout);
    }
    // Nobody made room.
    let again = save(root.path(), &target, &["--resume"]);
    assert_eq!((again.code, &json(&again)["ended"]), (Some(4), &"no_room".into()), "{}", again.stderr);
    let remount = Output::of(Command::new("mount").args(["-o", "remount,size=320m"]).arg(small.0.path()));
    assert_eq!(remount.code, Some(0), "{}", remount.stderr);
    let whole = json(&save(root.path(), &target, &["--resume"]).ok());
    assert_eq!((&whole["unwritten"], &whole["output"]["complete"]), (&0.into(), &true.into()), "{whole}");
    let plain = Scratch::new("plain");
    common::run::convert(root.path(), plain.path(), &["-c", "none"]).ok();
    hadump([Path::new("diff"), plain.path(), &target]).ok();
}

#[test]
fn where_uncompressed_pages_would_not_fit_all_are_compressed_as_well_as_can_be() {
    let Some(small) = Small::of("16m") else { return };
    let root = machine(80 * MIB, 4096, Mix::default(), Fill::OneIn(4));
    let target = small.0.path().join("vmcore");
    let mut command = Command::new(HADUMP);
    command
        .args(["save", "-c", "auto", "-d", "1", "--json", "--root"])
        .arg(root.path())
        .arg("--to")
        .arg(target);
    let report = json(&Output::of(&mut command));
    assert_eq!(report["output"]["compression"], "zstd", "{report}");
    let remarks = report["remarks"].as_array().unwrap();
    let said =
        |remark: &Value| remark.as_str().unwrap().ends_with("are stored with zstd, and not as time allows");
    assert!(remarks.iter().any(said), "{report}");
}

#[test]
fn a_target_that_does_not_tell_its_size_takes_the_dump_as_it_is() {
    let Some(unlimited) = Small::of("0") else { return };
    let stat = rustix::fs::statvfs(unlimited.0.path()).expect("a file system");
    assert_eq!((stat.f_blocks, stat.f_bavail), (0, 0));
    let root = machine(80 * MIB, 4096, Mix::default(), Fill::OneIn(4));
    let report = json(&save(root.path(), &unlimited.0.path().join("vmcore"), &["-d", "0"]).ok());
    assert_eq!((&report["output"]["dump_level"], &report["ended"]), (&0.into(), &"whole".into()), "{report}");
    assert_eq!(report["estimate"]["room_bytes"], Value::Null, "{report}");
}

#[test]
fn space_that_is_to_be_left_is_left_and_a_target_that_is_no_target_is_refused() {
    let root = machine(80 * MIB, 4096, Mix::default(), Fill::OneIn(1));
    let free = |path: &Path| {
        let stat = rustix::fs::statvfs(path).expect("a file system");
        stat.f_bavail * stat.f_frsize
    };
    let Some(small) = Small::new() else { return };
    let target = small.0.path().join("vmcore");
    let output = save(root.path(), &target, &["--reserve-space", "58M"]);
    assert_eq!(output.code, Some(4), "{}", output.stderr);
    let left = free(small.0.path());
    assert!((58 * MIB..59 * MIB).contains(&left), "{left}");
    for bad in ["/dev/null", "/proc/nowhere/at/all/", "/nowhere/at/all"] {
        let output = save(root.path(), Path::new(bad), &[]);
        assert_eq!(output.code, Some(1), "{bad}: {}", output.stderr);
    }
    for bad in [&["--to", "-"][..], &["--release", "soon"], &["--reserve-space", "much"]] {
        assert_eq!(save(root.path(), &target, bad).code, Some(2), "{bad:?}");
    }
}

#[test]
fn a_disk_that_others_fill_up_meanwhile_loses_nothing_that_was_written() {
    let Some(small) = Small::new() else { return };
    let root = machine(96 * MIB, 4096, Mix::default(), Fill::OneIn(1));
    let target = small.0.path().join("vmcore");
    let mut command = Command::new(HADUMP);
    command
        .args(["save", "-c", "none", "--json", "--segment", "4M", "--limit-rate", "4M", "--root"])
        .arg(root.path());
    let child = command.arg("--to").arg(&target).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("hadump");
    let incomplete = small.0.path().join("vmcore-incomplete");
    while fs::metadata(&incomplete).map_or(0, |m| m.len()) < 6 << 20 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let hog = fs::File::create(small.0.path().join("hog")).expect("a file");
    let mut size = 64 * MIB;
    while size > 4096 {
        // All that is left, whatever that is by now.
        if rustix::fs::fallocate(
            &hog,
            rustix::fs::FallocateFlags::empty(),
            hog.metadata().unwrap().len(),
            size,
        )
        .is_err()
        {
            size /= 2;
        }
    }
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["ended"], "no_room");
    let saved = report["pages"]["data"].as_u64().unwrap();
    assert!(saved * 4096 >= 3 * MIB, "{report}");
    let dump = dumpfile::open(&incomplete).expect("a dump");
    let mut page = vec![0; 4096];
    let frames = dump.memory.map().frames().iter().flat_map(|r| r.start.0..r.end.0);
    let there = frames.filter(|pfn| {
        let state = dump.memory.read_page(vmcore::Pfn(*pfn), &mut page).expect("a page that can be read");
        state == vmcore::PageState::Present
    });
    // Of the last batch some may be in the file that the report does not count.
    let there = there.count() as u64;
    assert!(there >= saved && there < saved + 512, "{there} of {saved}");
}

#[test]
fn memory_stays_under_its_bound_whatever_the_size_of_the_machine() {
    let threads = 2;
    // The largest takes a minute and more without optimisation.
    let sizes: &[u64] = if std::env::var_os("HADUMP_BIG").is_some() { &[1, 64, 4096] } else { &[1, 64] };
    for gib in sizes {
        let (mix, fill) =
            if *gib > 1 { (Mix::idle(), Fill::Nothing) } else { (Mix::default(), Fill::OneIn(16)) };
        let root = machine(gib << 30, 0x1_0000, mix, fill);
        // A level that keeps all pages of 4 TiB writes gigabytes of descriptors.
        let levels: &[&str] = if *gib > 1024 { &["31"] } else { &["31", "1"] };
        for level in levels {
            let target = Scratch::new("vmcore");
            let mut command = Command::new(HADUMP);
            command.args(["save", "-d", level, "-j", &threads.to_string(), "--root"]).arg(root.path());
            let peak = peak(command.arg("--to").arg(target.path()));
            println!("{gib} GiB at level {level}: {} MiB", peak >> 20);
            assert!(
                peak > 4 * MIB && peak <= (64 + 8 * threads) * MIB,
                "{gib} GiB at level {level}: {peak} bytes"
            );
        }
    }
}

#[test]
fn a_dump_that_goes_through_a_pipe_arrives_and_a_pipe_that_closes_early_is_no_success() {
    let root = machine(48 * MIB + 32 * MIB, 4096, Mix::default(), Fill::OneIn(4));
    let got = Scratch::new("got");
    let pipe = format!(
        "{HADUMP} -q save --root {} --to - | {HADUMP} -q receive {}",
        root.path().display(),
        got.path().display()
    );
    Output::of(Command::new("sh").args(["-c", &pipe])).ok();
    let plain = Scratch::new("plain");
    common::run::convert(root.path(), plain.path(), &[]).ok();
    hadump([Path::new("diff"), plain.path(), got.path()]).ok();
    let cut = format!(
        "{HADUMP} -q save --root {} --to - | head -c 100000 > {}",
        root.path().display(),
        got.path().display()
    );
    let cut = Output::of(Command::new("bash").args(["-c", &format!("set -o pipefail; {cut}")]));
    assert_eq!(cut.code, Some(1), "{}", cut.stderr);
}

#[test]
fn a_split_set_an_elf_file_and_a_named_journal_are_made_as_asked() {
    let root = machine(80 * MIB, 4096, Mix::default(), Fill::OneIn(4));
    let plain = Scratch::new("plain");
    common::run::convert(root.path(), plain.path(), &["-d", "1"]).ok();
    let [a, b] = [Scratch::new("a"), Scratch::new("b")];
    let mut command = Command::new(HADUMP);
    command
        .args(["save", "-d", "1", "--root"])
        .arg(root.path())
        .arg("--to")
        .arg(a.path())
        .arg("--to")
        .arg(b.path());
    Output::of(&mut command).ok();
    // The rate holds for both files together, which are written at the same time.
    let bytes: u64 = [&a, &b].map(|file| fs::metadata(file.path()).expect("a file").len()).iter().sum();
    let started = Instant::now();
    Output::of(command.arg("--force").arg("--limit-rate").arg((bytes / 2).to_string())).ok();
    assert!(started.elapsed() >= Duration::from_secs(1), "{bytes} bytes in {:?}", started.elapsed());
    let joined = Scratch::new("joined");
    let mut join = Command::new(HADUMP);
    Output::of(join.args(["convert", "-d", "1"]).arg(a.path()).arg(b.path()).arg("-o").arg(joined.path()))
        .ok();
    hadump([Path::new("diff"), plain.path(), joined.path()]).ok();
    let elf = Scratch::new("elf");
    let mut command = Command::new(HADUMP);
    Output::of(
        command
            .args(["save", "-d", "1", "--format", "elf", "--root"])
            .arg(root.path())
            .arg("--to")
            .arg(elf.path()),
    )
    .ok();
    hadump([Path::new("diff"), plain.path(), elf.path()]).ok();

    // An interrupted save in a directory is found by its journal, wherever that is.
    let crash = Scratch::new("crash");
    fs::create_dir(crash.path()).expect("a directory");
    let journal = Scratch::new("journal");
    let journal_at = journal.path().to_str().unwrap();
    let mut command = Command::new(HADUMP);
    command.args([
        "save",
        "-d",
        "1",
        "-c",
        "none",
        "--segment",
        "1M",
        "--limit-rate",
        "8M",
        "--journal",
        journal_at,
    ]);
    command.arg("--root").arg(root.path()).arg("--to").arg(crash.path());
    let mut child = command.stderr(Stdio::null()).spawn().expect("hadump");
    while !fs::read_to_string(journal.path()).is_ok_and(|text| text.contains("checkpoint")) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("to kill it");
    child.wait().expect("an end");
    // What is not asked for again is taken from the journal.
    let report = json(&save(root.path(), crash.path(), &["--resume", "--journal", journal_at]).ok());
    assert_eq!(
        (&report["resumed"], &report["output"]["compression"]),
        (&true.into(), &Value::Null),
        "{report}"
    );
    assert!(!journal.path().exists());
    hadump([Path::new("diff"), plain.path(), Path::new(report["output"]["path"].as_str().unwrap())]).ok();
}

#[test]
fn a_real_dump_that_lacks_its_least_valuable_pages_still_tells_crash_where_it_crashed() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let (Some(vmlinux), Some(crash)) = (dump.vmlinux(), peer::program("crash")) else { return };
    let Some(small) = Small::new() else { return };
    let root = Scratch::new("root");
    fs::create_dir_all(root.path().join("proc")).expect("a directory");
    std::os::unix::fs::symlink(&dump.elf, root.path().join("proc/vmcore")).expect("a link");
    let full = Scratch::new("full");
    let bytes =
        json(&save(root.path(), full.path(), &["-c", "zstd"]).ok())["output"]["bytes"].as_u64().unwrap();
    // With the room that a save leaves to the file system, a tenth of the bytes is missing, and a quarter of the pages.
    let reserve = 64 * MIB - bytes * 19 / 20;
    let target = small.0.path().join("vmcore");
    let output = save(root.path(), &target, &["-c", "zstd", "--reserve-space", &reserve.to_string()]);
    assert_eq!((output.code, &json(&output)["ended"]), (Some(4), &"no_room".into()), "{}", output.stderr);
    let seen = peer::crash(&crash, &vmlinux, &small.0.path().join("vmcore-incomplete"), &["bt", "log"]);
    assert!(seen.contains("sysrq_handle_crash") && seen.contains("sysrq triggered crash"), "{seen}");
}

#[test]
fn the_machine_of_a_registration_is_noted_for_later() {
    let machine = Machine::new(Options::small_fadump()).expect("a machine");
    let moved = scenario::run(machine, Event::Migrated, &[], Dirt::Stamps).expect("a run");
    let root = Scratch::new("root");
    root::write(&moved, root.path(), &RootOptions::default()).expect("a root");
    let status = |options: &[&str]| {
        let mut command = Command::new(HADUMP);
        Output::of(command.args(["status", "--json", "--root"]).arg(root.path()).args(options))
    };
    assert_eq!(json(&status(&[]))["readiness"], "lost_by_migration");
    assert_eq!(json(&status(&["--record-registration"]).ok())["readiness"], "registered");
    assert_eq!(json(&status(&[]))["readiness"], "registered");
    fs::write(root.path().join("sys/kernel/fadump/registered"), "0\n").expect("a file");
    let refused = status(&["--record-registration"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("not registered"), "{}", refused.stderr);
}

/// A block device over a file of `size` bytes.
struct Loop {
    name: String,
    // The device is taken down before its file goes.
    _file: Scratch,
}

impl Loop {
    /// `None`, which is reported, where there are no such devices.
    fn new(size: u64) -> Option<Self> {
        let file = Scratch::new("disk");
        // Whatever was on a disk before is no part of a dump.
        fs::write(file.path(), vec![0xa5; size as usize]).expect("a file");
        let made = Output::of(Command::new("losetup").args(["-f", "--show"]).arg(file.path()));
        if made.code != Some(0) {
            common::report_skipped(&format!("a block device, as none can be made: {}", made.stderr));
            return None;
        }
        Some(Self { name: made.stdout.trim().to_owned(), _file: file })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.name]).status();
    }
}

#[test]
fn a_block_device_holds_a_dump_goes_on_with_a_journal_and_is_full_where_it_ends() {
    let (Some(large), Some(small)) = (Loop::new(64 * MIB), Loop::new(4 * MIB)) else { return };
    let root = machine(80 * MIB, 4096, Mix::default(), Fill::OneIn(1));
    let plain = Scratch::new("plain");
    common::run::convert(root.path(), plain.path(), &["-c", "none"]).ok();
    let journal = Scratch::new("journal");
    let mut command = Command::new(HADUMP);
    command.args([
        "save",
        "-c",
        "none",
        "--segment",
        "1M",
        "--limit-rate",
        "8M",
        "--to",
        &large.name,
        "--root",
    ]);
    let mut child =
        command.arg(root.path()).arg("--journal").arg(journal.path()).stderr(Stdio::null()).spawn();
    let child = child.as_mut().expect("hadump");
    while !fs::read_to_string(journal.path()).is_ok_and(|text| text.contains("checkpoint")) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("to kill it");
    child.wait().expect("an end");
    let options = ["--resume", "--journal", journal.path().to_str().unwrap()];
    let report = json(&save(root.path(), Path::new(&large.name), &options).ok());
    assert_eq!((&report["resumed"], &report["output"]["path"]), (&true.into(), &large.name.as_str().into()));
    hadump([Path::new("diff"), plain.path(), Path::new(&large.name)]).ok();
    let output = save(root.path(), Path::new(&small.name), &[]);
    assert_eq!((output.code, &json(&output)["ended"]), (Some(4), &"no_room".into()), "{}", output.stderr);
    assert!(dumpfile::open(Path::new(&small.name)).expect("a dump").source.incomplete);
}
