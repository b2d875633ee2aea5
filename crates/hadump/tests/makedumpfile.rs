//! hadump under the name of makedumpfile: what scripts rely on besides the dump itself.

mod common;

use common::makedumpfile::{OURS, ours, theirs};
use common::reader::kdump::Kdump;
use common::run::{self, Run, Scratch};
use common::{check, peer, report_skipped};
use corpus::Dump;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

fn small() -> Dump {
    corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump")
}

/// `OPTIONS INPUT OUTPUT`, run in the output's directory.
fn create(options: &[&str], input: &Path, output: &Scratch) -> Run {
    Run::of(ours().args(options).arg(input).arg(output.path()))
}

#[test]
fn it_is_called_by_its_name_or_as_a_subcommand() {
    let line = "makedumpfile: version 1.7.9 (released on 20 Apr 2026)";
    let named = Run::of(ours().arg("-v")).ok();
    let subcommand = run::hadump(["makedumpfile", "-v"]).ok();
    let renamed = Run::of(Command::new(run::HADUMP).arg0("/sbin/makedumpfile").arg("-v")).ok();
    for run in [&named, &subcommand, &renamed] {
        assert_eq!(run.stdout.lines().next(), Some(line));
        assert_eq!(run.stdout, named.stdout);
    }
    for codec in ["lzo\tenabled", "snappy\tenabled", "zstd\tenabled"] {
        assert!(named.stdout.lines().any(|line| line == codec), "{codec}");
    }
    assert!(Run::of(ours().arg("--help")).ok().stdout.contains("zstd support:\n  enabled\n"));
}

#[test]
fn success_is_said_on_standard_output_in_the_original_words() {
    let (dump, output) = (small(), Scratch::new("vmcore"));
    let run = create(&["-l", "--message-level", "7", "-d", "31"], &dump.elf, &output).ok();
    let saved =
        format!("\nThe dumpfile is saved to {}.\n\nmakedumpfile Completed.\n", output.path().display());
    assert_eq!(run.stdout, saved);
    assert!(
        run.stderr.starts_with("\rCopying data                                      : ["),
        "{:?}",
        run.stderr
    );
    assert!(
        run.stderr.contains("\rCopying data                                      : [100.0 %] "),
        "{:?}",
        run.stderr
    );
}

#[test]
fn message_levels_part_progress_from_common_messages_and_errors() {
    let (dump, output) = (small(), Scratch::new("vmcore"));
    let said = |level: &str, options: &[&str]| {
        let run = create(&[&["--message-level", level, "--dry-run"], options].concat(), &dump.elf, &output);
        (run.stdout, run.stderr)
    };
    assert_eq!(said("0", &["-d", "31"]), Default::default());
    assert_eq!(said("4", &["-d", "31"]), Default::default());
    let (stdout, stderr) = said("1", &["-d", "31"]);
    assert!(stdout.is_empty() && stderr.contains("100.0 %"), "{stdout}{stderr}");
    let (stdout, stderr) = said("2", &["-d", "31"]);
    assert!(stdout.contains("makedumpfile Completed.") && stderr.is_empty(), "{stdout}{stderr}");
    let (stdout, _) = said("16", &["-d", "31"]);
    assert!(stdout.contains("Original pages  : 0x0000000000001bff\n"), "{stdout}");
    assert!(stdout.contains("    Free pages              : 0x0000000000001703\n"), "{stdout}");
    let (stdout, _) = said("8", &["-d", "31"]);
    assert!(stdout.lines().any(|line| line == "  OSRELEASE=6.12.94-fadump"), "{stdout}");
}

#[test]
fn nothing_is_written_by_a_dry_run_or_to_the_null_device() {
    let (dump, output) = (small(), Scratch::new("vmcore"));
    create(&["-l", "-d", "31", "--dry-run"], &dump.elf, &output).ok();
    assert!(!output.path().exists());
    Run::of(ours().args(["-l", "-d", "31", "-f"]).arg(&dump.elf).arg("/dev/null")).ok();
    assert!(Path::new("/dev/null").metadata().unwrap().len() == 0);
}

