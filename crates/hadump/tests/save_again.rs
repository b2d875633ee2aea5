//! `hadump save` where a save of an earlier crash, or of an earlier boot, left something.

mod common;

use common::live::LiveRoot;
use common::run::{self, Run as Output, Scratch, hadump};
use common::saving::{RELEASE_MEM, command, crashed, fadump, json, released, save, set_boot};
use phyp_model::Options;
use phyp_model::release::Handler;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A kernel that refuses to release memory, and one that does so.
fn refuse(root: &Path, refuse: bool) {
    let file = root.join(RELEASE_MEM);
    if refuse {
        fs::remove_file(&file).expect("the kernel's file");
        fs::create_dir(&file).expect("a directory in its place");
    } else {
        fs::remove_dir(&file).expect("the directory in its place");
        fs::write(&file, "").expect("the kernel's file");
    }
}

/// What a unit runs at every boot.
fn at_boot(root: &Path, to: &Path) -> Output {
    save(root, to, &["--release", "progressive", "--resume"])
}

/// Saves until `enough`, and is killed then.
fn killed(root: &Path, to: &Path, options: &[&str], enough: impl Fn() -> bool) {
    let mut child = command(root, to, &["--limit-rate", "8M"]);
    let mut child = child.args(options).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("hadump");
    let began = Instant::now();
    while !enough() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("to kill it");
    assert_eq!(child.wait().expect("an end").code(), None, "it was done too early");
    assert!(enough());
}

fn directory() -> Scratch {
    let crash = Scratch::new("crash");
    fs::create_dir(crash.path()).expect("a directory");
    crash
}

/// The files in `directory`, with their directories.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

fn checkpoint_in(directory: &Path) -> bool {
    let journals = files(directory).into_iter().filter(|file| file.ends_with("vmcore.journal"));
    journals
        .into_iter()
        .any(|journal| fs::read_to_string(journal).is_ok_and(|text| text.contains(" checkpoint ")))
}

/// The dump that a run saved has what a conversion has.
#[track_caller]
fn saved_whole(root: &Path, output: Output) -> PathBuf {
    let report = json(&output.ok());
    assert_eq!((&report["output"]["complete"], &report["exit_code"]), (&true.into(), &0.into()), "{report}");
    let (plain, path) = (Scratch::new("plain"), PathBuf::from(report["output"]["path"].as_str().unwrap()));
    run::convert(&root.join("proc/vmcore"), plain.path(), &["-c", "none"]).ok();
    hadump([Path::new("diff"), plain.path(), &path]).ok();
    path
}

#[test]
fn the_next_crash_is_saved_though_the_journal_of_a_finished_save_was_left() {
    let crash = directory();
    let first = fadump(3, "boot 1");
    refuse(first.path(), true);
    let one = saved_whole(first.path(), at_boot(first.path(), crash.path()));
    let journal = one.with_extension("journal");
    let left = fs::read(&journal).expect("the journal of a save whose memory is not released");
    let second = fadump(4, "boot 2");
    let output = at_boot(second.path(), crash.path());
    assert!(
        output.stderr.contains("vmcore.journal: not about this dump, so it is left alone"),
        "{}",
        output.stderr
    );
    let two = saved_whole(second.path(), output);
    assert_eq!(released(second.path()), "1");
    assert!(one.parent() != two.parent() && !two.with_extension("journal").exists());
    assert_eq!(fs::read(&journal).expect("the first save's"), left);
    // The same dump, in that boot and in another one, is not saved again: its memory is all that is left to do.
    for boot in ["boot 1", "boot 3"] {
        fs::write(&journal, &left).expect("the journal again");
        refuse(first.path(), false);
        set_boot(first.path(), boot);
        let output = at_boot(first.path(), crash.path()).ok();
        assert!(output.stderr.contains("the dump is saved"), "{}", output.stderr);
        assert_eq!((released(first.path()).as_str(), journal.exists()), ("1", false), "{boot}");
        fs::remove_dir_all(first.path().join("run")).expect("what was noted in this boot");
        refuse(first.path(), true);
    }
    assert_eq!(fs::read_dir(crash.path()).unwrap().count(), 2);
}

#[test]
fn the_next_crash_is_saved_though_saves_of_others_were_interrupted_and_each_goes_on_with_its_own() {
    let crash = directory();
    let [first, second, third] = [fadump(3, "boot 1"), fadump(4, "boot 2"), fadump(5, "boot 3")];
    killed(first.path(), crash.path(), &["--resume"], || checkpoint_in(crash.path()));
    let begun = files(crash.path());
    let journal = begun.iter().find(|file| file.ends_with("vmcore.journal")).expect("a journal");
    // A directory in which no save ever began, and one whose journal is not ours.
    for (name, text) in [("torn", "0 begin vers"), ("foreign", "my diary\n")] {
        fs::create_dir(crash.path().join(name)).unwrap();
        fs::write(crash.path().join(name).join("vmcore.journal"), text).unwrap();
    }
    let two = saved_whole(second.path(), at_boot(second.path(), crash.path()));
    let three = saved_whole(third.path(), at_boot(third.path(), crash.path()));
    assert!(two.parent() != three.parent() && begun.iter().all(|file| file.exists()));
    let one = saved_whole(first.path(), at_boot(first.path(), crash.path()));
    assert_eq!(one.parent(), journal.parent());
    assert!(!journal.exists());
    assert_eq!(fs::read(crash.path().join("foreign/vmcore.journal")).unwrap(), b"my diary\n");
}

