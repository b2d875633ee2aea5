//! What other users put in the way of a save, as another user.

mod common;

use common::run::Run as Output;
use common::saving::{command, fadump, json, released, same_pages, save};
use dumpfile::codec::Choice;
use save::journal::{Begin, Journal, Record};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vmcore::{DumpLevel, PhysAddr, Range};

/// Another user, who may do nothing in particular.
const NOBODY: &str = "65534";

const BOOT: &str = "boot 1";

/// A directory that every user may enter; `None`, and a word about it, where no other user can be had.
fn open_to_all() -> Option<tempfile::TempDir> {
    if !rustix::process::geteuid().is_root() || corpus::program("setpriv").is_none() {
        corpus::report_skipped("attacks of another user, which take root and setpriv");
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory");
    mode(directory.path(), 0o711);
    Some(directory)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

/// A target directory of this mode.
fn target(directory: &tempfile::TempDir, permissions: u32) -> PathBuf {
    let target = directory.path().join("crash");
    fs::create_dir(&target).expect("a directory");
    mode(&target, permissions);
    target
}

fn as_nobody(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(program);
    command
}

/// Runs a line of the shell as another user.
#[track_caller]
fn attack(line: &str) {
    let done = as_nobody("sh").args(["-e", "-u", "-c", line]).status().expect("a shell");
    assert!(done.success(), "{line}");
}

/// A save that must not take long, whatever it finds.
#[track_caller]
fn ends(mut command: Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("hadump");
    let began = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if began.elapsed() > Duration::from_secs(120) {
            child.kill().expect("to kill it");
            panic!("it hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("an end");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What a unit runs at every boot must have saved the dump of `root`, and released its memory.
#[track_caller]
fn is_saved(root: &Path, output: Output) -> PathBuf {
    let report = json(&output.ok());
    assert_eq!((&report["exit_code"], &report["released"]["all"]), (&0.into(), &true.into()), "{report}");
    assert_eq!(released(root), "1");
    let saved = PathBuf::from(report["output"]["path"].as_str().expect("a path"));
    let plain = common::run::Scratch::new("plain");
    common::run::convert(&root.join("proc/vmcore"), plain.path(), &["-c", "none"]).ok();
    same_pages(plain.path(), &saved);
    assert_eq!(fs::metadata(&saved).expect("the dump").uid(), 0);
    saved
}

fn at_boot(root: &Path, to: &Path) -> Output {
    ends(command(root, to, &["--resume", "--release", "after"]))
}

/// A journal as hadump writes it, of the dump that waits at `root`, with these records after the first.
fn journal(root: &Path, path: &Path, records: &[Record]) {
    let dump = dumpfile::open(&root.join("proc/vmcore")).expect("the dump that waits");
    let mut journal = Journal::create(path).expect("a journal");
    let begin = Begin {
        dump: ::save::identity(&dump),
        boot: BOOT.into(),
        output: path.with_file_name("vmcore-incomplete"),
        method: Choice::One(None),
        level: None,
        asked: DumpLevel::default(),
        more_kept: false,
        replace: false,
    };
    journal.append(&Record::Begin(begin)).expect("a record");
    records.iter().for_each(|record| journal.append(record).expect("a record"));
}

/// A small dump of another crash.
fn other_dump(path: &Path) {
    let root = fadump(4, "boot 0");
    common::run::convert(&root.path().join("proc/vmcore"), path, &["-d", "31"]).ok();
    mode(path, 0o644);
}

#[test]
fn a_finished_journal_of_another_user_does_not_cost_the_dump() {
    let Some(directory) = open_to_all() else { return };
    for permissions in [0o1777, 0o777] {
        let root = fadump(3, BOOT);
        let crash = target(&directory, permissions);
        let model = directory.path().join("model.journal");
        journal(root.path(), &model, &[Record::Finished { complete: true }]);
        mode(&model, 0o644);
        let dump = directory.path().join("other");
        other_dump(&dump);
        let (from, to) = (directory.path().display(), crash.join("mine"));
        let to = to.display();
        attack(&format!(
            "mkdir {to}; cp {from}/model.journal {to}/vmcore.journal; cp {from}/other {to}/vmcore"
        ));
        let planted = fs::read(crash.join("mine/vmcore.journal")).expect("a journal");
        let output = at_boot(root.path(), &crash);
        assert!(output.stderr.contains("belongs to user 65534, so it is not believed"), "{}", output.stderr);
        is_saved(root.path(), output);
        assert_eq!(fs::read(crash.join("mine/vmcore.journal")).expect("it is left alone"), planted);
        for left in [&model, &dump] {
            fs::remove_file(left).expect("to clear away");
        }
        fs::remove_dir_all(&crash).expect("to clear away");
    }
}

#[test]
fn a_finished_journal_of_ours_counts_only_with_the_dump_that_it_is_about() {
    let root = fadump(3, BOOT);
    let crash = common::run::Scratch::new("crash");
    let earlier = crash.path().join("earlier");
    fs::create_dir_all(&earlier).expect("a directory");
    journal(root.path(), &earlier.join("vmcore.journal"), &[Record::Finished { complete: true }]);
    // With what is no dump, and with the dump of another crash.
    for other in [false, true] {
        let dump = earlier.join("vmcore");
        if other {
            fs::remove_file(&dump).expect("to replace it");
            other_dump(&dump);
        } else {
            fs::write(&dump, "KDUMP   ").expect("a file");
        }
        let output = at_boot(root.path(), crash.path());
        assert!(output.stderr.contains("which that does not prove"), "{}", output.stderr);
        let saved = is_saved(root.path(), output);
        fs::remove_dir_all(saved.parent().expect("a directory")).expect("to clear away");
        fs::write(root.path().join(common::saving::RELEASE_MEM), "").expect("the kernel's file");
        fs::remove_dir_all(root.path().join("run")).expect("what was noted in this boot");
    }
}

#[test]
fn what_is_no_journal_is_not_waited_for_and_not_read() {
    let Some(directory) = open_to_all() else { return };
    let root = fadump(3, BOOT);
    let crash = target(&directory, 0o1777);
    let at = crash.display();
    attack(&format!(
        "cd {at}; mkdir a b c; mkfifo a/vmcore.journal vmcore.journal; truncate -s 500M b/vmcore.journal; \
         ln -s /dev/zero c/vmcore.journal; ln -s / d"
    ));
    let saved = is_saved(root.path(), at_boot(root.path(), &crash));
    assert!(saved.starts_with(&crash));
    // The same beside a file that is named: its journal gets another name while it is written.
    fs::write(root.path().join(common::saving::RELEASE_MEM), "").expect("the kernel's file");
    fs::remove_dir_all(root.path().join("run")).expect("what was noted in this boot");
    let output = at_boot(root.path(), &crash.join("vmcore"));
    assert!(output.stderr.contains("vmcore.journal.2"), "{}", output.stderr);
    is_saved(root.path(), output);
    assert!(!crash.join("vmcore.journal.2").exists());
}

#[test]
fn what_another_user_says_was_released_is_read_all_the_same() {
    let Some(directory) = open_to_all() else { return };
    let root = fadump(3, BOOT);
    let crash = target(&directory, 0o1777);
    let model = directory.path().join("model.journal");
    let all = Range::new(PhysAddr(0), PhysAddr(u64::MAX));
    journal(root.path(), &model, &[Record::Release(vec![all]), Record::Released(vec![all])]);
    mode(&model, 0o644);
    attack(&format!("mkdir {0}/mine; cp {1} {0}/mine/vmcore.journal", crash.display(), model.display()));
    for options in [&["--release", "after"][..], &["--release", "after", "--resume"]] {
        is_saved(root.path(), ends(command(root.path(), &crash, options)));
        fs::write(root.path().join(common::saving::RELEASE_MEM), "").expect("the kernel's file");
        fs::remove_dir_all(root.path().join("run")).expect("what was noted in this boot");
    }
}

/// Does what another user may do in a directory, at random, until he is killed.
#[test]
#[ignore = "what another test runs as another user"]
fn attacker() {
    let Some(target) = std::env::var_os("HADUMP_ATTACK").map(PathBuf::from) else { return };
    let his = PathBuf::from(std::env::var_os("HADUMP_HIS").expect("a directory of his own"));
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    let mut random = move |end: usize| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (seed >> 33) as usize % end.max(1)
    };
    const NAMES: [&str; 8] = [
        "vmcore",
        "vmcore-incomplete",
        "vmcore.journal",
        "vmcore-dmesg.txt",
        "vmcore-dmesg.txt-incomplete",
        "vmcore-report.txt",
        "vmcore-report.json-incomplete",
        "x",
    ];
    loop {
        let entries: Vec<PathBuf> =
            fs::read_dir(&target).into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect();
        let place = |random: &mut dyn FnMut(usize) -> usize| match random(3) {
            0 => target.join(NAMES[random(NAMES.len())]),
            1 if !entries.is_empty() => entries[random(entries.len())].join(NAMES[random(NAMES.len())]),
            _ if !entries.is_empty() => entries[random(entries.len())].clone(),
            _ => target.join("x"),
        };
        let (one, two) = (place(&mut random), place(&mut random));
        let _ = match random(9) {
            0 => fs::write(&one, "his"),
            1 => fs::create_dir(&one),
            2 | 3 => fs::rename(&one, &two),
            4 => symlink(&his, &one),
            5 => fs::hard_link(&his, &one),
            6 => fs::remove_file(&one).or_else(|_| fs::remove_dir(&one)),
            7 => symlink(&two, &one),
            _ => {
                let kind = rustix::fs::FileType::Fifo;
                let all = rustix::fs::Mode::from_raw_mode(0o666);
                rustix::fs::mknodat(rustix::fs::CWD, &one, kind, all, 0).map_err(Into::into)
            }
        };
    }
}

/// All files below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => all.extend(files(&path)),
            Ok(kind) if kind.is_file() => all.push(path),
            _ => {}
        }
    }
    all
}

/// Whether nobody but himself wrote these bytes.
fn is_his(bytes: &[u8]) -> bool {
    ["", "his", "his own"].iter().any(|known| bytes == known.as_bytes())
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stop(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a process");
    rustix::process::kill_process(pid, signal).expect("a signal");
}

#[test]
fn a_user_who_does_all_that_he_may_in_the_target_costs_no_dump_that_is_called_saved() {
    let Some(directory) = open_to_all() else { return };
    let runs: usize = std::env::var("HADUMP_ATTACKS").map_or(12, |n| n.parse().expect("a number"));
    let root = fadump(3, BOOT);
    let plain = common::run::Scratch::new("plain");
    save(root.path(), plain.path(), &[]).ok();
    let expected = fs::read(plain.path()).expect("the dump");
    let attacker = directory.path().join("attacker");
    fs::copy(std::env::current_exe().expect("this program"), &attacker).expect("a copy of it");
    mode(&attacker, 0o755);
    let his = directory.path().join("his");
    fs::write(&his, "his own").expect("a file");
    std::os::unix::fs::chown(&his, Some(65534), Some(65534)).expect("to give it to him");
    mode(&his, 0o666);
    let (mut whole, mut refused) = (0, 0);
    for run in 0..runs {
        let crash = target(&directory, if run % 2 == 0 { 0o777 } else { 0o1777 });
        let mut command = as_nobody(&attacker);
        command
            .args(["--ignored", "--exact", "attacker"])
            .env("HADUMP_ATTACK", &crash)
            .env("HADUMP_HIS", &his);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let attacker = Killed(child.expect("an attacker"));
        let options = if run % 3 == 0 { &["--resume"][..] } else { &[] };
        let output = ends(common::saving::command(root.path(), &crash, options));
        stop(&attacker.0, rustix::process::Signal::STOP);
        let (mut ours, mut theirs) = (0, 0);
        for file in files(&crash) {
            let metadata = fs::metadata(&file).expect("a file");
            if metadata.uid() == 0 {
                assert_eq!(metadata.mode() & 0o077, 0, "{}", file.display());
                ours += usize::from(fs::read(&file).expect("a file") == expected);
            } else {
                theirs += 1;
                assert!(is_his(&fs::read(&file).expect("a file")), "{}", file.display());
            }
        }
        match output.code {
            Some(0) => {
                assert_eq!(ours, 1, "{theirs} files are his: {}", output.stderr);
                whole += 1;
            }
            _ => {
                assert!(output.stderr.contains("hadump: ") || output.code == Some(4), "{}", output.stderr);
                refused += 1;
            }
        }
        drop(attacker);
        fs::remove_dir_all(&crash).expect("to clear away");
    }
    assert!(is_his(&fs::read(&his).expect("a file")));
    eprintln!("{whole} saves were whole, {refused} said why not");
    assert!(whole > 0);
}

#[test]
fn a_dump_goes_to_no_standard_output_that_keeps_nothing() {
    let root = fadump(3, BOOT);
    let (program, path) = (common::run::HADUMP, root.path().display());
    for (what, command) in [
        ("save", format!("{program} save --root {path} --to - --release after --trust-pipe")),
        ("convert", format!("{program} convert {path} -o -")),
    ] {
        for to in [">&-", ">/dev/null"] {
            let output = Output::of(Command::new("sh").args(["-c", &format!("exec {command} {to}")]));
            assert_eq!(output.code, Some(1), "{what} {to}");
            assert!(output.stderr.contains("keeps nothing of a dump"), "{what} {to}: {}", output.stderr);
        }
        // In a terminal, which `script` is one of.
        let Some(script) = corpus::program("script") else { continue };
        let output = Output::of(Command::new(script).args(["-qec", &command, "/dev/null"]));
        assert_eq!(output.code, Some(1), "{what}: {}", output.stdout);
        assert!(output.stdout.contains("a terminal"), "{what}: {}", output.stdout);
    }
    assert_eq!(released(root.path()), "");
}

#[test]
fn a_device_with_something_on_it_is_overwritten_only_when_that_was_said() {
    let disk = common::run::Scratch::new("disk");
    let empty = || fs::write(disk.path(), vec![0xa5; 64 << 20]).expect("a file");
    empty();
    let made = Output::of(Command::new("losetup").args(["-f", "--show"]).arg(disk.path()));
    if made.code != Some(0) {
        corpus::report_skipped(&format!("a block device, as none can be made: {}", made.stderr));
        return;
    }
    let device = Loop(PathBuf::from(made.stdout.trim()));
    let root = fadump(3, BOOT);
    save(root.path(), &device.0, &[]).ok();
    // A dump is on it now.
    let refused = save(root.path(), &device.0, &[]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("holds a dump") && refused.stderr.contains("--force"),
        "{}",
        refused.stderr
    );
    save(root.path(), &device.0, &["--force"]).ok();
    // The machine's configuration may say that it is there for dumps.
    let configuration = root.path().join("etc/hadump.conf");
    fs::create_dir_all(root.path().join("etc")).expect("a directory");
    fs::write(&configuration, format!("HADUMP_TO=\"{}\"\n", device.0.display())).expect("a file");
    save(root.path(), &device.0, &[]).ok();
    mode(&configuration, 0o666);
    assert_eq!(save(root.path(), &device.0, &[]).code, Some(1), "anybody may have written that");
}

struct Loop(PathBuf);

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

#[test]
fn a_missing_directory_for_work_files_does_not_cost_the_dump() {
    let root = fadump(3, BOOT);
    let target = common::run::Scratch::new("vmcore");
    let output = save(root.path(), target.path(), &["--work-dir", "/nonexistent/directory"]).ok();
    assert!(output.stderr.contains("takes no work files"), "{}", output.stderr);
}

#[test]
fn what_a_dump_says_of_itself_is_shown_and_not_obeyed() {
    let root = fadump(3, BOOT);
    let dump = common::run::Scratch::new("dump");
    common::run::convert(&root.path().join("proc/vmcore"), dump.path(), &["-d", "31"]).ok();
    let mut bytes = fs::read(dump.path()).expect("the dump");
    // The names of uname are behind the signature and the version, each in 65 bytes.
    for (n, evil) in ["\x1b]52;c;aGk=\x07", "host\r\x1b[2K\nhadump: all is saved", "6.1\u{9b}31m\u{202e}"]
        .iter()
        .enumerate()
    {
        bytes[12 + 65 * n..][..65].fill(0);
        bytes[12 + 65 * n..][..evil.len()].copy_from_slice(evil.as_bytes());
    }
    fs::write(dump.path(), &bytes).expect("a file");
    let path = dump.path().to_str().expect("a path");
    let other = common::run::Scratch::new("other");
    let views = [
        vec!["info", path],
        vec!["info", path, "--json"],
        vec!["verify", path],
        vec!["-vv", "convert", path, "-o", other.path().to_str().expect("a path")],
        vec!["regs", path],
        vec!["dmesg", path, "--vmlinux", path],
    ];
    for view in views {
        let output = common::run::hadump(&view);
        for text in [&output.stdout, &output.stderr] {
            let obeyed = text.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert_eq!(obeyed, None, "{view:?}: {text}");
            assert!(!text.lines().any(|line| line.starts_with("hadump: all")), "{view:?}: {text}");
        }
        if view.len() == 2 && view[0] == "info" {
            assert!(
                output.stdout.contains("\\x1b]52") && output.stdout.contains("host\\x0d"),
                "{}",
                output.stdout
            );
        }
    }
}
