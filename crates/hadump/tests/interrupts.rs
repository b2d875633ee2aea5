//! What is said while something is waited for, and how a run is stopped.

mod common;

use common::report_skipped;
use common::run::{HADUMP, Run, Scratch};
use corpus::Dump;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
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

/// A run that writes so slowly that a batch takes a minute.
fn slowly(args: &[&str], at: &Path) -> Child {
    let mut command = Command::new(HADUMP);
    command.args(args).args(["-d", "0", "-c", "none", "--limit-rate", "600K"]).current_dir(at);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn is_at_work(at: &Path) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let grown = fs::read_dir(at).unwrap().flatten().filter_map(|entry| entry.metadata().ok());
        if grown.filter(|meta| meta.is_file()).any(|meta| meta.len() > 400_000) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn signal(name: &str, pid: u32) {
    Run::of(Command::new("kill").args(["-s", name, &pid.to_string()])).ok();
}

#[test]
fn a_signal_is_heard_at_once_also_where_the_rate_is_limited() {
    let dump = small();
    let root = root(&dump.elf);
    let (input, root) = (dump.elf.to_str().unwrap(), root.path().to_str().unwrap());
    for (args, name) in [
        (&["convert", input, "-o", "vmcore"][..], "INT"),
        (&["save", "--root", root, "--to", "vmcore"], "TERM"),
        (&["save", "--root", root, "--to", "vmcore", "--format", "elf"], "HUP"),
    ] {
        let place = Scratch::new("vmcore");
        let child = slowly(args, place.directory());
        assert!(is_at_work(place.directory()), "{args:?}");
        std::thread::sleep(Duration::from_secs(1));
        let began = Instant::now();
        signal(name, child.id());
        let ended = child.wait_with_output().unwrap();
        let (took, said) = (began.elapsed(), String::from_utf8_lossy(&ended.stderr).into_owned());
        // A second, and some more for a machine that does other things as well.
        assert!(took < Duration::from_secs(4), "{args:?}: {took:?}");
        assert_eq!(ended.status.code(), Some(4), "{args:?}: {said}");
        assert!(said.contains("stopping; what was written is kept"), "{args:?}: {said}");
        assert!(said.contains("vmcore-incomplete"), "{args:?}: {said}");
        assert!(place.directory().join("vmcore-incomplete").exists(), "{args:?}");
    }
}

/// Where the first one is of no help: nobody reads what is written.
#[test]
fn a_second_signal_ends_a_run_at_once() {
    let dump = small();
    let mut command = Command::new(HADUMP);
    command.args(["convert", "-q", "-d", "0", "-c", "none"]).arg(&dump.elf).args(["-o", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    signal("INT", child.id());
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "the first signal lets it end by itself");
    let asked = Instant::now();
    signal("INT", child.id());
    let status = child.wait().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(status.signal(), Some(2), "{status:?}");
}

/// `script` lends the run a terminal of so many columns; returns what it shows there.
fn on_a_terminal(term: &str, columns: u32, command: &str) -> Option<String> {
    let script = format!("stty cols {columns}; {command}");
    let mut run = Command::new("script");
    run.args(["-q", "-e", "-c", &script, "/dev/null"]).env("TERM", term).stdin(Stdio::null());
    let Ok(output) = run.output() else {
        report_skipped("what a terminal shows: script is not here");
        return None;
    };
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}");
    Some(shown)
}

#[test]
fn a_bar_fits_its_terminal_and_a_terminal_that_cannot_redraw_gets_lines() {
    let (dump, place) = (small(), Scratch::new("out"));
    let command =
        format!("{HADUMP} convert {} -f -o {} --limit-rate 1M", dump.elf.display(), place.path().display());
    for columns in [12, 30, 80] {
        let Some(shown) = on_a_terminal("xterm", columns, &command) else { return };
        let bars: Vec<&str> =
            shown.split('\r').filter(|piece| piece.contains(" %") && piece.contains("\x1b[K")).collect();
        assert!(bars.len() > 10, "{columns}: {shown:?}");
        for bar in &bars {
            let bar = bar.split("\x1b[K").next().unwrap();
            assert!(bar.chars().count() < columns as usize, "{columns}: {bar:?}");
            assert!(!bar.contains(" 0 bytes/s") && !bar.contains(" 0.00 s left"), "{bar:?}");
        }
    }
    let Some(shown) = on_a_terminal("dumb", 80, &command) else { return };
    assert!(!shown.contains("\x1b[K") && !shown.replace("\r\n", "\n").contains('\r'), "{shown:?}");
    let lines = shown.lines().filter(|line| line.contains(" %, ")).count();
    assert!((1..=6).contains(&lines), "{lines} lines: {shown}");
}

#[test]
fn whoever_waits_for_somebody_says_for_whom() {
    let (dump, place) = (small(), Scratch::new("acks"));
    let root = root(&dump.elf);
    Run::of(Command::new("mkfifo").arg(place.path())).ok();
    let mut command = Command::new(HADUMP);
    command
        .args(["save", "--to", "-", "--release", "after", "--root"])
        .arg(root.path())
        .arg("--acks")
        .arg(place.path());
    let mut sender = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut receiver = Command::new(HADUMP);
    receiver.arg("receive").arg(place.directory().join("vmcore"));
    let mut receiver =
        receiver.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(6));
    for (child, what) in [
        (&mut sender, "waiting for a receiver that opens"),
        (&mut receiver, "waiting for a dump on standard input"),
    ] {
        signal("KILL", child.id());
        let mut said = String::new();
        std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut said).unwrap();
        child.wait().unwrap();
        assert!(said.contains(what), "{said}");
    }
    let receive = format!("{HADUMP} receive {}; test $? = 1", place.directory().join("x").display());
    if let Some(shown) = on_a_terminal("xterm", 80, &receive) {
        assert!(shown.contains("standard input is a terminal"), "{shown}");
    }
}
