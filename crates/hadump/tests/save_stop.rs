//! Saves that are stopped while threads are at work, and targets that are refused before any work is done.

mod common;

use common::model::root_with;
use common::run::{HADUMP, Run, Scratch, hadump};
use common::saving::crashed;
use corpus::X86_64;
use phyp_model::Options;
use phyp_model::root::RootOptions;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A machine whose crash left this dump.
fn root(dump: &Path) -> Scratch {
    let root = Scratch::new("root");
    fs::create_dir_all(root.path().join("proc")).unwrap();
    std::os::unix::fs::symlink(dump, root.path().join("proc/vmcore")).unwrap();
    root
}

fn save(root: &Path, to: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(HADUMP);
    command.args(["save", "-q", "--root"]).arg(root).arg("--to").arg(to).args(options);
    command
}

/// Pages that have their place in the file and were not compressed yet when the signal came are not in it; the next run
/// has to know.
#[test]
fn a_save_that_is_stopped_at_any_moment_goes_on() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let root = root(&dump.elf);
    let slowly = ["-d", "0", "-c", "zstd", "--compression-level", "19", "-j", "2"];
    let whole = Scratch::new("whole");
    Run::of(&mut save(root.path(), whole.path(), &["-d", "0"])).ok();
    let mut stopped = 0;
    for (number, (signal, wait)) in [("TERM", 300), ("INT", 60), ("HUP", 700)].into_iter().enumerate() {
        let to = whole.directory().join(format!("stopped{number}"));
        let mut child = save(root.path(), &to, &slowly).stderr(Stdio::piped()).spawn().unwrap();
        let mut journal = to.clone().into_os_string();
        journal.push(".journal");
        let (journal, began) = (PathBuf::from(journal), Instant::now());
        while fs::metadata(&journal).map_or(0, |m| m.len()) == 0 && began.elapsed() < Duration::from_secs(60)
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(wait));
        Run::of(Command::new("kill").args(["-s", signal, &child.id().to_string()]));
        let code = child.wait().unwrap().code();
        // A fast machine is done before it is asked to stop, a slow one has no page yet.
        assert!([Some(0), Some(1), Some(4)].contains(&code), "{signal}: {code:?}");
        if code != Some(0) {
            stopped += u32::from(code == Some(4));
            Run::of(save(root.path(), &to, &slowly).arg("--resume")).ok();
        }
        assert_eq!(
            hadump(["diff".as_ref(), to.as_os_str(), whole.path().as_os_str()]).code,
            Some(0),
            "{signal}"
        );
    }
    if stopped == 0 {
        common::report_skipped(
            "no save was stopped in the middle: this machine is too fast or too slow for it",
        );
    }
}

/// `save --to - OPTIONS | receive OPTIONS`, the receiver's words in the file `acks`; returns what fadump was told.
fn through_a_pipe(sender: &[&str], receiver: &[&str]) -> String {
    // One whose memory may be given back: nothing that the machine needs lies in it.
    let root = root_with(&crashed(&Options::small_fadump(), 7), &RootOptions::default());
    let release = root.path().join("sys/kernel/fadump/release_mem");
    let acks = root.directory().join("acks");
    Run::of(Command::new("mkfifo").arg(&acks)).ok();
    let script = format!(
        "{HADUMP} save -q --root {0} --to - --release after {1} | {HADUMP} receive -q {2} {3}/received",
        root.path().display(),
        sender.join(" ").replace("ACKS", acks.to_str().unwrap()),
        receiver.join(" "),
        root.directory().display(),
    );
    let script = if receiver.is_empty() { script } else { format!("{script} > {}", acks.display()) };
    Run::of(Command::new("timeout").args(["60", "bash", "-o", "pipefail", "-c", &script])).ok();
    let received = root.directory().join("received");
    assert_eq!(hadump(["verify".as_ref(), received.as_os_str()]).code, Some(0));
    fs::read_to_string(&release).unwrap()
}

