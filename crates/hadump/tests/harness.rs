//! The tests' own checks pass makedumpfile's files and find the damage that is done to them.

mod common;

use common::check::{self, Finding};
use common::peer;
use common::reader::elf::Elf;
use common::reader::kdump::Kdump;
use common::run::{Run, Scratch};
use corpus::Dump;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// makedumpfile's conversion of the x86_64 dump, the one that Debian 12's version classifies right.
fn by_makedumpfile(options: &[&str]) -> Option<(Dump, Scratch)> {
    let (dump, program) = (corpus::dump(corpus::X86_64)?, peer::program("makedumpfile")?);
    let output = Scratch::new("peer.dump");
    let mut command = Command::new(program);
    Run::of(command.args(["--message-level", "4"]).args(options).arg(&dump.elf).arg(output.path())).ok();
    Some((dump, output))
}

/// Changes one byte of a file.
fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

fn everything(dump: &Dump, output: &Path, level: u32) -> Finding {
    let (input, kdump, kept) = (Elf::open(&dump.elf), Kdump::open(output), dump.bitmap(level));
    check::same_frames(&kdump.bitmap1, &dump.bitmap(0))?;
    check::same_frames(&kdump.bitmap2, &kept)?;
    check::notes_are_kept(&input.notes, &kdump.notes, input.order)?;
    check::kdump_header(dump, &input, &kdump)?;
    match peer::python_kdumpfile() {
        Some(python) => check::pages_by_libkdumpfile(python, dump, output, &kept),
        None => Ok(()),
    }
}

#[test]
fn a_kdump_file_of_makedumpfile_passes() {
    for (level, method) in [("31", "-c"), ("0", "-l")] {
        let Some((dump, output)) = by_makedumpfile(&[method, "-d", level]) else { return };
        everything(&dump, output.path(), level.parse().unwrap()).unwrap();
    }
}

#[test]
fn an_elf_core_of_makedumpfile_passes() {
    // Level 0 only: makedumpfile leaves shorter runs than 256 excluded pages in an ELF core.
    let Some((dump, output)) = by_makedumpfile(&["-E", "-d", "0"]) else { return };
    let (input, elf) = (Elf::open(&dump.elf), Elf::open(output.path()));
    check::notes_are_kept(&input.notes, &elf.notes, input.order).unwrap();
    check::pages_of_elf(&dump, &input, &elf, &dump.bitmap(0)).unwrap();
}

#[test]
fn another_level_is_noticed() {
    let Some((dump, output)) = by_makedumpfile(&["-c", "-d", "23"]) else { return };
    let finding = everything(&dump, output.path(), 31).unwrap_err();
    assert!(finding.contains("there and should not be"), "{finding}");
}

#[test]
fn a_changed_page_is_noticed() {
    let Some((dump, output)) = by_makedumpfile(&["-d", "31"]) else { return };
    if peer::python_kdumpfile().is_none() {
        return;
    }
    let size = fs::metadata(output.path()).unwrap().len();
    flip(output.path(), size - 100);
    let finding = everything(&dump, output.path(), 31).unwrap_err();
    assert!(finding.contains("has other bytes"), "{finding}");
}

#[test]
fn a_changed_note_is_noticed() {
    let Some((dump, output)) = by_makedumpfile(&["-c", "-d", "31"]) else { return };
    flip(output.path(), 0x1068 + 0x80);
    let finding = everything(&dump, output.path(), 31).unwrap_err();
    assert!(finding.contains("note 0 (CORE) differs"), "{finding}");
}

#[test]
fn a_changed_byte_of_an_elf_core_is_noticed() {
    let Some((dump, output)) = by_makedumpfile(&["-E", "-d", "0"]) else { return };
    let elf = Elf::open(output.path());
    flip(output.path(), elf.loads[1].offset + 0x123_4567);
    let finding = check::pages_of_elf(&dump, &Elf::open(&dump.elf), &elf, &dump.bitmap(0)).unwrap_err();
    assert_eq!(finding, format!("the byte at {:#x} differs", elf.loads[1].paddr + 0x123_4567));
}

#[test]
fn crash_prints_something_to_compare() {
    let (Some(dump), Some(crash)) = (corpus::dump(corpus::X86_64), peer::program("crash")) else { return };
    let Some(vmlinux) = dump.vmlinux() else { return };
    let printed = peer::crash(&crash, &vmlinux, &dump.elf, &["sys"]);
    assert!(printed.contains("RELEASE: 6.1.192-lab"), "{printed}");
}
