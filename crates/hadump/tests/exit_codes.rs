//! What raises the exit codes 3 and 4, and what does not: the rows of docs/exit-codes.md that no other test shows.

mod common;

use common::makedumpfile::ours;
use common::run::{HADUMP, Run, Scratch, hadump};
use corpus::Dump;
use kernel::{Kernel, KernelMemory};
use phyp_model::catalogue::catalogue;
use phyp_model::scenario::{self, Dirt};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use vmcore::VirtAddr;

/// A copy of a dump's file in which something is changed.
struct Changed {
    scratch: Scratch,
    file: File,
}

impl Changed {
    fn of(dump: &Dump) -> Self {
        let scratch = Scratch::new("changed.elf");
        dump.copy_elf(scratch.path());
        let file = File::options().read(true).write(true).open(scratch.path()).unwrap();
        Self { scratch, file }
    }

    fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Replaces a text of the notes, which come before memory, by one of the same length.
    fn replace(&self, text: &str, by: &str) {
        assert_eq!(text.len(), by.len());
        let mut notes = vec![0; 1 << 20];
        self.file.read_exact_at(&mut notes, 0).unwrap();
        let at = notes.windows(text.len()).position(|window| window == text.as_bytes()).expect(text);
        self.file.write_all_at(by.as_bytes(), at as u64).unwrap();
    }

    /// As [`Changed::replace`], and in the copy that the kernel's memory has of the notes.
    fn replace_everywhere(&self, text: &str, by: &str) {
        self.replace(text, by);
        let bytes = fs::read(self.path()).unwrap();
        for at in memchr::memmem::find_iter(&bytes, text) {
            self.file.write_all_at(by.as_bytes(), at as u64).unwrap();
        }
    }

    /// Writes a little-endian word to the kernel's memory.
    fn put(&self, kernel: &Kernel<'_>, at: u64, word: u64) {
        let phys = kernel.translate(VirtAddr(at)).unwrap().0;
        let mut head = [0; 64];
        self.file.read_exact_at(&mut head, 0).unwrap();
        let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let count = u16::from_le_bytes(head[56..58].try_into().unwrap());
        for n in 0..u64::from(count) {
            let mut segment = [0; 56];
            self.file.read_exact_at(&mut segment, number(&head, 32) + 56 * n).unwrap();
            let (offset, start, len) = (number(&segment, 8), number(&segment, 24), number(&segment, 32));
            if segment[0] == 1 && (start..start + len).contains(&phys) {
                self.file.write_all_at(&word.to_le_bytes(), offset + phys - start).unwrap();
            }
        }
    }
}

/// The newest record of the log: where its descriptor is, its number, and where its text's block is.
struct Newest {
    desc: u64,
    id: u64,
    block: u64,
}

impl Newest {
    fn of(kernel: &Kernel<'_>) -> Self {
        let info = kernel.info();
        let offset = |name: &str| info.offset(name).unwrap();
        let word = |at: u64| kernel.read_word(VirtAddr(at)).unwrap();
        let bits = |at: u64| 1u64 << kernel.read_u32(VirtAddr(at)).unwrap();
        let ring = word(info.symbol("prb").unwrap().0);
        let descs = ring + offset("printk_ringbuffer.desc_ring");
        let text = ring + offset("printk_ringbuffer.text_data_ring");
        let id = word(descs + offset("prb_desc_ring.head_id")) & (u64::MAX >> 2);
        let count = bits(descs + offset("prb_desc_ring.count_bits"));
        let desc = word(descs + offset("prb_desc_ring.descs")) + id % count * info.size("prb_desc").unwrap();
        let begin = word(desc + offset("prb_desc.text_blk_lpos"));
        let size = bits(text + offset("prb_data_ring.size_bits"));
        Self { desc, id, block: word(text + offset("prb_data_ring.data")) + begin % size }
    }
}

