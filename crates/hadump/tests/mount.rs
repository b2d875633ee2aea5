//! Mounted dumps: what is shown of them, and how a mount ends.

mod common;

use common::mounted::Mounted;
use common::reader::elf::{Elf, notes};
use common::run::{self, HADUMP, METHODS, Run, Scratch, hadump};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The notes of a core but hadump's own, which tells of the file and not of the dump.
fn notes_of(core: &Path) -> Vec<(String, u64, Vec<u8>)> {
    let elf = Elf::open(core);
    let all = notes(&elf.notes, elf.order).into_iter().filter(|note| note.name != "HADUMP");
    all.map(|note| (note.name, note.kind, note.desc)).collect()
}

/// `files`, mounted, are the same dump as the core `converted`.
#[track_caller]
fn is_the_same(files: &[PathBuf], options: &[&str], converted: &Path) {
    let Some(mounted) = Mounted::new(files, options) else { return };
    let vmcore = mounted.vmcore();
    let name = files[0].display();
    assert_eq!(notes_of(&vmcore), notes_of(converted), "{name}");
    let (theirs, ours) = (Elf::open(converted), Elf::open(&vmcore));
    assert_eq!((ours.machine, ours.order), (theirs.machine, theirs.order));
    // Segments are cut at other places, where zeros begin; what they say of an address is the same.
    for load in &ours.loads {
        let at = |loads: &[_], paddr: u64| -> Vec<u64> {
            let of = |load: &common::reader::elf::Load| {
                (load.paddr <= paddr && paddr < load.paddr + load.memsz)
                    .then(|| load.vaddr.wrapping_add(paddr - load.paddr))
            };
            let mut all: Vec<u64> = loads.iter().filter_map(of).collect();
            all.sort_unstable();
            all
        };
        for paddr in [load.paddr, load.paddr + load.memsz - 1] {
            assert_eq!(at(&ours.loads, paddr), at(&theirs.loads, paddr), "{name}: {paddr:#x}");
        }
        assert_eq!(load.filesz, load.memsz);
    }
    let diff = hadump(["diff".as_ref(), vmcore.as_os_str(), converted.as_os_str()]);
    assert_eq!(diff.code, Some(0), "{name}:\n{}{}", diff.stdout, diff.stderr);
}

/// Each form in which a dump may be kept is shown as the core that it is converted to.
fn all_forms(dump: &corpus::Dump) {
    let plain = run::to_elf(&dump.elf, 0);
    is_the_same(std::slice::from_ref(&dump.elf), &[], plain.path());
    let filtered = run::to_elf(&dump.elf, 1);
    is_the_same(&[filtered.path().to_owned()], &[], filtered.path());
    // A kdump file has no virtual addresses: those of its core are the kernel's.
    let whole = run::to_kdump(&dump.elf, 1, "zstd");
    let core = run::to_elf(whole.path(), 1);
    for (method, _) in METHODS {
        let kdump = run::to_kdump(&dump.elf, 1, method);
        is_the_same(&[kdump.path().to_owned()], &[], core.path());
    }
    let flattened = Scratch::new("flattened");
    run::convert(whole.path(), flattened.path(), &["-d", "1", "--flattened"]).ok();
    is_the_same(&[flattened.path().to_owned()], &[], core.path());
    let split = Scratch::new("split");
    run::convert(whole.path(), split.path(), &["-d", "1", "--split", "3"]).ok();
    let parts: Vec<PathBuf> =
        run::names(split.directory()).iter().map(|name| split.directory().join(name)).collect();
    assert_eq!(parts.len(), 3);
    is_the_same(&parts, &[], core.path());
    if let Some((key, public)) = key() {
        let sealed = Scratch::new("sealed");
        run::convert(whole.path(), sealed.path(), &["-d", "1", "--encrypt-to", &public]).ok();
        let files: Vec<PathBuf> =
            run::names(sealed.directory()).iter().map(|name| sealed.directory().join(name)).collect();
        let key = key.path().to_str().expect("a path").to_owned();
        is_the_same(&files, &["--identity", &key], core.path());
    }
}

/// A key of age, and its public half.
fn key() -> Option<(Scratch, String)> {
    let keygen = common::peer::program("age-keygen")?;
    let key = Scratch::new("key");
    Run::of(Command::new(keygen).arg("-o").arg(key.path())).ok();
    let text = fs::read_to_string(key.path()).expect("a key");
    let public = text.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("a public key");
    let public = public.to_owned();
    Some((key, public))
}

#[test]
fn all_forms_of_a_power_dump_are_shown_as_the_core_they_are_converted_to() {
    corpus::dump(corpus::POWER).iter().for_each(all_forms);
}

#[test]
fn all_forms_of_a_big_endian_power_dump_are_shown_as_the_core_they_are_converted_to() {
    corpus::dump(corpus::POWER_BE).iter().for_each(all_forms);
}

