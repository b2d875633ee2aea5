//! Dumps that travel: through pipes that break, in parts, for the owner of a key.

mod common;

use common::peer;
use common::run::{self, HADUMP, Run, Scratch, hadump};
use corpus::{Dump, POWER, POWER_BE, X86_64};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The flattened stream of a dump, as it goes to standard output.
fn stream(dump: &Path, options: &[&str]) -> Vec<u8> {
    let mut command = Command::new(HADUMP);
    let output = command.arg("convert").arg(dump).args(["-q", "-o", "-"]).args(options).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// `hadump receive FILE OPTIONS` of these bytes.
fn receive(bytes: &[u8], file: &Path, options: &[&str]) -> Run {
    let mut command = Command::new(HADUMP);
    command.arg("receive").arg(file).args(options);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // A receiver that has seen enough does not read the rest.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn incomplete(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-incomplete");
    name.into()
}

#[track_caller]
fn same_bytes(a: &Path, b: &Path) {
    assert!(fs::read(a).unwrap() == fs::read(b).unwrap(), "{} and {} differ", a.display(), b.display());
}

fn split(dump: &Dump, options: &[&str]) -> (Scratch, Vec<PathBuf>) {
    let set = Scratch::new("set");
    run::convert(&dump.elf, set.path(), options).ok();
    let mut parts: Vec<PathBuf> = fs::read_dir(set.directory()).unwrap().map(|e| e.unwrap().path()).collect();
    parts.sort();
    (set, parts)
}

fn join(parts: &[PathBuf], output: &Path) -> Run {
    Run::of(Command::new(HADUMP).arg("join").args(parts).arg("-o").arg(output))
}

#[test]
fn a_dump_that_came_through_a_pipe_is_the_one_that_would_have_been_written() {
    for name in [POWER, POWER_BE, X86_64] {
        let Some(dump) = corpus::dump(name) else { continue };
        for options in [&["-d", "31", "-c", "lzo"][..], &["-d", "1", "--format", "elf"]] {
            let (file, received) = (Scratch::new("file"), Scratch::new("received"));
            run::convert(&dump.elf, file.path(), options).ok();
            receive(&stream(&dump.elf, options), received.path(), &[]).ok();
            same_bytes(file.path(), received.path());
            assert!(!incomplete(received.path()).exists());
        }
    }
}

#[test]
fn makedumpfile_puts_a_flattened_file_in_order_and_crash_opens_it_as_it_is() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let flat = Scratch::new("flat");
    run::convert(&dump.elf, flat.path(), &["--flattened", "-c", "zlib"]).ok();
    let plain = run::to_kdump(&dump.elf, 31, "zlib");
    if let Some(makedumpfile) = peer::program("makedumpfile") {
        let ordered = Scratch::new("ordered");
        let mut command = Command::new(makedumpfile);
        command.arg("-R").arg(ordered.path()).stdin(File::open(flat.path()).unwrap());
        assert!(command.output().unwrap().status.success());
        same_bytes(ordered.path(), plain.path());
    }
    if let (Some(crash), Some(vmlinux)) = (peer::program("crash"), dump.vmlinux()) {
        let commands = ["sys", "bt", "ps"];
        let shown = peer::crash(&crash, &vmlinux, flat.path(), &commands);
        assert_eq!(shown, peer::crash(&crash, &vmlinux, plain.path(), &commands));
        assert!(shown.contains("sysrq_handle_crash"), "{shown}");
    }
    assert!(hadump(["diff".as_ref(), flat.path().as_os_str(), plain.path().as_os_str()]).code == Some(0));
}

