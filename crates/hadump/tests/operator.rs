//! What an operator meets: messages for wrong command lines, what reports say, and where a save goes.

mod common;

use common::run::{HADUMP, Run, Scratch, convert, hadump, names};
use corpus::Dump;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn small() -> Dump {
    corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump")
}

/// A machine whose crash left this dump.
fn root(dump: &Path) -> Scratch {
    let root = Scratch::new("root");
    fs::create_dir_all(root.path().join("proc")).unwrap();
    symlink(dump, root.path().join("proc/vmcore")).unwrap();
    root
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", run.stdout, run.stderr))
}

// Wrong command lines.

#[test]
fn one_output_given_twice_is_wrong_usage_whatever_its_name() {
    let (dump, place) = (small(), Scratch::new("z"));
    let at = place.directory();
    fs::create_dir(at.join("d")).unwrap();
    fs::write(at.join("old"), "old").unwrap();
    symlink("old", at.join("link")).unwrap();
    let root = root(&dump.elf);
    let input = dump.elf.to_str().unwrap();
    for pair in [["z", "z"], ["z", "./z"], ["z", "d/../z"], ["old", "link"], ["-", "-"]] {
        for (command, option) in [(&["convert", "-f", input][..], "-o"), (&["save", "-f", "--root"], "--to")]
        {
            let mut run = Command::new(HADUMP);
            run.args(command).args((option == "--to").then_some(root.path()));
            let run = Run::of(run.args([option, pair[0], option, pair[1]]).current_dir(at));
            assert_eq!(run.code, Some(2), "{pair:?}: {}", run.stderr);
            assert!(run.stderr.contains("given twice"), "{pair:?}: {}", run.stderr);
        }
    }
    assert_eq!(names(at), ["d", "link", "old"]);
}

#[test]
fn a_journal_that_is_the_target_and_acks_that_are_no_fifo_are_wrong_usage() {
    let (dump, place) = (small(), Scratch::new("vmcore"));
    let root = root(&dump.elf);
    fs::write(place.directory().join("file"), "").unwrap();
    for options in [
        &["--to", "vmcore", "--journal", "vmcore"][..],
        &["--to", "vmcore", "--journal", "./vmcore"],
        &["--to", "-", "--acks", "file", "--release", "after"],
        &["--to", "-", "--acks", "missing", "--release", "after"],
        &["--to", "-", "--acks", "/dev/null", "--release", "after"],
    ] {
        let mut command = Command::new(HADUMP);
        let run = Run::of(
            command.args(["save", "--root"]).arg(root.path()).args(options).current_dir(place.directory()),
        );
        assert_eq!(run.code, Some(2), "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains("Usage: hadump save"), "{options:?}: {}", run.stderr);
    }
    assert_eq!(names(place.directory()), ["file"]);
}

#[test]
fn a_message_names_what_is_wrong_and_what_to_do() {
    let (dump, place) = (small(), Scratch::new("out"));
    fs::create_dir(place.directory().join("d")).unwrap();
    let input = dump.elf.to_str().unwrap();
    let machine = root(&dump.elf);
    let machine = machine.path().to_str().unwrap();
    let cases: [(&[&str], i32, &[&str]); 11] = [
        (&["convert", input, "-o", "d"], 1, &["d: a directory; name a file in it, such as d/vmcore"]),
        (&["convert", input, "-o", "none/out"], 1, &["none: there is no such directory", "mkdir -p none"]),
        (&["save", "--root", machine, "--to", "none/out"], 1, &["none: there is no such", "mkdir -p none"]),
        (&["convert", input, "-o", "out", "-j", "0"], 2, &["expected a number of threads, at least 1"]),
        (&["regs", input, "--cpu", "x"], 2, &["expected the number of a CPU"]),
        (&["convert", input, "-o", "out", "--limit-rate", "0"], 2, &["the rate must not be 0"]),
        (&["convert", input, "-o", "-", "--json"], 2, &["Usage: hadump convert", "leave out --json"]),
        (&["save", "--to", "-", "--release", "after"], 2, &["Usage: hadump save", "--acks or --trust-pipe"]),
        (&["-d", "31", "-c", input, "out"], 2, &["hadump makedumpfile"]),
        (&["--dump-dmesg", input, "out"], 2, &["hadump makedumpfile"]),
        (&["--message-level=7", input, "out"], 2, &["hadump makedumpfile"]),
    ];
    for (args, code, said) in cases {
        let run = Run::of(Command::new(HADUMP).args(args).current_dir(place.directory()));
        assert_eq!(run.code, Some(code), "{args:?}: {}", run.stderr);
        for word in said {
            assert!(run.stderr.contains(word), "{args:?} without {word:?}: {}", run.stderr);
        }
    }
    assert_eq!(names(place.directory()), ["d"]);
    assert!(!hadump(["--no-such-option"]).stderr.contains("makedumpfile"));
}

#[test]
fn a_full_standard_output_is_named() {
    let dump = small();
    for args in [
        &["info"][..],
        &["info", "--json"],
        &["dmesg"],
        &["dmesg", "--json"],
        &["pages"],
        &["pages", "--json"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let run = Command::new(HADUMP)
            .args(args)
            .arg(&dump.elf)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.starts_with("hadump: standard output: "), "{args:?}: {said}");
    }
}

#[test]
fn a_report_that_a_full_standard_output_does_not_take_changes_nothing_and_is_told() {
    let (dump, place) = (small(), Scratch::new("out"));
    let root = root(&dump.elf);
    for command in ["convert --json \"$2\" -o out", "save --json --root \"$1\" --to saved"] {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("exec \"$0\" {command} > /dev/full"), HADUMP])
            .arg(root.path())
            .arg(&dump.elf);
        let run = Run::of(shell.current_dir(place.directory())).ok();
        assert!(run.stderr.contains("standard output: cannot print the report"), "{}", run.stderr);
    }
    assert_eq!(
        names(place.directory()),
        ["out", "saved", "saved-dmesg.txt", "saved-report.json", "saved-report.txt"]
    );
}

