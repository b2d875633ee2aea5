//! Dumps that only the owner of a key can read: that `age` opens them too, what is said when they cannot be opened, and what
//! an interrupted one shows of the machine.

mod common;

use common::peer;
use common::run::{self, HADUMP, Run, Scratch, hadump, names, names_but_report};
use corpus::X86_64;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Programs of `age` and OpenSSH, keys that they made, and a machine on which a dump waits.
struct Case {
    age: PathBuf,
    root: Scratch,
    elf: PathBuf,
    keys: Scratch,
}

impl Case {
    fn new() -> Option<Self> {
        let dump = corpus::dump(X86_64)?;
        let [age, keygen, ssh] = ["age", "age-keygen", "ssh-keygen"].map(peer::program);
        let (age, keygen, ssh) = (age?, keygen?, ssh?);
        let (root, keys) = (Scratch::new("root"), Scratch::new("age"));
        fs::create_dir_all(root.path().join("proc")).expect("a directory");
        symlink(&dump.elf, root.path().join("proc/vmcore")).expect("a link");
        for key in ["age", "other"] {
            Run::of(Command::new(&keygen).arg("-o").arg(keys.directory().join(key))).ok();
        }
        let mut command = Command::new(ssh);
        Run::of(command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(keys.directory().join("ssh"))).ok();
        Some(Self { age, root, elf: dump.elf, keys })
    }

    fn key(&self, name: &str) -> PathBuf {
        self.keys.directory().join(name)
    }

    /// The public key, as `age-keygen` notes it in a comment of the private one.
    fn public(&self, name: &str) -> String {
        let text = fs::read_to_string(self.key(name)).expect("a key");
        text.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("a public key").to_owned()
    }

    fn command(&self, to: &Path, options: &[&str]) -> Command {
        let mut command = Command::new(HADUMP);
        command
            .args(["save", "--segment", "4M", "-c", "zlib", "--root"])
            .arg(self.root.path())
            .arg("--to")
            .arg(to);
        command.args(options);
        command
    }

    fn save(&self, to: &Path, options: &[&str]) -> Run {
        Run::of(&mut self.command(to, options))
    }

    /// A save for the key `age`.
    fn sealed(&self, to: &Path, options: &[&str]) -> Run {
        self.save(to, &[&["--encrypt-to", &self.public("age")], options].concat())
    }

    /// What `age` makes of these files, concatenated.
    fn decrypted(&self, key: &str, files: &[PathBuf]) -> Vec<u8> {
        let mut all = Vec::new();
        for file in files {
            let output = Command::new(&self.age).args(["-d", "-i"]).arg(self.key(key)).arg(file).output();
            let output = output.expect("age");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            all.extend(output.stdout);
        }
        all
    }
}

fn parts(directory: &Path) -> Vec<PathBuf> {
    let named = |name: &String| name.starts_with("vmcore.0") && name.ends_with(".age");
    names(directory).into_iter().filter(named).map(|name| directory.join(name)).collect()
}

/// Runs hadump with `options`, these files and a key.
fn with_key(options: &[&str], files: &[PathBuf], key: &Path) -> Run {
    let mut command = Command::new(HADUMP);
    Run::of(command.args(options).args(files).arg("--identity").arg(key))
}

/// `hadump receive` of these bytes.
fn receive(bytes: &[u8], to: &Path, options: &[&OsStr]) -> Run {
    let mut command = Command::new(HADUMP);
    command.arg("receive").arg(to).args(options);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hadump");
    let _ = child.stdin.take().expect("a pipe").write_all(bytes);
    let output = child.wait_with_output().expect("an end");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Run { code: output.status.code(), stdout: String::new(), stderr }
}

#[track_caller]
fn same_bytes(a: &Path, b: &Path) {
    assert!(fs::read(a).unwrap() == fs::read(b).unwrap(), "{} and {} differ", a.display(), b.display());
}

#[track_caller]
fn same_pages(a: &Path, b: &Path) {
    hadump([OsStr::new("diff"), a.as_os_str(), b.as_os_str()]).ok();
}