#[test]
fn a_file_that_was_named_keeps_an_earlier_save_until_force_says_otherwise() {
    let (crash, first, second) = (directory(), fadump(3, "boot 1"), fadump(4, "boot 2"));
    let to = crash.path().join("vmcore");
    killed(first.path(), &to, &[], || checkpoint_in(crash.path()));
    let left = files(crash.path());
    let output = at_boot(second.path(), &to);
    assert_eq!(output.code, Some(1));
    for word in ["belongs to dump", "name another target", "--force instead of --resume"] {
        assert!(output.stderr.contains(word), "{}", output.stderr);
    }
    assert_eq!((files(crash.path()), released(second.path()).as_str()), (left, ""));
    assert_eq!(saved_whole(second.path(), save(second.path(), &to, &["--force"])), to);
    // And a finished one.
    fs::remove_file(&to).unwrap();
    fs::remove_file(crash.path().join("vmcore-dmesg.txt")).unwrap();
    refuse(first.path(), true);
    at_boot(first.path(), &to).ok();
    let output = at_boot(second.path(), &to);
    assert!(output.stderr.contains("belongs to dump"), "{}", output.stderr);
    assert_eq!((output.code, released(second.path()).as_str()), (Some(1), ""));
}

#[test]
fn a_save_that_may_replace_a_file_goes_on_to_replace_it() {
    let (crash, root) = (directory(), fadump(3, "boot 1"));
    let to = crash.path().join("vmcore");
    fs::write(&to, "an old dump").unwrap();
    killed(root.path(), &to, &["--force"], || checkpoint_in(crash.path()));
    assert_eq!(fs::read(&to).unwrap(), b"an old dump");
    assert_eq!(saved_whole(root.path(), save(root.path(), &to, &["--resume"])), to);
    let beside = ["vmcore-dmesg.txt", "vmcore-report.json", "vmcore-report.txt"];
    let all = ["vmcore"].iter().chain(&beside).map(|name| crash.path().join(name));
    assert_eq!(files(crash.path()), all.collect::<Vec<_>>());
    // One that may not is refused at its end, and nothing is lost of either.
    fs::remove_file(&to).unwrap();
    beside.iter().for_each(|name| fs::remove_file(crash.path().join(name)).unwrap());
    killed(root.path(), &to, &[], || checkpoint_in(crash.path()));
    fs::write(&to, "another dump").unwrap();
    let output = save(root.path(), &to, &["--resume"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("already exists; move it away"), "{}", output.stderr);
    assert_eq!(fs::read(&to).unwrap(), b"another dump");
}

#[test]
fn a_new_save_does_not_read_what_another_one_released_in_an_earlier_boot() {
    let run = crashed(&Options::small_phyp(), 5);
    let Some(root) = LiveRoot::new(run, Handler::Shipped, Vec::new()) else { return };
    let plain = Scratch::new("plain");
    run::convert(root.path(), plain.path(), &["-c", "none", "-d", "0"]).ok();
    let crash = directory();
    let options = ["-d", "0", "--release", "progressive"];
    killed(root.path(), crash.path(), &options, || root.live.lock().unwrap().release().log().len() > 4);
    // Power goes, and the firmware keeps the dump.
    set_boot(root.path(), "the next boot");
    fs::remove_dir_all(root.path().join("run")).expect("what was noted in the last boot");
    let output = save(root.path(), crash.path(), &["-d", "0"]);
    let report = json(&output);
    assert_eq!((output.code, &report["output"]["complete"]), (Some(4), &false.into()), "{report}");
    assert!(report["pages"]["lost"].as_u64().unwrap() > 0, "{report}");
    assert!(report["remarks"].to_string().contains("--resume continues it"), "{report}");
    assert_eq!(root.live.lock().unwrap().late_reads(), []);
    // Which it still does.
    let report = json(&save(root.path(), crash.path(), &["--resume"]).ok());
    hadump([Path::new("diff"), plain.path(), Path::new(report["output"]["path"].as_str().unwrap())]).ok();
    // A file that was named is not lost to the next crash because memory was released for the one before.
    let to = crash.path().join("vmcore");
    set_boot(root.path(), "and another");
    killed(root.path(), &to, &options, || {
        checkpoint_in(crash.path())
            && files(crash.path()).iter().any(|file| {
                file.ends_with("vmcore.journal")
                    && fs::read_to_string(file).is_ok_and(|text| text.contains(" release "))
            })
    });
    let next = fadump(4, "boot 4");
    assert_eq!(saved_whole(next.path(), save(next.path(), &to, &["--force"])), to);
}
