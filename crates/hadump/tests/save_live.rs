//! `hadump save` on a machine that is alive: what it reads and gives back, killed at any moment.

mod common;

use common::live::LiveRoot;
use common::peer;
use common::run::{self, Run as Output, Scratch, names, names_but_report};
use common::saving::{all_is_back, command, crashed, json, plain, same_pages, save, start};
use phyp_model::release::Handler;
use phyp_model::{Extent, Options};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use vmcore::{PageState, Pfn};

#[test]
fn progressive_release_saves_what_a_conversion_does_and_gives_all_memory_back() {
    for (handler, release) in
        [(Handler::Shipped, "progressive"), (Handler::Fixed, "progressive"), (Handler::Shipped, "after")]
    {
        let Some(root) = LiveRoot::new(crashed(&Options::small_phyp(), 7), handler, Vec::new()) else {
            return;
        };
        let plain = plain(&root);
        let target = Scratch::new("vmcore");
        let report = json(&save(root.path(), target.path(), &["--release", release]).ok());
        assert_eq!((&report["exit_code"], &report["released"]["all"]), (&0.into(), &true.into()), "{report}");
        same_pages(plain.path(), target.path());
        all_is_back(&root);
        let writes = root.live.lock().unwrap().release().log().len();
        assert!(if release == "after" { writes <= 4 } else { writes > 4 }, "{writes} writes");
        assert_eq!(
            names(target.directory()),
            ["vmcore", "vmcore-dmesg.txt", "vmcore-report.json", "vmcore-report.txt"]
        );
        // Whoever opens the dump again in this boot is told that it is gone, and reads nothing.
        let again = Scratch::new("again");
        let again = run::convert(root.path(), again.path(), &["-d", "0"]);
        assert_eq!(again.code, Some(1));
        assert!(again.stderr.contains("given back to the running system"), "{}", again.stderr);
        all_is_back(&root);
    }
}

#[test]
fn nothing_is_released_unless_asked_for() {
    let Some(root) = LiveRoot::new(crashed(&Options::small_phyp(), 7), Handler::Shipped, Vec::new()) else {
        return;
    };
    let target = Scratch::new("vmcore");
    save(root.path(), target.path(), &[]).ok();
    assert!(root.live.lock().unwrap().release().log().is_empty());
}

#[test]
fn fadump_gives_everything_back_at_once_at_the_end() {
    let run = crashed(&Options::small_fadump(), 7);
    let Some(root) = LiveRoot::new(run, Handler::Shipped, Vec::new()) else { return };
    let target = Scratch::new("vmcore");
    let report = json(&save(root.path(), target.path(), &["--release", "progressive"]).ok());
    assert_eq!(report["released"]["interface"], "release_mem");
    assert!(root.live.lock().unwrap().run().released());
    assert!(!root.path().join("proc/vmcore").exists(), "the kernel takes it away");
    // The kernel's own view while it was there.
    let plain = Scratch::new("plain");
    run::convert(root.vmcore(), plain.path(), &[]).ok();
    same_pages(plain.path(), target.path());
}

#[test]
fn memory_that_cannot_be_read_is_lost_and_not_the_end() {
    let bad = Extent::new(0x180_0000, 0x3000);
    let Some(root) = LiveRoot::new(crashed(&Options::small_phyp(), 7), Handler::Shipped, vec![bad]) else {
        return;
    };
    let target = Scratch::new("vmcore");
    let output = save(root.path(), target.path(), &["-d", "0", "--release", "progressive"]);
    let report = json(&output);
    assert_eq!(output.code, Some(4), "{}", output.stderr);
    assert_eq!((&report["pages"]["lost"], &report["ended"]), (&3.into(), &"whole".into()), "{report}");
    assert_eq!(names_but_report(target.directory()), ["vmcore-dmesg.txt", "vmcore-incomplete"]);
    all_is_back(&root);
}

