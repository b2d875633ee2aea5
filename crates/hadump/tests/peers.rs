//! Other programs take hadump's files as their own: makedumpfile, file, crash, vmcore-dmesg.

mod common;

use common::check;
use common::peer;
use common::reader::elf::{self, Elf};
use common::reader::kdump::Kdump;
use common::run::{self, METHODS, Run, Scratch};
use corpus::Dump;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The x86_64 dump and an installed peer.
fn with(program: &str) -> Option<(Dump, PathBuf)> {
    Some((corpus::dump(corpus::X86_64)?, peer::program(program)?))
}

#[test]
fn makedumpfile_filters_a_level_0_output_to_the_same_pages() {
    let Some((dump, makedumpfile)) = with("makedumpfile") else { return };
    for method in ["zlib", "lzo"] {
        let ours = run::to_kdump(&dump.elf, 0, method);
        let theirs = Scratch::new("refiltered");
        let mut command = Command::new(&makedumpfile);
        Run::of(command.args(["-d", "31", "-c"]).arg(ours.path()).arg(theirs.path())).ok();
        check::same_frames(&Kdump::open(theirs.path()).bitmap2, &dump.bitmap(31)).unwrap();
        if let Some(python) = peer::python_kdumpfile() {
            check::pages_by_libkdumpfile(python, &dump, theirs.path(), &dump.bitmap(31)).unwrap();
        }
    }
}

#[test]
fn makedumpfile_finds_the_kernel_log() {
    let Some((dump, makedumpfile)) = with("makedumpfile") else { return };
    let ours = run::to_kdump(&dump.elf, 31, "zlib");
    let log = Scratch::new("dmesg");
    Run::of(Command::new(makedumpfile).arg("--dump-dmesg").arg(ours.path()).arg(log.path())).ok();
    let printed = std::fs::read_to_string(log.path()).unwrap();
    // Debian 12's makedumpfile prints no caller, the "[      T0] " after the time, and indents by so much less.
    let text = |line: &str| {
        let text = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("] "));
        let (time, rest) = text.unwrap_or(("", line));
        let caller = rest.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        let rest =
            caller.filter(|(caller, _)| caller.trim_start().starts_with(['T', 'C'])).map_or(rest, |c| c.1);
        (time.to_owned(), rest.trim().to_owned())
    };
    let expected = dump.text("expected/dmesg.txt");
    for (printed, expected) in printed.lines().zip(expected.lines()) {
        assert_eq!(text(printed), text(expected));
    }
    assert_eq!(printed.lines().count(), expected.lines().count());
}

#[test]
fn file_names_a_kdump_with_release_and_machine() {
    let Some((dump, file)) = with("file") else { return };
    for (method, _) in METHODS {
        let ours = run::to_kdump(&dump.elf, 31, method);
        let named = Run::of(Command::new(&file).arg("-b").arg(ours.path())).ok().stdout;
        assert!(named.starts_with("Kdump compressed dump v6, system Linux, "), "{named}");
        assert!(named.contains("release 6.1.192-lab, ") && named.contains("machine x86_64"), "{named}");
    }
}

#[test]
fn crash_tells_the_release_without_a_vmlinux() {
    let Some((dump, crash)) = with("crash") else { return };
    for output in [run::to_kdump(&dump.elf, 31, "zstd"), run::to_elf(&dump.elf, 31)] {
        let told = Run::of(Command::new(&crash).arg("--osrelease").arg(output.path())).ok().stdout;
        assert_eq!(told.trim(), "6.1.192-lab");
    }
}

#[test]
fn vmcore_dmesg_prints_the_log_of_an_elf_core() {
    let Some((dump, vmcore_dmesg)) = with("vmcore-dmesg") else { return };
    let expected = Run::of(Command::new(&vmcore_dmesg).arg(&dump.elf)).ok().stdout;
    assert!(expected.contains("Linux version 6.1.192-lab"), "{expected}");
    for level in [0, 1, 31] {
        let ours = run::to_elf(&dump.elf, level);
        let printed = Run::of(Command::new(&vmcore_dmesg).arg(ours.path())).ok().stdout;
        assert!(printed == expected, "level {level}");
    }
}

/// Only with the kernel image's own PT_LOAD does gdb read the crashed kernel's variables; without it, it falls back to
/// a vmlinux, where there is one, and shows the values at boot.
#[test]
fn gdb_reads_registers_and_the_kernel_image_of_an_elf_core() {
    let Some((dump, gdb)) = with("gdb") else { return };
    let notes = elf::notes(&Elf::open(&dump.elf).notes, Elf::open(&dump.elf).order);
    let info = notes.iter().find(|note| note.name == "VMCOREINFO").expect("VMCOREINFO");
    let info = String::from_utf8_lossy(&info.desc).into_owned();
    let symbol =
        info.lines().find_map(|line| line.strip_prefix("SYMBOL(init_uts_ns)=")).expect("init_uts_ns");
    let print = |core: &Path| {
        let mut command = Command::new(&gdb);
        command.args(["-nx", "-batch", "-ex", "info registers rip"]);
        // `init_uts_ns.name`: sysname, nodename, release, 65 bytes each.
        command.arg("-ex").arg(format!("x/s 0x{symbol}")).arg("-ex").arg(format!("x/s 0x{symbol}+130"));
        let printed = Run::of(command.arg("-c").arg(core)).ok().stdout;
        let values = printed.lines().filter(|line| line.starts_with("rip ") || line.starts_with("0x"));
        values.map(|line| format!("{line}\n")).collect::<String>()
    };
    let expected = print(&dump.elf);
    assert!(expected.contains("rip ") && expected.contains("\"6.1.192-lab\""), "{expected}");
    for level in [0, 31] {
        assert_eq!(print(run::to_elf(&dump.elf, level).path()), expected);
    }
}
