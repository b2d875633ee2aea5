//! Dumps as makedumpfile writes them beside plain files: flattened, split, cut off.

mod common;

use common::peer;
use common::run::{Run, Scratch, hadump};
use corpus::X86_64;
use dumpfile::flattened::{StreamEnd, unflatten};
use dumpfile::output::OutputFile;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The ELF core and makedumpfile, when both are here.
fn dump_and_makedumpfile() -> Option<(PathBuf, PathBuf)> {
    let corpus::Dump { elf, .. } = corpus::dump(X86_64)?;
    Some((elf, peer::program("makedumpfile")?))
}

fn makedumpfile(program: &Path, options: &[&str], input: &Path, outputs: &[&Path]) {
    Run::of(Command::new(program).args(options).arg(input).args(outputs)).ok();
}

/// A flattened stream, as a file.
fn flattened(program: &Path, options: &[&str], input: &Path) -> Scratch {
    let file = Scratch::new("flattened");
    let status = Command::new(program)
        .arg("-F")
        .args(options)
        .arg(input)
        .stdout(File::create(file.path()).unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    file
}

fn same(a: &Path, b: &Path) {
    let run = hadump(["diff".as_ref(), a.as_os_str(), b.as_os_str()]).ok();
    assert!(run.stdout.contains("different  0 pages"), "{}", run.stdout);
}

/// Puts a stream in order; returns the end and the file, under the name of which `directory` it lies.
fn put_in_order(stream: &[u8], directory: &Path) -> (StreamEnd, PathBuf) {
    let out = OutputFile::create(&directory.join("ordered"), true).unwrap();
    let done = unflatten(&mut &*stream, &out).unwrap();
    assert!(done.foreign.is_none());
    assert_eq!(done.received, stream.len() as u64);
    (done.end, out.commit().unwrap())
}

#[test]
fn a_flattened_dump_is_the_dump_at_random_and_put_in_order() {
    let Some((elf, program)) = dump_and_makedumpfile() else { return };
    for options in [&["-c", "-d", "31"][..], &["-d", "1"], &["-E", "-d", "31"], &["-l", "-d", "31"]] {
        let plain = Scratch::new("plain");
        makedumpfile(&program, options, &elf, &[plain.path()]);
        let flat = flattened(&program, options, &elf);
        same(flat.path(), plain.path());
        let stream = fs::read(flat.path()).unwrap();
        let (end, ours) = put_in_order(&stream, flat.directory());
        assert!(matches!(end, StreamEnd::Whole));
        let theirs = Scratch::new("theirs");
        let stdin = File::open(flat.path()).unwrap();
        let status = Command::new(&program)
            .arg("-R")
            .arg(theirs.path())
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success());
        assert!(fs::read(ours).unwrap() == fs::read(theirs.path()).unwrap(), "{options:?}");
    }
}

#[test]
fn a_split_set_is_one_dump_in_any_order_flattened_or_not() {
    let Some((elf, program)) = dump_and_makedumpfile() else { return };
    let plain = Scratch::new("plain");
    makedumpfile(&program, &["-c", "-d", "31"], &elf, &[plain.path()]);
    let directory = plain.directory();
    let parts = ["b", "c", "a"].map(|name| directory.join(name));
    let options = ["-c", "-d", "31", "--split", "--splitblock-size", "16384"];
    makedumpfile(&program, &options, &elf, &[&parts[0], &parts[1], &parts[2]]);
    let expected = hadump(["pages".as_ref(), "--crc32".as_ref(), plain.path().as_os_str()]).ok().stdout;
    let pages = |files: &[&PathBuf]| {
        hadump(["pages", "--crc32"].map(Path::new).into_iter().chain(files.iter().map(|p| p.as_path())))
    };
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let set = order.map(|n| &parts[n]);
        assert!(pages(&set).ok().stdout == expected);
    }
    let some = pages(&[&parts[2], &parts[0]]);
    assert_eq!(some.code, Some(4), "{}", some.stderr);
    assert!(some.stderr.contains("are in no part given"), "{}", some.stderr);
    let mut lost = 0;
    for (now, before) in some.stdout.lines().zip(expected.lines()) {
        lost += usize::from(now.ends_with("lost"));
        assert!(now == before || now.ends_with("lost") && !before.ends_with("excluded"), "{now} {before}");
    }
    assert!(lost > 100, "{lost}");
}

#[test]
fn a_stream_that_was_cut_off_is_marked_and_opens_everywhere() {
    let Some((elf, program)) = dump_and_makedumpfile() else { return };
    let flat = flattened(&program, &["-c", "-d", "31"], &elf);
    let stream = fs::read(flat.path()).unwrap();
    let whole = hadump(["pages".as_ref(), "--crc32".as_ref(), flat.path().as_os_str()]).ok().stdout;
    for share in [3, 6, 9] {
        let stream = &stream[..stream.len() / 10 * share];
        let cut = Scratch::new("cut");
        fs::write(cut.path(), stream).unwrap();
        let (end, ordered) = put_in_order(stream, cut.directory());
        assert!(matches!(end, StreamEnd::Cut(None)));
        let file = OpenOptions::new().read(true).write(true).open(&ordered).unwrap();
        let marked = dumpfile::kdump::mark_incomplete(&file, &ordered).unwrap();
        assert!(marked.lost > 0 && marked.lost < marked.pages, "{marked:?}");
        let listed = [cut.path(), &ordered].map(|file| {
            let run = hadump(["pages".as_ref(), "--crc32".as_ref(), file.as_os_str()]);
            assert_eq!(run.code, Some(4), "{}", run.stderr);
            run.stdout
        });
        assert!(listed[0] == listed[1], "flattened and in order");
        let mut lost = 0;
        for (now, before) in listed[1].lines().zip(whole.lines()) {
            lost += u64::from(now.ends_with("lost"));
            assert!(now == before || now.ends_with("lost"), "{now} {before}");
        }
        assert_eq!(lost, marked.lost);
        if let Some(python) = peer::python_kdumpfile() {
            // libkdumpfile maps the file and dies on a page past its end; a lost page is an error that it can tell.
            let script =
                "import kdumpfile, sys\nk = kdumpfile.kdumpfile(sys.argv[1])\nprint(k.attr['file.format'])";
            Run::of(Command::new(python).args(["-c", script]).arg(&ordered)).ok();
        }
        let vmlinux = corpus::dump(X86_64).and_then(|dump| dump.vmlinux());
        if let (Some(crash), Some(vmlinux), 9) = (peer::program("crash"), vmlinux, share) {
            // The kernel's own pages came last: crash cannot work, but knows why, page by page.
            let run = Run::of(Command::new(crash).arg("-s").arg(vmlinux).arg(&ordered));
            for said in ["This dumpfile is incomplete", "crash: page incomplete: kernel virtual address"] {
                assert!(run.stdout.contains(said), "{}{}", run.stdout, run.stderr);
            }
        }
    }
}
