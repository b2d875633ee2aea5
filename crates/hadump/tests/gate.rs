//! Dumps that say wrong things of themselves: nothing that a debugger needs is left out, and exit code 3 says so.

mod common;

use common::reader::elf::Elf;
use common::reader::kdump::Kdump;
use common::run::{self, Scratch};
use common::{check, peer};
use corpus::Dump;
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt;

const COMMANDS: [&str; 4] = ["sys", "bt -a", "ps", "log"];

/// A copy of a dump's file that may be damaged. Holes stay holes.
struct Copy {
    scratch: Scratch,
    file: File,
}

impl Copy {
    fn of(dump: &Dump) -> Self {
        let scratch = Scratch::new("damaged.elf");
        let from = File::open(&dump.elf).unwrap();
        let file = File::options().read(true).write(true).create_new(true).open(scratch.path()).unwrap();
        let len = from.metadata().unwrap().len();
        file.set_len(len).unwrap();
        let mut block = vec![0; 1 << 20];
        for at in (0..len).step_by(block.len()) {
            let count = block.len().min((len - at) as usize);
            from.read_exact_at(&mut block[..count], at).unwrap();
            if block[..count].iter().any(|byte| *byte != 0) {
                file.write_all_at(&block[..count], at).unwrap();
            }
        }
        Self { scratch, file }
    }

    /// Puts `bytes` at `at` and returns what was there before.
    fn put(&self, at: u64, bytes: &[u8]) -> Vec<u8> {
        let mut before = vec![0; bytes.len()];
        self.file.read_exact_at(&mut before, at).unwrap();
        self.file.write_all_at(bytes, at).unwrap();
        before
    }

    /// Where `text` stands in the notes, which come before memory.
    fn find(&self, text: &str) -> u64 {
        let mut notes = vec![0; 1 << 20];
        self.file.read_exact_at(&mut notes, 0).unwrap();
        let at = notes.windows(text.len()).position(|window| window == text.as_bytes());
        at.unwrap_or_else(|| panic!("no {text} in the notes")) as u64
    }

    /// Where `text` stands anywhere in the file.
    fn find_all(&self, text: &str) -> Vec<u64> {
        let bytes = std::fs::read(self.scratch.path()).unwrap();
        let found = bytes.windows(text.len()).enumerate().filter(|(_, window)| *window == text.as_bytes());
        found.map(|(at, _)| at as u64).collect()
    }
}

/// Pages of mem_map as offsets in the file of an ELF dump, spread over all of it.
fn mem_map(dump: &Dump, count: usize) -> Vec<u64> {
    use kernel::KernelMemory;
    let opened = dumpfile::open(&dump.elf).unwrap();
    let kernel = kernel::Kernel::open(&opened).unwrap();
    let root = kernel.read_word(kernel.info().symbol("mem_section").unwrap()).unwrap();
    let base = kernel.read_word(vmcore::VirtAddr(root)).unwrap() & !0xfff;
    let elf = Elf::open(&dump.elf);
    let step = opened.memory.map().max_pfn().0 / count as u64;
    let frames = (0..count as u64).map(|i| i * step + step / 2);
    let offset = |pfn: u64| {
        let virt = vmcore::VirtAddr((base + pfn * 64) / dump.page_size * dump.page_size);
        let phys = kernel.translate(virt).ok()?.0;
        let load = elf.loads.iter().find(|load| (load.paddr..load.paddr + load.filesz).contains(&phys))?;
        Some(load.offset + phys - load.paddr)
    };
    frames.filter_map(offset).collect()
}

/// Converts at level 31: exit code 3, every page of the true set, and the report says why.
#[track_caller]
fn held_back(dump: &Dump, copy: &Copy, what: &str, closed: bool) -> Scratch {
    let output = Scratch::new("out.kdump");
    let run = run::convert(copy.scratch.path(), output.path(), &["-d", "31", "-c", "snappy", "--json"]);
    assert_eq!(run.code, Some(3), "{what}: {}", run.stderr);
    let kdump = Kdump::open(output.path());
    let truth = dump.bitmap(31);
    let lost = truth.iter().zip(&kdump.bitmap2).filter(|(truth, ours)| *truth & !*ours != 0).count();
    assert_eq!(lost, 0, "{what}: bytes of the bitmap in which pages are lost");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["exit_code"], 3);
    assert_eq!(report["gate"]["closed"], closed, "{what}: {report:#}");
    assert_eq!(kdump.dump_level, if closed { 1 } else { 31 }, "{what}");
    assert!(!run.stderr.is_empty() && !report["remarks"].as_array().unwrap().is_empty());
    output
}