#[test]
fn a_minus_that_stands_for_no_input_is_answered_with_what_to_do() {
    let (dump, place) = (small(), Scratch::new("out"));
    for command in
        ["info -", "dmesg -", "pages -", "verify -", "diff - -", "convert - -o out", "makedumpfile -c - out"]
    {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("cat \"$1\" | \"$0\" {command}"), HADUMP]).arg(&dump.elf);
        let run = Run::of(shell.current_dir(place.directory()));
        assert_eq!(
            run.code,
            Some(if command.starts_with("diff") { 2 } else { 1 }),
            "{command}: {}",
            run.stderr
        );
        assert!(run.stderr.contains("write it into a file first"), "{command}: {}", run.stderr);
    }
    assert!(names(place.directory()).is_empty());
    // A file of this name is a file.
    symlink(&dump.elf, place.directory().join("-")).unwrap();
    Run::of(Command::new(HADUMP).args(["info", "-"]).current_dir(place.directory())).ok();
}

#[test]
fn a_dump_that_was_cut_in_its_headers_is_called_cut_off_with_what_it_takes() {
    let (dump, place) = (small(), Scratch::new("cut"));
    let (kdump, flat) = (place.directory().join("kdump"), place.directory().join("flat"));
    convert(&dump.elf, &kdump, &[]).ok();
    convert(&dump.elf, &flat, &["--flattened"]).ok();
    for (file, lengths) in [
        (&dump.elf, &[100_usize, 230][..]),
        (&kdump, &[100, 463, 464, 5000, 70_000, 150_000]),
        (&flat, &[100, 4095, 4200, 10_000]),
    ] {
        let bytes = fs::read(file).unwrap();
        for &length in lengths {
            fs::write(place.path(), &bytes[..length]).unwrap();
            let run = hadump(["info".as_ref(), place.path().as_os_str()]);
            assert_eq!(run.code, Some(1), "{length}: {}", run.stderr);
            let said = format!("{}: cut off: ", place.path().display());
            assert!(run.stderr.contains(&said), "{} of {length}: {}", file.display(), run.stderr);
        }
    }
}

#[test]
fn a_warning_about_a_dump_without_vmcoreinfo_is_printed_once() {
    let (dump, place) = (small(), Scratch::new("cut"));
    fs::write(place.path(), &fs::read(&dump.elf).unwrap()[..5000]).unwrap();
    let run = hadump(["info".as_ref(), place.path().as_os_str()]);
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    let lines: Vec<&str> = run.stderr.lines().collect();
    let distinct: std::collections::BTreeSet<&str> = lines.iter().copied().collect();
    assert!(lines.len() > 1 && lines.len() == distinct.len(), "{}", run.stderr);
}

#[test]
fn devices_are_written_to_as_what_they_are() {
    let (dump, place) = (small(), Scratch::new("out"));
    for options in [&[][..], &["--format", "elf"], &["--flattened"]] {
        convert(&dump.elf, Path::new("/dev/null"), options).ok();
        assert_eq!(
            convert(&dump.elf, Path::new("/dev/full"), &[options, &["-f"]].concat()).code,
            Some(1),
            "{options:?}"
        );
        let refused = convert(&dump.elf, Path::new("/dev/full"), options);
        assert_eq!(refused.code, Some(1), "without --force: {}", refused.stderr);
    }
    assert!(names(place.directory()).is_empty());
}

