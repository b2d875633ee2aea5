//! Damaged and foreign input: an error that names the file, no panic, no hang, no memory out of proportion.

mod common;

use common::reader::elf::Elf;
use common::run::{HADUMP, Run, Scratch};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs hadump with 1 GiB of address space for itself and as much again as the largest dump here maps.
fn limited(arguments: &[&str], input: &Path, output: Option<&Path>) -> Run {
    let mut command = Command::new("timeout");
    command
        .args(["60", "sh", "-c", "ulimit -v 1572864; exec \"$@\"", "sh", HADUMP])
        .args(arguments)
        .arg(input);
    if let Some(output) = output {
        command.args(["-j", "2", "--force", "-o"]).arg(output);
    }
    Run::of(&mut command)
}

/// The exit codes that a run on damaged input may have, and what it says then.
#[track_caller]
fn survives(what: &str, input: &Path, run: &Run, allowed: &[i32]) {
    let code = run.code.unwrap_or_else(|| panic!("{what}: killed\n{}", run.stderr));
    assert_ne!(code, 124, "{what}: still running after a minute");
    assert!(!run.stderr.contains("panicked"), "{what}:\n{}", run.stderr);
    assert!(allowed.contains(&code), "{what}: exit code {code}\n{}", run.stderr);
    if code == 1 {
        let name = input.file_name().unwrap().to_string_lossy();
        assert!(run.stderr.contains(&*name), "{what}: {name} is not named:\n{}", run.stderr);
    }
}

/// A copy that may be damaged, holes included.
fn copy(dump: &Path) -> Scratch {
    let copy = Scratch::new("damaged-vmcore");
    // `fs::copy` would fill the holes.
    Run::of(Command::new("cp").arg("--sparse=always").arg(dump).arg(copy.path())).ok();
    Run::of(Command::new("chmod").arg("u+w").arg(copy.path())).ok();
    copy
}

fn truncated_anywhere(name: &'static str) {
    let Some(dump) = corpus::dump(name) else { return };
    let (input, output) = (copy(&dump.elf), Scratch::new("out"));
    let file = OpenOptions::new().write(true).open(input.path()).unwrap();
    let loads = Elf::open(&dump.elf).loads;
    let whole = fs::metadata(&dump.elf).unwrap().len();
    let start = loads[0].offset;
    let mut points = vec![whole - 1, whole - 0x1800, whole / 3 * 2, whole / 2, whole / 5, start + 1, start];
    points.extend(loads.iter().map(|load| load.offset + load.filesz / 2));
    points.extend([
        start - 1,
        start / 2 + 5,
        start / 2,
        0x400,
        233,
        232,
        121,
        120,
        119,
        65,
        64,
        63,
        20,
        16,
        5,
        4,
        1,
        0,
    ]);
    points.sort_unstable();
    points.dedup();
    for len in points.into_iter().rev() {
        file.set_len(len).unwrap();
        let what = format!("{name}, {len} bytes of {whole}");
        survives(&what, input.path(), &limited(&["info"], input.path(), None), &[0, 1, 4]);
        survives(&what, input.path(), &limited(&["dmesg"], input.path(), None), &[0, 1, 4]);
        let run = limited(&["convert"], input.path(), Some(output.path()));
        survives(&what, input.path(), &run, &[1, 4]);
        assert!(!output.path().exists(), "{what}: an incomplete dump has the whole one's name");
    }
}

#[test]
fn a_power_dump_may_be_truncated_anywhere() {
    truncated_anywhere(corpus::POWER);
}

#[test]
fn a_big_endian_dump_may_be_truncated_anywhere() {
    truncated_anywhere(corpus::POWER_BE);
}

#[test]
fn an_x86_64_dump_may_be_truncated_anywhere() {
    truncated_anywhere(corpus::X86_64);
}

