//! Saves of a dump that is mapped: what a mapping shows when it is too late, and what becomes of a page that cannot be had.

mod common;

use common::run::{self, Scratch, names};
use common::saving::{command, fadump, json, same_pages, save};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vmcore::{PageState, Pfn};

/// The options of a save that maps its dump, reads all of it, and takes seconds.
const SLOWLY: [&str; 6] = ["-d", "0", "--access", "map", "--limit-rate", "2M"];

fn vmcore_of(root: &Scratch) -> PathBuf {
    root.path().join("proc/vmcore")
}

/// A save that has taken its first checkpoint.
fn begun(root: &Scratch, to: &Scratch) -> Child {
    let mut command = command(root.path(), to.path(), &SLOWLY);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let (child, started) = (child.expect("hadump"), Instant::now());
    let journal = to.directory().join("vmcore.journal");
    while !fs::read_to_string(&journal).is_ok_and(|text| text.contains(" checkpoint ")) {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

#[test]
fn a_dump_that_is_mapped_is_written_as_one_that_is_read() {
    let root = fadump(7, "a boot");
    for options in [&["-d", "0"][..], &["-d", "31", "-c", "lzo"], &["-d", "1", "--format", "elf"]] {
        let made = ["read", "map"].map(|access| {
            let to = Scratch::new(access);
            run::convert(&vmcore_of(&root), to.path(), &[options, &["--access", access]].concat()).ok();
            fs::read(to.path()).expect("a dump")
        });
        assert!(made[0] == made[1], "{options:?}");
    }
}

/// The kernel takes `/proc/vmcore` away and then uses the memory. A read fails from then on; a mapping goes on showing it.
#[test]
fn what_a_mapping_shows_after_a_release_is_not_kept() {
    let root = fadump(7, "a boot");
    let (vmcore, hidden) = (vmcore_of(&root), root.path().join("vmcore"));
    let before = Scratch::new("before");
    fs::copy(&vmcore, before.path()).expect("what the memory was");
    let to = Scratch::new("vmcore");
    let child = begun(&root, &to);
    fs::rename(&vmcore, &hidden).expect("what the kernel does");
    let live = fs::File::options().write(true).open(&hidden).expect("memory");
    let len = live.metadata().expect("a length").len();
    for at in (1 << 20..len).step_by(1 << 20) {
        live.write_all_at(&vec![0xdb; (len - at).min(1 << 20) as usize], at).expect("to use the memory");
    }
    let output = child.wait_with_output().expect("an end");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{words}");
    assert!(words.contains("is not kept"), "{words}");
    let (was, kept) = (open(before.path()), open(&to.directory().join("vmcore-incomplete")));
    let size = was.page_size().len();
    let (mut x, mut y, mut present) = (vec![0; size], vec![0; size], 0);
    for pfn in was.memory.map().frames().iter().flat_map(|r| r.start.0..r.end.0).map(Pfn) {
        if kept.memory.read_page(pfn, &mut y).expect("a page") == PageState::Present {
            let state = was.memory.read_page(pfn, &mut x).expect("a page");
            assert!(state == PageState::Present && x == y, "frame {pfn} is not the dump's");
            present += 1;
        }
    }
    assert!(present > 0, "nothing was kept of what was durable");
}

/// Without a checkpoint nothing is known to be the dump's.
#[test]
fn makedumpfile_ends_no_stream_of_memory_that_was_given_back() {
    let root = fadump(7, "a boot");
    let mut command = run::program();
    command.args(["makedumpfile", "-F", "-d", "0"]).arg(root.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hadump");
    let mut stream = child.stdout.take().expect("a stream");
    // The pipe is full long before all was read.
    stream.read_exact(&mut [0; 4096]).expect("a beginning");
    fs::rename(vmcore_of(&root), root.path().join("vmcore")).expect("what the kernel does");
    io::copy(&mut stream, &mut io::sink()).expect("the rest");
    let output = child.wait_with_output().expect("an end");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("is not kept"), "{words}");
}

#[test]
fn a_device_shows_no_dump_of_memory_that_was_given_back() {
    let disk = Scratch::new("disk");
    fs::write(disk.path(), vec![0xa5; 64 << 20]).expect("a file");
    let made = run::Run::of(Command::new("losetup").args(["-f", "--show"]).arg(disk.path()));
    if made.code != Some(0) {
        corpus::report_skipped(&format!("a block device, as none can be made: {}", made.stderr));
        return;
    }
    let device = Loop(PathBuf::from(made.stdout.trim()));
    let root = fadump(7, "a boot");
    let options = ["-d", "0", "--format", "elf", "--limit-rate", "8M", "--force"];
    let mut command = Command::new(run::HADUMP);
    command.args(["convert"]).args(options).arg(root.path()).arg("--output").arg(&device.0);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hadump");
    let started = Instant::now();
    let mut bytes = vec![0; 4 << 20];
    loop {
        let file = fs::File::open(&device.0).expect("a device");
        file.read_exact_at(&mut bytes, 0).expect("what is on it");
        if bytes.iter().any(|&byte| byte != 0xa5) {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "nothing is written");
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::rename(vmcore_of(&root), root.path().join("vmcore")).expect("what the kernel does");
    let output = child.wait_with_output().expect("an end");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("is not kept"), "{words}");
    assert!(dumpfile::open(&device.0).is_err());
}

struct Loop(PathBuf);

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

fn open(file: &Path) -> vmcore::Dump {
    dumpfile::open(file).expect("a dump")
}

/// A file that is cut short under its mapping raises SIGBUS, as a page that the machine cannot read does.
#[test]
fn a_save_that_a_bad_page_ends_goes_on_where_it_was() {
    let root = fadump(9, "a boot");
    let vmcore = vmcore_of(&root);
    let plain = Scratch::new("plain");
    run::convert(&vmcore, plain.path(), &["-d", "0", "-c", "none"]).ok();
    // Written out, as holes are not looked at.
    let all = fs::read(&vmcore).expect("the dump");
    fs::write(&vmcore, &all).expect("the dump again");
    let to = Scratch::new("vmcore");
    let child = begun(&root, &to);
    let file = fs::File::options().write(true).open(&vmcore).expect("the dump");
    file.set_len(1 << 20).expect("to cut it short");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(
        output.status.signal(),
        Some(7),
        "{:?} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let left = [
        "vmcore-dmesg.txt",
        "vmcore-incomplete",
        "vmcore-report.json",
        "vmcore-report.txt",
        "vmcore.journal",
    ];
    assert_eq!(names(to.directory()), left);
    file.write_all_at(&all, 0).expect("the page is good again");
    let output = save(root.path(), to.path(), &["-d", "0", "--access", "map", "--resume"]).ok();
    let report = json(&output);
    assert_eq!((&report["resumed"], &report["output"]["complete"]), (&true.into(), &true.into()), "{report}");
    same_pages(plain.path(), to.path());
}
