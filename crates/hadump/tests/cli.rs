//! How the program behaves: its exit codes, the files that it leaves alone and leaves behind, its machine-readable report.

mod common;

use common::report_skipped;
use common::run::{self, HADUMP, Run, Scratch, names};
use corpus::Dump;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The dump that every checkout has and that converts fastest.
fn small() -> Dump {
    corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump")
}

/// The names in a directory.
#[test]
fn an_output_is_the_only_file_left_and_its_owner_alone_may_read_it() {
    let (dump, output) = (small(), Scratch::new("vmcore.kdump"));
    run::convert(&dump.elf, output.path(), &[]).ok();
    assert_eq!(names(output.directory()), ["vmcore.kdump"]);
    let mode = fs::metadata(output.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600, "{mode:o}");
}

#[test]
fn an_existing_output_is_kept() {
    let (dump, output) = (small(), Scratch::new("vmcore.kdump"));
    fs::write(output.path(), "precious").unwrap();
    let run = run::convert(&dump.elf, output.path(), &[]);
    assert_ne!(run.code, Some(0));
    assert!(run.stderr.contains("vmcore.kdump") && run.stderr.contains("--force"), "{}", run.stderr);
    assert_eq!(fs::read(output.path()).unwrap(), b"precious");
    assert_eq!(names(output.directory()), ["vmcore.kdump"]);
}

#[test]
fn force_replaces_an_existing_output() {
    let (dump, output) = (small(), Scratch::new("vmcore.kdump"));
    fs::write(output.path(), "old").unwrap();
    run::convert(&dump.elf, output.path(), &["--force"]).ok();
    assert!(fs::read(output.path()).unwrap().starts_with(b"KDUMP   "));
    assert_eq!(names(output.directory()), ["vmcore.kdump"]);
}

#[test]
fn an_input_is_never_its_own_output() {
    let dump = small();
    let input = Scratch::new("vmcore");
    fs::copy(&dump.elf, input.path()).unwrap();
    let before = fs::metadata(input.path()).unwrap().len();
    // Not even by force, and not by another name for the same file.
    let alias = input.directory().join("alias");
    fs::hard_link(input.path(), &alias).unwrap();
    for output in [input.path(), &alias] {
        let run = run::convert(input.path(), output, &["--force"]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("this is the input"), "{}", run.stderr);
    }
    assert_eq!(fs::metadata(input.path()).unwrap().len(), before);
    assert_eq!(names(input.directory()), ["alias", "vmcore"]);
}

/// A header that promised pages which an earlier filter dropped would make readers look for them.
#[test]
fn filtering_again_at_a_lower_level_keeps_the_earlier_level_in_the_header() {
    let first = run::to_kdump(&small().elf, 31, "lzo");
    let second = Scratch::new("again.kdump");
    let run = run::convert(first.path(), second.path(), &["-d", "0", "--json"]).ok();
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["output"]["dump_level"], 31);
    let info = run::hadump(["info".as_ref(), second.path().as_os_str(), "--json".as_ref()]).ok();
    let info: Value = serde_json::from_str(&info.stdout).unwrap();
    assert_eq!(info["dump_level"], 31);
}

#[test]
fn an_exit_code_does_not_depend_on_who_listens() {
    let (dump, output) = (small(), Scratch::new("vmcore.kdump"));
    // A full disk behind standard error, then a reader of standard output that has gone.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 2>/dev/full", "sh", HADUMP, "convert"]);
    let run = Run::of(command.arg(&dump.elf).arg("-o").arg(output.path()));
    assert_eq!(run.code, Some(0));
    let mut command = Command::new("bash");
    command.args(["-c", "\"$@\" --json --force | true; exit ${PIPESTATUS[0]}", "bash", HADUMP, "convert"]);
    let run = Run::of(command.arg(&dump.elf).arg("-o").arg(output.path()));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(fs::read(output.path()).unwrap().starts_with(b"KDUMP   "));
}