#[test]
fn a_stream_that_is_cut_leaves_what_came_as_long_as_the_bitmaps_did() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let whole = stream(&dump.elf, &["-d", "31", "-c", "zlib"]);
    let plain = run::to_kdump(&dump.elf, 31, "zlib");
    let mut earlier = u64::MAX;
    // The end record alone, then a byte of it, then ever less.
    for keep in [whole.len() - 16, whole.len() - 1, whole.len() / 10 * 9, whole.len() / 2, whole.len() / 4] {
        let file = Scratch::new("cut");
        let run = receive(&whole[..keep], file.path(), &["--json"]);
        assert_eq!(run.code, Some(4), "{keep}: {}", run.stderr);
        assert!(run.stderr.contains("without its end record"), "{}", run.stderr);
        assert!(!file.path().exists());
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let (lost, of) = (report["lost"]["pages"].as_u64().unwrap(), report["lost"]["of"].as_u64().unwrap());
        let listed = hadump(["pages".as_ref(), incomplete(file.path()).as_os_str()]);
        assert_eq!(listed.code, Some(4));
        assert_eq!(listed.stdout.lines().filter(|line| line.ends_with(" lost")).count() as u64, lost);
        // What is there is right.
        let diff = hadump([
            "diff".as_ref(),
            "--json".as_ref(),
            incomplete(file.path()).as_os_str(),
            plain.path().as_os_str(),
        ]);
        let diff: serde_json::Value = serde_json::from_str(&diff.stdout).unwrap();
        assert_eq!(
            (&diff["only_in_a"]["pages"], &diff["different"]["pages"]),
            (&0.into(), &0.into()),
            "{keep}: {diff}"
        );
        assert_eq!(diff["same"], of - lost);
        assert!(earlier == u64::MAX || lost >= of - earlier, "a shorter stream brought more");
        earlier = of - lost;
        if let (Some(crash), Some(vmlinux)) = (peer::program("crash"), dump.vmlinux())
            && keep > whole.len() / 10 * 9
        {
            let shown = peer::crash(&crash, &vmlinux, &incomplete(file.path()), &["sys"]);
            assert!(shown.contains("RELEASE: 6.1.192-lab"), "{shown}");
        }
    }
}

#[test]
fn a_stream_that_is_cut_before_the_bitmaps_is_of_no_use_and_leaves_nothing() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let whole = stream(&dump.elf, &["-d", "31", "-c", "zlib"]);
    let foreign = fs::read(&dump.elf).map(|bytes| bytes[..100_000].to_vec()).unwrap();
    let cases: [(&[u8], &str); 5] = [
        (&[], "it is empty"),
        (&whole[..2000], "unusable"),
        (&whole[..4096], "unusable"),
        (&whole[..9000], "unusable"),
        (&foreign, "not a flattened dump"),
    ];
    for (bytes, reason) in cases {
        let file = Scratch::new("cut");
        let run = receive(bytes, file.path(), &[]);
        assert_eq!(run.code, Some(1), "{} bytes: {}", bytes.len(), run.stderr);
        assert!(run.stderr.contains(reason), "{}", run.stderr);
        assert_eq!(fs::read_dir(file.directory()).unwrap().count(), 0);
    }
}

#[test]
fn a_received_dump_replaces_nothing_unless_forced() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let whole = stream(&dump.elf, &["-d", "31", "-c", "lzo"]);
    let file = Scratch::new("received");
    fs::write(file.path(), "precious").unwrap();
    assert_eq!(receive(&whole, file.path(), &[]).code, Some(1));
    assert_eq!(fs::read(file.path()).unwrap(), b"precious");
    receive(&whole, file.path(), &["--force"]).ok();
    assert!(fs::metadata(file.path()).unwrap().len() > 1 << 20);
}

