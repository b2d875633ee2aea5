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
