//! The real dumps through the kdump format.

use dumpfile::codec::{Choice, Method};
use dumpfile::output::OutputFile;
use dumpfile::{Facts, Progress, kdump};
use std::path::Path;
use std::process::Command;
use vmcore::{Dump, DumpLevel, PageState, Pfn, Selection, is_zero};

fn methods() -> Vec<Option<Method>> {
    let built = |m: &Option<Method>| *m != Some(Method::Lzo) || cfg!(feature = "lzo");
    [None].into_iter().chain(Method::ALL.map(Some)).filter(built).collect()
}

fn write(dump: &Dump, method: Option<Method>, path: &Path) {
    let selection = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
    let utsname = dump.source.utsname.clone().unwrap_or_default();
    let facts = Facts { utsname, ..Facts::default() };
    let out = OutputFile::create(path, true).unwrap();
    let options = kdump::Options { method: Choice::One(method), ..Default::default() };
    let written = kdump::write(dump, &selection, &facts, &options, &out, &Progress::default()).unwrap();
    assert_eq!(written.lost_pages + written.missing_pages, 0);
    out.commit().unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().len(), written.bytes);
}

/// Compares every page of `copy` that is there with `original`, and returns how many that were.
fn same_pages(name: &str, original: &Dump, copy: &Dump) -> u64 {
    let size = original.page_size().len();
    let (mut a, mut b) = (vec![0; size], vec![0; size]);
    let mut same = 0;
    for pfn in original.memory.map().frames().iter().flat_map(|r| r.start.0..r.end.0) {
        let known = original.memory.read_page(Pfn(pfn), &mut a).unwrap().is_known();
        let state = copy.memory.read_page(Pfn(pfn), &mut b).unwrap();
        assert!(known && state != PageState::Lost && state != PageState::Absent, "{name}: page {pfn:#x}");
        if state.is_known() {
            assert!(a == b, "{name}: page {pfn:#x}");
            // A stored page may be all zeros too: makedumpfile tests for that only when told to leave them out.
            assert!(state == PageState::Present || is_zero(&a), "{name}: page {pfn:#x}");
            same += 1;
        }
    }
    same
}

#[test]
fn every_page_of_a_real_dump_survives_every_method() {
    let dir = tempfile::tempdir().unwrap();
    for real in corpus::dumps() {
        let (name, original) = (real.name, dumpfile::open(&real.elf).unwrap());
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        for method in methods() {
            write(&original, method, &first);
            let copy = dumpfile::open(&first).unwrap();
            assert_eq!(copy.source.remarks, [""; 0], "{name}");
            assert_eq!(copy.machine, original.machine);
            assert_eq!(copy.memory.map().frames(), original.memory.map().frames());
            assert_eq!(copy.notes, original.notes);
            assert_eq!(same_pages(name, &original, &copy), original.memory.map().frames().total());
            write(&copy, method, &second);
            assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap(), "{name} {method:?}");
        }
    }
}

#[test]
fn what_makedumpfile_writes_is_read() {
    let (Some(real), Some(makedumpfile)) = (corpus::dump(corpus::X86_64), corpus::program("makedumpfile"))
    else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let original = dumpfile::open(&real.elf).unwrap();
    for (option, format) in [("-c", "zlib"), ("-l", "lzo"), ("-d0", "uncompressed")] {
        if option == "-l" && cfg!(not(feature = "lzo")) {
            continue;
        }
        let output = dir.path().join("out");
        let _ = std::fs::remove_file(&output);
        let level = if option == "-d0" { "0" } else { "31" };
        let mut peer = Command::new(&makedumpfile);
        let made = peer.args([option, "-d", level]).arg(&real.elf).arg(&output).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let copy = dumpfile::open(&output).unwrap();
        assert_eq!(copy.source.format, format!("kdump-compressed v6 ({format})"));
        assert_eq!(copy.source.dump_level, DumpLevel::new(level.parse().unwrap()));
        assert_eq!(copy.source.remarks, [""; 0]);
        assert_eq!(copy.notes, original.notes);
        let uts = copy.source.utsname.as_ref().unwrap();
        assert_eq!((uts.sysname.as_str(), uts.machine.as_str()), ("Linux", "x86_64"));
        let same = same_pages("x86_64", &original, &copy);
        let all = original.memory.map().frames().total();
        assert!(if level == "0" { same == all } else { same > 1000 && same < all }, "{same} of {all}");
        let kept = Selection::everything(&*copy.memory, DumpLevel::default(), None).unwrap().kept();
        assert_eq!(kept, same);
    }
}