#[test]
fn an_existing_file_is_kept_without_f_and_the_input_always() {
    let (dump, output) = (small(), Scratch::new("vmcore"));
    fs::write(output.path(), "precious").unwrap();
    let run = create(&["-l", "-d", "31"], &dump.elf, &output);
    assert_eq!(run.code, Some(1));
    assert_eq!(run.stdout, "\nmakedumpfile Failed.\n");
    assert!(run.stderr.contains("use -f to replace it"), "{}", run.stderr);
    assert_eq!(fs::read(output.path()).unwrap(), b"precious");
    create(&["-l", "-d", "31", "-f"], &dump.elf, &output).ok();
    assert_eq!(Kdump::open(output.path()).dump_level, 31);
    let run = Run::of(ours().arg("-f").arg(output.path()).arg(output.path()));
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("this is the input"), "{}", run.stderr);
}

#[test]
fn parameters_are_checked_in_silence_and_without_touching_anything() {
    // mkdumprd runs the first two, with what /etc/kdump.conf has behind core_collector.
    for good in [
        "--check-params -l --message-level 7 -d 31 vmcore dumpfile",
        "--check-params -F -l --message-level 7 -d 31 vmcore",
        "--check-params -R x",
    ] {
        let run = Run::of(ours().args(good.split(' '))).ok();
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "{good}");
    }
    for (bad, said) in [
        ("--check-params -l -d 32 vmcore dumpfile", "Dump_level(32) is invalid."),
        ("--check-params -l -d 31 vmcore", "Commandline parameter is invalid."),
        ("--check-params --foo vmcore dumpfile", "unrecognized option '--foo'"),
        ("--check-params --diskset a -d 31 vmcore dumpfile", "--diskset: "),
        ("--check-params --eppic macro -x vmlinux vmcore dumpfile", "--eppic: "),
    ] {
        let run = Run::of(ours().args(bad.split(' ')));
        assert_eq!(run.code, Some(1), "{bad}");
        assert!((run.stdout.clone() + &run.stderr).contains(said), "{bad}: {}{}", run.stdout, run.stderr);
        assert!(!run.stdout.contains("makedumpfile Failed."), "{bad}");
    }
}

#[test]
fn what_is_not_supported_is_refused_before_the_output_is_made() {
    let (dump, output) = (small(), Scratch::new("vmcore"));
    for options in [&["--diskset", "a"][..], &["--extension", "a.so"], &["--eppic", "macro"]] {
        let run = create(&[options, &["-d", "31"]].concat(), &dump.elf, &output);
        assert_eq!(run.code, Some(1), "{options:?}");
        assert!(run.stderr.contains(&format!("makedumpfile: {}: ", options[0])), "{}", run.stderr);
        assert_eq!(fs::read_dir(output.directory()).unwrap().count(), 0, "{options:?}");
    }
}

#[test]
fn a_dump_that_reached_its_limit_is_kept_by_another_name_and_is_no_success() {
    let (dump, output) = (small(), Scratch::new("vmcore"));
    let run = create(&["-l", "-d", "31", "-L", "3M"], &dump.elf, &output);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("Size limit(3145728) reached."), "{}", run.stdout);
    assert!(run.stdout.contains("This is an incomplete dumpfile, but might analyzable."), "{}", run.stdout);
    assert!(!output.path().exists());
    let kept = output.directory().join("vmcore-incomplete");
    assert!(fs::metadata(&kept).unwrap().len() <= 3 << 20);
    assert_eq!(Kdump::open(&kept).status & 8, 8, "marked incomplete");
}

#[test]
fn a_name_that_says_incomplete_already_is_kept_as_it_is() {
    let (dump, output) = (small(), Scratch::new("vmcore-incomplete"));
    let run = create(&["-l", "-d", "31", "-L", "3M"], &dump.elf, &output);
    assert_eq!(run.code, Some(1));
    assert_eq!(Kdump::open(output.path()).status & 8, 8);
}

#[test]
fn the_next_dump_level_is_tried_when_the_limit_is_reached() {
    let (dump, output) = (small(), Scratch::new("vmcore"));
    let run = create(&["-l", "-d", "0,31", "-L", "10M"], &dump.elf, &output).ok();
    assert!(run.stdout.contains("Retry to create a dumpfile by dump_level(31)."), "{}", run.stdout);
    let kdump = Kdump::open(output.path());
    assert_eq!((kdump.dump_level, kdump.status & 8), (31, 0));
    assert_eq!(fs::read_dir(output.directory()).unwrap().count(), 1);
}