#[test]
fn all_forms_of_an_x86_64_dump_are_shown_as_the_core_they_are_converted_to() {
    corpus::dump(corpus::X86_64).iter().for_each(all_forms);
}

/// Of the others one form: they differ in what their kernels say.
#[test]
fn dumps_of_debians_kernels_are_shown_as_the_core_they_are_converted_to() {
    for dump in corpus::DEBIAN.into_iter().filter_map(corpus::dump) {
        let (kdump, core) = (run::to_kdump(&dump.elf, 31, "zstd"), run::to_elf(&dump.elf, 31));
        is_the_same(&[kdump.path().to_owned()], &[], core.path());
    }
}

#[test]
fn memory_is_the_dumps_with_holes_where_there_is_none() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let kdump = run::to_kdump(&dump.elf, 1, "lzo");
    let Some(mounted) = Mounted::new(&[kdump.path()], &[]) else { return };
    let elf = Elf::open(&dump.elf);
    let mut memory = File::open(mounted.path("memory")).expect("memory");
    let len = memory.metadata().expect("memory").len();
    assert_eq!(len, elf.loads.iter().map(|load| load.paddr + load.memsz).max().expect("memory"));
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for at in (0..len).step_by(1 << 20) {
        let some = (len - at).min(1 << 20) as usize;
        memory.read_exact_at(&mut ours[..some], at).expect("memory");
        elf.read(at, &mut theirs[..some]);
        assert!(ours[..some] == theirs[..some], "at {at:#x}");
    }
    // The end of a file counts as the beginning of a hole.
    let blocks = memory.metadata().expect("memory").blocks();
    assert!(blocks * 512 < len, "{blocks} blocks of {len} bytes");
    let copy = Scratch::new("copy");
    Run::of(Command::new("cp").arg("--sparse=auto").arg(mounted.path("memory")).arg(copy.path())).ok();
    assert!(fs::metadata(copy.path()).expect("a copy").blocks() <= blocks + 8);
    memory.seek(SeekFrom::Start(0)).expect("memory");
    let same = Run::of(Command::new("cmp").arg(mounted.path("memory")).arg(copy.path()));
    assert_eq!(same.code, Some(0), "{}", same.stdout);
}

/// A dump of terabytes is mounted as soon as a small one.
#[test]
fn mounting_reads_little_of_a_dump_and_so_does_reading_the_headers_of_its_core() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let Some(mounted) = Mounted::new(&[&dump.elf], &[]) else { return };
    let read = || {
        let [pid] = mounted.processes("serve")[..] else { panic!("one process that answers") };
        let io = fs::read_to_string(format!("/proc/{pid}/io")).expect("counts");
        let count = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("rchar");
        count.parse::<u64>().expect("a number")
    };
    let (before, len) = (read(), fs::metadata(&dump.elf).expect("a dump").len());
    assert!(before < len / 16, "{before} bytes of {len}");
    let elf = Elf::open(&mounted.vmcore());
    assert!(elf.loads.len() > 1);
    // The kernel asks for what is behind the headers, up to 1 MiB.
    let opened = read() - before;
    assert!(opened < 2 << 20, "{opened} bytes");
    elf.read(elf.loads[0].paddr, &mut vec![0; 16 << 20]);
    assert!(read() - before > 8 << 20);
}

#[test]
fn texts_are_what_the_commands_print() {
    for dump in [corpus::POWER, corpus::X86_64].into_iter().filter_map(corpus::dump) {
        let Some(mounted) = Mounted::new(&[&dump.elf], &[]) else { return };
        let printed =
            |args: &[&str]| hadump(args.iter().map(AsRef::as_ref).chain([dump.elf.as_os_str()])).stdout;
        assert_eq!(mounted.text("report.txt"), printed(&["report"]));
        assert_eq!(mounted.text("report.json"), printed(&["report", "--json"]));
        assert_eq!(mounted.text("dmesg.txt"), printed(&["dmesg"]));
        // A file that was made has a length.
        let len = fs::metadata(mounted.path("dmesg.txt")).expect("a file").len();
        assert_eq!(len, mounted.text("dmesg.txt").len() as u64);
        let all = Elf::open(&dump.elf);
        let all = notes(&all.notes, all.order);
        let info = all.iter().find(|note| note.name == "VMCOREINFO").expect("VMCOREINFO");
        assert_eq!(mounted.text("vmcoreinfo").as_bytes(), info.desc);
        let named = run::names(&mounted.path("notes"));
        assert_eq!(named.len(), all.len());
        for (name, note) in named.iter().zip(&all) {
            assert!(name.contains(&note.name), "{name}");
            assert_eq!(fs::read(mounted.path("notes").join(name)).expect("a note"), note.desc);
        }
        let cpus = run::names(&mounted.path("registers"));
        assert_eq!(cpus, ["0", "1"]);
        let registers = mounted.text("registers/1");
        let pc = if dump.name == corpus::POWER { "NIP" } else { "RIP" };
        assert!(registers.lines().any(|line| line.starts_with(pc)), "{registers}");
    }
}