#[test]
fn a_page_that_was_lost_and_released_stays_lost_when_the_save_is_resumed() {
    let bad = Extent::new(0x108_0000, 0x3000);
    let Some(root) = LiveRoot::new(crashed(&Options::small_phyp(), 7), Handler::Shipped, vec![bad]) else {
        return;
    };
    let target = Scratch::new("vmcore");
    let options = ["-d", "0", "--release", "progressive"];
    let mut child = start(command(root.path(), target.path(), &options).args(["--limit-rate", "12M"]));
    let gone = || root.live.lock().unwrap().release().is_free((bad.end() >> 12) + 1);
    while !gone() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("to kill it");
    child.wait().expect("an end");
    let output = save(root.path(), target.path(), &[&options[..], &["--resume"]].concat());
    let report = json(&output);
    assert_eq!((output.code, &report["pages"]["lost"]), (Some(4), &3.into()), "{report}");
    all_is_back(&root);
    let dump = dumpfile::open(&target.directory().join("vmcore-incomplete")).expect("a dump");
    let mut page = vec![0; 4096];
    let state = dump.memory.read_page(Pfn(bad.start >> 12), &mut page).expect("a page");
    assert_eq!(state, PageState::Lost);
}

#[test]
fn a_save_that_is_killed_again_and_again_and_resumed_saves_the_same_and_reads_nothing_late() {
    let kills: u64 = std::env::var("HADUMP_KILLS").map_or(40, |n| n.parse().expect("a number"));
    let mut killed = 0;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |end: u64| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (seed >> 33) % end
    };
    let mut moments = 0;
    for round in 0.. {
        if killed >= kills {
            break;
        }
        let handler = if round % 3 == 2 { Handler::Fixed } else { Handler::Shipped };
        let Some(root) = LiveRoot::new(crashed(&Options::small_phyp(), 3), handler, Vec::new()) else {
            return;
        };
        let plain = plain(&root);
        let target = Scratch::new("vmcore");
        let release = if round % 4 == 3 { "after" } else { "progressive" };
        let options = ["--release", release, "--resume"];
        let whole = Duration::from_millis(400);
        loop {
            let mut child = start(&mut command(root.path(), target.path(), &options));
            let deadline = Instant::now() + whole * random(1000) as u32 / 1000;
            while Instant::now() < deadline && child.try_wait().expect("a child").is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if child.try_wait().expect("a child").is_some() || killed >= kills {
                let output = child.wait_with_output().expect("an end");
                break assert_eq!(
                    output.status.code(),
                    Some(0),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            child.kill().expect("to kill it");
            child.wait().expect("an end");
            killed += 1;
            if names_but_report(target.directory()) == ["vmcore", "vmcore-dmesg.txt"] {
                // It was done but for its last words.
                break;
            }
            moments += u64::from(names(target.directory()).iter().any(|n| n == "vmcore.journal"));
        }
        assert_eq!(names_but_report(target.directory()), ["vmcore", "vmcore-dmesg.txt"]);
        same_pages(plain.path(), target.path());
        all_is_back(&root);
    }
    assert!(moments * 4 > kills, "{moments} of {kills} kills met a journal");
}

#[test]
fn a_save_that_is_asked_to_stop_stops_and_goes_on_later() {
    let Some(root) = LiveRoot::new(crashed(&Options::small_phyp(), 5), Handler::Shipped, Vec::new()) else {
        return;
    };
    let plain = Scratch::new("plain");
    run::convert(root.path(), plain.path(), &["-c", "none", "-d", "0"]).ok();
    let target = Scratch::new("vmcore");
    let options = ["-d", "0", "--release", "progressive", "--limit-rate", "6M"];
    let child = command(root.path(), target.path(), &options).stdout(Stdio::piped()).spawn().expect("hadump");
    let incomplete = target.directory().join("vmcore-incomplete");
    while root.live.lock().unwrap().release().log().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("to ask it");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(4));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!((&report["ended"], &report["output"]["complete"]), (&"stopped".into(), &false.into()));
    assert!(report["unwritten"].as_u64().unwrap() > 0);
    let left = names_but_report(target.directory());
    assert_eq!(left, ["vmcore-dmesg.txt", "vmcore-incomplete", "vmcore.journal"]);
    assert!(dumpfile::open(&incomplete).expect("a dump").source.incomplete);
    // Another save would read what is no longer there.
    for options in [&[][..], &["--force"]] {
        let refused = save(root.path(), target.path(), options);
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains("--resume"), "{}", refused.stderr);
    }
    let report = json(&save(root.path(), target.path(), &["--release", "progressive", "--resume"]).ok());
    assert_eq!(report["resumed"], true);
    same_pages(plain.path(), target.path());
    all_is_back(&root);
}