#[test]
fn a_full_disk_behind_a_stream_or_a_reader_that_went_away_is_a_failure() {
    let dump = small();
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut child = ours()
        .args(["-F", "-l", "-d", "31"])
        .arg(&dump.elf)
        .stdout(full)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut child = ours()
        .args(["-F", "-l", "-d", "31"])
        .arg(&dump.elf)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_refiltered_dump_lacks_what_either_level_leaves_out() {
    let (dump, first, second) = (small(), Scratch::new("first"), Scratch::new("second"));
    create(&["-l", "-d", "8"], &dump.elf, &first).ok();
    let run = create(&["-c", "-d", "17"], first.path(), &second).ok();
    assert!(run.stdout.contains("dump_level is changed to 25, because"), "{}", run.stdout);
    let kdump = Kdump::open(second.path());
    assert_eq!(kdump.dump_level, 25);
    check::same_frames(&kdump.bitmap2, &dump.bitmap(25)).unwrap();
}

#[test]
fn the_log_is_text_in_a_file_or_on_standard_output() {
    let (dump, output) = (small(), Scratch::new("dmesg"));
    let expected = dump.text("expected/dmesg.txt");
    let run = create(&["--dump-dmesg"], &dump.elf, &output).ok();
    let saved =
        format!("\nThe dmesg log is saved to {}.\n\nmakedumpfile Completed.\n", output.path().display());
    assert_eq!(run.stdout, saved);
    assert_eq!(fs::read_to_string(output.path()).unwrap(), expected);
    // openSUSE's kdump-save: the log for a FIFO, and on standard error the two lines that it takes from there.
    let run = Run::of(ours().args(["-F", "--message-level", "8", "--dump-dmesg"]).arg(&dump.elf)).ok();
    assert!(run.stdout == expected);
    let words =
        |line: &str| line.trim().split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let values: std::collections::HashMap<_, _> = run.stderr.lines().filter_map(words).collect();
    assert_eq!(values["OSRELEASE"], "6.12.94-fadump");
    assert!(values["CRASHTIME"].parse::<u64>().is_ok());
}

#[test]
fn pages_are_counted_by_kind_in_the_original_table() {
    let dump = small();
    let expected: serde_json::Value = serde_json::from_str(&dump.text("expected/levels.json")).unwrap();
    let expected = &expected["levels"]["31"];
    let run = Run::of(ours().arg("--mem-usage").arg(&dump.elf)).ok();
    assert!(run.stdout.starts_with("\nTYPE\t\tPAGES\t\t\tEXCLUDABLE\tDESCRIPTION\n"), "{}", run.stdout);
    for (kind, class) in
        [("NON_PRI_CACHE", "cache"), ("PRI_CACHE", "cache_private"), ("USER", "user"), ("FREE", "free")]
    {
        let line = run.stdout.lines().find(|line| line.split('\t').next() == Some(kind)).expect(kind);
        let count: u64 = line.split('\t').find_map(|field| field.trim().parse().ok()).expect(line);
        assert_eq!(Some(count), expected[class].as_u64(), "{line}");
    }
    assert!(run.stdout.contains("page size:\t\t65536 "), "{}", run.stdout);
    assert!(!run.stdout.contains("Completed"), "{}", run.stdout);
}

#[test]
fn an_address_is_translated() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let output = Scratch::new("vmcore");
    let run = create(&["--vtop", "0xffffffffa34c4860", "-d", "31", "--dry-run"], &dump.elf, &output).ok();
    assert!(run.stdout.lines().any(|line| line == "ffffffffa34c4860  5ec4860"), "{}", run.stdout);
}