/// The x86_64 dump with its newest record changed by `change`, and its log without that record.
fn log_changed(change: impl Fn(&Changed, &Kernel<'_>, &Newest)) -> Option<(Changed, String)> {
    let dump = corpus::dump(corpus::X86_64)?;
    let opened = dumpfile::open(&dump.elf).unwrap();
    let kernel = Kernel::open(&opened).unwrap();
    let changed = Changed::of(&dump);
    change(&changed, &kernel, &Newest::of(&kernel));
    let log = dump.text("expected/dmesg.txt");
    let without = log.trim_end().rsplit_once('\n').unwrap().0.to_owned() + "\n";
    Some((changed, without))
}

/// At many a crash another CPU is stopped inside printk, or a message finds no room.
#[test]
fn a_record_that_was_never_written_costs_neither_the_log_nor_the_exit_code() {
    type Change = fn(&Changed, &Kernel<'_>, &Newest);
    let changes: [Change; 2] = [
        |copy, kernel, newest| copy.put(kernel, newest.desc, newest.id),
        |copy, kernel, newest| {
            copy.put(kernel, newest.desc + 8, 1);
            copy.put(kernel, newest.desc + 16, 1);
        },
    ];
    for change in changes {
        let Some((dump, log)) = log_changed(change) else { return };
        assert!(hadump(["dmesg".as_ref(), dump.path()]).ok().stdout == log);
        let place = Scratch::new("dmesg");
        for options in [&["--dump-dmesg"][..], &["--dump-dmesg", "--partial-dmesg", "-f"]] {
            let run = Run::of(ours().args(options).arg(dump.path()).arg(place.path())).ok();
            assert!(run.stdout.ends_with("makedumpfile Completed.\n"), "{}", run.stdout);
            assert!(run.stderr.contains("1 record of the log"), "{}", run.stderr);
            assert!(fs::read_to_string(place.path()).unwrap() == log);
        }
        // As openSUSE's kdump calls it.
        let run = Run::of(ours().args(["-F", "--message-level", "8", "--dump-dmesg"]).arg(dump.path())).ok();
        assert!(run.stdout == log && run.stderr.contains("  OSRELEASE="), "{}", run.stderr);
    }
}

#[test]
fn a_log_with_a_damaged_record_is_printed_and_incomplete() {
    let Some((dump, log)) = log_changed(|copy, kernel, newest| copy.put(kernel, newest.block, 77)) else {
        return;
    };
    let run = hadump(["dmesg".as_ref(), dump.path()]);
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    assert!(run.stdout == log && run.stderr.contains("text that belongs to another"), "{}", run.stderr);
    let place = Scratch::new("dmesg");
    let run = Run::of(ours().arg("--dump-dmesg").arg(dump.path()).arg(place.path()));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
}

fn save(root: &Path, to: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(HADUMP);
    command.args(["save", "--root"]).arg(root).arg("--to").arg(to).args(options);
    command
}

#[test]
fn a_dump_whose_kernel_is_not_described_is_kept_whole_also_when_its_save_goes_on() {
    let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
    let changed = Changed::of(&dump);
    changed.replace_everywhere("SIZE(page)=", "SIZE(pagf)=");
    let place = Scratch::new("vmcore");
    let converted = common::run::convert(changed.path(), &place.directory().join("converted"), &[]);
    assert_eq!(converted.code, Some(3), "{}", converted.stderr);
    let root = place.directory().join("root");
    fs::create_dir_all(root.join("proc")).unwrap();
    symlink(changed.path(), root.join("proc/vmcore")).unwrap();
    let slowly = ["-q", "--segment", "1M", "--limit-rate", "2M", "-c", "none"];
    let child = save(&root, place.path(), &slowly).stderr(Stdio::null()).spawn().unwrap();
    let unfinished = place.directory().join("vmcore-incomplete");
    let began = Instant::now();
    while fs::metadata(&unfinished).map_or(0, |meta| meta.len()) < 4 << 20 {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    Run::of(Command::new("kill").arg(child.id().to_string())).ok();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(4));
    let resumed = Run::of(&mut save(&root, place.path(), &["--resume"]));
    assert_eq!(resumed.code, Some(3), "{}", resumed.stderr);
}

/// QEMU's dumps are of this kind.
#[test]
fn a_dump_whose_kernel_is_found_in_memory_is_complete() {
    let dump = corpus::dump(corpus::X86_64).expect("testdata/ holds the x86_64 dump");
    let changed = Changed::of(&dump);
    changed.replace("VMCOREINFO\0", "VMCOREINFX\0");
    let place = Scratch::new("vmcore");
    let run = common::run::convert(changed.path(), place.path(), &[]).ok();
    assert!(run.stderr.contains("found in memory"), "{}", run.stderr);
}

#[test]
fn leavings_without_vmcoreinfo_lack_nothing_and_are_kept_whole() {
    let cases = catalogue().into_iter().filter(|case| case.name.contains("VMCOREINFO missing"));
    let mut seen = 0;
    for case in cases {
        let mut machine = phyp_model::Machine::new(case.options.clone()).expect("a machine");
        machine.scatter(64).expect("room for pages");
        let run = scenario::run(machine, case.event, &case.faults, Dirt::Stamps).expect("a run");
        let (root, out) = (common::model::root(&run), Scratch::new("vmcore"));
        let run = common::run::convert(root.path(), out.path(), &["--json"]);
        assert_eq!(run.code, Some(3), "{}: {}", case.name, run.stderr);
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(
            (&report["output"]["complete"], &report["pages"]["lost"]),
            (&true.into(), &0.into()),
            "{}",
            case.name
        );
        assert!(out.path().exists() && !run.stderr.contains("INCOMPLETE"), "{}", run.stderr);
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn an_input_that_is_cut_off_is_incomplete_for_every_command() {
    let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
    let (whole, cut) = (Scratch::new("whole"), Scratch::new("cut"));
    common::run::convert(&dump.elf, whole.path(), &[]).ok();
    let bytes = fs::read(whole.path()).unwrap();
    fs::write(cut.path(), &bytes[..bytes.len() * 3 / 4]).unwrap();
    for command in ["info", "pages", "verify"] {
        let run = hadump([command.as_ref(), cut.path()]);
        assert_eq!(run.code, Some(4), "{command}: {}", run.stderr);
    }
    let out = Scratch::new("out");
    for options in [&[][..], &["-d", "0"], &["--format", "elf"]] {
        let run = common::run::convert(cut.path(), out.path(), &[options, &["-f"]].concat());
        assert_eq!(run.code, Some(4), "{options:?}: {}", run.stderr);
        assert!(out.directory().join("out-incomplete").exists() && !out.path().exists(), "{options:?}");
    }
    let run = Run::of(ours().args(["-c", "-d", "31"]).arg(cut.path()).arg(out.path()));
    assert_eq!(run.code, Some(1), "{}", run.stdout);
}

/// A kdump file without checksums in which two pages have bytes in common, as no writer makes it.
fn with_overlapping_pages() -> Scratch {
    let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
    let file = Scratch::new("vmcore");
    common::run::convert(&dump.elf, file.path(), &["-d", "31", "-c", "zstd", "--no-checksums"]).ok();
    let bytes = fs::read(file.path()).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    // `disk_dump_header`: block_size, sub_hdr_size, bitmap_blocks (makedumpfile's diskdump_mod.h).
    let (block, sub, bitmaps) = (word(428), word(432), word(436));
    let descriptors = (1 + sub + bitmaps) * block;
    let offset = |n: usize| u64::from_le_bytes(bytes[descriptors + 24 * n..][..8].try_into().unwrap());
    let size = |n: usize| word(descriptors + 24 * n + 8);
    let page = (1..).find(|&n| size(n) > 64 && offset(n) > offset(n - 1)).unwrap();
    let moved = File::options().write(true).open(file.path()).unwrap();
    moved.write_all_at(&(offset(page) - 8).to_le_bytes(), (descriptors + 24 * page) as u64).unwrap();
    file
}

#[test]
fn pages_that_overlap_in_a_file_without_checksums_are_told_by_every_command_that_reads_all() {
    let file = with_overlapping_pages();
    for command in ["verify", "pages"] {
        let run = hadump([command.as_ref(), file.path()]);
        assert_eq!(run.code, Some(4), "{command}: {}", run.stderr);
        assert!((run.stdout + &run.stderr).contains("pages overlap"), "{command}: {}", run.stderr);
    }
    let out = Scratch::new("out");
    let run = common::run::convert(file.path(), out.path(), &["-d", "31"]);
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    assert!(run.stderr.contains("pages overlap"), "{}", run.stderr);
    let run = Run::of(ours().args(["-c", "-d", "31", "-f"]).arg(file.path()).arg(out.path()));
    assert_eq!(run.code, Some(1), "{}", run.stdout);
}

/// What takes a dump must have taken all of it: the standard library opens the null device in the place of a closed
/// standard output, which takes everything.
#[test]
fn a_closed_standard_output_fails_like_a_full_one_where_a_dump_goes_there() {
    let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
    let closed = |program: &str, args: &[&str]| {
        Run::of(Command::new("sh").args(["-c", "exec \"$0\" \"$@\" >&-", program]).args(args).arg(&dump.elf))
    };
    let makedumpfile = Scratch::new("makedumpfile");
    symlink(HADUMP, makedumpfile.path()).unwrap();
    let run = closed(makedumpfile.path().to_str().unwrap(), &["-F", "-c", "-d", "31"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("standard output is closed"), "{}", run.stderr);
    let run = closed(HADUMP, &["convert", "-o", "-"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("standard output is closed"), "{}", run.stderr);
    let Some(encrypted) = encrypted(&dump.elf) else { return };
    let run = Run::of(
        Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" >&-", HADUMP, "decrypt", "-o", "-", "--identity"])
            .args([&encrypted.directory().join("key"), encrypted.path()]),
    );
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("standard output is closed"), "{}", run.stderr);
}

/// The dump, encrypted for the key in the file `key` beside it; `None` where there is no `age-keygen`.
fn encrypted(dump: &Path) -> Option<Scratch> {
    let keygen = common::peer::program("age-keygen")?;
    let scratch = Scratch::new("vmcore.age");
    let key = scratch.directory().join("key");
    Run::of(Command::new(keygen).arg("-o").arg(&key)).ok();
    let text = fs::read_to_string(&key).unwrap();
    let public = text.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("a public key");
    common::run::convert(dump, scratch.path(), &["-d", "31", "--encrypt-to", public]).ok();
    Some(scratch)
}