#[test]
fn memory_is_released_for_a_pipe_only_when_the_receiver_confirms_the_dump_or_the_pipe_is_trusted() {
    let refused = save(Path::new("/nonexistent"), Path::new("-"), &["--release", "after"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(through_a_pipe(&["--acks", "ACKS"], &["--ack"]), "1");
    assert_eq!(through_a_pipe(&["--trust-pipe"], &[]), "1");
    // A receiver that writes there, and not that the dump is complete.
    assert_eq!(through_a_pipe(&["--acks", "ACKS"], &["--json"]), "");
}

/// The dump is saved before memory is released: it is worth no less where the kernel's file takes nothing.
#[test]
fn a_release_that_fails_after_a_save_that_cannot_be_resumed_is_a_remark() {
    for (options, names) in
        [(&["--format", "elf"][..], &["vmcore"][..]), (&[], &["part0", "part1"]), (&["--trust-pipe"], &["-"])]
    {
        let root = root_with(&crashed(&Options::small_fadump(), 7), &RootOptions::default());
        let release = root.path().join("sys/kernel/fadump/release_mem");
        fs::remove_file(&release).unwrap();
        std::os::unix::fs::symlink("/dev/full", &release).unwrap();
        let output = Scratch::new("output");
        let mut command = Command::new(HADUMP);
        command.args(["save", "--release", "after", "--root"]).arg(root.path()).args(options);
        for name in names {
            command.args(["--to", name]);
        }
        let streamed = output.directory().join("streamed");
        command.current_dir(output.directory()).stdout(fs::File::create(&streamed).unwrap());
        let ended = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{names:?}: {said}");
        assert!(said.contains("release_mem") && said.contains("No space left"), "{names:?}: {said}");
        let names: Vec<PathBuf> = match names {
            ["-"] => vec![streamed],
            names => names.iter().map(|name| output.directory().join(name)).collect(),
        };
        Run::of(Command::new(HADUMP).arg("verify").args(&names)).ok();
    }
}

/// The same where the kernel takes memory back range by range, and what was released so far cannot be read any more.
#[test]
fn ranges_that_cannot_be_released_after_a_stream_are_a_remark() {
    let root = root_with(
        &crashed(&Options::small_phyp(), 7),
        &RootOptions { vmcore: false, ..RootOptions::default() },
    );
    let (mut receiver, child) = waiting_for_an_answer(&root);
    let released = root.path().join("run/hadump/released");
    let _ = fs::remove_file(&released);
    fs::create_dir_all(&released).unwrap();
    receiver.write_all(b"complete dump\n").unwrap();
    drop(receiver);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(said.contains("memory is not released") && said.contains("run/hadump/released"), "{said}");
    Run::of(Command::new(HADUMP).arg("verify").arg(root.directory().join("sent"))).ok();
}

/// A machine that fadump saved a dump of, which is this file.
fn root_of_fadump(dump: &Path) -> Scratch {
    let root = root(dump);
    let release = root.path().join("sys/kernel/fadump/release_mem");
    fs::create_dir_all(release.parent().unwrap()).unwrap();
    fs::write(&release, "").unwrap();
    root
}

/// `save` that has written all of its dump to the file `sent` beside the root, and its FIFO, held open, in which nobody
/// answers yet.
fn waiting_for_an_answer(root: &Scratch) -> (fs::File, std::process::Child) {
    let (acks, sent) = (root.directory().join("acks"), root.directory().join("sent"));
    Run::of(Command::new("mkfifo").arg(&acks)).ok();
    let mut command = Command::new(HADUMP);
    command
        .args(["save", "--to", "-", "--release", "after", "--acks"])
        .arg(&acks)
        .arg("--root")
        .arg(root.path());
    let child = command.stdout(fs::File::create(&sent).unwrap()).stderr(Stdio::piped()).spawn().unwrap();
    let receiver = fs::File::options().write(true).open(&acks).unwrap();
    let began = Instant::now();
    while !fs::read(&sent).unwrap().ends_with(&[0xff; 16]) && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    (receiver, child)
}

#[test]
fn a_sender_that_waits_for_an_answer_can_be_stopped() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    for signal in ["TERM", "INT", "HUP"] {
        let root = root_of_fadump(&dump.elf);
        let (receiver, mut child) = waiting_for_an_answer(&root);
        Run::of(Command::new("kill").args(["-s", signal, &child.id().to_string()])).ok();
        let asked = Instant::now();
        while child.try_wait().unwrap().is_none() && asked.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ended.is_some_and(|status| !status.success()), "{signal}: {ended:?}");
        assert_eq!(fs::read(root.path().join("sys/kernel/fadump/release_mem")).unwrap(), b"");
        drop(receiver);
    }
}

#[test]
fn an_answer_in_an_ordinary_file_is_refused() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let root = root(&dump.elf);
    let release = root.path().join("sys/kernel/fadump/release_mem");
    fs::create_dir_all(release.parent().unwrap()).unwrap();
    fs::write(&release, "").unwrap();
    let acks = root.directory().join("acks");
    fs::write(&acks, "durable 0\ncomplete 7\n").unwrap();
    let options = ["--release", "after", "--acks", acks.to_str().unwrap()];
    let run = Run::of(&mut save(root.path(), Path::new("-"), &options));
    assert_eq!((run.code, fs::read(&release).unwrap().as_slice()), (Some(2), &b""[..]), "{}", run.stderr);
    assert!(run.stderr.contains("--acks needs a FIFO"), "{}", run.stderr);
}

#[test]
fn a_target_that_cannot_be_is_refused_before_anything_is_done() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let root = root(&dump.elf);
    let there = Scratch::new("there");
    fs::write(there.path(), "precious").unwrap();
    let dangling = there.directory().join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    let missing = there.directory().join("no/vmcore");
    let split = ["--to", there.path().to_str().unwrap()];
    for (to, options, reason) in [
        (&*dangling, &split[..], "use --force to replace it"),
        (&*missing, &[], "there is no such directory"),
        (&*missing, &["--format", "elf"], "there is no such directory"),
    ] {
        let run = Run::of(&mut save(root.path(), to, options));
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains(reason) && !run.stderr.contains("WARN"), "{}", run.stderr);
    }
    assert_eq!(fs::read(there.path()).unwrap(), b"precious");
    // Neither logs nor journals beside what was there.
    assert_eq!(fs::read_dir(there.directory()).unwrap().count(), 2);
}