#[test]
fn streams_are_put_in_order_and_one_that_ends_early_is_no_success() {
    let (dump, stream, output) = (small(), Scratch::new("flat"), Scratch::new("vmcore"));
    let file = File::create(stream.path()).unwrap();
    let status =
        ours().args(["-F", "-c", "-d", "31"]).arg(&dump.elf).stdout(file).stderr(Stdio::null()).status();
    assert!(status.unwrap().success());
    let rearrange = |input: &Path, output: &Scratch| {
        let input = File::open(input).unwrap();
        ours().arg("-R").arg(output.path()).stdin(input).output().unwrap()
    };
    assert!(rearrange(stream.path(), &output).status.success());
    let plain = Scratch::new("plain");
    create(&["-c", "-d", "31"], &dump.elf, &plain).ok();
    assert!(fs::read(output.path()).unwrap() == fs::read(plain.path()).unwrap());
    // The original makes the same file of it.
    if let Some(mut original) = theirs() {
        let original_output = Scratch::new("original");
        let input = File::open(stream.path()).unwrap();
        let status =
            original.arg("-R").arg(original_output.path()).stdin(input).stdout(Stdio::null()).status();
        assert!(status.unwrap().success());
        assert!(fs::read(output.path()).unwrap() == fs::read(original_output.path()).unwrap());
    }
    let bytes = fs::read(stream.path()).unwrap();
    fs::write(stream.path(), &bytes[..bytes.len() / 2]).unwrap();
    let cut = Scratch::new("cut");
    assert_eq!(rearrange(stream.path(), &cut).status.code(), Some(1));
    assert!(!cut.path().exists() && cut.directory().join("cut-incomplete").exists());
    fs::write(stream.path(), "no dump").unwrap();
    let none = Scratch::new("none");
    assert_eq!(rearrange(stream.path(), &none).status.code(), Some(1));
    assert_eq!(fs::read_dir(none.directory()).unwrap().count(), 0);
}

#[test]
fn split_sets_are_joined_by_either_program() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let set = Scratch::new("part");
    let parts: Vec<_> = (1..=3).map(|n| set.directory().join(format!("part{n}"))).collect();
    let run = Run::of(ours().args(["--split", "-l", "-d", "31"]).arg(&dump.elf).args(&parts)).ok();
    let [a, b, c] = [0, 1, 2].map(|n| parts[n].display().to_string());
    assert!(run.stdout.contains(&format!("The dumpfiles are saved to {a}, {b}, and {c}.")), "{}", run.stdout);
    let plain = Scratch::new("plain");
    create(&["-l", "-d", "31"], &dump.elf, &plain).ok();
    let plain = fs::read(plain.path()).unwrap();
    for program in [Some(ours()), theirs()] {
        let Some(mut program) = program else { continue };
        let joined = Scratch::new("joined");
        Run::of(program.arg("--reassemble").args(&parts).arg(joined.path())).ok();
        assert!(fs::read(joined.path()).unwrap() == plain, "{program:?}");
    }
    let joined = Scratch::new("joined");
    let run = Run::of(ours().arg("--reassemble").args(&parts[..2]).arg(joined.path()));
    assert_eq!(run.code, Some(1), "a part is missing");
    assert!(!joined.path().exists());
}

#[test]
fn the_original_reads_what_is_written() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let Some(mut original) = theirs() else { return };
    let (ours, again) = (Scratch::new("ours"), Scratch::new("again"));
    create(&["-l", "-d", "31"], &dump.elf, &ours).ok();
    Run::of(original.args(["-l", "-d", "31"]).arg(ours.path()).arg(again.path())).ok();
    check::same_frames(&Kdump::open(again.path()).bitmap2, &dump.bitmap(31)).unwrap();
    let Some(python) = peer::python_kdumpfile() else { return };
    check::pages_by_libkdumpfile(python, &dump, ours.path(), &dump.bitmap(31)).unwrap();
}

#[test]
fn what_a_vmlinux_tells_stands_in_for_vmcoreinfo_in_either_program() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let Some(vmlinux) = dump.vmlinux() else { return };
    let info = Scratch::new("vmcoreinfo");
    let run = Run::of(ours().arg("-g").arg(info.path()).arg("-x").arg(&vmlinux)).ok();
    let saved =
        format!("\nThe vmcoreinfo is saved to {}.\n\nmakedumpfile Completed.\n", info.path().display());
    assert_eq!(run.stdout, saved);
    for program in [Some(ours()), theirs()] {
        let Some(mut program) = program else { continue };
        let output = Scratch::new("vmcore");
        program.arg("-i").arg(info.path()).args(["-l", "-d", "31"]).arg(&dump.elf).arg(output.path());
        Run::of(&mut program).ok();
        check::same_frames(&Kdump::open(output.path()).bitmap2, &dump.bitmap(31)).unwrap();
    }
    let output = Scratch::new("vmcore");
    Run::of(ours().arg("-x").arg(&vmlinux).args(["-l", "-d", "31"]).arg(&dump.elf).arg(output.path())).ok();
    check::same_frames(&Kdump::open(output.path()).bitmap2, &dump.bitmap(31)).unwrap();
}

