//! `pages`, `diff` and `verify`: what they say of real dumps, and of dumps that were tampered with.

mod common;

use common::peer;
use common::reader::bit;
use common::reader::kdump::Kdump;
use common::run::{self, Run, Scratch, hadump};
use corpus::{POWER, POWER_BE, X86_64};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

fn pages(options: &[&str], dump: &Path) -> Run {
    hadump(["pages"].iter().copied().chain(options.iter().copied()).chain([dump.to_str().expect("a path")]))
}

fn diff(a: &Path, b: &Path) -> Run {
    hadump(["diff".as_ref(), a.as_os_str(), b.as_os_str()])
}

#[test]
fn checksums_of_all_pages_are_those_of_another_reader() {
    for name in [POWER, POWER_BE, X86_64] {
        let Some(dump) = corpus::dump(name) else { continue };
        let mut command = Command::new("python3");
        let script = peer::script("crc.py");
        let theirs = Run::of(command.arg(script).arg(&dump.elf).arg(dump.page_size.to_string())).ok().stdout;
        assert!(theirs.lines().count() > 5000, "{name}");
        let kdump = run::to_kdump(&dump.elf, 0, "lzo");
        for file in [&dump.elf, kdump.path()] {
            let ours = pages(&["--crc32"], file).ok().stdout;
            assert!(
                ours == theirs,
                "{}: {:?}",
                file.display(),
                ours.lines().zip(theirs.lines()).find(|(a, b)| a != b)
            );
        }
    }
}

#[test]
fn pages_that_were_left_out_are_listed_as_such_and_frames_without_memory_are_not() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let kdump = run::to_kdump(&dump.elf, 31, "zlib");
    let (existing, kept) = (dump.bitmap(0), dump.bitmap(31));
    let listed = pages(&[], kdump.path()).ok().stdout;
    let mut lines = listed.lines();
    for pfn in (0..existing.len() as u64 * 8).filter(|&pfn| bit(&existing, pfn)) {
        let line = lines.next().expect("a line for each frame");
        let state = line.strip_prefix(&format!("page {pfn} ")).unwrap_or_else(|| panic!("{pfn}: {line}"));
        let expected: &[&str] = if bit(&kept, pfn) { &["data", "zero"] } else { &["excluded"] };
        assert!(expected.contains(&state), "{line}");
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn dumps_are_the_same_in_any_format_and_compression() {
    for name in [POWER, POWER_BE, X86_64] {
        let Some(dump) = corpus::dump(name) else { continue };
        let elf = run::to_elf(&dump.elf, 31);
        for (level, method) in [(31, "zstd"), (31, "none"), (30, "zlib")] {
            let kdump = run::to_kdump(&dump.elf, level, method);
            assert!(diff(elf.path(), kdump.path()).ok().stdout.contains("different  0 pages"), "{name}");
        }
    }
}

#[test]
fn what_differs_is_listed_by_frame() {
    let Some(dump) = corpus::dump(X86_64) else { return };
    let (a, b) = (run::to_kdump(&dump.elf, 31, "none"), Scratch::new("changed"));
    // Checksums would find that it was changed.
    run::convert(&dump.elf, b.path(), &["-c", "none", "--no-checksums"]).ok();
    let kdump = Kdump::open(b.path());
    // A byte of the first page that is not all zeros, and so not the one that pages of zeros share.
    let mut stored = kdump.kept().zip(0..).map(|(pfn, index)| (pfn, kdump.stored(index)));
    let (pfn, page) = stored.find(|(_, page)| page.bytes.iter().any(|b| *b != 0)).expect("a page");
    let file = OpenOptions::new().write(true).open(b.path()).unwrap();
    file.write_all_at(&[!page.bytes[7]], page.offset + 7).unwrap();
    let run = diff(a.path(), b.path());
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stdout.contains(&format!("different  1 pages: frames {pfn:#x}\n")), "{}", run.stdout);
    let less = run::to_kdump(&dump.elf, 31, "none");
    let all = run::to_kdump(&dump.elf, 23, "none");
    let run = hadump(["diff".as_ref(), "--json".as_ref(), all.path().as_os_str(), less.path().as_os_str()]);
    assert_eq!(run.code, Some(1));
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let count = |level| dump.bitmap(level).iter().map(|b| u64::from(b.count_ones())).sum::<u64>();
    assert_eq!(report["only_in_a"]["pages"], count(23) - count(31));
    assert_eq!(report["only_in_b"]["pages"], 0);
    assert_eq!(report["same"], count(31));
}

#[test]
fn dumps_that_cannot_be_compared_are_neither_the_same_nor_different() {
    let (Some(x86), Some(power)) = (corpus::dump(X86_64), corpus::dump(POWER)) else { return };
    let run = diff(&x86.elf, &power.elf);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("nothing to compare"), "{}", run.stderr);
    assert_eq!(diff(&x86.elf, Path::new("/nonexistent")).code, Some(2));
}

#[test]
fn a_sound_dump_is_sound_and_one_with_a_broken_page_is_not() {
    for name in [POWER, POWER_BE, X86_64] {
        let Some(dump) = corpus::dump(name) else { continue };
        let verdict = |file: &Path| hadump(["verify".as_ref(), file.as_os_str()]).ok().stdout;
        let proved = verdict(run::to_kdump(&dump.elf, 31, "zstd").path());
        assert!(proved.contains("verdict  sound:"), "{proved}");
        // An ELF core has no checksums.
        let core = verdict(run::to_elf(&dump.elf, 1).path());
        assert!(core.contains("verdict  plausible:"), "{core}");
    }
    let Some(dump) = corpus::dump(POWER) else { return };
    let broken = Scratch::new("broken");
    run::convert(&dump.elf, broken.path(), &["-c", "zlib", "--no-checksums"]).ok();
    let kdump = Kdump::open(broken.path());
    let pfn = kdump.kept().nth(5).expect("a page");
    let file = OpenOptions::new().write(true).open(broken.path()).unwrap();
    file.write_all_at(&[0; 24], kdump.descriptor(5)).unwrap();
    let run = hadump(["verify".as_ref(), broken.path().as_os_str()]);
    assert_eq!(run.code, Some(4), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains(&format!("lost: 1 pages: frames {pfn:#x}")), "{}", run.stdout);
    let listed = pages(&[], broken.path());
    assert_eq!(listed.code, Some(4));
    assert!(listed.stdout.contains(&format!("page {pfn} lost\n")));
}

#[test]
fn a_file_that_is_no_dump_cannot_be_verified() {
    let file = Scratch::new("text");
    fs::write(file.path(), "not a dump").unwrap();
    let run = hadump(["verify".as_ref(), file.path().as_os_str()]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("not a kernel dump"), "{}", run.stderr);
}