/// A dump that was cut after half of its bytes.
fn cut(dump: &corpus::Dump, method: &str) -> Scratch {
    let whole = run::to_kdump(&dump.elf, 1, method);
    let cut = Scratch::new("cut");
    let len = fs::metadata(whole.path()).expect("a dump").len();
    let mut bytes = Vec::new();
    File::open(whole.path()).expect("a dump").take(len / 2).read_to_end(&mut bytes).expect("a dump");
    fs::write(cut.path(), bytes).expect("a dump");
    cut
}

#[test]
fn what_is_lost_is_zeros_or_an_error_and_the_dump_is_known_to_be_incomplete() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    for method in ["zlib", "none"] {
        let cut = cut(&dump, method);
        let Some((mounted, run)) = Mounted::try_new(&[cut.path()], &[]) else { return };
        assert_eq!(run.code, Some(4), "{}", run.stderr);
        let (Some((strict, _)), vmcore) = (Mounted::try_new(&[cut.path()], &["--errors"]), mounted.vmcore())
        else {
            return;
        };
        let whole = Elf::open(&dump.elf);
        let (shown, refusing) =
            (File::open(&vmcore).expect("vmcore"), File::open(strict.vmcore()).expect("vmcore"));
        let (mut there, mut lost) = (0u64, 0u64);
        let (mut page, mut other, mut wanted) = (vec![0; 4096], vec![0; 4096], vec![0; 4096]);
        for load in Elf::open(&vmcore).loads.iter().filter(|load| load.vaddr < 0xffff_ffff_0000_0000) {
            // A few pages of each segment, and all of the small ones.
            let step = (load.filesz / 4096 / 64).max(1) * 4096;
            for at in (0..load.filesz).step_by(step as usize) {
                shown.read_exact_at(&mut page, load.offset + at).expect("zeros");
                whole.read(load.paddr + at, &mut wanted);
                match refusing.read_exact_at(&mut other, load.offset + at) {
                    Ok(()) => {
                        assert!(page == other && page == wanted, "{:#x}", load.paddr + at);
                        there += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.raw_os_error(), Some(5), "{error}");
                        assert!(page.iter().all(|b| *b == 0));
                        lost += 1;
                    }
                }
            }
        }
        assert!(there > 30 && lost > 30, "{method}: {there} pages are there, {lost} lost");
        let info = hadump(["info".as_ref(), vmcore.as_os_str()]);
        assert_eq!(info.code, Some(4), "{}", info.stdout);
    }
}

/// What is behind the end of a core is known to be lost before anybody reads there.
#[test]
fn a_dump_converted_from_a_mounted_one_that_was_cut_lacks_the_same_pages() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let cut = Scratch::new("cut");
    dump.copy_elf(cut.path());
    File::options().write(true).open(cut.path()).and_then(|file| file.set_len(60 << 20)).expect("a dump");
    let Some((mounted, run)) = Mounted::try_new(&[cut.path()], &[]) else { return };
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    let [direct, again] = ["direct", "again"].map(Scratch::new);
    assert_eq!(run::convert(cut.path(), direct.path(), &["-d", "0"]).code, Some(4));
    assert_eq!(run::convert(&mounted.vmcore(), again.path(), &["-d", "0"]).code, Some(4));
    let kept = |scratch: &Scratch| {
        let names = run::names(scratch.directory());
        scratch.directory().join(names.first().expect("a dump"))
    };
    let diff = hadump(["diff".as_ref(), kept(&direct).as_os_str(), kept(&again).as_os_str()]);
    assert_eq!(diff.code, Some(0), "{}", diff.stdout);
}

