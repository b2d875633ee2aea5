//! The report of why the machine crashed that `hadump save` leaves beside the log.

mod common;

use common::run::{self, HADUMP, Run, Scratch, hadump, names};
use common::saving::{fadump, json, save, set_boot};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const BOTH: [&str; 2] = ["vmcore-report.json", "vmcore-report.txt"];

/// The root of a machine with this dump.
fn root(dump: &Path) -> Scratch {
    let root = Scratch::new("root");
    fs::create_dir_all(root.path().join("proc")).unwrap();
    symlink(dump, root.path().join("proc/vmcore")).unwrap();
    root
}

/// What `hadump report` says of the same dump.
fn reported(root: &Path, options: &[&str]) -> String {
    let run = hadump(["report", root.to_str().unwrap()].iter().chain(options));
    assert!(matches!(run.code, Some(0 | 4)), "{}", run.stderr);
    run.stdout
}

fn remarks(report: &Value) -> String {
    report["remarks"].to_string()
}

#[test]
fn beside_the_log_is_what_report_says_of_the_dump_and_only_its_owner_may_read_it() {
    let model = fadump(3, "boot 1");
    let mut roots = vec![model];
    for name in [corpus::POWER, corpus::X86_64_DEBIAN, corpus::ARM64] {
        roots.extend(corpus::dump(name).map(|dump| root(&dump.elf)));
    }
    for root in roots {
        let to = Scratch::new("vmcore");
        let output = save(root.path(), to.path(), &[]).ok();
        let report = json(&output);
        assert_eq!(names(to.directory()), ["vmcore", "vmcore-dmesg.txt", BOTH[0], BOTH[1]]);
        let at = |name: &str| to.directory().join(name);
        let told: Vec<PathBuf> = vec![at("vmcore-report.txt"), at("vmcore-report.json")];
        assert_eq!(report["crash_report"], serde_json::to_value(told).unwrap());
        for name in BOTH {
            assert_eq!(fs::metadata(at(name)).unwrap().mode() & 0o777, 0o600, "{name}");
        }
        let text = fs::read_to_string(at("vmcore-report.txt")).unwrap();
        assert!(text == reported(root.path(), &[]), "{text}");
        assert!(fs::read_to_string(at("vmcore-report.json")).unwrap() == reported(root.path(), &["--json"]));
        let cause = text.lines().nth(1).unwrap().trim();
        let said = output.stderr.lines().find_map(|line| line.trim_start().strip_prefix("cause  "));
        assert!(said.is_some_and(|said| said.starts_with(cause)), "{}", output.stderr);
    }
}

#[test]
fn a_save_that_is_asked_for_none_and_one_that_writes_no_log_leave_no_report() {
    let root = fadump(3, "boot 1");
    let to = Scratch::new("vmcore");
    let report = json(&save(root.path(), to.path(), &["--report=never"]).ok());
    assert_eq!(names(to.directory()), ["vmcore", "vmcore-dmesg.txt"]);
    assert_eq!(report["crash_report"], serde_json::json!([]));
    for option in ["--report", "--report=beside"] {
        let to = Scratch::new("vmcore");
        save(root.path(), to.path(), &[option]).ok();
        assert_eq!(names(to.directory()).len(), 4, "{option}");
    }
    // Nothing but the option's own word is taken for its value.
    assert_eq!(save(root.path(), to.path(), &["--report", "never"]).code, Some(2));
    let stream = Scratch::new("stream");
    let file = fs::File::create(stream.path()).unwrap();
    let mut command = Command::new(HADUMP);
    command.args(["save", "--to", "-", "--root"]).arg(root.path()).current_dir(stream.directory());
    assert!(command.stdout(file).status().unwrap().success());
    assert_eq!(names(stream.directory()), ["stream"]);
    // The parts of a set have one.
    let set = Scratch::new("vmcore");
    save(root.path(), set.path(), &["--split", "2"]).ok();
    let expected = ["vmcore-dmesg.txt", BOTH[0], BOTH[1], "vmcore.0", "vmcore.1"];
    assert_eq!(names(set.directory()), expected);
}

#[test]
fn a_file_of_that_name_stays_and_what_an_attempt_left_unfinished_does_not() {
    let root = fadump(3, "boot 1");
    let to = Scratch::new("vmcore");
    let at = |name: &str| to.directory().join(name);
    fs::write(at("vmcore-report.txt"), "mine").unwrap();
    fs::write(at("vmcore-report.json-incomplete"), "{ half").unwrap();
    let report = json(&save(root.path(), to.path(), &[]).ok());
    assert_eq!(fs::read_to_string(at("vmcore-report.txt")).unwrap(), "mine");
    assert!(remarks(&report).contains("vmcore-report.txt: already exists"), "{report}");
    // The other one is there.
    assert_eq!(report["crash_report"], serde_json::json!([at("vmcore-report.json")]));
    assert_eq!(names(to.directory()), ["vmcore", "vmcore-dmesg.txt", BOTH[0], BOTH[1]]);
    json(&save(root.path(), to.path(), &["--force"]).ok());
    assert!(fs::read_to_string(at("vmcore-report.txt")).unwrap().starts_with("What happened"));
    // A link leads nowhere.
    let elsewhere = Scratch::new("elsewhere");
    fs::write(elsewhere.path(), "not mine").unwrap();
    fs::remove_file(at("vmcore-report.txt")).unwrap();
    symlink(elsewhere.path(), at("vmcore-report.txt")).unwrap();
    json(&save(root.path(), to.path(), &["--force"]).ok());
    assert_eq!(fs::read_to_string(elsewhere.path()).unwrap(), "not mine");
    assert!(at("vmcore-report.txt").symlink_metadata().unwrap().is_file());
}