/// /dev/mem is one; where the machine has memory is asked of the machine.
#[test]
fn a_memory_device_without_a_memory_map_is_asked_for_one() {
    let dump = small();
    let kernel_dump = dump.kernel_dump();
    let run = hadump([
        "info".as_ref(),
        "--memory".as_ref(),
        Path::new("/dev/zero"),
        "--kernel-dump".as_ref(),
        &kernel_dump,
    ]);
    assert_eq!(run.code, Some(1));
    if !Path::new("/proc/device-tree/rtas").exists() {
        assert!(run.stderr.contains("--memory-map"), "{}", run.stderr);
    }
    assert!(!run.stderr.contains("character device"), "{}", run.stderr);
}

// What is new to say and to do.

#[test]
fn a_dry_run_says_how_large_the_output_would_be_and_writes_nothing() {
    let (dump, place) = (small(), Scratch::new("out"));
    let dry = Run::of(
        Command::new(HADUMP)
            .args(["convert", "--dry-run", "--json"])
            .arg(&dump.elf)
            .current_dir(place.directory()),
    );
    let dry = json(&dry.ok());
    assert!(names(place.directory()).is_empty());
    let real = json(&convert(&dump.elf, place.path(), &["--json"]).ok());
    assert_eq!(dry["output"]["bytes"], real["output"]["bytes"]);
    assert_eq!((&dry["pages"], &dry["output"]["paths"]), (&real["pages"], &Value::Array(Vec::new())));
    assert_eq!(real["output"]["bytes"], fs::metadata(place.path()).unwrap().len());
}

#[test]
fn a_conversion_takes_a_rate_and_a_directory_for_its_work_files() {
    let (dump, place) = (small(), Scratch::new("out"));
    let began = Instant::now();
    convert(&dump.elf, place.path(), &["--limit-rate", "2M", "--work-dir", "/tmp"]).ok();
    let len = fs::metadata(place.path()).unwrap().len();
    assert!(
        began.elapsed() > Duration::from_secs_f64(len as f64 / (4 << 20) as f64),
        "{:?}",
        began.elapsed()
    );
    let run = convert(&dump.elf, place.path(), &["-f", "--work-dir", "/no/such/directory"]);
    assert!(run.ok().stderr.contains("/no/such/directory: takes no work files"));
}

/// The report is about the file as it is, also when a full disk ended it early.
#[test]
fn the_report_of_a_dump_that_was_cut_short_is_true() {
    let (dump, place) = (small(), Scratch::new("out"));
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -f 4096; exec \"$@\"",
        "sh",
        HADUMP,
        "convert",
        "--json",
        "-d",
        "0",
        "-c",
        "none",
    ]);
    let run = Run::of(command.arg(&dump.elf).arg("-o").arg(place.path()));
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    let report = json(&run);
    let kept = PathBuf::from(report["output"]["path"].as_str().unwrap());
    assert_eq!(report["output"]["bytes"], fs::metadata(kept).unwrap().len());
    let count = |name: &str| report["pages"][name].as_u64().unwrap();
    assert!(count("unwritten") > 0);
    assert_eq!(count("kept"), count("data") + count("zero") + count("lost") + count("unwritten"));
}

#[test]
fn a_report_names_every_file_and_all_that_is_not_in_them() {
    let (dump, place) = (small(), Scratch::new("out"));
    let run = convert(&dump.elf, place.path(), &["--split", "2"]).ok();
    assert!(run.stderr.contains("out.0, ") && run.stderr.contains("out.1: "), "{}", run.stderr);
}

#[test]
fn dumps_of_two_levels_are_the_same_in_what_neither_left_out() {
    let (dump, low, high) = (small(), Scratch::new("low"), Scratch::new("high"));
    convert(&dump.elf, low.path(), &["-d", "1"]).ok();
    convert(&dump.elf, high.path(), &["-d", "31"]).ok();
    for (a, b) in [(low.path(), high.path()), (high.path(), low.path()), (&dump.elf, high.path())] {
        assert_eq!(hadump(["diff".as_ref(), a, b]).code, Some(1));
        let run = hadump(["diff".as_ref(), "--common".as_ref(), a, b]).ok();
        assert!(run.stdout.contains("only in A  0 pages"), "{}", run.stdout);
    }
    // What is lost is not left out on purpose.
    let cut = Scratch::new("cut");
    let bytes = fs::read(high.path()).unwrap();
    fs::write(cut.path(), &bytes[..bytes.len() * 3 / 4]).unwrap();
    assert_eq!(hadump(["diff".as_ref(), "--common".as_ref(), high.path(), cut.path()]).code, Some(1));
}

