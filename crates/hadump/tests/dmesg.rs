//! The kernel log of real dumps.

mod common;

use common::corpus::{self, Dump};
use common::run;
use std::path::Path;

fn log_of(path: &Path) -> String {
    run::hadump([Path::new("dmesg"), path]).ok().stdout
}

fn prints_the_expected_log(dump: &Dump) {
    assert!(log_of(&dump.elf) == dump.text("expected/dmesg.txt"), "{}: the log differs", dump.name);
}

#[test]
fn power_64k_has_the_expected_log() {
    corpus::dump(corpus::POWER).iter().for_each(prints_the_expected_log);
}

#[test]
fn x86_64_has_the_expected_log() {
    corpus::dump(corpus::X86_64).iter().for_each(prints_the_expected_log);
}

/// There is no other reader of this log: what the kernel printed on its console is the witness.
#[test]
fn power_big_endian_has_the_lines_of_its_console() {
    let Some(dump) = corpus::dump(corpus::POWER_BE) else { return };
    let (log, console) = (log_of(&dump.elf), dump.text("console.log"));
    // The log puts the thread's or CPU's id between the time and the text, the console does not.
    let text = |line: &str| line.rsplit_once("] ").map(|(_, text)| text.trim().to_owned());
    let printed: Vec<String> =
        console.lines().filter(|line| line.starts_with('[')).filter_map(text).collect();
    let lines: Vec<String> = log.lines().filter_map(text).collect();
    let found = lines.iter().filter(|line| printed.contains(line)).count();
    assert!(lines.len() > 200, "{} lines", lines.len());
    assert!(log.contains("sysrq: Trigger a crash"), "the last words are missing");
    assert!(found * 100 >= lines.len() * 95, "{found} of {} lines are on the console", lines.len());
}