#[test]
fn a_run_that_was_killed_over_its_report_is_followed_by_one_without() {
    let root = fadump(3, "boot 1");
    let to = Scratch::new("vmcore");
    // As it is left when the process is killed: noted, and not taken back.
    let state = root.path().join("run/hadump");
    save(root.path(), to.path(), &[]).ok();
    assert_eq!(fs::read_to_string(state.join("reporting")).unwrap(), "");
    fs::write(state.join("reporting"), "boot 1").unwrap();
    let again = Scratch::new("vmcore");
    fs::write(again.directory().join("vmcore-report.txt-incomplete"), "What hap").unwrap();
    let report = json(&save(root.path(), again.path(), &["--resume"]).ok());
    assert!(remarks(&report).contains("came to no end"), "{report}");
    assert_eq!(names(again.directory()), ["vmcore", "vmcore-dmesg.txt"]);
    // In the next boot it is tried again.
    set_boot(root.path(), "boot 2");
    let next = Scratch::new("vmcore");
    save(root.path(), next.path(), &["--resume"]).ok();
    assert_eq!(names(next.directory()).len(), 4);
}

/// A file system in memory with room for `size`; `None`, which is reported, where mounting is not permitted.
struct Small(Scratch);

impl Small {
    fn of(size: u64) -> Option<Self> {
        let at = Scratch::new("small");
        fs::create_dir(at.path()).unwrap();
        let options = format!("size={size},mode=700");
        let mount =
            Run::of(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at.path()));
        if mount.code != Some(0) {
            common::report_skipped(&format!(
                "a target of {size} bytes, as it cannot be mounted: {}",
                mount.stderr
            ));
            return None;
        }
        Some(Self(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_with_room_for_log_and_report_and_no_page_has_both_and_one_without_has_no_half_of_a_report() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let root = root(&dump.elf);
    let whole = Scratch::new("vmcore");
    save(root.path(), whole.path(), &[]).ok();
    let length = |name: &str| {
        let length = fs::metadata(whole.directory().join(name)).unwrap().len();
        length.next_multiple_of(4096)
    };
    let [log, text, json_file] = ["vmcore-dmesg.txt", BOTH[1], BOTH[0]].map(length);
    for (room, left) in [
        (log + text + json_file, vec!["vmcore-dmesg.txt", BOTH[0], BOTH[1]]),
        (log + text + json_file / 2, vec!["vmcore-dmesg.txt", BOTH[1]]),
        (log, vec!["vmcore-dmesg.txt"]),
    ] {
        let Some(small) = Small::of(room) else { return };
        let output = save(root.path(), &small.0.path().join("vmcore"), &[]);
        assert_eq!(output.code, Some(1), "{}", output.stderr);
        let mut found = names(small.0.path());
        found.retain(|name| !name.starts_with("vmcore-incomplete") && name != "vmcore.journal");
        assert_eq!(found, left, "{}", output.stderr);
        for name in left {
            let (here, there) = (small.0.path().join(name), whole.directory().join(name));
            assert!(fs::read(here).unwrap() == fs::read(there).unwrap(), "{name}");
        }
        assert_eq!(
            output.stderr.contains("was not reported"),
            room < log + text + json_file,
            "{}",
            output.stderr
        );
    }
}

#[test]
fn a_kernel_that_is_not_understood_leaves_a_report_that_says_so() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let stripped = Scratch::new("raw");
    run::convert(&dump.elf, stripped.path(), &["-d", "0", "--format", "elf"]).ok();
    let mut bytes = fs::read(stripped.path()).unwrap();
    // The name of the note that tells of the kernel.
    let at = bytes.windows(11).position(|window| window == b"VMCOREINFO\0").expect("a note");
    bytes[at..at + 10].copy_from_slice(b"vmcoreinfo");
    let at = bytes.windows(11).position(|window| window == b"OSRELEASE=6").expect("its first line");
    bytes[at..at + 9].copy_from_slice(b"osrelease");
    fs::write(stripped.path(), bytes).unwrap();
    let root = root(stripped.path());
    let to = Scratch::new("vmcore");
    let output = save(root.path(), to.path(), &[]);
    assert!(matches!(output.code, Some(0 | 3)), "{}", output.stderr);
    let text = fs::read_to_string(to.directory().join("vmcore-report.txt")).unwrap();
    assert!(text.contains("What is missing, and why"), "{text}");
}