#[test]
fn a_receiver_says_what_is_durable_when_the_sender_waits() {
    use std::io::{BufRead, BufReader};
    let Some(dump) = corpus::dump(X86_64) else { return };
    let whole = stream(&dump.elf, &["-d", "31", "-c", "lzo"]);
    let file = Scratch::new("received");
    let mut command = Command::new(HADUMP);
    command.args(["receive", "--ack", "-q"]).arg(file.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    // All but the end record.
    input.write_all(&whole[..whole.len() - 16]).unwrap();
    let durable = said.by_ref().map(Result::unwrap).find(|line| line.starts_with("durable ")).unwrap();
    let received: u64 = durable.strip_prefix("durable ").unwrap().parse().unwrap();
    // Of the bytes sent some are the stream's own.
    assert!((whole.len() as u64 - 100_000..whole.len() as u64).contains(&received), "{durable}");
    input.write_all(&whole[whole.len() - 16..]).unwrap();
    drop(input);
    let last = said.map(Result::unwrap).last().unwrap();
    assert_eq!(last, format!("complete {received}"));
    assert!(child.wait().unwrap().success());
}

/// The records of a stream: where each begins, with the end of the last one, which has nothing after it.
fn records(stream: &[u8]) -> Vec<usize> {
    let mut starts = vec![4096];
    loop {
        let at = *starts.last().unwrap();
        let size = i64::from_be_bytes(stream[at + 8..at + 16].try_into().unwrap());
        if size < 0 {
            return starts;
        }
        starts.push(at + 16 + size as usize);
    }
}

#[test]
fn a_record_that_is_dropped_doubled_or_swapped_is_told_unless_the_dump_is_whole_all_the_same() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    // Without checksums what must fit is looked at instead; the stream of makedumpfile has its records in another order.
    let mut streams: Vec<(&str, Vec<u8>)> = vec![
        ("zstd", stream(&dump.elf, &["-d", "31"])),
        ("none", stream(&dump.elf, &["-d", "31", "-c", "none"])),
        ("no checksums", stream(&dump.elf, &["-d", "31", "-c", "lzo", "--no-checksums"])),
    ];
    if let Some(makedumpfile) = peer::program("makedumpfile") {
        let output =
            Command::new(makedumpfile).args(["-F", "-d", "31", "-c"]).arg(&dump.elf).output().unwrap();
        assert!(output.status.success());
        streams.push(("makedumpfile", output.stdout));
    }
    for (name, whole) in streams {
        let file = Scratch::new("whole");
        receive(&whole, file.path(), &[]).ok();
        let sent = fs::read(file.path()).unwrap();
        let starts = records(&whole);
        let record = |n: usize| &whole[starts[n]..starts[n + 1]];
        let last = starts.len() - 1;
        let end = &whole[starts[last]..];
        // All of them where there are few; else the first and last, and some between.
        let some = (0..last).filter(|n| last < 60 || *n < 20 || n + 10 > last || n % (last / 20) == 0);
        for n in some {
            let before = &whole[..starts[n]];
            let after = &whole[starts[n + 1]..];
            let mut cases = vec![
                ("dropped", [before, after].concat()),
                ("doubled", [before, record(n), record(n), after].concat()),
            ];
            if n + 1 < last {
                let rest = &whole[starts[n + 2]..];
                cases.push(("swapped", [before, record(n + 1), record(n), rest].concat()));
            }
            for (what, bytes) in cases {
                assert!(bytes.ends_with(end));
                let file = Scratch::new("received");
                let run = receive(&bytes, file.path(), &["--ack"]);
                if run.code == Some(0) {
                    assert!(fs::read(file.path()).unwrap() == sent, "{name}: record {n} of {last} {what}");
                    continue;
                }
                assert!(!file.path().exists() && !run.stdout.contains("complete"), "{name}: {n} {what}");
                assert!(what == "dropped" || run.code == Some(1) || run.code == Some(4), "{}", run.stderr);
            }
        }
    }
}

#[test]
fn shards_are_the_parts_of_a_set_and_joined_they_are_the_whole() {
    for (name, method) in [(POWER, "zstd"), (POWER_BE, "lzo"), (X86_64, "zlib")] {
        let Some(dump) = corpus::dump(name) else { continue };
        let whole = run::to_kdump(&dump.elf, 31, method);
        for count in ["1", "2", "5"] {
            let (_set, parts) = split(&dump, &["--split", count, "-c", method]);
            assert_eq!(parts.len().to_string(), count);
            for (number, part) in parts.iter().enumerate() {
                let shard = Scratch::new("shard");
                run::convert(
                    &dump.elf,
                    shard.path(),
                    &["--shard", &format!("{number}/{count}"), "-c", method],
                )
                .ok();
                same_bytes(shard.path(), part);
            }
            let joined = Scratch::new("joined");
            let backwards: Vec<PathBuf> = parts.iter().rev().cloned().collect();
            join(&backwards, joined.path()).ok();
            same_bytes(joined.path(), whole.path());
        }
    }
}

#[test]
fn a_set_without_one_part_is_joined_as_incomplete_and_that_is_said() {
    let Some(dump) = corpus::dump(POWER) else { return };
    let (_set, parts) = split(&dump, &["--split", "3"]);
    let joined = Scratch::new("joined");
    let run = join(&[parts[0].clone(), parts[2].clone()], joined.path());
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    assert!(run.stderr.contains("are in no part given"), "{}", run.stderr);
    assert!(!joined.path().exists() && incomplete(joined.path()).exists());
}