#[test]
fn crash_prints_the_same_of_an_x86_64_dump_that_says_wrong_things() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let peer = peer::program("crash").zip(dump.vmlinux());
    let expected = peer.as_ref().map(|(crash, vmlinux)| peer::crash(crash, vmlinux, &dump.elf, &COMMANDS));
    if let Some(expected) = &expected {
        assert!(expected.contains("sysrq triggered crash"), "{expected}");
    }
    let copy = Copy::of(&dump);
    let same = |output: &Scratch, what: &str| {
        let (Some((crash, vmlinux)), Some(expected)) = (&peer, &expected) else { return };
        let printed = peer::crash(crash, vmlinux, output.path(), &COMMANDS);
        let differing = expected.lines().zip(printed.lines()).find(|(a, b)| a != b);
        assert!(printed == *expected, "{what}: first difference (original, output): {differing:?}");
    };
    let text: Vec<u8> = b"It was a dark and stormy night. ".iter().copied().cycle().take(4096).collect();
    for (count, closed) in [(10, false), (200, true)] {
        let what = format!("text in {count} pages of mem_map");
        let before: Vec<(u64, Vec<u8>)> =
            mem_map(&dump, count).into_iter().map(|at| (at, copy.put(at, &text))).collect();
        assert!(before.len() > count / 2);
        same(&held_back(&dump, &copy, &what, closed), &what);
        before.iter().for_each(|(at, bytes)| drop(copy.put(*at, bytes)));
    }
    for (right, wrong) in [
        ("SIZE(page)=64", "SIZE(page)=56"),
        ("SIZE(page)=64", "SIZE(page)=80"),
        ("NUMBER(PG_lru)=4", "NUMBER(PG_lru)=5"),
        ("NUMBER(PG_lru)=4", "NUMBER(PG_lru)=9"),
        ("NUMBER(PG_private)=13", "NUMBER(PG_private)=14"),
        ("NUMBER(PG_head_mask)=65536", "NUMBER(PG_head_mask)=32768"),
        ("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129", "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-257"),
    ] {
        let before = copy.put(copy.find(right), wrong.as_bytes());
        assert_eq!(before, right.as_bytes());
        same(&held_back(&dump, &copy, wrong, true), wrong);
        copy.put(copy.find(wrong), right.as_bytes());
    }
}

#[test]
fn a_kernel_that_is_not_found_where_vmcoreinfo_says_has_all_its_pages_kept() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let copy = Copy::of(&dump);
    let key = "SYMBOL(init_uts_ns)=";
    let wrong = |at: u64| drop(copy.put(at + "SYMBOL(init_uts_ns)=c0000000".len() as u64, b"1"));
    // The note is a copy of what the kernel has in its memory, and that is found.
    wrong(copy.find(key));
    let output = held_back_whole(&copy, &["-d", "31"], 0);
    check::same_frames(&Kdump::open(output.path()).bitmap2, &dump.bitmap(31)).unwrap();
    copy.find_all(key).into_iter().for_each(wrong);
    let output = held_back_whole(&copy, &["-d", "31"], 3);
    check::same_frames(&Kdump::open(output.path()).bitmap2, &dump.bitmap(1)).unwrap();
    // Those who know better are told what is wrong.
    let refused = Scratch::new("refused.kdump");
    let run = run::convert(copy.scratch.path(), refused.path(), &["-d", "31", "--no-gate"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
}

fn held_back_whole(copy: &Copy, options: &[&str], code: i32) -> Scratch {
    let output = Scratch::new("out.kdump");
    let run = run::convert(copy.scratch.path(), output.path(), options);
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    output
}

#[test]
fn without_the_gate_the_dump_is_believed() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let copy = Copy::of(&dump);
    copy.put(copy.find("NUMBER(PG_lru)=5"), b"NUMBER(PG_lru)=4");
    let output = Scratch::new("out.kdump");
    let run = run::convert(copy.scratch.path(), output.path(), &["-d", "31", "--no-gate", "--json"]).ok();
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["gate"]["checks"].as_array().unwrap().len(), 0);
    assert_eq!(Kdump::open(output.path()).dump_level, 31);
    held_back_whole(&copy, &["-d", "31"], 3);
}

#[test]
fn healthy_dumps_are_complete_and_say_what_was_checked() {
    for name in [corpus::X86_64, corpus::POWER, corpus::POWER_BE, corpus::ARM64, corpus::S390X] {
        let Some(dump) = corpus::dump(name) else { continue };
        let output = Scratch::new("out.kdump");
        let run = run::convert(&dump.elf, output.path(), &["-d", "31", "--json"]).ok();
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        let checks = report["gate"]["checks"].as_array().unwrap();
        assert_eq!(checks.len(), 8, "{name}");
        assert!(checks.iter().all(|check| check["outcome"] == "passed"), "{name}: {checks:?}");
        // What a hypervisor wrote has no note.
        let remarks = report["remarks"].as_array().unwrap();
        let told = |remark: &Value| remark.as_str().unwrap().contains("VMCOREINFO was found in memory");
        assert!(remarks.iter().all(told), "{name}: {report}");
        // What was filtered once is not taken for damaged.
        let again = Scratch::new("again.kdump");
        run::convert(output.path(), again.path(), &["-d", "31"]).ok();
        check::same_frames(&Kdump::open(again.path()).bitmap2, &dump.bitmap(31)).unwrap();
    }
}
