//! `-c auto`: files with pages of several methods, what is said of them, and what other programs read from them.

mod common;

use common::reader::kdump::Kdump;
use common::run::{self, HADUMP, Run, Scratch, hadump};
use common::saving::{fadump, json, same_pages};
use common::{check, peer};
use corpus::Dump;
use dumpfile::codec::{Choice, Method, Methods};
use dumpfile::kdump::Options;
use dumpfile::output::{OutputFile, Sink};
use dumpfile::{Error, Facts, Progress};
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use vmcore::{DumpLevel, Selection};

/// A disk that is slow for a while, then fast, and slow again: on a steady one all pages might get the same method.
struct Moody {
    file: OutputFile,
    writes: AtomicU64,
}

impl Sink for Moody {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_at(offset, bytes)
    }

    fn append_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        if self.writes.fetch_add(1, Ordering::Relaxed) % 60 < 5 {
            std::thread::sleep(Duration::from_millis(30));
        }
        self.file.append_at(offset, parts)
    }

    fn sync(&self) -> Result<(), Error> {
        self.file.sync()
    }
}

/// All of `dump` in a file with pages of several methods, and how many have which flags.
fn mixed(dump: &Dump, methods: Methods) -> (Scratch, BTreeMap<u64, usize>) {
    let opened = dumpfile::open(&dump.elf).expect("a dump");
    let zeros = DumpLevel::new(1).expect("a level");
    let selection = Selection::everything(&*opened.memory, zeros, None).expect("all pages");
    let kernel = kernel::Kernel::open(&opened).expect("a kernel");
    let utsname = kernel.utsname().clone();
    let facts = Facts { utsname, phys_base: kernel.phys_base(), notes: Vec::new() };
    let options = Options { method: Choice::Auto(methods), checksums: true, ..Options::default() };
    let scratch = Scratch::new("mixed.kdump");
    let file = OutputFile::create(scratch.path(), false).expect("a file");
    let out = Moody { file, writes: AtomicU64::new(0) };
    dumpfile::kdump::write(&opened, &selection, &facts, &options, &out, &Progress::default()).expect("pages");
    out.file.commit().expect("a name");

    let kdump = Kdump::open(scratch.path());
    let mut flags = BTreeMap::new();
    for index in 0..kdump.kept().count() as u64 {
        *flags.entry(kdump.stored(index).flags).or_default() += 1;
    }
    let many = flags.values().filter(|count| **count > 1000).count();
    assert!(many > 1, "{flags:?}");
    (scratch, flags)
}

#[test]
fn other_programs_read_a_file_of_several_methods() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let (file, _) = mixed(&dump, Methods::default());
    let all = dump.bitmap(1);
    if let Some(python) = peer::python_kdumpfile() {
        check::pages_by_libkdumpfile(python, &dump, file.path(), &all).unwrap();
    }
    if let Some(makedumpfile) = peer::program("makedumpfile") {
        // Debian 12's knows no zstd.
        let ways = [None, Some(Method::Lzo), Some(Method::Zlib)];
        let (file, _) = mixed(&dump, Methods::of(ways).expect("some methods"));
        let theirs = Scratch::new("refiltered");
        let mut command = Command::new(&makedumpfile);
        Run::of(command.args(["-d", "31", "-c"]).arg(file.path()).arg(theirs.path())).ok();
        check::same_frames(&Kdump::open(theirs.path()).bitmap2, &dump.bitmap(31)).unwrap();
        // What it decompressed and compressed again is what was there.
        hadump(["diff".as_ref(), "--common".as_ref(), dump.elf.as_path(), theirs.path()]).ok();
    }
    let Some(vmlinux) = dump.vmlinux() else { return };
    if let Some(crash) = peer::program("crash") {
        let commands = ["sys", "bt -a", "ps", "log", "mod", "kmem -i"];
        let printed = |file: &Path| peer::crash(&crash, &vmlinux, file, &commands);
        let expected = printed(&dump.elf);
        assert!(expected.contains("sysrq triggered crash"), "{expected}");
        assert_eq!(printed(file.path()), expected);
    }
    if let Some(python) = peer::python_drgn() {
        let expected = peer::drgn(python, &vmlinux, &dump.elf);
        assert!(expected.contains("Linux version"), "{expected}");
        assert_eq!(peer::drgn(python, &vmlinux, file.path()), expected);
    }
}

