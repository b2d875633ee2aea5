//! Dumps without a VMCOREINFO note, as hypervisors write them: what they are read with is found elsewhere.

mod common;

use common::check;
use common::notes::encode;
use common::reader::Order;
use common::reader::kdump::Kdump;
use common::run::{Scratch, convert, hadump};
use dumpfile::output::OutputFile;
use dumpfile::{Assume, Facts, Progress, kdump};
use phyp_model::ByteOrder;
use phyp_model::synth::dump::{Dump, catalogue};
use std::fs;
use std::path::Path;
use vmcore::{DumpLevel, PageSize, Selection};

/// Every page size of every architecture that has several.
const SEVERAL: [&str; 9] = [
    "aarch64-4k-48-6.12",
    "aarch64-16k-48-6.12",
    "aarch64-64k-52-6.12",
    "ppc64-4k-hash-6.12",
    "ppc64-64k-hash-6.12",
    "ppc64le-64k-radix-6.12",
    "loongarch64-4k-4level-6.12",
    "loongarch64-16k-3level-6.12",
    "loongarch64-64k-3level-6.12",
];

/// Those that have one.
const SINGLE: [&str; 3] = ["x86_64-4k-vmemmap-6.12", "s390x-4k-4level-6.12", "riscv64-4k-sv48-6.12"];

/// The dump as a hypervisor writes it, which knows neither VMCOREINFO nor virtual addresses.
fn stripped(name: &str) -> (Dump, Scratch) {
    let mut made = catalogue::build(name).unwrap();
    let order = Order { big: made.spec.order == ByteOrder::Big };
    let mut notes = common::notes::sorted(&made.notes, order);
    notes.retain(|note| note.0 != "VMCOREINFO");
    made.notes = encode(&notes, order, 4, 0);
    made.loads.iter_mut().for_each(|load| load.address = 0);
    let file = Scratch::new("vmcore");
    made.write_elf(file.path()).unwrap();
    (made, file)
}

/// As [`stripped`], and memory has no VMCOREINFO that leads anywhere either.
fn silent(name: &str) -> (Dump, Scratch) {
    let (mut made, file) = stripped(name);
    let needle = b"OSRELEASE=";
    for load in made.loads.clone() {
        for data in made.memory.data_within(load.physical).unwrap() {
            let bytes = made.memory.bytes(data.start, data.length).unwrap();
            for at in 0..bytes.len().saturating_sub(needle.len()) {
                if bytes[at..].starts_with(needle) {
                    made.memory.write(data.start + at as u64, b"gone").unwrap();
                }
            }
        }
    }
    made.write_elf(file.path()).unwrap();
    (made, file)
}

#[track_caller]
fn is_filtered_as_told(made: &Dump, input: &Path, options: &[&str], what: &str) {
    let out = Scratch::new("out");
    let run = convert(input, out.path(), &[&["-d", "31"], options].concat());
    assert_eq!(run.code, Some(0), "{what}: {}", run.stderr);
    let kdump = Kdump::open(out.path());
    assert_eq!(kdump.block_size, made.spec.page_size, "{what}");
    check::same_frames(&kdump.bitmap2, &made.truth.kept_bitmap(31)).unwrap_or_else(|e| panic!("{what}: {e}"));
}

#[test]
fn the_page_size_and_everything_else_come_from_the_vmcoreinfo_in_memory() {
    for name in SEVERAL.into_iter().chain(SINGLE) {
        let (made, file) = stripped(name);
        is_filtered_as_told(&made, file.path(), &[], name);
        let info = hadump(["info".as_ref(), file.path().as_os_str()]).ok();
        assert!(info.stdout.contains(&made.release), "{name}: {}", info.stdout);
        assert!(
            info.stdout.contains(&format!("of {} KiB", made.spec.page_size >> 10)),
            "{name}: {}",
            info.stdout
        );
    }
}

