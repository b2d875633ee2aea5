//! Notes larger, more and stranger than the registers of a few CPUs: device dumps, padding, other alignments.

mod common;

use common::notes::{Triple, encode, sorted};
use common::reader::Order;
use common::reader::elf::Elf;
use common::reader::kdump::Kdump;
use common::run::{HADUMP, Scratch, convert, hadump, peak};
use phyp_model::ByteOrder;
use phyp_model::synth::dump::{Dump, catalogue};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// A machine of each byte order, and one whose registers differ in length.
const NAMES: [&str; 3] = ["x86_64-4k-vmemmap-6.1", "ppc64-4k-hash-6.12", "loongarch64-16k-3level-6.12"];

fn order(made: &Dump) -> Order {
    Order { big: made.spec.order == ByteOrder::Big }
}

/// A device dump (`NT_VMCOREDD`) of this many bytes.
fn device_dump(len: usize) -> Triple {
    let content = b"cxgb4_0000:02:00.4".iter().copied().chain((0..).map(|n: u32| (n >> 9) as u8 | 1));
    ("LINUX".into(), 0x700, content.take(len).collect())
}

/// The dump with other notes, as a file.
fn with_notes(mut made: Dump, notes: &[Triple], align: usize, gap: usize) -> Scratch {
    made.notes = encode(notes, order(&made), align, gap);
    let file = Scratch::new("vmcore");
    made.write_elf(file.path()).unwrap();
    file
}

/// Converts to either format and compares all notes but hadump's own.
fn all_notes_arrive(file: &Path, notes: &[Triple], order: Order, what: &str) {
    let mut wanted = notes.to_vec();
    wanted.sort();
    for format in ["kdump", "elf"] {
        let out = Scratch::new("out");
        convert(file, out.path(), &["-d", "31", "--format", format]).ok();
        let raw = match format {
            "elf" => Elf::open(out.path()).notes,
            _ => Kdump::open(out.path()).notes,
        };
        let mut found = sorted(&raw, order);
        found.retain(|note| note.0 != "HADUMP");
        assert!(found == wanted, "{what}, {format}: {} notes, expected {}", found.len(), wanted.len());
        let info = hadump(["info".as_ref(), out.path().as_os_str()]).ok();
        assert!(info.stdout.contains("2 with registers"), "{what}, {format}: {}", info.stdout);
    }
}

#[test]
fn device_dumps_of_any_size_before_the_registers_cost_no_note() {
    const SIZES: [&[usize]; 4] = [
        &[(32 << 20) + 0x2000],
        &[16 << 20, 16 << 20],
        &[(64 << 10) - 1, 64 << 10, (64 << 10) + 1],
        &[3, 90 << 20],
    ];
    for (name, sizes) in NAMES.into_iter().cycle().zip(SIZES) {
        let made = catalogue::build(name).unwrap();
        let order = order(&made);
        let mut notes: Vec<Triple> = sizes.iter().map(|len| device_dump(*len)).collect();
        notes.extend(sorted(&made.notes, order));
        let file = with_notes(made, &notes, 4, 0);
        all_notes_arrive(file.path(), &notes, order, &format!("{name} with device dumps of {sizes:?} bytes"));
    }
}

#[test]
fn neither_padding_between_notes_nor_an_alignment_of_8_bytes_ends_them() {
    for (name, align, gap) in
        [(NAMES[0], 4, 4), (NAMES[1], 4, 400), (NAMES[2], 8, 0), (NAMES[0], 8, 64), (NAMES[1], 8, 8)]
    {
        let made = catalogue::build(name).unwrap();
        let order = order(&made);
        let mut notes = vec![device_dump(100), device_dump(70_001)];
        notes.extend(sorted(&made.notes, order));
        let file = with_notes(made, &notes, align, gap);
        all_notes_arrive(
            file.path(),
            &notes,
            order,
            &format!("{name}, aligned to {align}, {gap} bytes between"),
        );
    }
}

#[test]
fn hundreds_of_megabytes_of_notes_pass_within_the_memory_bound() {
    let made = catalogue::build(NAMES[0]).unwrap();
    let order = order(&made);
    let rest = made.notes.clone();
    let mut notes: Vec<u8> = Vec::new();
    for len in [200 << 20, 100 << 20] {
        notes.extend(encode(&[device_dump(len)], order, 4, 0));
    }
    notes.extend(rest);
    let made = Dump { notes, ..made };
    let file = Scratch::new("vmcore");
    made.write_elf(file.path()).unwrap();
    for format in ["kdump", "elf"] {
        let out = Scratch::new("out");
        let mut command = Command::new(HADUMP);
        command.args(["convert", "-j", "2", "--format", format]).arg(file.path()).arg("-o").arg(out.path());
        let peak = peak(&mut command);
        assert!(peak > 4 << 20 && peak <= (64 + 2 * 8) << 20, "{format}: {peak} bytes");
        assert!(out.path().metadata().unwrap().len() > 300 << 20);
    }
}