#[test]
fn a_directory_gets_one_named_after_host_and_date_and_an_interrupted_save_is_found_in_it() {
    let Some(root) = LiveRoot::new(crashed(&Options::small_phyp(), 5), Handler::Shipped, Vec::new()) else {
        return;
    };
    let plain = plain(&root);
    let crash = Scratch::new("crash");
    fs::create_dir(crash.path()).expect("a directory");
    let child =
        start(&mut command(root.path(), crash.path(), &["--limit-rate", "8M", "--release", "progressive"]));
    let made = || -> Option<PathBuf> { Some(crash.path().join(names(crash.path()).first()?)) };
    let begun =
        || made().is_some_and(|d| fs::metadata(d.join("vmcore-incomplete")).is_ok_and(|m| m.len() > 1 << 20));
    while !begun() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut child = child;
    child.kill().expect("to kill it");
    child.wait().expect("an end");
    save(root.path(), crash.path(), &["--resume", "--release", "progressive"]).ok();
    let directory = made().expect("a directory");
    assert_eq!(names(crash.path()).len(), 1);
    assert_eq!(names(&directory), ["vmcore", "vmcore-dmesg.txt", "vmcore-report.json", "vmcore-report.txt"]);
    same_pages(plain.path(), &directory.join("vmcore"));
    all_is_back(&root);
}

#[test]
fn an_encrypted_save_that_is_killed_gives_back_only_what_is_durable_and_ends_as_any_other() {
    let Some(root) = LiveRoot::new(crashed(&Options::small_phyp(), 11), Handler::Shipped, Vec::new()) else {
        return;
    };
    let Some(keygen) = peer::program("age-keygen") else { return };
    let plain = Scratch::new("plain");
    run::convert(root.path(), plain.path(), &["-c", "none", "-d", "0"]).ok();
    let key = Scratch::new("key");
    Output::of(Command::new(keygen).arg("-o").arg(key.path())).ok();
    let text = fs::read_to_string(key.path()).expect("a key");
    let public = text.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("a public key");
    let target = Scratch::new("vmcore");
    let options = ["-d", "0", "--encrypt-to", public, "--release", "progressive", "--resume"];
    let mut kills = 0;
    for n in 0..12 {
        let rate = ["--limit-rate", "16M"];
        let mut child = start(command(root.path(), target.path(), &options).args(rate));
        let deadline = Instant::now() + Duration::from_millis(300 + 70 * n);
        while Instant::now() < deadline && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        child.kill().expect("to kill it");
        child.wait().expect("an end");
        kills += u64::from(names(target.directory()).iter().any(|name| name == "vmcore.00001.age"));
    }
    assert!(kills > 0);
    if names(target.directory()).iter().any(|name| name == "vmcore.journal") {
        let report = json(&save(root.path(), target.path(), &options).ok());
        assert_eq!(report["released"]["all"], true, "{report}");
    }
    all_is_back(&root);
    let made = names(target.directory());
    assert!(made.iter().all(|name| name.ends_with(".age")), "{made:?}");
    let opened = Scratch::new("opened");
    let first = target.directory().join("vmcore.00000.age");
    run::convert(&first, opened.path(), &["-d", "0", "--identity", key.path().to_str().unwrap()]).ok();
    same_pages(plain.path(), opened.path());
}
