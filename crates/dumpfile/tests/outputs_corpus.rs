//! Streams and split sets of a real dump, put together by makedumpfile, when `HADUMP_CORPUS` names the corpus.

use dumpfile::codec::Method;
use dumpfile::flattened::FlattenedSink;
use dumpfile::output::OutputFile;
use dumpfile::split::{Parts, plan};
use dumpfile::{Facts, Progress, kdump};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use vmcore::{Dump, DumpLevel, Selection};

/// The x86_64 dump of the corpus, unpacked.
fn dump(dir: &Path) -> Option<Dump> {
    let Some(corpus) = std::env::var_os("HADUMP_CORPUS").map(PathBuf::from) else {
        eprintln!("skipped: HADUMP_CORPUS does not name the corpus of real dumps");
        return None;
    };
    if Command::new("makedumpfile").arg("-v").output().is_err() {
        eprintln!("skipped: no makedumpfile");
        return None;
    }
    let path = dir.join("vmcore");
    let mut file = File::create(&path).unwrap();
    let packed = File::open(corpus.join("x86_64-kdump-6.1/vmcore.elf.zst")).unwrap();
    zstd::stream::copy_decode(packed, &mut file).unwrap();
    Some(dumpfile::open(&path).unwrap())
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
    let dir = tempfile::tempdir().unwrap();
    let Some(dump) = dump(dir.path()) else { return };
    let options = kdump::Options { method: Some(Method::Zlib), ..Default::default() };
    let [plain, flat, rearranged] = ["plain", "flat", "rearranged"].map(|name| dir.path().join(name));
    write_file(&dump, options, &plain);
    let sink = FlattenedSink::new(File::create(&flat).unwrap(), &flat).unwrap();
    kdump::write(&dump, &selection(&dump), &Facts::default(), &options, &sink, &Progress::default()).unwrap();
    sink.finish().unwrap();
    let mut makedumpfile = Command::new("makedumpfile");
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
    let dir = tempfile::tempdir().unwrap();
    let Some(dump) = dump(dir.path()) else { return };
    let options = kdump::Options { method: Some(Method::Zlib), ..Default::default() };
    let [plain, reassembled] = ["plain", "reassembled"].map(|name| dir.path().join(name));
    write_file(&dump, options, &plain);
    let parts = plan(&selection(&dump), Parts::Count(3)).unwrap();
    let files: Vec<PathBuf> = (0..3).map(|n| dir.path().join(format!("part.{n}"))).collect();
    for (&part, path) in parts.iter().zip(&files) {
        write_file(&dump, kdump::Options { part: Some(part), ..options }, path);
    }
    let mut makedumpfile = Command::new("makedumpfile");
    makedumpfile
        .arg("--reassemble")
        .args(files.iter().rev())
        .arg(&reassembled)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert!(makedumpfile.status().unwrap().success());
    assert!(same(&plain, &reassembled));
}