#[test]
fn notes_beyond_a_gibibyte_are_named_and_the_dump_is_incomplete_but_has_every_register() {
    let made = catalogue::build(NAMES[0]).unwrap();
    let order = order(&made);
    let all = made.notes.clone();
    let file = Scratch::new("vmcore");
    made.write_elf(file.path()).unwrap();
    // The notes move to the end of the file, with a hole for the content of the first.
    let core = std::fs::OpenOptions::new().read(true).write(true).open(file.path()).unwrap();
    let at = core.metadata().unwrap().len();
    let len: u32 = (1 << 30) + 4096;
    let mut head = encode(&[("LINUX".into(), 0x700, vec![])], order, 4, 0);
    head[4..8].copy_from_slice(&len.to_le_bytes());
    core.write_all_at(&head, at).unwrap();
    let rest = at + head.len() as u64 + u64::from(len);
    core.write_all_at(&all, rest).unwrap();
    let total = rest + all.len() as u64 - at;
    core.write_all_at(&[at.to_le_bytes(), [0; 8], [0; 8], total.to_le_bytes()].concat(), 64 + 8).unwrap();
    let out = Scratch::new("out");
    let run = convert(file.path(), out.path(), &["-d", "31"]);
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    assert!(run.stderr.contains("the note \"LINUX\" of type 0x700 has 1073745920 bytes"), "{}", run.stderr);
    let kept = format!("{}-incomplete", out.path().display());
    let run = hadump(["info", &kept]);
    assert_eq!(run.code, Some(4));
    assert!(run.stdout.contains("2 with registers") && run.stdout.contains("VMCOREINFO"), "{}", run.stdout);
}

/// What a driver left of its device is for the driver's own tools, which want exactly those bytes.
#[test]
fn info_takes_any_note_out_byte_for_byte_and_replaces_no_file_unasked() {
    let made = catalogue::build(NAMES[1]).unwrap();
    let order = order(&made);
    let mut notes = vec![device_dump(100), device_dump((20 << 20) + 3)];
    notes.extend(sorted(&made.notes, order));
    let file = with_notes(made, &notes, 4, 0);
    let json = hadump(["info".as_ref(), file.path().as_os_str(), "--json".as_ref()]).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let listed: Vec<(u64, u64)> = json["notes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|note| (note["type"].as_u64().unwrap(), note["bytes"].as_u64().unwrap()))
        .collect();
    assert_eq!(listed.len(), notes.len());
    let text = hadump(["info".as_ref(), file.path().as_os_str()]).ok().stdout;
    let extract = |number: usize, out: &Path, more: &[&str]| {
        let number = number.to_string();
        let mut args = vec!["info".as_ref(), file.path().as_os_str(), "--extract-note".as_ref()];
        args.extend([number.as_ref(), out.as_os_str()]);
        args.extend(more.iter().map(AsRef::<std::ffi::OsStr>::as_ref));
        hadump(args)
    };
    for (number, (kind, bytes)) in listed.iter().enumerate() {
        assert!(text.contains(&format!("note {number}  ")), "{number}: {text}");
        let out = Scratch::new("note");
        let told = extract(number, out.path(), &[]).ok();
        assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("", ""));
        let found = std::fs::read(out.path()).unwrap();
        assert_eq!(found.len() as u64, *bytes);
        let same = |note: &Triple| note.1 == *kind && note.2 == found;
        assert!(notes.iter().any(same), "note {number} has other bytes");
        if number == 0 {
            let refused = extract(1, out.path(), &[]);
            assert_eq!(refused.code, Some(1));
            assert!(
                refused.stderr.contains("already exists; use --force to replace it"),
                "{}",
                refused.stderr
            );
            assert_eq!(std::fs::read(out.path()).unwrap(), found);
            extract(1, out.path(), &["--force"]).ok();
            assert_eq!(std::fs::read(out.path()).unwrap().len() as u64, listed[1].1);
            let refused = extract(1, file.path(), &["--force"]);
            assert!(refused.stderr.contains("this is the input"), "{}", refused.stderr);
        }
    }
    let out = Scratch::new("note");
    let refused = extract(notes.len(), out.path(), &[]);
    assert_eq!(refused.code, Some(1));
    let words = format!("there is no note {}; there are {}, counted from 0", notes.len(), notes.len());
    assert!(refused.stderr.contains(&words), "{}", refused.stderr);
    assert!(!out.path().exists());
    let wrong = hadump(["info", &file.path().display().to_string(), "--extract-note", "x", "y"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    let piped = Command::new(HADUMP)
        .args([
            "info".as_ref(),
            file.path().as_os_str(),
            "--extract-note".as_ref(),
            "0".as_ref(),
            "-".as_ref(),
        ])
        .output()
        .unwrap();
    assert_eq!(piped.stdout.len() as u64, listed[0].1);
}