/// A generator of numbers without a pattern (xorshift64), the same on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Overwrites at most `most` places of `range`, an offset and a length in bytes, with random bytes and with the numbers that break arithmetic.
fn damaged_in(name: &'static str, seed: u64, runs: u32, most: u64, range: impl Fn(&Elf) -> (u64, u64)) {
    let Some(dump) = corpus::dump(name) else { return };
    let (input, output) = (copy(&dump.elf), Scratch::new("out"));
    let file = OpenOptions::new().write(true).open(input.path()).unwrap();
    let (start, len) = range(&Elf::open(&dump.elf));
    let mut original = vec![0; len as usize];
    File::open(&dump.elf).unwrap().read_exact_at(&mut original, start).unwrap();
    let mut random = Random(seed);
    let begun = Instant::now();
    for round in 0..runs {
        let mut bytes = original.clone();
        for _ in 0..1 + random.below(most) {
            let at = random.below(len - 8) as usize;
            let value = match random.below(4) {
                0 => u64::MAX,
                1 => 0x8000_0000_0000_0000,
                2 => 0x7fff_ffff_ffff_f000,
                _ => random.next(),
            };
            let width = 1 << random.below(4);
            let at = at / width * width;
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        file.write_all_at(&bytes, start).unwrap();
        let what = format!("{name}, damage {round} of seed {seed:#x}");
        // Damage to a register or to padding does no harm: then the dump is whole.
        survives(&what, input.path(), &limited(&["info"], input.path(), None), &[0, 1, 3, 4]);
        let run = limited(&["convert", "-c", "lzo"], input.path(), Some(output.path()));
        survives(&what, input.path(), &run, &[0, 1, 3, 4]);
    }
    assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", begun.elapsed());
}

#[test]
fn random_bytes_in_the_elf_headers_do_no_more_than_an_error() {
    damaged_in(corpus::POWER, 0x5eed_0001, 40, 3, |_| (0, 232));
    damaged_in(corpus::X86_64, 0x5eed_0002, 20, 3, |_| (0, 288));
    damaged_in(corpus::POWER_BE, 0x5eed_0003, 20, 3, |_| (0, 232));
}

#[test]
fn random_bytes_in_the_notes_do_no_more_than_an_error() {
    let notes = |elf: &Elf| (elf.loads[0].offset / 2, elf.notes.len() as u64);
    damaged_in(corpus::POWER, 0x5eed_0004, 40, 3, notes);
    damaged_in(corpus::X86_64, 0x5eed_0005, 20, 3, notes);
    damaged_in(corpus::POWER_BE, 0x5eed_0006, 20, 3, notes);
}

/// The kernel's own structures are input as well: what follows them must stop somewhere.
#[test]
fn random_bytes_in_memory_do_no_more_than_keep_more_pages() {
    let memory = |elf: &Elf| (elf.loads[0].offset, 48 << 20);
    for seed in 0..4 {
        damaged_in(corpus::POWER, 0x5eed_1000 + seed, 4, 20_000, memory);
    }
}

#[test]
fn a_foreign_machine_is_named() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let input = copy(&dump.elf);
    let file = OpenOptions::new().write(true).open(input.path()).unwrap();
    // `e_machine`, what a message calls it, and the exit code: pages of SPARC V9 and IA-64 are kept whatever they are, and 65249
    // is no machine at all.
    for (machine, name, code) in [(43u16, "sparc", 3), (50, "ia-64", 3), (0xfee1, "65249", 1)] {
        file.write_all_at(&machine.to_le_bytes(), 18).unwrap();
        let output = Scratch::new("out");
        let run = limited(&["convert"], input.path(), Some(output.path()));
        survives(name, input.path(), &run, &[code]);
        let message = run.stderr.to_lowercase().replace("ia64", "ia-64").replace("0xfee1", "65249");
        assert!(message.contains(name), "{name}:\n{}", run.stderr);
    }
}

#[test]
fn what_is_no_dump_is_an_error() {
    for (name, content) in [("empty", &b""[..]), ("text", b"not a dump\n"), ("zeros", &[0; 100_000])] {
        let input = Scratch::new(name);
        fs::write(input.path(), content).unwrap();
        let output = Scratch::new("out");
        survives(name, input.path(), &limited(&["info"], input.path(), None), &[1]);
        survives(name, input.path(), &limited(&["dmesg"], input.path(), None), &[1]);
        survives(name, input.path(), &limited(&["convert"], input.path(), Some(output.path())), &[1]);
    }
    let directory = tempfile::tempdir().unwrap();
    survives("a directory", directory.path(), &limited(&["info"], directory.path(), None), &[1]);
}
