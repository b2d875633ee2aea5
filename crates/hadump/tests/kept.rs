//! What is left of a dump when its writer is stopped, or the disk fails, as there may be no second copy.

mod common;

use common::makedumpfile::ours;
use common::report_skipped;
use common::run::{HADUMP, Run, Scratch};
use corpus::Dump;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn small() -> Dump {
    corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump")
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "root")
        .collect();
    names.sort();
    names
}

/// The program under strace, which makes system calls fail; `None`, and a word about it, where that cannot be.
fn faulty(calls: &str, fault: &str, program: &str) -> Option<Command> {
    let mut command = Command::new("strace");
    if !command.args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success()) {
        report_skipped("faults of the system: strace is not here, or may not trace");
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-q", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:{fault}"), program]);
    Some(command)
}

/// The pages that `pages --crc32` finds in a dump.
fn pages(dump: &Path) -> Vec<String> {
    let run = Run::of(Command::new(HADUMP).arg("pages").arg(dump).arg("--crc32"));
    let there =
        |line: &&str| line.starts_with("page ") && !line.ends_with(" lost") && !line.ends_with("excluded");
    run.stdout.lines().filter(there).map(str::to_owned).collect()
}

/// The file opens, says that it is incomplete, and has pages of `whole`, all of them right.
#[track_caller]
fn is_part_of(dump: &Path, whole: &Path) {
    let info = Run::of(Command::new(HADUMP).arg("info").arg(dump).arg("--json"));
    let info: serde_json::Value = serde_json::from_str(&info.stdout).expect(&info.stderr);
    assert_eq!(info["complete"], false, "{info}");
    let (kept, whole) = (pages(dump), pages(whole));
    let all: std::collections::HashSet<_> = whole.iter().collect();
    assert!(kept.len() > 16, "{} pages", kept.len());
    assert!(kept.iter().all(|page| all.contains(page)));
}

/// Waits until a file in `directory` is at least so long.
fn grown(directory: &Path, len: u64) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let files = fs::read_dir(directory).unwrap().flatten();
        if files.filter_map(|file| file.metadata().ok()).any(|meta| meta.is_file() && meta.len() >= len) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

fn kill(signal: &str, child: &Child) {
    Run::of(Command::new("kill").args(["-s", signal, &child.id().to_string()])).ok();
}

/// A machine whose crash left this dump.
fn root(dump: &Path, scratch: &Scratch) -> std::path::PathBuf {
    let root = scratch.directory().join("root");
    fs::create_dir_all(root.join("proc")).unwrap();
    std::os::unix::fs::symlink(dump, root.join("proc/vmcore")).unwrap();
    root
}

// The disk fails.

