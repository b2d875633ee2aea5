//! Several saves, conversions and releases of one dump at the same time.

mod common;

use common::live::LiveRoot;
use common::run::{self, Scratch, names};
use common::saving::{all_is_back, command, crashed, json, plain, same_pages, save, start};
use phyp_model::Options;
use phyp_model::release::Handler;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A machine, with a directory in which runs of hadump find each other, as that of a running machine has.
fn machine(options: &Options) -> Option<LiveRoot> {
    let root = LiveRoot::new(crashed(options, 7), Handler::Shipped, Vec::new())?;
    fs::create_dir_all(root.path().join("run/hadump")).expect("a directory");
    Some(root)
}

/// Waits until `file` exists.
fn appears(file: &Path) {
    let began = Instant::now();
    while !file.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "{} does not appear", file.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A save that takes seconds, begun.
fn slow(root: &LiveRoot, to: &Path, options: &[&str]) -> Child {
    let options = [options, &["--limit-rate", "2M"]].concat();
    let mut command = command(root.path(), to, &options);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("hadump");
    let mut begun = to.as_os_str().to_owned();
    begun.push("-incomplete");
    appears(&PathBuf::from(begun));
    child
}

#[track_caller]
fn ends(child: Child) -> run::Run {
    let output = child.wait_with_output().expect("an end");
    run::Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_save_that_is_done_waits_for_another_one_before_it_releases_memory() {
    for release in ["after", "progressive"] {
        let Some(root) = machine(&Options::small_phyp()) else { return };
        let plain = plain(&root);
        let (one, two) = (Scratch::new("one"), Scratch::new("two"));
        let first = slow(&root, one.path(), &["--release", release]);
        let second = json(&save(root.path(), two.path(), &["--release", release]).ok());
        let first = json(&ends(first).ok());
        for report in [&first, &second] {
            assert_eq!((&report["exit_code"], &report["pages"]["lost"]), (&0.into(), &0.into()), "{report}");
        }
        assert!(first["released"]["all"] == true || second["released"]["all"] == true);
        for dump in [&one, &two] {
            same_pages(plain.path(), dump.path());
            assert!(!names(dump.directory()).iter().any(|name| name.ends_with(".journal")));
        }
        all_is_back(&root);
    }
}

#[test]
fn fadumps_memory_is_released_once_when_both_have_read_it() {
    let Some(root) = machine(&Options::small_fadump()) else { return };
    let (one, two) = (Scratch::new("one"), Scratch::new("two"));
    let first = slow(&root, one.path(), &["--release", "after"]);
    let second = save(root.path(), two.path(), &["--release", "after"]).ok();
    assert!(second.stderr.contains("no longer reads the dump"), "{}", second.stderr);
    let first = ends(first).ok();
    for output in [&first, &second] {
        assert_eq!(json(output)["released"]["all"], true, "{}", output.stderr);
    }
    assert!(root.live.lock().unwrap().run().released());
    same_pages(one.path(), two.path());
}

#[test]
fn nothing_is_released_while_a_conversion_reads_the_dump_and_the_waiting_save_names_it() {
    let Some(root) = machine(&Options::small_phyp()) else { return };
    let plain = plain(&root);
    let fifo = Scratch::new("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, fifo.path(), rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
    // A conversion whose reader takes its time.
    let pipe = format!(
        "exec '{}' convert '{}' -o - > '{}'",
        run::HADUMP,
        root.path().display(),
        fifo.path().display()
    );
    let reader = start(Command::new("sh").args(["-c", &pipe]));
    let mut stream = fs::File::open(fifo.path()).expect("the conversion's output");
    let mut first = [0; 1];
    std::io::Read::read_exact(&mut stream, &mut first).expect("its first byte");
    let target = Scratch::new("vmcore");
    let waiting = slow(&root, target.path(), &["--release", "progressive"]);
    appears(target.path());
    std::thread::sleep(Duration::from_millis(500));
    assert!(root.live.lock().unwrap().release().log().is_empty());
    let id = reader.id();
    std::io::copy(&mut stream, &mut std::io::sink()).expect("the rest of it");
    assert!(ends(reader).code == Some(0));
    let output = ends(waiting).ok();
    assert!(output.stderr.contains(&format!("process {id} ")), "{}", output.stderr);
    assert!(output.stderr.contains("convert"), "{}", output.stderr);
    assert_eq!(json(&output)["released"]["all"], true);
    same_pages(plain.path(), target.path());
    all_is_back(&root);
}

#[test]
fn a_save_is_recorded_for_those_who_come_later_in_the_same_boot() {
    let Some(root) = machine(&Options::small_fadump()) else { return };
    let target = Scratch::new("vmcore");
    let saved = || save::state::State::find(root.path()).unwrap().unwrap().saved().unwrap();
    assert_eq!(saved(), None);
    save(root.path(), target.path(), &["-d", "31"]).ok();
    let first = saved().expect("a record");
    assert_eq!(
        (&first.files, first.complete, first.given_back),
        (&vec![target.path().to_owned()], true, None)
    );
    assert!(!first.is_raised());
    save(root.path(), target.path(), &["--force", "--release", "after"]).ok();
    let given = saved().and_then(|saved| saved.given_back).expect("memory that is given back");
    assert_eq!((given.interface, given.all), (save::state::Interface::ReleaseMem, true));
}

#[test]
fn what_was_read_while_the_kernel_gave_the_memory_away_is_not_kept() {
    let root = common::saving::fadump(7, "a boot");
    let vmcore = root.path().join("proc/vmcore");
    let hidden = root.path().join("vmcore");
    // A save: what was durable before stays.
    let target = Scratch::new("vmcore");
    let options = ["-d", "0", "--limit-rate", "2M", "--release", "after"];
    let mut command = command(root.path(), target.path(), &options);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("hadump");
    let journal = target.directory().join("vmcore.journal");
    while !fs::read_to_string(&journal).is_ok_and(|text| text.contains(" checkpoint ")) {
        std::thread::sleep(Duration::from_millis(2));
    }
    fs::rename(&vmcore, &hidden).expect("what the kernel does");
    let output = ends(child);
    assert_eq!(output.code, Some(4), "{}", output.stderr);
    assert!(output.stderr.contains("is not kept"), "{}", output.stderr);
    assert_eq!(common::saving::released(root.path()), "");
    assert!(names(target.directory()).contains(&"vmcore-incomplete".to_owned()));
    // A conversion keeps nothing.
    fs::rename(&hidden, &vmcore).expect("as it was");
    let fifo = Scratch::new("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, fifo.path(), rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
    let (program, path, to) = (run::HADUMP, root.path().display(), fifo.path().display());
    let reader = start(
        Command::new("sh").args(["-c", &format!("exec '{program}' convert '{path}' -d 0 -o - > '{to}'")]),
    );
    let mut stream = fs::File::open(fifo.path()).expect("the conversion's output");
    std::io::Read::read_exact(&mut stream, &mut [0]).expect("its first byte");
    fs::rename(&vmcore, &hidden).expect("what the kernel does");
    std::io::copy(&mut stream, &mut std::io::sink()).expect("the rest of it");
    let output = ends(reader);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("is not kept"), "{}", output.stderr);
}