#[track_caller]
fn refused(run: &Run, code: i32, words: &[&str]) {
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    }
}

#[test]
fn age_opens_what_was_saved_and_makes_the_plain_bytes_of_it() {
    let Some(case) = Case::new() else { return };
    let plain = Scratch::new("vmcore");
    case.save(plain.path(), &[]).ok();
    let sealed = Scratch::new("vmcore");
    let ssh = case.key("ssh.pub");
    let report = case.sealed(sealed.path(), &["--encrypt-to", ssh.to_str().unwrap(), "--json"]).ok();
    let files = parts(sealed.directory());
    assert!(files.len() > 3, "{files:?}");
    let mut expected: Vec<_> = (0..files.len()).map(|n| format!("vmcore.{n:05}.age")).collect();
    let beside = ["vmcore-dmesg.txt.age", "vmcore-report.json.age", "vmcore-report.txt.age"];
    expected.splice(0..0, beside.map(str::to_owned));
    assert_eq!(names(sealed.directory()), expected);
    for name in &expected {
        let mode = fs::metadata(sealed.directory().join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let report: Value = serde_json::from_str(&report.stdout).expect("a report");
    let told: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    assert_eq!((&report["output"]["paths"], &report["exit_code"]), (&told.into(), &0.into()));

    for key in ["age", "ssh"] {
        let received = Scratch::new("received");
        receive(&case.decrypted(key, &files), received.path(), &[]).ok();
        same_bytes(received.path(), plain.path());
        let log = case.decrypted(key, &[sealed.directory().join("vmcore-dmesg.txt.age")]);
        assert!(log == fs::read(plain.directory().join("vmcore-dmesg.txt")).unwrap());
        for name in ["vmcore-report.txt", "vmcore-report.json"] {
            let report = case.decrypted(key, &[sealed.directory().join(format!("{name}.age"))]);
            assert!(report == fs::read(plain.directory().join(name)).unwrap());
        }
        // The parts in any order, or the first of them for all.
        let reversed: Vec<_> = files.iter().rev().cloned().collect();
        for named in [&reversed[..], &files[..1]] {
            let output = Scratch::new("output");
            let options = ["convert", "-c", "zlib", "-o", output.path().to_str().unwrap()];
            with_key(&options, named, &case.key(key)).ok();
            same_pages(output.path(), plain.path());
        }
        with_key(&["diff"], &[files[0].clone(), plain.path().to_owned()], &case.key(key)).ok();
    }
    assert_eq!(names(sealed.directory()), expected, "nothing is left of what was decrypted");
    // Another save leaves them alone.
    let before = fs::read(&files[1]).unwrap();
    let second = case.sealed(sealed.path(), &[]).ok();
    assert!(second.stderr.contains("this dump is saved as"), "{}", second.stderr);
    assert!(fs::read(&files[1]).unwrap() == before);
    for name in names(sealed.directory()).iter().filter(|name| name.starts_with("vmcore.2")) {
        fs::remove_file(sealed.directory().join(name)).unwrap();
    }
    case.sealed(sealed.path(), &["--force"]).ok();
    assert!(names(sealed.directory()) == expected && fs::read(&files[1]).unwrap() != before);
    with_key(&["diff"], &[files[0].clone(), plain.path().to_owned()], &case.key("age")).ok();
}

#[test]
fn a_wrong_key_an_altered_a_cut_and_a_missing_file_are_said() {
    let Some(case) = Case::new() else { return };
    let sealed = Scratch::new("vmcore");
    case.sealed(sealed.path(), &[]).ok();
    let files = parts(sealed.directory());
    let key = case.key("age");
    let plain = Scratch::new("vmcore");
    case.save(plain.path(), &[]).ok();

    refused(
        &hadump([OsStr::new("info"), files[0].as_os_str()]),
        1,
        &["vmcore.00000.age", "--identity KEYFILE"],
    );
    refused(&with_key(&["info"], &files, &case.key("other")), 1, &["vmcore.00000.age", "other keys"]);
    refused(&with_key(&["info"], &files, &case.key("ssh")), 1, &["other keys"]);
    refused(
        &with_key(&["info"], &files, &files[0]),
        1,
        &["vmcore.00000.age", "neither an age identity file"],
    );
    refused(&with_key(&["info"], &files[1..], &key), 1, &["vmcore.00000.age: missing"]);
    refused(&with_key(&["info"], &[files[0].clone(), plain.path().to_owned()], &key), 1, &["not encrypted"]);
    let elsewhere = Scratch::new("other.00001.age");
    fs::copy(&files[1], elsewhere.path()).unwrap();
    refused(
        &with_key(&["info"], &[files[0].clone(), elsewhere.path().to_owned()], &key),
        1,
        &["different dumps"],
    );

    let lacks = |named: &[PathBuf], words: &[&str]| {
        let output = Scratch::new("output");
        let options = ["convert", "-c", "none", "-o", output.path().to_str().unwrap()];
        let run = with_key(&options, named, &key);
        refused(&run, 4, words);
        let made = output.directory().join("output-incomplete");
        let diff =
            hadump([OsStr::new("diff"), OsStr::new("--json"), made.as_os_str(), plain.path().as_os_str()]);
        let diff: Value = serde_json::from_str(&diff.stdout).expect("a comparison");
        assert_eq!(
            (&diff["only_in_a"]["pages"], &diff["different"]["pages"]),
            (&0.into(), &0.into()),
            "{diff}"
        );
        assert!(
            diff["same"].as_u64().unwrap() > 0 && diff["only_in_b"]["pages"].as_u64().unwrap() > 0,
            "{diff}"
        );
    };
    let last = files.len() - 1;
    lacks(&files[..2], &["vmcore.00001.age", "does not end here"]);
    let gap: Vec<_> = files.iter().filter(|file| !file.ends_with("vmcore.00002.age")).cloned().collect();
    lacks(&gap, &["vmcore.00002.age: missing"]);
    let whole = fs::read(&files[2]).unwrap();
    let mut altered = whole.clone();
    altered[whole.len() - 100] ^= 1;
    fs::write(&files[2], altered).unwrap();
    lacks(&files, &["vmcore.00002.age", "altered"]);
    fs::write(&files[2], &whole[..whole.len() / 2]).unwrap();
    lacks(&files, &["vmcore.00002.age", "cut off"]);
    fs::write(&files[2], whole).unwrap();
    // Without the last two, the new header and the end of the stream, all pages are there, but not the mark of a complete
    // dump.
    refused(&with_key(&["verify"], &files[..last - 1], &key), 4, &[]);
    let header = fs::read(&files[0]).unwrap();
    fs::write(&files[0], &header[..150]).unwrap();
    refused(&with_key(&["info"], &files, &key), 1, &["vmcore.00000.age"]);
}

#[test]
fn a_stream_and_a_converted_dump_are_one_file_of_age() {
    let Some(case) = Case::new() else { return };
    let plain = Scratch::new("vmcore");
    case.save(plain.path(), &[]).ok();
    let public = case.public("age");
    let key = case.key("age");

    let output = case.command(Path::new("-"), &["-q", "--encrypt-to", &public]).output().expect("hadump");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let received = Scratch::new("received");
    receive(&output.stdout, received.path(), &["--identity".as_ref(), key.as_os_str()]).ok();
    same_pages(received.path(), plain.path());

    let converted = Scratch::new("converted.age");
    run::convert(&case.elf, converted.path(), &["-c", "zlib", "--encrypt-to", &public]).ok();
    let unflattened = Scratch::new("unflattened");
    receive(&case.decrypted("age", &[converted.path().to_owned()]), unflattened.path(), &[]).ok();
    same_pages(unflattened.path(), plain.path());
    let info = with_key(&["info"], &[converted.path().to_owned()], &key).ok();
    assert!(info.stdout.contains("encrypted"), "{}", info.stdout);

    // What age itself encrypted, which is no stream.
    let by_age = Scratch::new("vmcore.age");
    let mut command = Command::new(&case.age);
    Run::of(command.args(["-r", &public, "-o"]).arg(by_age.path()).arg(plain.path())).ok();
    with_key(&["diff"], &[by_age.path().to_owned(), plain.path().to_owned()], &key).ok();
}

#[test]
fn what_cannot_be_encrypted_is_refused_before_anything_is_written() {
    let Some(case) = Case::new() else { return };
    let to = Scratch::new("vmcore");
    refused(&case.sealed(to.path(), &["--format", "elf"]), 2, &["kdump"]);
    refused(&case.sealed(to.path(), &["--split", "2"]), 2, &["split"]);
    refused(&case.save(to.path(), &["--encrypt-to", "age1nonsense"]), 2, &["age1nonsense", "ssh-ed25519"]);
    let convert = run::convert(&case.elf, to.path(), &["--split", "2", "--encrypt-to", &case.public("age")]);
    refused(&convert, 2, &["split"]);
    assert!(names(to.directory()).is_empty());
}

/// Starts an encrypted save and kills it after a while; returns whether it was still at work.
fn kill(case: &Case, to: &Path, options: &[&str], after: Duration) -> bool {
    let mut command = case.command(to, &[&["--encrypt-to", &case.public("age"), "-q"], options].concat());
    let mut child = command.stderr(Stdio::null()).spawn().expect("hadump");
    let deadline = Instant::now() + after;
    while Instant::now() < deadline && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let at_work = child.try_wait().expect("a child").is_none();
    let _ = child.kill();
    child.wait().expect("an end");
    at_work
}

#[test]
fn a_save_that_is_killed_goes_on_without_a_key_and_shows_no_registers() {
    let Some(case) = Case::new() else { return };
    // With pages of zeros, whose descriptors are all the same.
    let plain = Scratch::new("vmcore");
    case.save(plain.path(), &["-d", "0"]).ok();
    let sealed = Scratch::new("vmcore");
    let options = ["-d", "0", "--resume", "--limit-rate", "2M"];
    let skeleton = sealed.directory().join("vmcore.skeleton-incomplete");
    let mut kills = 0;
    let mut met = 0;
    while kills < 5 && kill(&case, sealed.path(), &options, Duration::from_millis(1500)) {
        kills += 1;
        if parts(sealed.directory()).len() < 2 {
            continue;
        }
        met += 1;
        let bytes = fs::read(&skeleton).expect("a skeleton");
        assert!(fs::metadata(&skeleton).unwrap().mode() & 0o777 == 0o600);
        let dump = dumpfile::open(&case.elf).expect("a dump");
        let secret =
            dump.notes.prstatus().map(|note| &note.desc[112..112 + 27 * 8]).next().expect("registers");
        let told = |register: &&[u8]| register.iter().collect::<BTreeSet<_>>().len() > 4;
        let registers: Vec<&[u8]> = secret.chunks(8).filter(told).collect();
        assert!(registers.len() > 3);
        let front = &bytes[..bytes.len().min(64 << 10)];
        let shown = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|w| w == what);
        let plainly = fs::read(plain.path()).expect("a dump");
        for register in registers {
            assert!(shown(&plainly[..64 << 10], register), "the plain file has it");
            assert!(!shown(front, register), "{register:x?}");
        }
        refused(&hadump([OsStr::new("info"), skeleton.as_os_str()]), 1, &["needs to go on"]);
        refused(&case.save(sealed.path(), &["-d", "0", "--resume"]), 1, &["--encrypt-to"]);
        // What is there by now opens, for the owner of the key.
        let part = parts(sealed.directory());
        refused(&with_key(&["verify"], &part[..1], &case.key("age")), 4, &[]);
    }
    assert!(met > 0, "{kills} kills");
    case.sealed(sealed.path(), &["-d", "0", "--resume"]).ok();
    let files = parts(sealed.directory());
    let left = names_but_report(sealed.directory());
    assert_eq!(left.len(), files.len() + 1, "{left:?}");
    let received = Scratch::new("received");
    receive(&case.decrypted("age", &files), received.path(), &[]).ok();
    same_pages(received.path(), plain.path());
}