#[test]
fn a_disk_that_cannot_say_that_it_has_the_dump_keeps_what_it_has_of_it() {
    let dump = small();
    let input = dump.elf.to_str().unwrap();
    let convert = ["convert", "-q", input, "-o", "vmcore"];
    let front = ["makedumpfile", "-d", "31"];
    /// A command, its options, the exit code and the files that are left.
    type Case<'a> = (&'a [&'a str], &'a [&'a str], i32, &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        (&convert, &[], 4, &["vmcore-incomplete"]),
        (&convert, &["--format", "elf"], 4, &["vmcore-incomplete"]),
        (&convert, &["--flattened"], 4, &["vmcore-incomplete"]),
        (&convert, &["--split", "2"], 4, &["vmcore.0-incomplete", "vmcore.1-incomplete"]),
        (&front, &["-l", input, "vmcore"], 1, &["vmcore-incomplete"]),
        (&front, &["-E", input, "vmcore-incomplete"], 1, &["vmcore-incomplete"]),
    ];
    for (what, options, code, left) in cases {
        let output = Scratch::new("vmcore");
        let Some(mut command) = faulty("fsync", "error=EIO", HADUMP) else { return };
        let run = Run::of(command.args(what).args(options).current_dir(output.directory()));
        assert_eq!(run.code, Some(code), "{what:?} {options:?}: {}", run.stderr);
        assert_eq!(names(output.directory()), left, "{what:?} {options:?}: {}", run.stderr);
        let said = run.stdout + &run.stderr;
        assert!(said.contains(left[0]), "{what:?} {options:?}: {said}");
        let files: Vec<_> = left.iter().map(|name| output.directory().join(name)).collect();
        let info = Run::of(Command::new(HADUMP).args(["info", "--json"]).args(&files));
        let info: serde_json::Value = serde_json::from_str(&info.stdout).expect(&info.stderr);
        assert_eq!(info["complete"], false, "{what:?} {options:?}");
    }
}

/// Some network and FUSE file systems sync as a whole and not file by file.
#[test]
fn a_file_system_that_cannot_sync_single_files_is_no_failure() {
    let dump = small();
    let input = dump.elf.to_str().unwrap();
    for error in ["EINVAL", "ENOSYS", "EOPNOTSUPP"] {
        let output = Scratch::new("vmcore");
        let root = root(&dump.elf, &output);
        let root = root.to_str().unwrap();
        for (what, left) in [
            (&["convert", "-q", input, "-o", "a"][..], &["a"][..]),
            (&["makedumpfile", "-l", "-d", "31", input, "b"], &["a", "b"]),
            (&["makedumpfile", "--dump-dmesg", input, "c"], &["a", "b", "c"]),
            (
                &["save", "-q", "--root", root, "--to", "d"],
                &["a", "b", "c", "d", "d-dmesg.txt", "d-report.json", "d-report.txt"],
            ),
        ] {
            let Some(mut command) = faulty("fsync,fdatasync", &format!("error={error}"), HADUMP) else {
                return;
            };
            let run = Run::of(command.args(what).current_dir(output.directory()));
            assert_eq!(run.code, Some(0), "{error} {what:?}: {}{}", run.stdout, run.stderr);
            assert_eq!(names(output.directory()), left, "{error} {what:?}");
        }
    }
}

#[test]
fn a_save_that_the_disk_does_not_confirm_is_kept_and_gives_nothing_back() {
    let (dump, output) = (small(), Scratch::new("vmcore"));
    let root = root(&dump.elf, &output);
    let release = root.join("sys/kernel/fadump/release_mem");
    fs::create_dir_all(release.parent().unwrap()).unwrap();
    fs::write(&release, "").unwrap();
    let Some(mut command) = faulty("fsync", "error=EIO", HADUMP) else { return };
    command.args(["save", "-q", "--format", "elf", "--release", "after", "--root"]);
    let run = Run::of(command.arg(&root).arg("--to").arg(output.path()));
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    let kept = output.directory().join("vmcore-incomplete");
    assert!(!output.path().exists() && run.stderr.contains(kept.to_str().unwrap()), "{}", run.stderr);
    is_part_of(&kept, &dump.elf);
    assert_eq!(fs::read_to_string(release).unwrap(), "");
}

/// 6 MB of the stream of a dump, cut there.
fn cut_stream(dump: &Dump, to: &Path) {
    let output =
        Command::new(HADUMP).args(["convert", "-q"]).arg(&dump.elf).args(["-o", "-"]).output().unwrap();
    assert!(output.status.success());
    fs::write(to, &output.stdout[..6_000_000]).unwrap();
}

#[test]
fn a_receivers_disk_that_fails_with_the_stream_keeps_what_arrived() {
    let (dump, stream) = (small(), Scratch::new("stream"));
    cut_stream(&dump, stream.path());
    for (program, code) in [("receive", 4), ("makedumpfile", 1)] {
        let output = Scratch::new("vmcore");
        // NFS tells of a full disk only here; the name of the file is made durable before.
        let Some(mut command) = faulty("fsync", "error=ENOSPC:when=2+", HADUMP) else { return };
        command.arg(program).args((program == "makedumpfile").then_some("-R")).arg(output.path());
        command.stdin(File::open(stream.path()).unwrap()).stdout(Stdio::null());
        assert_eq!(command.status().unwrap().code(), Some(code), "{program}");
        assert_eq!(names(output.directory()), ["vmcore-incomplete"], "{program}");
        is_part_of(&output.directory().join("vmcore-incomplete"), &dump.elf);
    }
}

/// Runs a program of which no file may be longer than 2 MiB.
fn limited() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 4096; exec \"$@\"", "sh"]);
    command
}

#[test]
fn a_stream_that_the_disk_has_no_room_for_is_kept_by_makedumpfiles_name_too() {
    let (dump, stream, output) = (small(), Scratch::new("stream"), Scratch::new("vmcore"));
    cut_stream(&dump, stream.path());
    let mut command = limited();
    command.args([HADUMP, "makedumpfile", "-R"]).arg(output.path());
    command.stdin(File::open(stream.path()).unwrap());
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    assert_eq!(names(output.directory()), ["vmcore-incomplete"]);
    is_part_of(&output.directory().join("vmcore-incomplete"), &dump.elf);
}

/// Nobody else has to see to it that the signal does not kill.
#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk() {
    let dump = small();
    let input = dump.elf.to_str().unwrap();
    let cases: [(&[&str], i32); 2] =
        [(&["convert", "-d", "0", input, "-o"], 4), (&["makedumpfile", "-l", "-d", "0", input], 1)];
    for (arguments, code) in cases {
        let output = Scratch::new("vmcore");
        let run = Run::of(limited().arg(HADUMP).args(arguments).arg(output.path()));
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.stderr);
        assert_eq!(names(output.directory()), ["vmcore-incomplete"], "{arguments:?}");
        is_part_of(&output.directory().join("vmcore-incomplete"), &dump.elf);
    }
}

