//! The kernel log of real dumps.

mod common;

use common::run;
use corpus::Dump;
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

/// There is no other reader of this log: what the kernel printed on its console is the witness. The log has more, what was
/// not important enough for the console.
#[test]
fn power_big_endian_has_the_lines_of_its_console() {
    let Some(dump) = corpus::dump(corpus::POWER_BE) else { return };
    let (log, console) = (log_of(&dump.elf), dump.text("console.log"));
    // The second boot's lines follow its firmware's banner.
    let crashed = console.split("sysrq: Trigger a crash").next().expect("the first boot");
    let mut compared = 0;
    for line in crashed.lines().filter(|line| line.starts_with('[')) {
        let (time, text) = line.split_once("] ").expect("a time and a text");
        let printed =
            log.lines().any(|line| line.starts_with(time) && line.trim_end().ends_with(text.trim_end()));
        assert!(printed, "not in the log: {line}");
        compared += 1;
    }
    assert!(compared > 100, "only {compared} lines on the console");
    let order = ["Linux version 6.12.94-fadump-be", "sysrq: Trigger a crash", "Kernel panic - not syncing"];
    let places = order.map(|text| log.find(text).unwrap_or_else(|| panic!("not in the log: {text}")));
    assert!(places.is_sorted(), "{places:?}");
}
