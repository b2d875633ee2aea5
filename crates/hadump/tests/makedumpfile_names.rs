//! What the name of an output stands for, when hadump is told by `-f` to write there as makedumpfile does.

mod common;

use common::makedumpfile::OURS;
use common::report_skipped;
use common::run::{HADUMP, Run, Scratch, names};
use corpus::Dump;
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;
use std::process::Command;

fn small() -> Dump {
    corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump")
}

/// `makedumpfile -f OPTIONS INPUT OUTPUT`
fn force(options: &[&str], dump: &Dump, output: &Path) -> Run {
    Run::of(Command::new(&*OURS).arg("-f").args(options).arg(&dump.elf).arg(output))
}

/// The options of everything that writes one file from a dump.
const WRITERS: [&[&str]; 3] = [&["-c", "-d", "31"], &["-E", "-d", "31"], &["--dump-dmesg"]];

/// The file is what the writer leaves under a name of its own.
#[track_caller]
fn is_written(options: &[&str], dump: &Dump, file: &Path) {
    let plain = Scratch::new("plain");
    force(options, dump, plain.path()).ok();
    assert!(fs::read(plain.path()).unwrap() == fs::read(file).unwrap(), "{options:?}: {}", file.display());
}

/// A shell script run with mounts of its own, in which `$M` is hadump as makedumpfile; `None`, and a word about it, where that
/// cannot be.
fn in_mounts_of_its_own(script: &str, directory: &Path, dump: &Dump) -> Option<Run> {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-r", "-m", "sh", "-c", script]);
        command
    };
    if !unshare("mount -t tmpfs none /mnt").output().is_ok_and(|run| run.status.success()) {
        report_skipped("mounts: unshare is not here, or may not mount");
        return None;
    }
    let mut command = unshare(script);
    command.current_dir(directory).env("M", &*OURS).env("H", HADUMP).env("X", &dump.elf);
    Some(Run::of(&mut command))
}

#[test]
fn a_link_is_followed_to_a_file_that_is_there_and_to_one_that_is_not() {
    let dump = small();
    for options in WRITERS {
        for there in [true, false] {
            let place = Scratch::new("small");
            let (small, big) = (place.path(), place.directory().join("big"));
            fs::create_dir(small).unwrap();
            fs::create_dir(&big).unwrap();
            if there {
                fs::write(big.join("vmcore"), "the old one").unwrap();
            }
            // From link to link, relative to where each is.
            symlink("../big/vmcore", small.join("next")).unwrap();
            symlink("next", small.join("vmcore")).unwrap();
            force(options, &dump, &small.join("vmcore")).ok();
            assert_eq!(names(small), ["next", "vmcore"], "{options:?}");
            assert!(small.join("vmcore").symlink_metadata().unwrap().is_symlink(), "{options:?}");
            assert_eq!(names(&big), ["vmcore"], "{options:?}");
            is_written(options, &dump, &big.join("vmcore"));
        }
    }
}

#[test]
fn links_in_a_ring_are_an_error() {
    let (dump, place) = (small(), Scratch::new("a"));
    symlink("b", place.path()).unwrap();
    symlink("a", place.directory().join("b")).unwrap();
    let run = force(&["-c"], &dump, place.path());
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("follow the link"), "{}", run.stderr);
}

#[test]
fn a_file_that_is_mounted_over_is_filled() {
    let dump = small();
    for options in WRITERS {
        let place = Scratch::new("b");
        for name in ["a", "b"] {
            fs::write(place.directory().join(name), "old").unwrap();
        }
        let script = format!("mount --bind a b && $M -f {} $X b && ls && cat b > c", options.join(" "));
        let Some(run) = in_mounts_of_its_own(&script, place.directory(), &dump) else { return };
        let run = run.ok();
        assert!(run.stdout.ends_with("a\nb\n"), "{}", run.stdout);
        is_written(options, &dump, &place.directory().join("c"));
        is_written(options, &dump, &place.directory().join("a"));
        assert_eq!(fs::read(place.path()).unwrap(), b"old", "what lies below the mount");
    }
}

/// The header alone can say so: the name is somebody else's.
#[test]
fn a_dump_written_in_place_that_did_not_end_says_that_it_is_incomplete() {
    let (dump, place) = (small(), Scratch::new("b"));
    for name in ["a", "b"] {
        fs::write(place.directory().join(name), "old").unwrap();
    }
    let script = "mount --bind a b && $M -f -c -d 31 -L 3M $X b; test $? = 1 && ls && $H info b; test $? = 4";
    let Some(run) = in_mounts_of_its_own(script, place.directory(), &dump) else { return };
    let run = run.ok();
    assert!(run.stdout.contains("It is kept in b.") && run.stdout.contains("INCOMPLETE"), "{}", run.stdout);
    assert_eq!(names(place.directory()), ["a", "b"]);
}

#[test]
fn the_room_of_the_old_dump_is_used_where_there_is_not_enough_for_both() {
    let (dump, place) = (small(), Scratch::new("mnt"));
    fs::create_dir(place.path()).unwrap();
    let plain = Scratch::new("plain");
    for options in [&["-c", "-d", "31"][..], &["-E", "-d", "31"]] {
        force(options, &dump, plain.path()).ok();
        let room = (fs::metadata(plain.path()).unwrap().len() * 5 / 4).next_multiple_of(1 << 16);
        let script = format!(
            "mount -t tmpfs -o size={room} none mnt && $M {options} $X mnt/vmcore && $M -f {options} $X mnt/vmcore && \
             ls mnt && cat mnt/vmcore > copy",
            options = options.join(" ")
        );
        let Some(run) = in_mounts_of_its_own(&script, place.directory(), &dump) else { return };
        let run = run.ok();
        assert!(run.stdout.ends_with("\nvmcore\n"), "{}", run.stdout);
        assert!(run.stderr.contains("the old file is removed"), "{}", run.stderr);
        is_written(options, &dump, &place.directory().join("copy"));
    }
}