#[test]
fn a_file_about_another_kernel_has_an_exit_code_of_its_own() {
    let (dump, output, info) = (small(), Scratch::new("vmcore"), Scratch::new("info"));
    fs::write(info.path(), "OSRELEASE=2.6.16\nPAGESIZE=4096\n").unwrap();
    let info = info.path().to_str().unwrap();
    let run = create(&["-i", info, "-d", "31"], &dump.elf, &output);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("it is of kernel 2.6.16, and the dump of 6.12.94-fadump"), "{}", run.stderr);
    assert!(!output.path().exists());
}

#[test]
fn rules_erase_bytes_and_the_dump_says_which() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let Some(vmlinux) = dump.vmlinux() else { return };
    let rules = Scratch::new("rules");
    fs::write(rules.path(), "[vmlinux]\nerase init_task.comm\nerase saved_command_line size 8\n").unwrap();
    let erased = |mut program: Command| {
        let output = Scratch::new("vmcore");
        program.arg("-x").arg(&vmlinux).arg("--config").arg(rules.path()).args(["-c", "-d", "31"]);
        Run::of(program.arg(&dump.elf).arg(output.path())).ok();
        output
    };
    let ours_erased = erased(ours());
    let diff = |a: &Path, b: &Path| run::hadump(["diff".as_ref(), a.as_os_str(), b.as_os_str()]);
    let plain = Scratch::new("plain");
    create(&["-c", "-d", "31"], &dump.elf, &plain).ok();
    assert_eq!(diff(plain.path(), ours_erased.path()).code, Some(1), "something is erased");
    let record = Kdump::open(ours_erased.path()).notes;
    let record = String::from_utf8_lossy(&record);
    assert!(record.contains("erase init_task.comm size 16\n"), "the dump says what it lacks");
    // A rule that cannot be carried out ends it before anything is written.
    fs::write(rules.path(), "[vmlinux]\nerase no_such_symbol\n").unwrap();
    let output = Scratch::new("vmcore");
    let mut command = ours();
    command.arg("-x").arg(&vmlinux).arg("--config").arg(rules.path()).args(["-c", "-d", "31"]);
    let run = Run::of(command.arg(&dump.elf).arg(output.path()));
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("no_such_symbol"), "{}", run.stderr);
    assert_eq!(fs::read_dir(output.directory()).unwrap().count(), 0);
}

/// The name under which everything here runs is the one that distributions would install.
#[test]
fn a_symbolic_link_is_enough() {
    assert!(fs::symlink_metadata(&*OURS).unwrap().is_symlink());
    Run::of(Command::new(&*OURS).arg("-v")).ok();
}

/// A capture kernel may have all processors of the machine and little memory. Batches are smaller there.
#[test]
fn threads_are_no_more_than_memory_is_good_for_whatever_a_script_asks_for_and_the_bytes_are_the_same() {
    if std::thread::available_parallelism().is_ok_and(|count| count.get() < 2) {
        return report_skipped("threads by memory: there is one processor");
    }
    let dump = small();
    let threads = |available: &str| {
        let scratch = Scratch::new("vmcore");
        let (meminfo, trace) = (scratch.directory().join("meminfo"), scratch.directory().join("trace"));
        fs::write(&meminfo, format!("MemTotal: 262144 kB\nMemAvailable: {available} kB\n")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(
            "mount --bind \"$1\" /proc/meminfo && shift && exec strace -f -q -e trace=clone,clone3 -o \"$@\"",
        );
        command.arg("sh").args([&meminfo, &trace]).args([run::HADUMP, "makedumpfile", "--num-threads", "64"]);
        let run = Run::of(command.args(["-l", "-d", "31"]).arg(&dump.elf).arg(scratch.path()));
        if run.code != Some(0) {
            report_skipped(&format!("threads by memory: no unshare, mount or strace: {}", run.stderr));
            return None;
        }
        let threads = fs::read_to_string(trace).unwrap().matches("clone").count();
        Some((threads, fs::read(scratch.path()).unwrap()))
    };
    let (Some((few, one)), Some((many, other))) = (threads("33000"), threads("16777216")) else { return };
    assert!(few < many, "{few} and {many} threads");
    assert!(one == other, "bytes depend on memory");
}
