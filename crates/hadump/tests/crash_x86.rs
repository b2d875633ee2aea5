//! crash prints of hadump's files what it prints of the original.

mod common;

use common::peer;
use common::run::{self, Scratch};
use corpus::Dump;
use std::path::Path;
use std::sync::OnceLock;

const COMMANDS: [&str; 6] = ["sys", "bt -a", "ps", "log", "mod", "kmem -i"];
const LEVELS: [u32; 3] = [0, 1, 31];

/// What the original prints, worked out once for all tests.
fn original(crash: &Path, dump: &Dump, vmlinux: &Path) -> &'static str {
    static PRINTED: OnceLock<String> = OnceLock::new();
    PRINTED.get_or_init(|| {
        let printed = peer::crash(crash, vmlinux, &dump.elf, &COMMANDS);
        // Two equal error messages must not pass for two equal dumps.
        for expected in
            ["sysrq triggered crash", "machine_kexec", "swapper/1", "Linux version 6.1", "TOTAL MEM"]
        {
            assert!(printed.contains(expected), "crash prints no {expected:?} of the original:\n{printed}");
        }
        printed
    })
}

fn prints_the_same(convert: impl Fn(&Dump, u32) -> Scratch) {
    let (Some(dump), Some(crash)) = (corpus::dump(corpus::X86_64), peer::program("crash")) else { return };
    let Some(vmlinux) = dump.vmlinux() else { return };
    let expected = original(&crash, &dump, &vmlinux);
    for level in LEVELS {
        let output = convert(&dump, level);
        let printed = peer::crash(&crash, &vmlinux, output.path(), &COMMANDS);
        let differing = expected.lines().zip(printed.lines()).find(|(a, b)| a != b);
        assert!(printed == expected, "level {level}: first difference (original, output): {differing:?}");
    }
}

#[test]
fn of_a_zstd_kdump() {
    prints_the_same(|dump, level| run::to_kdump(&dump.elf, level, "zstd"));
}

#[test]
fn of_a_zlib_kdump() {
    prints_the_same(|dump, level| run::to_kdump(&dump.elf, level, "zlib"));
}

#[test]
fn of_an_lzo_kdump() {
    prints_the_same(|dump, level| run::to_kdump(&dump.elf, level, "lzo"));
}

#[test]
fn of_a_snappy_kdump() {
    prints_the_same(|dump, level| run::to_kdump(&dump.elf, level, "snappy"));
}

#[test]
fn of_an_uncompressed_kdump() {
    prints_the_same(|dump, level| run::to_kdump(&dump.elf, level, "none"));
}

#[test]
fn of_an_elf_core() {
    prints_the_same(|dump, level| run::to_elf(&dump.elf, level));
}

/// What crash's `bt -a -s` says of stacks: each CPU's frames as `name+offset`, those of an exception's own stack left out.
fn frames_of_crash(printed: &str) -> Vec<Vec<(String, u64)>> {
    let mut cpus: Vec<Vec<(String, u64)>> = Vec::new();
    for line in printed.lines() {
        if line.starts_with("PID:") {
            cpus.push(Vec::new());
        }
        let Some(frames) = cpus.last_mut() else { continue };
        if line.contains("exception stack> ---") {
            frames.clear();
        }
        let frame =
            line.trim_start().strip_prefix('#').and_then(|line| line.split_once("] ")?.1.split_once(" at "));
        let place = frame.and_then(|(place, _)| place.rsplit_once('+'));
        frames.extend(place.map(|(name, offset)| (name.to_owned(), offset.parse().unwrap())));
    }
    cpus
}

#[test]
fn stacks_of_a_report_are_those_of_crash() {
    let (Some(dump), Some(crash)) = (corpus::dump(corpus::X86_64), peer::program("crash")) else { return };
    let Some(vmlinux) = dump.vmlinux() else { return };
    let expected = frames_of_crash(&peer::crash(&crash, &vmlinux, &dump.elf, &["bt -a -s"]));
    // With the kernel's debug information, and by what the dump has itself.
    for options in [&["--vmlinux", vmlinux.to_str().unwrap()][..], &[]] {
        let arguments = [&["report", dump.elf.to_str().unwrap(), "--json"], options].concat();
        let report: serde_json::Value = serde_json::from_str(&run::hadump(arguments).ok().stdout).unwrap();
        let cpus = report["cpus"].as_array().unwrap();
        assert_eq!((cpus.len(), expected.len()), (2, 2), "{options:?}: {report}");
        for (cpu, expected) in cpus.iter().zip(&expected) {
            let frames: Vec<(String, u64)> = cpu["stack"]
                .as_array()
                .unwrap_or_else(|| panic!("{options:?}: {cpu}"))
                .iter()
                .map(|frame| {
                    let (place, _) = frame.as_str().unwrap().split_once('/').unwrap();
                    let (name, offset) = place.rsplit_once("+0x").unwrap();
                    (name.to_owned(), u64::from_str_radix(offset, 16).unwrap())
                })
                .collect();
            // The CPU that crashed went on: crash follows it to where it jumped into the other kernel, and a report begins
            // where it saved its registers.
            let crashed = cpu["crashed"] == true;
            let function = |frame: &(String, u64)| frame.0 == "__crash_kexec";
            let from = if crashed { 1 + frames.iter().position(function).unwrap() } else { 0 };
            let theirs = if crashed { 1 + expected.iter().position(function).unwrap() } else { 0 };
            assert_eq!(frames[from..], expected[theirs..], "{options:?}: {expected:?}");
            assert!(frames.len() > 6, "{options:?}: {frames:?}");
        }
    }
}