#[test]
fn an_old_dump_is_whole_until_the_new_one_is_where_there_is_room_for_both() {
    let (dump, place) = (small(), Scratch::new("vmcore"));
    fs::write(place.path(), "old and precious").unwrap();
    let run = force(&["-c", "-d", "31", "-L", "3M"], &dump, place.path());
    assert_eq!(run.code, Some(1));
    assert_eq!(fs::read(place.path()).unwrap(), b"old and precious");
    assert_eq!(names(place.directory()), ["vmcore", "vmcore-incomplete"]);
}

/// Root may write everywhere, so another user tries.
#[test]
fn a_file_in_a_folder_that_takes_no_new_files_is_filled() {
    let (dump, place) = (small(), Scratch::new("vmcore"));
    let nobody = rustix::process::geteuid().is_root();
    fs::write(place.path(), "old").unwrap();
    let closed = Command::new("sh")
        .args(["-c", "chmod 666 vmcore && chmod 555 ."])
        .current_dir(place.directory())
        .status();
    assert!(closed.unwrap().success());
    let mut command = Command::new(if nobody { "setpriv" } else { "env" });
    if nobody {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    command.arg(&*OURS).args(["-f", "-c", "-d", "31"]).arg(&dump.elf).arg(place.path());
    let Ok(output) = command.output() else {
        report_skipped("a folder that takes no new files: setpriv is not here");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Run::of(Command::new("chmod").arg("755").arg(place.directory())).ok();
    if said.contains("Permission denied") && said.contains(dump.elf.to_str().unwrap())
        || output.status.code() == Some(126)
    {
        report_skipped("a folder that takes no new files: another user may not read the dump");
        return;
    }
    assert!(output.status.success(), "{said}");
    assert_eq!(names(place.directory()), ["vmcore"]);
    is_written(&["-c", "-d", "31"], &dump, place.path());
}

#[test]
fn devices_are_written_to_and_stay_devices() {
    let dump = small();
    for options in WRITERS {
        force(options, &dump, Path::new("/dev/null")).ok();
        let full = force(options, &dump, Path::new("/dev/full"));
        assert_eq!(full.code, Some(1), "{options:?}: {}", full.stderr);
        for device in ["/dev/null", "/dev/full"] {
            assert!(fs::symlink_metadata(device).unwrap().file_type().is_char_device(), "{device}");
        }
    }
}

#[test]
fn directories_pipes_and_sockets_are_refused() {
    let (dump, place) = (small(), Scratch::new("it"));
    fs::create_dir(place.path()).unwrap();
    let fifo = place.directory().join("fifo");
    Run::of(Command::new("mkfifo").arg(&fifo)).ok();
    for (target, said) in [(place.path(), "a directory; name a file in it"), (&fifo, "not a regular file")] {
        let run = force(&["-c", "-d", "31"], &dump, target);
        assert_eq!(run.code, Some(1), "{}", target.display());
        assert!(run.stderr.contains(said), "{}", run.stderr);
    }
}

#[test]
fn a_report_is_beside_what_is_written_where_the_environment_asks_for_one_and_else_nowhere() {
    let dump = small();
    let place = Scratch::new("any");
    let at = place.directory();
    let run = |report: Option<&str>, options: &[&str], output: &str| {
        let mut command = Command::new(&*OURS);
        command.args(options).arg(&dump.elf).arg(output).current_dir(at).env_remove("HADUMP_REPORT");
        Run::of(command.envs(report.map(|value| ("HADUMP_REPORT", value)))).ok()
    };
    for without in [None, Some(""), Some("never"), Some("everywhere")] {
        let said = run(without, &["-d", "31", "-z"], "dump").stderr;
        assert_eq!(names(at), ["dump"], "{without:?}");
        assert_eq!(said.contains("neither beside nor never"), without == Some("everywhere"), "{said}");
        fs::remove_file(at.join("dump")).unwrap();
    }
    // As Debian's and Fedora's scripts call it, which rename the file afterwards.
    run(Some("beside"), &["--dump-dmesg"], "dmesg.2026");
    run(Some("beside"), &["-d", "31", "-z"], "vmcore-incomplete");
    let expected = [
        "dmesg.2026",
        "dmesg.2026-report.json",
        "dmesg.2026-report.txt",
        "vmcore-incomplete",
        "vmcore-report.json",
        "vmcore-report.txt",
    ];
    assert_eq!(names(at), expected);
    let report = Run::of(Command::new(HADUMP).arg("report").arg(&dump.elf)).ok().stdout;
    for name in ["dmesg.2026-report.txt", "vmcore-report.txt"] {
        assert!(fs::read_to_string(at.join(name)).unwrap() == report, "{name}");
    }
    // Another one of the name stays, and the dump is made.
    fs::remove_file(at.join("vmcore-incomplete")).unwrap();
    fs::write(at.join("vmcore-report.txt"), "mine").unwrap();
    let said = run(Some("beside"), &["-d", "31", "-z"], "vmcore-incomplete").stderr;
    assert!(said.contains("vmcore-report.txt: already exists"), "{said}");
    assert_eq!(fs::read_to_string(at.join("vmcore-report.txt")).unwrap(), "mine");
    // What has no name and what is not written have none.
    let before = names(at);
    run(Some("beside"), &["-d", "31"], "-");
    run(Some("beside"), &["--dry-run", "-d", "31"], "dry");
    run(Some("beside"), &["-f", "-d", "31"], "/dev/null");
    assert_eq!(names(at), before);
}