/// Whatever was changed in a dump, it is mounted or refused, a read of it succeeds or is an error, and the mount stays.
#[test]
fn damaged_dumps_are_refused_or_read_with_errors_and_stay_mounted() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let (kdump, core) = (run::to_kdump(&dump.elf, 31, "zlib"), run::to_elf(&dump.elf, 31));
    let damaged = Scratch::new("damaged");
    let (mut shown, mut place) = (0, 7u64);
    let mut next = |below: u64| {
        place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (place >> 33) % below
    };
    for round in 0..16 {
        let mut bytes = fs::read([&kdump, &core][round % 2].path()).expect("a dump");
        // Headers, notes and bitmaps, which are at the beginning, and the pages behind them.
        for _ in 0..20 {
            let at = next(if round % 4 < 2 { 0x8000 } else { bytes.len() as u64 });
            bytes[at as usize] = next(256) as u8;
        }
        fs::write(damaged.path(), &bytes).expect("a dump");
        let options: &[&str] = if round % 3 == 0 { &["--errors"] } else { &[] };
        let Some((mounted, run)) = Mounted::try_new(&[damaged.path()], options) else { return };
        match run.code {
            Some(0 | 4) => shown += 1,
            Some(1) => {
                assert!(mounted.ends(), "round {round}: {}", run.stderr);
                continue;
            }
            code => panic!("round {round}: {code:?}: {}", run.stderr),
        }
        for name in run::names(mounted.directory()) {
            let Ok(file) = File::open(mounted.path(&name)) else { continue };
            let len = file.metadata().expect("a file").len();
            let mut piece = vec![0; 256 << 10];
            // Numbers that are damaged may make a file of any length.
            for at in (0..32).map(|part| len / 32 * part).chain([len.saturating_sub(5000)]) {
                let _ = file.read_at(&mut piece, at);
            }
        }
        for directory in ["notes", "registers"] {
            for name in run::names(&mounted.path(directory)) {
                let _ = fs::read(mounted.path(directory).join(name));
            }
        }
        assert_eq!(mounted.processes("serve").len(), 1, "round {round}");
        assert!(mounted.path("notes").exists(), "round {round}");
    }
    assert!(shown > 4, "{shown} of 16 were mounted");
}

#[test]
fn nothing_is_left_of_a_mount_however_its_processes_end() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    for role in ["watch", "serve"] {
        for signal in ["-KILL", "-TERM", "-INT"] {
            let Some(mounted) = Mounted::new(&[&dump.elf], &[]) else { return };
            let open = File::open(mounted.vmcore()).expect("vmcore");
            let [pid] = mounted.processes(role)[..] else { panic!("one process in the role {role}") };
            Run::of(Command::new("kill").arg(signal).arg(pid.to_string())).ok();
            assert!(mounted.ends(), "{role} {signal}");
            // Past what the system has of the file.
            assert!(open.read_at(&mut [0; 4096], 100 << 20).is_err(), "{role} {signal}");
        }
    }
}

#[test]
fn an_unmounted_dump_has_no_processes() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let Some(mounted) = Mounted::new(&[&dump.elf], &[]) else { return };
    assert_eq!(mounted.processes("serve").len(), 1);
    Run::of(Command::new("umount").arg(mounted.directory())).ok();
    assert!(mounted.ends());
}

#[test]
fn in_the_foreground_a_signal_ends_the_mount() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let Some(mounted) = Mounted::new(&[&dump.elf], &[]) else { return };
    let place = Scratch::new("foreground");
    fs::create_dir(place.path()).expect("a directory");
    let mut command = Command::new(HADUMP);
    command.args(["mount", "--foreground"]).arg(&dump.elf).arg(place.path());
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("hadump");
    let mut said = [0; 1];
    child.stderr.as_mut().expect("a pipe").read_exact(&mut said).expect("a word when it is mounted");
    assert!(place.path().join("vmcore").exists());
    Run::of(Command::new("kill").arg("-INT").arg(child.id().to_string())).ok();
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    assert!(!place.path().join("vmcore").exists());
    assert!(mounted.is_mounted(), "another mount has nothing to do with it");
}

#[test]
fn what_cannot_be_mounted_says_why_and_leaves_nothing() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let scratch = Scratch::new("place");
    let missing = hadump(["mount".as_ref(), dump.elf.as_os_str(), scratch.path().as_os_str()]);
    assert_eq!(missing.code, Some(1));
    if Path::new("/dev/fuse").exists() {
        assert!(missing.stderr.contains("cannot be mounted at"), "{}", missing.stderr);
    }
    let Some((mounted, run)) = Mounted::try_new(&["/dev/null"], &[]) else { return };
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.starts_with("hadump: /dev/null: "), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(mounted.ends());
}

#[test]
fn nobody_but_the_caller_looks_in() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let Some(mounted) = Mounted::new(&[&dump.elf], &[]) else { return };
    let mode = |path: PathBuf| fs::metadata(path).expect("a file").mode() & 0o777;
    assert_eq!(mode(mounted.vmcore()), 0o400);
    assert_eq!(mode(mounted.path("notes")), 0o500);
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let directory = mounted.directory().display().to_string();
    let line = mounts.lines().find(|line| line.contains(&directory)).expect("the mount");
    assert!(!line.contains("allow_other") && line.contains(" ro,"), "{line}");
    assert!(line.contains("nosuid") && line.contains("nodev") && line.contains("noexec"), "{line}");
    assert!(File::options().write(true).open(mounted.vmcore()).is_err());
    assert!(fs::write(mounted.path("new"), "").is_err());
}
