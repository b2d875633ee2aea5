//! Virtual addresses that the kernel's own tables give, compared with those of the dump's segments.

mod support;

use corpus::{NAMES, X86_64};
use dumpfile::output::OutputFile;
use dumpfile::{Facts, Progress};
use kernel::Kernel;
use std::path::Path;
use std::process::Command;
use support::with_dump;
use vmcore::{Dump, DumpLevel, VirtSegment};

/// Whether one of `segments` has all of `wanted` at the same distance.
fn covers(segments: &[VirtSegment], wanted: &VirtSegment) -> bool {
    segments.iter().any(|s| {
        let distance = |s: &VirtSegment| s.virt.0.wrapping_sub(s.phys.start.0);
        distance(s) == distance(wanted) && s.phys.start <= wanted.phys.start && wanted.phys.end <= s.phys.end
    })
}

#[test]
fn every_segment_of_a_real_dump_is_found_again() {
    for name in NAMES {
        with_dump(name, |_, dump| {
            let segments = Kernel::open(dump).unwrap().virt_segments();
            for wanted in &dump.virt {
                assert!(covers(&segments, wanted), "{name}: {wanted:x?} is not in {segments:x?}");
            }
        });
    }
}

fn facts(kernel: &Kernel<'_>) -> Facts {
    Facts { utsname: kernel.utsname().clone(), phys_base: kernel.phys_base(), notes: Vec::new() }
}

fn to_kdump(dump: &Dump, path: &Path) {
    let kernel = Kernel::open(dump).unwrap();
    let selected = kernel.select(DumpLevel::ALL, None).unwrap();
    let file = OutputFile::create(path, false).unwrap();
    let options = dumpfile::kdump::Options::default();
    let progress = Progress::default();
    dumpfile::kdump::write(dump, &selected.selection, &facts(&kernel), &options, &file, &progress).unwrap();
    file.commit().unwrap();
}

fn to_elf(dump: &Dump, path: &Path) {
    let kernel = Kernel::open(dump).unwrap();
    let selected = kernel.select(DumpLevel::ALL, None).unwrap();
    let file = OutputFile::create(path, false).unwrap();
    dumpfile::elf::write(dump, &selected.selection, &facts(&kernel), &file, &Progress::default()).unwrap();
    file.commit().unwrap();
}

/// What `vmcore-dmesg` prints, which finds everything by virtual addresses; `None` where it is not installed.
fn vmcore_dmesg(path: &Path) -> Option<String> {
    let output = Command::new(corpus::program("vmcore-dmesg")?).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn an_elf_file_made_of_a_kdump_file_is_read_by_virtual_addresses() {
    with_dump(X86_64, |_, dump| {
        let dir = tempfile::tempdir().unwrap();
        let (kdump, elf) = (dir.path().join("kdump"), dir.path().join("elf"));
        to_kdump(dump, &kdump);
        let mut again = dumpfile::open(&kdump).unwrap();
        assert_eq!(again.virt, []);
        again.virt = Kernel::open(&again).unwrap().virt_segments();
        to_elf(&again, &elf);
        let direct = dir.path().join("direct");
        to_elf(dump, &direct);
        let Some(log) = vmcore_dmesg(&elf) else { return };
        assert!(log.contains("Linux version 6.1.192-lab"), "{log}");
        assert_eq!(Some(log), vmcore_dmesg(&direct));
    });
}