#[test]
fn makedumpfile_and_crash_take_a_split_set_as_their_own() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let (_set, parts) = split(&dump, &["--split", "3", "-c", "zlib", "-d", "31"]);
    if let Some(makedumpfile) = peer::program("makedumpfile") {
        let reassemble = |parts: &[PathBuf]| {
            let joined = Scratch::new("joined");
            Run::of(Command::new(&makedumpfile).arg("--reassemble").args(parts).arg(joined.path())).ok();
            joined
        };
        let whole = run::to_kdump(&dump.elf, 31, "zlib");
        // It keeps the note of the checksums, and not these.
        let joined = reassemble(&parts);
        assert_eq!(
            hadump(["diff".as_ref(), joined.path().as_os_str(), whole.path().as_os_str()]).code,
            Some(0)
        );
        let verdict = hadump(["verify".as_ref(), joined.path().as_os_str()]).ok().stdout;
        assert!(verdict.contains("verdict  plausible:"), "{verdict}");
        let plain = ["-c", "zlib", "-d", "31", "--no-checksums"];
        let (_set, parts) = split(&dump, &[&["--split", "3"], &plain[..]].concat());
        let whole = Scratch::new("whole");
        run::convert(&dump.elf, whole.path(), &plain).ok();
        same_bytes(reassemble(&parts).path(), whole.path());
    }
    if let (Some(crash), Some(vmlinux)) = (peer::program("crash"), dump.vmlinux()) {
        let mut command = Command::new(&crash);
        command.env("TERM", "dumb").args(["-s"]).arg(&vmlinux).args(&parts);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"bt\nquit\n").unwrap();
        let shown = String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned();
        assert!(shown.contains("sysrq_handle_crash"), "{shown}");
    }
}

#[test]
fn a_kdump_file_becomes_an_elf_core_that_tells_where_memory_is_mapped() {
    let levels = [(POWER, 31), (POWER, 1), (POWER_BE, 31), (POWER_BE, 1), (X86_64, 31), (X86_64, 1)];
    for (name, level) in levels {
        let Some(dump) = corpus::dump(name) else { continue };
        let kdump = run::to_kdump(&dump.elf, level, "zstd");
        let core = run::to_elf(kdump.path(), 0);
        assert_eq!(
            hadump(["diff".as_ref(), core.path().as_os_str(), kdump.path().as_os_str()]).code,
            Some(0)
        );
        let pages = |file: &Path| hadump(["pages".as_ref(), file.as_os_str()]).ok().stdout;
        assert!(pages(core.path()) == pages(kdump.path()), "{name} {level}: page states differ");
        let again = run::to_kdump(core.path(), 0, "zstd");
        same_bytes(again.path(), kdump.path());
        same_bytes(run::to_elf(again.path(), 0).path(), core.path());
        if let Some(vmcore_dmesg) = peer::program("vmcore-dmesg") {
            let log = |file: &Path| Run::of(Command::new(&vmcore_dmesg).arg(file)).ok().stdout;
            assert_eq!(log(core.path()), log(&dump.elf));
        }
    }
}

#[test]
fn equal_pages_stored_once_are_the_same_dump_and_never_more_bytes() {
    for (name, method) in [(POWER, "zstd"), (X86_64, "zlib"), (X86_64, "none")] {
        let Some(dump) = corpus::dump(name) else { continue };
        let plain = run::to_kdump(&dump.elf, 0, method);
        let less = Scratch::new("less");
        run::convert(&dump.elf, less.path(), &["-d", "0", "-c", method, "--dedup"]).ok();
        assert_eq!(
            hadump(["diff".as_ref(), less.path().as_os_str(), plain.path().as_os_str()]).code,
            Some(0)
        );
        let len = |path: &Path| fs::metadata(path).unwrap().len();
        assert!(len(less.path()) < len(plain.path()), "{name} {method}");
        if let Some(python) = peer::python_kdumpfile() {
            common::check::pages_by_libkdumpfile(python, &dump, less.path(), &dump.bitmap(0)).unwrap();
        }
    }
}