#[test]
fn verify_misses_the_note_only_where_memory_has_none_either() {
    let verify = |file: &Scratch| hadump(["verify".as_ref(), file.path().as_os_str()]);
    for name in [SEVERAL[0], SEVERAL[5], SINGLE[0]] {
        let (_, stripped) = stripped(name);
        verify(&stripped).ok();
        let run = verify(&silent(name).1);
        assert_eq!(run.code, Some(4), "{name}: {}", run.stdout);
        assert!(run.stdout.contains("there is no VMCOREINFO"), "{name}: {}", run.stdout);
    }
}

#[test]
fn a_given_vmcoreinfo_is_enough_where_memory_says_nothing() {
    for name in SEVERAL {
        let (made, file) = silent(name);
        let text = file.directory().join("vmcoreinfo");
        fs::write(&text, &made.vmcoreinfo).unwrap();
        is_filtered_as_told(&made, file.path(), &["--vmcoreinfo", text.to_str().unwrap()], name);
        // Even without its page size: then each is tried.
        let without: String =
            made.vmcoreinfo.lines().filter(|l| !l.starts_with("PAGESIZE=")).flat_map(|l| [l, "\n"]).collect();
        fs::write(&text, without).unwrap();
        let given = ["--vmcoreinfo", text.to_str().unwrap()];
        // Memory that is mapped in one piece tells nothing of its pages: then the size is asked for.
        let run = convert(file.path(), &file.directory().join("out"), &given);
        let size = made.spec.page_size.to_string();
        let told = [&given[..], &["--page-size", &size]].concat();
        let asked = run.stderr.contains("--page-size can say which");
        is_filtered_as_told(&made, file.path(), if asked { &told } else { &given }, name);
    }
}