#[test]
fn verify_counts_the_pages_of_each_method_and_info_names_the_methods() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let (file, flags) = mixed(&dump, Methods::default());
    let path = file.path().to_str().unwrap();
    hadump(["diff", path, dump.elf.to_str().unwrap()]).ok();
    let verdict = json(&hadump(["verify", "--json", path]).ok());
    assert_eq!(verdict["proved"], true);
    let stored = |name: &str| verdict["stored"][name].as_u64().unwrap_or(0) as usize;
    let names = [("zlib", 1), ("lzo", 2), ("zstd", 0x20)];
    for (name, flag) in names {
        assert_eq!(stored(name), flags.get(&flag).copied().unwrap_or(0), "{verdict}");
    }
    let zeros = verdict["zero"].as_u64().unwrap() as usize;
    assert_eq!(stored("none") + zeros, flags.get(&0).copied().unwrap_or(0), "{verdict}");
    assert!(hadump(["verify", path]).ok().stdout.contains("    stored  "));
    let named = if cfg!(feature = "lzo") { "(lzo, zstd)" } else { "(zlib, zstd)" };
    let info = json(&hadump(["info", "--json", path]).ok());
    assert!(info["format"].as_str().unwrap().ends_with(named), "{info}");
}

#[test]
fn the_report_counts_the_pages_of_each_method() {
    let root = fadump(31, "first");
    let [input, output] = [root.path(), &root.path().join("converted")];
    let run = run::convert(input, output, &["-c", "auto", "--methods", "none,snappy,zlib", "--json"]).ok();
    let report = json(&run);
    assert_eq!(report["output"]["compression"], "auto", "{report}");
    let methods = report["pages"]["methods"].as_object().unwrap();
    assert_eq!(methods.keys().collect::<Vec<_>>(), ["none", "snappy", "zlib"], "{report}");
    let sum: u64 = methods.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(report["pages"]["data"], sum, "{report}");
    let plain = json(&run::convert(input, &root.path().join("plain"), &["--json"]).ok());
    assert!(plain["pages"]["methods"].is_null(), "{plain}");
    hadump([Path::new("diff"), output, &root.path().join("plain")]).ok();
    // What is one method in the end is that, and what makes no sense is wrong usage.
    for wrong in [&["--shard", "0/2"][..], &["--format", "elf"], &["--compression-level", "3"]] {
        let run = run::convert(input, &root.path().join("wrong"), &[&["-c", "auto"][..], wrong].concat());
        assert_eq!(run.code, Some(2), "{wrong:?}: {}", run.stderr);
    }
}

#[test]
fn streams_split_sets_and_shared_pages_are_compressed_as_time_allows_too() {
    let root = fadump(32, "first");
    let at = |name: &str| root.path().join(name);
    run::convert(root.path(), &at("plain"), &[]).ok();
    run::convert(root.path(), &at("shared"), &["-c", "auto", "--dedup"]).ok();
    run::convert(root.path(), &at("flat"), &["-c", "auto", "--flattened"]).ok();
    for name in ["shared", "flat"] {
        hadump([Path::new("diff"), &at("plain"), &at(name)]).ok();
        hadump([Path::new("verify"), &at(name)]).ok();
    }
    run::convert(root.path(), &at("part"), &["-c", "auto", "--split", "2"]).ok();
    let parts = [at("part.0"), at("part.1")];
    hadump(["join".as_ref(), "-o".as_ref(), at("joined").as_path(), &parts[0], &parts[1]]).ok();
    hadump([Path::new("diff"), &at("plain"), &at("joined")]).ok();
}

#[test]
fn an_interrupted_save_goes_on_with_the_methods_that_it_began_with() {
    let root = fadump(33, "first");
    let (whole, target) = (root.path().join("whole"), root.path().join("saved"));
    let save = |to: &Path, options: &[&str]| {
        let mut command = Command::new(HADUMP);
        command.args(["save", "--segment", "512K", "--json", "--root"]).arg(root.path());
        Run::of(command.arg("--to").arg(to).args(options))
    };
    save(&whole, &[]).ok();
    // The last segments do not come to be written.
    let mut command = Command::new(HADUMP);
    command.args(["save", "--segment", "512K", "-q", "--limit-rate", "1M", "--root"]).arg(root.path());
    command.args(["-c", "auto", "--methods", "none,zlib"]).arg("--to").arg(&target);
    let mut child = command.spawn().expect("hadump");
    let journal = root.path().join("saved.journal");
    let checkpoints =
        || std::fs::read_to_string(&journal).unwrap_or_default().matches(" checkpoint ").count();
    while checkpoints() < 2 && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("a signal");
    child.wait().expect("an end");
    let text = std::fs::read_to_string(&journal).expect("the save ended before it was killed");
    assert!(text.contains(" method=auto:none,zlib "), "{text}");
    let report = json(&save(&target, &["--resume", "-c", "zstd"]).ok());
    assert_eq!((&report["resumed"], &report["output"]["compression"]), (&true.into(), &"auto".into()));
    let methods = report["pages"]["methods"].as_object().unwrap();
    assert_eq!(methods.keys().collect::<Vec<_>>(), ["none", "zlib"], "{report}");
    same_pages(&target, &whole);
}
