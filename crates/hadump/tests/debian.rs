//! Real dumps of Debian's own kernels, with modules: x86_64 7.2, arm64 6.12 from a kexec'ed kernel, s390x 6.12 from QEMU.

mod common;

use common::check;
use common::reader::kdump::Kdump;
use common::run::{Scratch, convert, hadump};
use corpus::{ARM64, DEBIAN, S390X, X86_64_DEBIAN};

/// Converts at `level`; the kept pages must be those that independent tools worked out, and nothing is in doubt.
#[track_caller]
fn is_exact(dump: &corpus::Dump, level: u32) {
    let out = Scratch::new("out");
    let run = convert(&dump.elf, out.path(), &["-d", &level.to_string(), "-c", "none"]);
    assert_eq!(run.code, Some(0), "{}, level {level}: {}{}", dump.name, run.stdout, run.stderr);
    let kdump = Kdump::open(out.path());
    check::same_frames(&kdump.bitmap2, &dump.bitmap(level))
        .unwrap_or_else(|e| panic!("{}, level {level}: {e}", dump.name));
}

#[test]
fn their_kept_pages_are_exact_and_nothing_is_in_doubt() {
    // All levels where there is time, else one with and one without user pages.
    let all: Vec<u32> = (0..32).collect();
    let levels = if std::env::var_os("HADUMP_ALL_LEVELS").is_some() { &all[..] } else { &[23, 31] };
    for name in DEBIAN {
        let Some(dump) = corpus::dump(name) else { continue };
        levels.iter().for_each(|level| is_exact(&dump, *level));
    }
}

#[test]
fn what_they_are_is_told() {
    for (name, words) in [
        (X86_64_DEBIAN, ["x86_64, little-endian", "Linux 7.2.13+deb14-amd64"]),
        (ARM64, ["aarch64, little-endian", "Linux 6.12.117+deb13-arm64"]),
        (S390X, ["s390x, big-endian", "Linux 6.12.107+deb13-s390x"]),
    ] {
        let Some(dump) = corpus::dump(name) else { continue };
        let info = hadump(["info".as_ref(), dump.elf.as_os_str()]).ok().stdout;
        assert!(words.iter().all(|word| info.contains(word)), "{name}: {info}");
        assert!(info.contains("2 with registers"), "{name}: {info}");
    }
}

#[test]
fn their_logs_are_whole() {
    for name in DEBIAN {
        let Some(dump) = corpus::dump(name) else { continue };
        let log = hadump(["dmesg".as_ref(), dump.elf.as_os_str()]).ok().stdout;
        let expected = dump.text("expected/dmesg.txt");
        // The order of words in a time stamp's prefix is the peer's own; the lines' text is the kernel's.
        let text = |line: &str| line.rsplit_once("] ").map_or(line.to_owned(), |(_, text)| text.to_owned());
        let [ours, theirs] = [&log, &expected].map(|log| log.lines().map(text).collect::<Vec<_>>());
        assert!(ours == theirs, "{name}: {} lines, expected {}", ours.len(), theirs.len());
    }
}