#[test]
fn a_missing_input_is_named_and_leaves_nothing() {
    let output = Scratch::new("vmcore.kdump");
    let run = run::convert(Path::new("/nonexistent/vmcore"), output.path(), &[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("/nonexistent/vmcore"), "{}", run.stderr);
    assert!(names(output.directory()).is_empty());
}

#[test]
fn a_missing_output_directory_is_named() {
    let dump = small();
    let run = run::convert(&dump.elf, Path::new("/nonexistent/vmcore.kdump"), &[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("/nonexistent"), "{}", run.stderr);
}

#[test]
fn wrong_usage_exits_with_2_and_touches_nothing() {
    let (dump, output) = (small(), Scratch::new("out"));
    let wrong: [&[&str]; 6] = [
        &["-d", "32"],
        &["-d", "-1"],
        &["-c", "rar"],
        &["--format", "zip"],
        &["--exclude", "zero,everything"],
        &["-d", "1", "--exclude", "zero"],
    ];
    for options in wrong {
        let run = run::convert(&dump.elf, output.path(), options);
        assert_eq!(run.code, Some(2), "{options:?}: {}", run.stderr);
        assert!(names(output.directory()).is_empty(), "{options:?}");
    }
    assert_eq!(run::hadump(["convert"]).code, Some(2));
    assert_eq!(run::hadump(["no-such-command"]).code, Some(2));
    assert_eq!(run::hadump([""; 0]).code, Some(2));
}

#[test]
fn help_and_version_go_to_standard_output() {
    for argument in ["--help", "--version"] {
        let run = run::hadump([argument]).ok();
        assert!(run.stdout.contains("hadump") && run.stderr.is_empty(), "{argument}");
    }
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}:\n{}", run.stdout))
}

#[test]
fn the_json_report_of_a_conversion_accounts_for_every_page() {
    let (dump, output) = (small(), Scratch::new("vmcore.kdump"));
    let report = json(&run::convert(&dump.elf, output.path(), &["--json"]).ok());
    let number =
        |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}"));
    let frames = |bitmap: Vec<u8>| bitmap.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
    assert_eq!(number("/pages/total"), frames(dump.bitmap(0)));
    assert_eq!(number("/pages/kept"), frames(dump.bitmap(31)));
    assert_eq!(number("/pages/data") + number("/pages/zero"), number("/pages/kept"));
    assert_eq!(number("/pages/lost"), 0);
    let excluded = report["pages"]["excluded"].as_object().expect("excluded pages by reason");
    let excluded: u64 = excluded.values().map(|count| count.as_u64().expect("a count")).sum();
    assert_eq!(number("/pages/kept") + excluded, number("/pages/total"));
    // The second PT_LOAD of this dump begins inside a page.
    assert_eq!(number("/pages/partial"), 1);
    assert_eq!(number("/output/bytes"), fs::metadata(output.path()).unwrap().len());
    assert_eq!(number("/output/dump_level"), 31);
    assert_eq!(number("/exit_code"), 0);
    assert_eq!(report["output"]["complete"], true);
    assert_eq!(report["input"]["release"], "6.12.94-fadump");
    for phase in ["open", "classify", "write"] {
        assert!(report["seconds"][phase].is_number(), "{phase}");
    }
}

#[test]
fn without_json_a_conversion_reports_on_standard_error() {
    let (dump, output) = (small(), Scratch::new("vmcore.kdump"));
    let run = run::convert(&dump.elf, output.path(), &[]).ok();
    assert!(run.stdout.is_empty(), "{}", run.stdout);
    assert!(!run.stderr.contains('\r'), "a progress bar without a terminal: {}", run.stderr);
    assert!(run.stderr.contains("991 pages"), "{}", run.stderr);
}

