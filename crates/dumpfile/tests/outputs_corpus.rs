//! Streams and split sets of a real dump, put together by makedumpfile.

use dumpfile::codec::{Choice, Method};
use dumpfile::flattened::FlattenedSink;
use dumpfile::output::OutputFile;
use dumpfile::split::{Parts, plan};
use dumpfile::{Facts, Progress, kdump};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use vmcore::{Dump, DumpLevel, Selection};

/// The x86_64 dump, and makedumpfile.
fn dump_and_peer() -> Option<(Dump, Command)> {
    let (real, makedumpfile) = (corpus::dump(corpus::X86_64)?, corpus::program("makedumpfile")?);
    Some((dumpfile::open(&real.elf).unwrap(), Command::new(makedumpfile)))
}

/// A selection whose level says that zero pages share a page, which is when `--reassemble` makes them share one again.
fn selection(dump: &Dump) -> Selection {
    let level = DumpLevel::new(DumpLevel::ZERO.into()).unwrap();
    Selection::everything(&*dump.memory, level, None).unwrap()
}

fn write_file(dump: &Dump, options: kdump::Options, path: &Path) {
    let out = OutputFile::create(path, true).unwrap();
    let facts = Facts::default();
    kdump::write(dump, &selection(dump), &facts, &options, &out, &Progress::default()).unwrap();
    out.commit().unwrap();
}

fn same(a: &Path, b: &Path) -> bool {
    std::fs::read(a).unwrap() == std::fs::read(b).unwrap()
}

#[test]
fn makedumpfile_makes_the_same_file_of_a_stream() {
    let Some((dump, mut makedumpfile)) = dump_and_peer() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = kdump::Options { method: Choice::One(Some(Method::Zlib)), ..Default::default() };
    let [plain, flat, rearranged] = ["plain", "flat", "rearranged"].map(|name| dir.path().join(name));
    write_file(&dump, options, &plain);
    let sink = FlattenedSink::new(File::create(&flat).unwrap(), &flat).unwrap();
    kdump::write(&dump, &selection(&dump), &Facts::default(), &options, &sink, &Progress::default()).unwrap();
    sink.finish().unwrap();
    makedumpfile
        .arg("-R")
        .arg(&rearranged)
        .stdin(File::open(&flat).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert!(makedumpfile.status().unwrap().success());
    assert!(same(&plain, &rearranged));
}

#[test]
fn makedumpfile_makes_the_same_file_of_a_split_set() {
    let Some((dump, mut makedumpfile)) = dump_and_peer() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = kdump::Options { method: Choice::One(Some(Method::Zlib)), ..Default::default() };
    let [plain, reassembled] = ["plain", "reassembled"].map(|name| dir.path().join(name));
    write_file(&dump, options, &plain);
    let parts = plan(&selection(&dump), Parts::Count(3)).unwrap();
    let files: Vec<PathBuf> = (0..3).map(|n| dir.path().join(format!("part.{n}"))).collect();
    for (&part, path) in parts.iter().zip(&files) {
        write_file(&dump, kdump::Options { part: Some(part), ..options }, path);
    }
    makedumpfile
        .arg("--reassemble")
        .args(files.iter().rev())
        .arg(&reassembled)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert!(makedumpfile.status().unwrap().success());
    assert!(same(&plain, &reassembled));
}