#[test]
fn a_given_page_size_is_enough_for_level_0_where_nothing_else_is_known() {
    for name in SEVERAL {
        let (made, file) = silent(name);
        let out = Scratch::new("out");
        let size = made.spec.page_size.to_string();
        convert(file.path(), out.path(), &["-d", "0", "--page-size", &size]).ok();
        let kdump = Kdump::open(out.path());
        assert_eq!(kdump.block_size, made.spec.page_size, "{name}");
        check::same_frames(&kdump.bitmap2, &made.truth.bitmap_of_all()).unwrap();
        // With nothing at all the dump is whole, too, in the smallest pages.
        let run = convert(file.path(), out.path(), &["-d", "0", "-f"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stderr.contains("--page-size gives another size"), "{}", run.stderr);
        assert_eq!(Kdump::open(out.path()).block_size, 4096);
    }
}

#[test]
fn what_is_given_and_does_not_suffice_leads_to_what_memory_has() {
    for name in [SEVERAL[0], SEVERAL[5], SINGLE[0]] {
        let (made, file) = stripped(name);
        let text = file.directory().join("vmcoreinfo");
        for lacking in ["SYMBOL(init_uts_ns)=", "SYMBOL("] {
            let lines = made.vmcoreinfo.lines().filter(|line| !line.starts_with(lacking));
            fs::write(&text, lines.flat_map(|line| [line, "\n"]).collect::<String>()).unwrap();
            let what = format!("{name} with a VMCOREINFO without {lacking}");
            is_filtered_as_told(&made, file.path(), &["--vmcoreinfo", text.to_str().unwrap()], &what);
        }
    }
}

/// The dump with its note's text changed, and not the one in its memory.
fn with_note(name: &str, change: impl Fn(&str) -> String) -> (Dump, Scratch) {
    let mut made = catalogue::build(name).unwrap();
    let order = Order { big: made.spec.order == ByteOrder::Big };
    let mut notes = common::notes::sorted(&made.notes, order);
    let text = change(&made.vmcoreinfo);
    notes.iter_mut().filter(|note| note.0 == "VMCOREINFO").for_each(|note| note.2 = text.clone().into());
    made.notes = encode(&notes, order, 4, 0);
    let file = Scratch::new("vmcore");
    made.write_elf(file.path()).unwrap();
    (made, file)
}

fn with_page_size(text: &str, size: impl std::fmt::Display) -> String {
    let lines = text.lines().map(|line| match line.starts_with("PAGESIZE=") {
        true => format!("PAGESIZE={size}\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn a_note_whose_page_size_is_none_of_the_machine_leads_to_the_right_one() {
    for name in [SEVERAL[0], SEVERAL[5], SINGLE[0], SINGLE[1], SINGLE[2]] {
        for size in ["9999", "8192", "65536x", ""] {
            if size == "8192" && SEVERAL.contains(&name) {
                continue;
            }
            let (made, file) = with_note(name, |text| with_page_size(text, size));
            is_filtered_as_told(&made, file.path(), &[], &format!("{name}: {size}"));
        }
    }
}

#[test]
fn a_note_whose_page_size_is_another_of_the_machine_leads_to_what_memory_has() {
    for name in SEVERAL {
        for size in [4096, 16384, 65536] {
            let (made, file) = with_note(name, |text| with_page_size(text, size));
            is_filtered_as_told(&made, file.path(), &[], &format!("{name}: {size}"));
        }
    }
}

#[test]
fn a_note_that_is_cut_short_anywhere_leads_to_what_memory_has() {
    let cuts =
        ["SIZE(page)", "OFFSET(page.flags)", "OFFSET(page.mapping)", "NUMBER(PG_lru)", "SYMBOL(mem_section)"];
    for name in [SINGLE[0], SINGLE[1], SEVERAL[1], SEVERAL[5]] {
        for cut in cuts {
            let (made, file) = with_note(name, |text| {
                let at = text.find(cut).unwrap_or_else(|| panic!("{name} has no {cut}"));
                text[..at].to_owned()
            });
            is_filtered_as_told(&made, file.path(), &[], &format!("{name} before {cut}"));
        }
    }
}

#[test]
fn a_right_note_is_kept_whatever_else_memory_holds_and_the_kernel_was_built_without() {
    for name in [SINGLE[0], SINGLE[1], SEVERAL[1], SEVERAL[5]] {
        // A kernel without CONFIG_HUGETLB_PAGE, in whose memory somebody wrote more.
        let without = |text: &str| -> String {
            text.lines().filter(|line| !line.contains("HUGETLB")).flat_map(|line| [line, "\n"]).collect()
        };
        let (made, file) = with_note(name, without);
        let out = Scratch::new("out");
        let run = convert(file.path(), out.path(), &["-d", "31"]);
        assert!(
            run.stderr.contains("hugetlbfs") && !run.stderr.contains("in memory"),
            "{name}: {}",
            run.stderr
        );
        let kept = dumpfile::open_set(&[out.path().to_owned()]).unwrap();
        let note = &kept.notes.find("VMCOREINFO").unwrap().desc;
        assert_eq!(String::from_utf8_lossy(note), without(&made.vmcoreinfo), "{name}");
    }
}

#[test]
fn texts_in_memory_that_contradict_each_other_cost_the_filter_and_not_the_dump() {
    let elsewhere = |text: &str| text.replace("SYMBOL(init_uts_ns)=f", "SYMBOL(init_uts_ns)=e");
    // Levels that need the kernel do not do without a note at all, and keep everything where it is wrong.
    for (name, wrong) in [(SINGLE[0], false), (SINGLE[0], true), (SEVERAL[5], false)] {
        let ((mut made, file), codes) = match wrong {
            true => (with_note(name, elsewhere), [0, 0, 3]),
            false => (stripped(name), [0, 0, 1]),
        };
        let size = made.vmcoreinfo.lines().find(|line| line.starts_with("SIZE(page)=")).unwrap();
        let planted = format!("{}\0", made.vmcoreinfo.replace(size, "SIZE(page)=8"));
        let end = made.loads.last().unwrap().physical.end();
        made.memory.write(end - 0x8000, planted.as_bytes()).unwrap();
        made.write_elf(file.path()).unwrap();
        for (level, code) in ["0", "1", "31"].into_iter().zip(codes) {
            let out = Scratch::new("out");
            let run = convert(file.path(), out.path(), &["-d", level]);
            assert_eq!(run.code, Some(code), "{name} at {level}: {}", run.stderr);
            let said = run.stderr.contains("contradict each other in SIZE(page)");
            assert!(said, "{name} at {level}: {}", run.stderr);
        }
    }
}

#[test]
fn the_page_size_that_the_user_gives_goes_before_that_of_the_note_and_is_refused_where_the_kernel_contradicts()
 {
    for name in SEVERAL {
        let told = [4096, 16384, 65536];
        let (made, file) = with_note(name, str::to_owned);
        let right = made.spec.page_size.to_string();
        is_filtered_as_told(&made, file.path(), &["--page-size", &right], name);
        for wrong in told.into_iter().filter(|&size| size != made.spec.page_size) {
            let (made, lying) = with_note(name, |text| with_page_size(text, wrong));
            let what = format!("{name}: {wrong} in the note");
            is_filtered_as_told(&made, lying.path(), &["--page-size", &right], &what);
            let out = Scratch::new("out");
            let run = convert(file.path(), out.path(), &["--page-size", &wrong.to_string()]);
            assert_eq!(run.code, Some(1), "{name}: {wrong}: {}", run.stderr);
            let said = |size: u64| format!("{} KiB", size >> 10);
            assert!(run.stderr.contains(&said(wrong)), "{name}: {}", run.stderr);
            assert!(run.stderr.contains(&said(made.spec.page_size)), "{name}: {}", run.stderr);
        }
    }
    for name in SINGLE {
        let (_, file) = with_note(name, str::to_owned);
        let out = Scratch::new("out");
        let run = convert(file.path(), out.path(), &["--page-size", "64K"]);
        assert_eq!(run.code, Some(1), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("have pages of 4 KiB"), "{name}: {}", run.stderr);
    }
}

#[test]
fn a_kdump_file_with_larger_blocks_than_the_kernels_pages_is_written_in_the_kernels() {
    for (name, blocks) in [
        ("aarch64-4k-48-6.12", PageSize::K64),
        ("aarch64-16k-48-6.12", PageSize::K64),
        ("ppc64le-64k-radix-6.12", PageSize::K4),
    ] {
        let (made, file) = stripped(name);
        let assume = Assume { page_size: Some(blocks), ..Assume::default() };
        let dump = dumpfile::open_set_assuming(&[file.path().to_owned()], &assume).unwrap();
        assert_eq!(dump.page_size(), blocks);
        let all = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
        let qemus = file.directory().join("qemus");
        let out = OutputFile::create(&qemus, false).unwrap();
        let (facts, options) = (Facts::default(), kdump::Options::default());
        kdump::write(&dump, &all, &facts, &options, &out, &Progress::default()).unwrap();
        out.commit().unwrap();
        assert_eq!(Kdump::open(&qemus).block_size, blocks.bytes());
        is_filtered_as_told(&made, &qemus, &[], name);
    }
}

#[test]
fn two_dumps_of_which_one_does_not_tell_its_page_size_are_compared_with_the_one_that_is_given() {
    for name in [SEVERAL[2], SEVERAL[4], SEVERAL[7]] {
        let (made, file) = silent(name);
        let (out, size) = (Scratch::new("out"), made.spec.page_size.to_string());
        convert(file.path(), out.path(), &["-d", "0", "--page-size", &size]).ok();
        let files = [file.path().as_os_str(), out.path().as_os_str()];
        let run = hadump(["diff".as_ref()].into_iter().chain(files));
        assert_eq!(run.code, Some(2), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("--page-size says which"), "{name}: {}", run.stderr);
        let given = ["diff", "--page-size", &size].map(AsRef::as_ref);
        hadump(given.into_iter().chain(files)).ok();
    }
}

#[test]
fn what_is_given_as_a_fifo_is_waited_for_aloud_or_refused_where_it_must_be_a_file() {
    let (_, file) = stripped(SINGLE[0]);
    let fifo = file.directory().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let out = Scratch::new("out");
    let run = convert(file.path(), out.path(), &["--vmlinux", fifo.to_str().unwrap()]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("copy it into a file first"), "{}", run.stderr);
    let info = catalogue::build(SINGLE[0]).unwrap().vmcoreinfo;
    let writer = std::thread::spawn({
        let fifo = fifo.clone();
        move || fs::write(fifo, info).unwrap()
    });
    let run = convert(file.path(), out.path(), &["--vmcoreinfo", fifo.to_str().unwrap()]).ok();
    assert!(run.stderr.contains("waiting for who writes"), "{}", run.stderr);
    writer.join().unwrap();
}