#[test]
fn info_tells_what_kernel_and_machine_crashed() {
    let dump = small();
    let text = run::hadump([Path::new("info"), &dump.elf]).ok().stdout;
    let object = json(&run::hadump([Path::new("info"), &dump.elf, Path::new("--json")]).ok()).to_string();
    for fact in ["6.12.94-fadump", "ppc64le"] {
        assert!(text.contains(fact), "{fact}:\n{text}");
        assert!(object.contains(fact), "{fact}:\n{object}");
    }
}

/// A write that fails because there is no room, as on a full disk: the limit on file sizes is the way to have one that works
/// without privileges. The signal that comes with it must not kill the program either.
#[test]
fn an_output_that_does_not_fit_leaves_no_file_under_its_name() {
    let (dump, output) = (small(), Scratch::new("vmcore.kdump"));
    let mut command = Command::new("sh");
    // In blocks of 512 bytes: 2 MiB, where some 9 are needed.
    command.args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$@\"", "sh", HADUMP, "convert", "-d", "0"]);
    let run = Run::of(command.arg(&dump.elf).arg("-o").arg(output.path()));
    assert!(matches!(run.code, Some(1 | 4)), "{:?}: {}", run.code, run.stderr);
    assert!(run.stderr.contains("vmcore.kdump"), "{}", run.stderr);
    only_incomplete(&output);
}

/// The headers of a core come last and have to find room all the same.
#[test]
fn a_core_that_does_not_fit_is_kept_up_to_where_it_was_cut() {
    let (dump, output) = (small(), Scratch::new("vmcore.elf"));
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 16384; exec \"$@\"", "sh", HADUMP, "convert", "-d", "0"]);
    let run = Run::of(command.arg(&dump.elf).args(["--format", "elf", "-o"]).arg(output.path()));
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    assert_eq!(names(output.directory()), ["vmcore.elf-incomplete"]);
    let kept = output.directory().join("vmcore.elf-incomplete");
    let pages = |path: &std::path::Path| {
        let mut command = Command::new(HADUMP);
        let run = Run::of(command.arg("pages").arg(path).arg("--crc32"));
        run.stdout.lines().filter(|l| l.starts_with("page ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (whole, listed) = (pages(&dump.elf), pages(&kept));
    let (part, rest) = listed.split_at(listed.iter().take_while(|line| !line.ends_with(" lost")).count());
    assert!(part.len() > 16 && part.len() < whole.len(), "{} of {} pages", part.len(), whole.len());
    assert_eq!(part[..], whole[..part.len()]);
    // What did not fit is known to be lost.
    let frame = |line: &String| line.split(' ').nth(1).map(str::to_owned);
    assert!(rest.iter().all(|line| line.ends_with(" lost")));
    assert!(rest.iter().map(frame).eq(whole[part.len()..].iter().map(frame)));
}

#[test]
fn a_full_disk_leaves_no_file_under_the_outputs_name() {
    let (dump, output) = (small(), Scratch::new("small/vmcore.kdump"));
    let disk = output.path().parent().unwrap();
    fs::create_dir(disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(disk).output();
    if !mounted.is_ok_and(|mount| mount.status.success()) {
        // Containers that run CI may not mount either; the test above covers the same path.
        return report_skipped("a full disk: mounting a tmpfs is not permitted");
    }
    let run = run::convert(&dump.elf, output.path(), &["-d", "0"]);
    let left = names(disk);
    let unmounted = Command::new("umount").arg(disk).status();
    assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", disk.display());
    assert!(matches!(run.code, Some(1 | 4)), "{:?}: {}", run.code, run.stderr);
    assert!(run.stderr.contains("vmcore.kdump") && run.stderr.contains("No space left"), "{}", run.stderr);
    assert!(left.iter().all(|name| name == "vmcore.kdump-incomplete"), "{left:?}");
}

/// Nothing, or what could be written, under a name that says so.
fn only_incomplete(output: &Scratch) {
    let left = names(output.directory());
    assert!(left.iter().all(|name| name == "vmcore.kdump-incomplete"), "{left:?}");
}