#[test]
fn logs_and_pages_are_printed_as_json_too() {
    let (dump, out) = (small(), Scratch::new("out"));
    let log = json(&hadump(["dmesg".as_ref(), "--json".as_ref(), dump.elf.as_path()]).ok());
    let lines: Vec<&str> =
        log["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(lines.join("\n") + "\n", dump.text("expected/dmesg.txt"));
    assert_eq!((&log["skipped"], &log["unwritten"]), (&0.into(), &0.into()));

    convert(&dump.elf, out.path(), &["-d", "31"]).ok();
    for option in [&[][..], &["--crc32"]] {
        let text = Run::of(Command::new(HADUMP).arg("pages").arg(out.path()).args(option)).ok();
        let runs =
            json(&Run::of(Command::new(HADUMP).args(["pages", "--json"]).arg(out.path()).args(option)).ok());
        let mut from_json = String::new();
        for run in runs.as_array().unwrap() {
            let number = |name: &str| run[name].as_u64().unwrap();
            for pfn in number("first")..number("first") + number("pages") {
                let what = run.get("crc32").unwrap_or(&run["state"]).as_str().unwrap();
                from_json += &format!("page {pfn} {what}\n");
            }
        }
        assert!(from_json == text.stdout, "{option:?}");
    }
}

#[test]
fn what_was_encrypted_is_decrypted_again_dumps_and_logs() {
    let (dump, place) = (small(), Scratch::new("vmcore"));
    let at = place.directory();
    let (public, secret) = key(at);
    let root = root(&dump.elf);
    let mut command = Command::new(HADUMP);
    command.args(["save", "-q", "--encrypt-to", &public, "--segment", "2M", "--root"]).arg(root.path());
    Run::of(command.arg("--to").arg(place.path())).ok();
    let run = |args: &[&str]| Run::of(Command::new(HADUMP).args(args).args(["-i", &secret]).current_dir(at));
    run(&["decrypt", "vmcore-dmesg.txt.age", "-o", "log"]).ok();
    assert_eq!(fs::read_to_string(at.join("log")).unwrap(), dump.text("expected/dmesg.txt"));
    assert_eq!(
        run(&["decrypt", "vmcore-dmesg.txt.age", "-o", "-"]).ok().stdout,
        dump.text("expected/dmesg.txt")
    );
    run(&["decrypt", "vmcore.00000.age", "-o", "plain"]).ok();
    hadump(["diff".as_ref(), "--common".as_ref(), dump.elf.as_path(), &at.join("plain")]).ok();
    assert_eq!(
        json(&hadump(["info".as_ref(), "--json".as_ref(), at.join("plain").as_path()]).ok())["complete"],
        true
    );
    // Without its last part it is kept as what it is.
    let last = names(at).into_iter().filter(|name| name.starts_with("vmcore.0")).max().unwrap();
    fs::remove_file(at.join(last)).unwrap();
    let cut = run(&["decrypt", "vmcore.00000.age", "-o", "cut"]);
    assert_eq!(cut.code, Some(4), "{}", cut.stderr);
    assert!(at.join("cut-incomplete").exists() && !at.join("cut").exists());
    let plain = run(&["decrypt", "log", "-o", "x"]);
    assert!(plain.code == Some(1) && plain.stderr.contains("not encrypted"), "{}", plain.stderr);
}

/// An age key: the recipient, and the file with the identity.
fn key(directory: &Path) -> (String, String) {
    let file = directory.join("key.txt");
    let secret = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    fs::write(&file, format!("{secret}\n")).unwrap();
    ("age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa".into(), file.to_str().unwrap().into())
}

#[test]
fn verbose_says_what_is_done() {
    let (dump, place) = (small(), Scratch::new("out"));
    let quiet = convert(&dump.elf, place.path(), &[]).ok();
    let verbose = convert(&dump.elf, place.path(), &["-f", "-v"]).ok();
    for word in ["ELF64 core", "pages are kept at dump level 31", "check "] {
        assert!(verbose.stderr.contains(word), "{word}: {}", verbose.stderr);
    }
    assert!(!quiet.stderr.contains("INFO"), "{}", quiet.stderr);
}

// Where a save goes.

#[test]
fn a_slash_at_the_end_always_means_a_directory_and_makes_it() {
    let (dump, place) = (small(), Scratch::new("var"));
    let root = root(&dump.elf);
    for _ in 0..2 {
        let mut command = Command::new(HADUMP);
        let to = format!("{}/crash/", place.path().display());
        Run::of(command.args(["save", "-q", "--root"]).arg(root.path()).args(["--to", &to])).ok();
    }
    let saved = names(&place.path().join("crash"));
    assert_eq!(saved.len(), 2, "{saved:?}");
    assert!(saved.iter().all(|name| place.path().join("crash").join(name).join("vmcore").is_file()));
    fs::write(place.directory().join("file"), "").unwrap();
    let mut command = Command::new(HADUMP);
    let file = format!("{}/file/", place.directory().display());
    let run = Run::of(command.args(["save", "-q", "--root"]).arg(root.path()).args(["--to", &file]));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
}

#[test]
fn a_name_that_an_earlier_dump_has_does_not_lose_the_next_one() {
    let (dump, place) = (small(), Scratch::new("crash"));
    let root = root(&dump.elf);
    let save = |options: &[&str]| {
        let mut command = Command::new(HADUMP);
        Run::of(
            command
                .args(["save", "--json", "--root"])
                .arg(root.path())
                .arg("--to")
                .arg(place.path())
                .args(options),
        )
    };
    fs::write(place.path(), "the dump of an earlier crash").unwrap();
    for (options, name) in
        [(&[][..], "crash.2"), (&["--resume"], "crash.3"), (&["--format", "elf"], "crash.4")]
    {
        let run = save(options).ok();
        let report = json(&run);
        assert_eq!(report["output"]["path"], place.directory().join(name).to_str().unwrap(), "{options:?}");
        assert!(run.stderr.contains("an earlier dump has this name"), "{}", run.stderr);
    }
    assert_eq!(fs::read(place.path()).unwrap(), b"the dump of an earlier crash");
    save(&["--force"]).ok();
    assert!(fs::metadata(place.path()).unwrap().len() > 1 << 20);
}

/// In a directory that others may write to anybody can make a file of any name; in one's own something may be left over.
#[test]
fn a_save_is_never_lost_because_of_what_has_a_name_beside_its_own() {
    let dump = small();
    let root = root(&dump.elf);
    let encrypted: &[&str] =
        &["--encrypt-to", "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"];
    let cases: [(&str, u32, &[&str]); 6] = [
        ("crash-incomplete", 0o1777, &[]),
        ("crash-incomplete", 0o700, &[]),
        ("crash-incomplete", 0o700, &["--resume"]),
        ("crash.journal", 0o700, &[]),
        ("crash.journal", 0o700, &["--resume"]),
        ("crash.skeleton-incomplete", 0o700, encrypted),
    ];
    for (planted, mode, options) in cases {
        let place = Scratch::new("crash");
        let directory = place.directory();
        fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(directory.join(planted), "no save left this\n").unwrap();
        let mut command = Command::new(HADUMP);
        command.args(["save", "--json", "--root"]).arg(root.path()).arg("--to").arg(place.path());
        let run = Run::of(command.args(options)).ok();
        let path = json(&run)["output"]["path"].as_str().unwrap().to_owned();
        assert!(path.starts_with(directory.join("crash.2").to_str().unwrap()), "{planted}: {path}");
        assert!(run.stderr.contains(planted), "{planted}: {}", run.stderr);
        assert_eq!(fs::read(directory.join(planted)).unwrap(), b"no save left this\n");
    }
}

#[test]
fn a_finished_save_is_reported_again_where_it_is_resumed() {
    let dump = small();
    let (root, place) = (root(&dump.elf), Scratch::new("crash"));
    let boot = root.path().join("proc/sys/kernel/random");
    fs::create_dir_all(&boot).unwrap();
    fs::write(boot.join("boot_id"), "0d2f0c3a-7a1e-4b57-9f67-27b3a4f2b5c1\n").unwrap();
    let save = |options: &[&str]| {
        let mut command = Command::new(HADUMP);
        command.args(["save", "--json", "--root"]).arg(root.path()).arg("--to").arg(place.path());
        json(&Run::of(command.args(options)).ok())
    };
    let (first, again) = (save(&[]), save(&["--resume"]));
    assert_eq!((&again["ended"], &again["exit_code"]), (&"before".into(), &0.into()), "{again}");
    for field in ["path", "paths", "bytes", "dump_level", "complete"] {
        assert_eq!(again["output"][field], first["output"][field], "{field}");
    }
}
