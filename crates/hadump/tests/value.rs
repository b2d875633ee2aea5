//! The order of pages by value: the first part alone is a dump that debuggers open.

mod common;

use common::peer;
use common::run::Scratch;
use corpus::Dump;
use dumpfile::output::OutputFile;
use dumpfile::{Facts, Progress};
use kernel::{Kernel, Value};
use std::collections::{BTreeMap, BTreeSet};
use vmcore::{CHUNK_FRAMES, DumpLevel, Selection};

fn pages(selection: &Selection) -> BTreeSet<u64> {
    let chunks = (0..selection.chunk_count()).map(|position| selection.chunk(position).unwrap());
    chunks
        .flat_map(|(first, chunk)| {
            (0..CHUNK_FRAMES).filter(move |&i| chunk.contains(i)).map(move |i| first.0 + i)
        })
        .collect()
}

fn by_value(dump: &Dump, level: u32) -> (vmcore::Dump, Selection, Vec<(Value, Selection)>) {
    let opened = dumpfile::open(&dump.elf).unwrap();
    let (whole, parts) = {
        let kernel = Kernel::open(&opened).unwrap();
        let whole = kernel.select(DumpLevel::new(level).unwrap(), None).unwrap().selection;
        let parts = kernel.by_value(&whole, &tempfile::tempfile).unwrap();
        (whole, parts)
    };
    (opened, whole, parts)
}

/// A dump of what is essential alone, as one that ran out of space after it would hold it.
fn essential(dump: &Dump) -> Scratch {
    let (opened, _, parts) = by_value(dump, 31);
    let (value, selection) = &parts[0];
    assert_eq!(*value, Value::Essential);
    let kernel = Kernel::open(&opened).unwrap();
    let facts = Facts { utsname: kernel.utsname().clone(), phys_base: kernel.phys_base(), notes: Vec::new() };
    let scratch = Scratch::new("essential.kdump");
    let output = OutputFile::create(scratch.path(), false).unwrap();
    let options = dumpfile::kdump::Options {
        method: dumpfile::codec::Choice::One(Some(dumpfile::codec::Method::Snappy)),
        ..Default::default()
    };
    dumpfile::kdump::write(&opened, selection, &facts, &options, &output, &Progress::default()).unwrap();
    output.commit().unwrap();
    scratch
}

fn parts_make_up_the_whole(name: &'static str) {
    let Some(dump) = corpus::dump(name) else { return };
    let mut values = BTreeMap::new();
    for level in [0, 1, 2, 8, 16, 31] {
        let (_, whole, parts) = by_value(&dump, level);
        let mut all = BTreeSet::new();
        let mut count = 0;
        for (value, part) in &parts {
            println!("{name} level {level}: {} {}", value.name(), part.kept());
            let pages = pages(part);
            assert!(!pages.is_empty());
            // What else is kept changes nothing.
            let other = pages.iter().find(|pfn| values.entry(**pfn).or_insert(*value) != value);
            assert_eq!(other, None, "{name} level {level}: not {} at level 0", value.name());
            count += pages.len();
            all.extend(pages);
        }
        assert_eq!(count, all.len(), "{name} level {level}: parts share pages");
        assert_eq!(all, pages(&whole), "{name} level {level}");
        assert!(parts.is_sorted_by_key(|(value, _)| *value));
        let expected: &[Value] = match level {
            0 | 1 => &Value::ALL,
            2 => &[Value::Essential, Value::Kernel, Value::CachePrivate, Value::User, Value::Free],
            8 => &[Value::Essential, Value::Kernel, Value::CachePrivate, Value::Cache, Value::Free],
            16 => &[Value::Essential, Value::Kernel, Value::CachePrivate, Value::Cache, Value::User],
            _ => &[Value::Essential, Value::Kernel],
        };
        let missing: Vec<_> = expected.iter().filter(|v| !parts.iter().any(|(p, _)| p == *v)).collect();
        assert!(missing.iter().all(|v| **v == Value::CachePrivate), "{name} level {level}: no {missing:?}");
        assert!(parts.iter().all(|(value, _)| expected.contains(value)), "{name} level {level}");
    }
}

#[test]
fn parts_of_an_x86_64_dump_make_up_the_whole() {
    parts_make_up_the_whole(corpus::X86_64);
}

#[test]
fn parts_of_a_power_dump_make_up_the_whole() {
    parts_make_up_the_whole(corpus::POWER);
}

#[test]
fn parts_of_a_big_endian_dump_make_up_the_whole() {
    parts_make_up_the_whole(corpus::POWER_BE);
}

#[test]
fn crash_opens_what_is_essential_of_an_x86_64_dump() {
    const COMMANDS: [&str; 5] = ["sys", "bt -a", "ps", "log", "mod"];
    let (Some(dump), Some(crash)) = (corpus::dump(corpus::X86_64), peer::program("crash")) else { return };
    let Some(vmlinux) = dump.vmlinux() else { return };
    let expected = peer::crash(&crash, &vmlinux, &dump.elf, &COMMANDS);
    assert!(expected.contains("sysrq triggered crash"), "{expected}");
    let printed = peer::crash(&crash, &vmlinux, essential(&dump).path(), &COMMANDS);
    let differing = expected.lines().zip(printed.lines()).find(|(a, b)| a != b);
    assert!(printed == expected, "first difference (original, essential): {differing:?}\n{printed}");
}

#[test]
fn drgn_sees_the_same_in_what_is_essential_of_a_power_dump() {
    let (Some(dump), Some(python)) = (corpus::dump(corpus::POWER), peer::python_drgn()) else { return };
    let Some(vmlinux) = dump.vmlinux() else { return };
    let expected = peer::drgn(python, &vmlinux, &dump.elf);
    let seen = peer::drgn(python, &vmlinux, essential(&dump).path());
    let differing = expected.lines().zip(seen.lines()).find(|(a, b)| a != b);
    assert!(seen == expected, "first difference (original, essential): {differing:?}");
}
