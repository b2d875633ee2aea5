//! What the system does not grant makes hadump slower, and changes nothing else.

mod common;

use common::run::{HADUMP, Run, Scratch};
use corpus::X86_64;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Another user than root, whom limits on processes bind.
const NOBODY: &str = "65534";

/// hadump with limits that `prlimit` knows, as a user whom they bind; `None`, and a word about it, where there is none.
/// Runs the copy in a directory of [`open_to_all`]: he may not enter every directory in which somebody builds.
fn limited(directory: &Path, limits: &[&str]) -> Option<Command> {
    if corpus::program("prlimit").is_none() || corpus::program("setpriv").is_none() {
        corpus::report_skipped("limits on a process: prlimit and setpriv are not here");
        return None;
    }
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "prlimit"]);
        command
    } else {
        Command::new("prlimit")
    };
    command.args(limits).arg(directory.join("hadump"));
    Some(command)
}

/// A directory that every user may write to, with a real dump in it that he may read, and the program.
fn open_to_all(dump: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::copy(dump, directory.path().join("vmcore.elf")).expect("room for a copy");
    fs::copy(HADUMP, directory.path().join("hadump")).expect("room for the program");
    for (path, mode) in [(directory.path().to_owned(), 0o777), (directory.path().join("vmcore.elf"), 0o644)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    }
    directory
}

/// In memory a write is a copy: with one processor one thread does all, where with more a second one writes.
#[test]
fn on_one_processor_a_file_in_memory_has_the_same_bytes() {
    let (Some(dump), Some(taskset)) = (corpus::dump(X86_64), corpus::program("taskset")) else { return };
    let memory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let usual = Scratch::new("usual");
    for options in [&["-d", "31"][..], &["-d", "1", "-c", "none"], &["-d", "31", "--format", "elf"]] {
        let _ = fs::remove_file(usual.path());
        Run::of(Command::new(HADUMP).arg("convert").arg(&dump.elf).arg("-o").arg(usual.path()).args(options))
            .ok();
        let one = memory.path().join("one");
        let mut command = Command::new(&taskset);
        command.args(["-c", "0", HADUMP, "convert"]).arg(&dump.elf).arg("-o").arg(&one).arg("--force");
        Run::of(command.args(options)).ok();
        assert!(fs::read(&one).unwrap() == fs::read(usual.path()).unwrap(), "{options:?}");
    }
}

#[test]
fn without_one_thread_more_all_is_done_by_the_one_that_there_is_and_the_bytes_are_the_same() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let directory = open_to_all(&dump.elf);
    let at = |name: &str| directory.path().join(name).display().to_string();
    let usual = Scratch::new("usual");
    for (format, options) in [("kdump", &["-d", "31"][..]), ("elf", &["-d", "31", "--format", "elf"])] {
        let _ = fs::remove_file(usual.path());
        let mut command = Command::new(HADUMP);
        Run::of(command.arg("convert").arg(at("vmcore.elf")).arg("-o").arg(usual.path()).args(options)).ok();
        // Of processes, which threads are too, no more than this one; and one more.
        for limit in ["--nproc=1", "--nproc=2"] {
            let Some(mut command) = limited(directory.path(), &[limit]) else { return };
            let output = at(&format!("{format}{limit}"));
            Run::of(command.args(["convert", &at("vmcore.elf"), "-o", &output, "-j", "2"]).args(options))
                .ok();
            assert!(fs::read(&output).unwrap() == fs::read(usual.path()).unwrap(), "{format} {limit}");
        }
    }
    for words in [
        &["info", "vmcore.elf"][..],
        &["dmesg", "vmcore.elf"],
        &["verify", "vmcore.elf"],
        &["diff", "vmcore.elf", "vmcore.elf"],
        &["makedumpfile", "-l", "-d", "31", "vmcore.elf", "by-its-name"],
        &["convert", "vmcore.elf", "-o", "part0", "-o", "part1"],
        &["join", "part0", "part1", "-o", "joined"],
    ] {
        let Some(mut command) = limited(directory.path(), &["--nproc=1"]) else { return };
        Run::of(command.args(words).current_dir(directory.path())).ok();
    }
}

#[test]
fn a_few_open_files_are_enough() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let directory = open_to_all(&dump.elf);
    for files in ["--nofile=12", "--nofile=16"] {
        let Some(mut command) = limited(directory.path(), &[files]) else { return };
        let output = directory.path().join(files);
        Run::of(command.arg("convert").arg(directory.path().join("vmcore.elf")).arg("-o").arg(output)).ok();
    }
}

/// What a run left: all of it, or an error that names the limit and how to raise it.
fn is_whole_or_says_why(run: &Run, whole: impl FnOnce() -> bool, what: &str) {
    assert!(!run.stderr.contains("panicked"), "{what}: {}", run.stderr);
    if run.code == Some(0) {
        assert!(whole(), "{what}: another result than with many open files\n{}", run.stderr);
        return;
    }
    assert_eq!(run.code, Some(1), "{what}: {}", run.stderr);
    for word in ["open files", "ulimit -n"] {
        assert!((run.stdout.clone() + &run.stderr).contains(word), "{what}: {}{}", run.stdout, run.stderr);
    }
}

#[test]
fn with_hardly_an_open_file_all_is_done_or_the_limit_is_named() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let directory = open_to_all(&dump.elf);
    for name in ["root", "root/proc"] {
        fs::create_dir(directory.path().join(name)).unwrap();
        fs::set_permissions(directory.path().join(name), Permissions::from_mode(0o777)).unwrap();
    }
    std::os::unix::fs::symlink("../../vmcore.elf", directory.path().join("root/proc/vmcore")).unwrap();
    let usual = Scratch::new("usual");
    common::run::convert(&dump.elf, usual.path(), &[]).ok();
    for files in 4..=12 {
        let limit = format!("--nofile={files}");
        for words in [&["info", "vmcore.elf"][..], &["dmesg", "vmcore.elf"], &["verify", "vmcore.elf"]] {
            let Some(mut command) = limited(directory.path(), &[&limit]) else { return };
            let run = Run::of(command.args(words).current_dir(directory.path()));
            let many = Run::of(Command::new(HADUMP).args(words).current_dir(directory.path()));
            is_whole_or_says_why(&run, || run.stdout == many.stdout, &format!("{words:?} {limit}"));
        }
        for (number, words) in [
            &["convert", "vmcore.elf", "-o"][..],
            &["makedumpfile", "-l", "-d", "31", "vmcore.elf"],
            &["save", "--root", "root", "--to"],
        ]
        .into_iter()
        .enumerate()
        {
            let Some(mut command) = limited(directory.path(), &[&limit]) else { return };
            let name = format!("{number}-{files}");
            let run = Run::of(command.args(words).arg(&name).current_dir(directory.path()));
            let output = directory.path().join(&name);
            let same = || {
                let words = ["diff".as_ref(), usual.path().as_os_str(), output.as_os_str()];
                common::run::hadump(words).code == Some(0)
            };
            is_whole_or_says_why(&run, same, &format!("{words:?} {limit}"));
            assert!(run.code == Some(0) || !output.exists(), "{words:?} {limit}: half a dump has the name");
            let _ = fs::remove_file(output);
        }
    }
}