#[test]
fn a_core_that_reaches_its_limit_is_kept_by_makedumpfiles_name_too() {
    let (dump, output) = (small(), Scratch::new("vmcore"));
    let run = Run::of(ours().args(["-E", "-d", "31", "-L", "20M"]).arg(&dump.elf).arg(output.path()));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stdout.contains("Size limit(20971520) reached."), "{}", run.stdout);
    assert_eq!(names(output.directory()), ["vmcore-incomplete"]);
    let kept = output.directory().join("vmcore-incomplete");
    assert!(fs::metadata(&kept).unwrap().len() <= 20 << 20);
    is_part_of(&kept, &dump.elf);
}

// Somebody stops it.

#[test]
fn a_dump_that_is_stopped_is_kept_where_the_input_may_be_gone() {
    let dump = small();
    for (signal, options, left) in [
        ("TERM", &["--format", "elf"][..], &["vmcore-incomplete"][..]),
        ("INT", &["--split", "2"], &["vmcore.0-incomplete"]),
    ] {
        let output = Scratch::new("vmcore");
        let root = root(&dump.elf, &output);
        let mut command = Command::new(HADUMP);
        command.args(["save", "-q", "-d", "0", "--limit-rate", "8M", "--root"]).arg(&root);
        let child =
            command.arg("--to").arg(output.path()).args(options).stderr(Stdio::null()).spawn().unwrap();
        is_kept(&dump, child, signal, 4, &output, left);
    }
    for (signal, options, left) in [
        ("TERM", &["-c", "-d", "0", "--num-threads", "1"][..], "vmcore"),
        ("HUP", &["-c", "-d", "0", "--num-threads", "1"], "vmcore-incomplete"),
    ] {
        let output = Scratch::new(left);
        let mut command = ours();
        command.args(options).arg(&dump.elf).arg(output.path());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        is_kept(&dump, child, signal, 1, &output, &["vmcore-incomplete"]);
    }
}

/// Stops a program in the middle of its work, and looks at what it leaves.
#[track_caller]
fn is_kept(dump: &Dump, mut child: Child, signal: &str, code: i32, output: &Scratch, left: &[&str]) {
    assert!(grown(output.directory(), 3 << 20), "{signal}");
    kill(signal, &child);
    match child.wait().unwrap().code() {
        Some(0) => report_skipped("a dump that is stopped: this machine is too fast for it"),
        ended => {
            assert_eq!(ended, Some(code), "{signal}");
            let mut found = names(output.directory());
            found.retain(|name| !name.ends_with("-dmesg.txt") && !name.contains("-report."));
            assert_eq!(found, left, "{signal}");
            is_part_of(&output.directory().join(left[0]), &dump.elf);
        }
    }
}

#[test]
fn a_conversion_that_is_stopped_keeps_what_it_wrote_as_on_a_full_disk() {
    let (dump, output) = (small(), Scratch::new("vmcore"));
    let mut command = Command::new(HADUMP);
    command.args(["convert", "-q", "-d", "0", "-c", "zstd", "--compression-level", "19", "-j", "1"]);
    let mut child =
        command.arg(&dump.elf).arg("-o").arg(output.path()).stderr(Stdio::null()).spawn().unwrap();
    assert!(grown(output.directory(), 3 << 20));
    kill("INT", &child);
    match child.wait().unwrap().code() {
        Some(0) => report_skipped("a conversion that is stopped: this machine is too fast for it"),
        code => {
            assert_eq!(code, Some(4));
            assert_eq!(names(output.directory()), ["vmcore-incomplete"]);
            is_part_of(&output.directory().join("vmcore-incomplete"), &dump.elf);
        }
    }
}

#[test]
fn a_dump_that_is_killed_is_found_by_its_name() {
    for (given, left) in [("vmcore", "vmcore-incomplete"), ("dump-incomplete", "dump-incomplete")] {
        let (dump, output) = (small(), Scratch::new(given));
        let mut command = ours();
        command.args(["-c", "-d", "0", "--num-threads", "1"]).arg(&dump.elf).arg(output.path());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        assert!(grown(output.directory(), 3 << 20));
        kill("KILL", &child);
        if child.wait().unwrap().code() == Some(0) {
            return report_skipped("a dump that is killed: this machine is too fast for it");
        }
        assert_eq!(names(output.directory()), [left]);
        is_part_of(&output.directory().join(left), &dump.elf);
    }
}
