//! Other programs see in a mounted dump what they see in the core that it is converted to.

mod common;

use common::check;
use common::mounted::Mounted;
use common::peer;
use common::reader::elf::{Elf, notes};
use common::reader::kdump::Kdump;
use common::run::{self, Run, Scratch};
use corpus::Dump;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The x86_64 dump as a kdump file of `level`, mounted, and an installed peer.
fn with(program: &str, level: u32) -> Option<(Dump, Mounted, PathBuf)> {
    let (dump, program) = (corpus::dump(corpus::X86_64)?, peer::program(program)?);
    let mounted = mounted(&dump, level)?;
    Some((dump, mounted, program))
}

/// `dump` as a kdump file of `level`, mounted.
fn mounted(dump: &Dump, level: u32) -> Option<Mounted> {
    // Nothing of it is read from its name once it is mounted.
    let kdump = run::to_kdump(&dump.elf, level, "zstd");
    Mounted::new(&[kdump.path()], &[])
}

#[test]
fn vmcore_dmesg_prints_the_log() {
    let Some((dump, mounted, vmcore_dmesg)) = with("vmcore-dmesg", 31) else { return };
    let print = |core: &Path| Run::of(Command::new(&vmcore_dmesg).arg(core)).ok().stdout;
    let expected = print(&dump.elf);
    assert!(expected.contains("Linux version 6.1.192-lab"), "{expected}");
    assert!(print(&mounted.vmcore()) == expected);
}

#[test]
fn gdb_reads_registers_and_the_kernel_image() {
    let Some((dump, mounted, gdb)) = with("gdb", 31) else { return };
    let elf = Elf::open(&dump.elf);
    let notes = notes(&elf.notes, elf.order);
    let info = notes.iter().find(|note| note.name == "VMCOREINFO").expect("VMCOREINFO");
    let info = String::from_utf8_lossy(&info.desc).into_owned();
    let symbol =
        info.lines().find_map(|line| line.strip_prefix("SYMBOL(init_uts_ns)=")).expect("init_uts_ns");
    let print = |core: &Path| {
        let mut command = Command::new(&gdb);
        command.args(["-nx", "-batch", "-ex", "info registers", "-ex"]).arg(format!("x/s 0x{symbol}+130"));
        let printed = Run::of(command.arg("-c").arg(core)).ok().stdout;
        let values = printed.lines().filter(|line| line.starts_with("r") || line.starts_with("0x"));
        values.map(|line| format!("{line}\n")).collect::<String>()
    };
    let expected = print(run::to_elf(&dump.elf, 31).path());
    assert!(expected.contains("rip ") && expected.contains("\"6.1.192-lab\""), "{expected}");
    assert_eq!(print(&mounted.vmcore()), expected);
}

#[test]
fn crash_prints_the_same() {
    let Some((dump, mounted, crash)) = with("crash", 31) else { return };
    let Some(vmlinux) = dump.vmlinux() else { return };
    let commands = ["sys", "bt -a", "ps", "log", "mod", "kmem -i"];
    let expected = peer::crash(&crash, &vmlinux, run::to_elf(&dump.elf, 31).path(), &commands);
    assert!(expected.contains("sysrq triggered crash") && expected.contains("TOTAL MEM"), "{expected}");
    let printed = peer::crash(&crash, &vmlinux, &mounted.vmcore(), &commands);
    let differing = expected.lines().zip(printed.lines()).find(|(a, b)| a != b);
    assert!(printed == expected, "first difference: {differing:?}");
}

#[test]
fn makedumpfile_filters_to_the_same_pages() {
    let Some((dump, mounted, makedumpfile)) = with("makedumpfile", 0) else { return };
    let filtered = Scratch::new("filtered");
    let mut command = Command::new(&makedumpfile);
    Run::of(command.args(["-d", "31", "-c"]).arg(mounted.vmcore()).arg(filtered.path())).ok();
    check::same_frames(&Kdump::open(filtered.path()).bitmap2, &dump.bitmap(31)).unwrap();
}

/// libkdumpfile shows the frame before a segment of an ELF core, whoever wrote it (0xff of this dump); all others are those that
/// should be there.
#[test]
fn libkdumpfile_reads_the_same_pages() {
    let (Some(dump), Some(python)) = (corpus::dump(corpus::X86_64), peer::python_kdumpfile()) else { return };
    for level in [0, 31] {
        let Some(mounted) = mounted(&dump, level) else { return };
        let bitmap = Scratch::new("kept");
        let kept = dump.bitmap(level);
        fs::write(bitmap.path(), &kept).expect("a bitmap");
        let mut command = Command::new(python);
        command.arg(peer::script("pages.py")).arg(&dump.elf).arg(mounted.vmcore()).arg(bitmap.path());
        let found = Run::of(command.arg("4096")).ok().stdout;
        let found: Value = serde_json::from_str(&found).expect("JSON");
        let count: u32 = kept.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(found["compared"], count, "level {level}: {found}");
        let more = found["first"].as_array().expect("a list");
        let segments = Elf::open(&mounted.vmcore()).loads.len() as u64;
        assert!(found["wrong"].as_u64().is_some_and(|wrong| wrong <= segments), "level {level}: {found}");
        for what in more {
            assert!(what.as_str().is_some_and(|w| w.ends_with("is there and should not be")), "{found}");
        }
    }
}

#[test]
fn drgn_sees_the_same_tasks_stacks_and_log() {
    for name in [corpus::X86_64, corpus::POWER] {
        let (Some(dump), Some(python)) = (corpus::dump(name), peer::python_drgn()) else { return };
        let Some(vmlinux) = dump.vmlinux() else { return };
        let Some(mounted) = mounted(&dump, 31) else { return };
        let expected = peer::drgn(python, &vmlinux, &dump.elf);
        assert!(expected.contains("Linux version"), "the log is missing");
        let seen = peer::drgn(python, &vmlinux, &mounted.vmcore());
        let differing = expected.lines().zip(seen.lines()).find(|(a, b)| a != b);
        assert!(seen == expected, "{name}: first difference: {differing:?}");
    }
}
