//! What scripts and servers read of hadump under the name of makedumpfile, and options that are rarely given.

mod common;

use common::makedumpfile::{ours, theirs};
use common::report_skipped;
use common::run::{self, Run, Scratch};
use corpus::Dump;
use std::fs;
use std::path::{Path, PathBuf};

fn small() -> Dump {
    corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump")
}

fn x86() -> Dump {
    corpus::dump(corpus::X86_64).expect("testdata/ holds the x86_64 dump")
}

/// The debugging lines from the first header's to VMCOREINFO's.
fn headers(run: &Run) -> Vec<String> {
    let lines = run.stdout.lines().skip_while(|line| {
        !line.starts_with("diskdump main header") && !line.trim_start().starts_with("phys_start")
    });
    // The original prints what follows the signature in memory, too.
    let printable = |line: &str| line.chars().filter(|c| !c.is_control()).collect();
    lines.take_while(|line| !line.starts_with("VMCOREINFO")).map(printable).collect()
}

fn debugging(mut program: std::process::Command, options: &[&str], input: &Path) -> Run {
    let output = Scratch::new("out");
    Run::of(program.args(options).arg(input).arg(output.path()).current_dir(output.directory()))
}

/// The input in each of the shapes in which makedumpfile reads it, header versions before 6 among them.
fn shapes(dump: &Dump) -> Vec<(String, PathBuf, Scratch)> {
    let mut shapes = vec![("ELF".into(), dump.elf.clone(), Scratch::new("unused"))];
    for (level, method) in [(31, "zlib"), (1, "lzo"), (17, "none")] {
        let kdump = run::to_kdump(&dump.elf, level, method);
        shapes.push((format!("kdump of level {level}"), kdump.path().to_owned(), kdump));
    }
    for version in [1u8, 2, 3, 4, 5] {
        let kdump = run::to_kdump(&dump.elf, 31, "zlib");
        let mut bytes = fs::read(kdump.path()).unwrap();
        bytes[8] = version;
        fs::write(kdump.path(), bytes).unwrap();
        shapes.push((format!("kdump version {version}"), kdump.path().to_owned(), kdump));
    }
    shapes
}

#[test]
fn debugging_messages_print_the_input_s_headers_as_the_original_does() {
    let dump = x86();
    for options in [&["-D", "-c", "-d", "31"][..], &["--message-level", "31", "-l", "-d", "1"]] {
        for (what, input, _file) in shapes(&dump) {
            let found = headers(&debugging(ours(), options, &input));
            assert!(found.len() > 3, "{what}: {found:?}");
            let Some(theirs) = theirs() else { return };
            let theirs = debugging(theirs, options, &input);
            // What follows where there is no VMCOREINFO is not about headers.
            let of_headers = |line: &String| {
                ["  ", "LOAD[", "diskdump main", "kdump sub", "Linux kdump"]
                    .iter()
                    .any(|s| line.starts_with(s))
                    && !line.contains("mem_map")
            };
            let expected: Vec<String> = headers(&theirs).into_iter().take_while(of_headers).collect();
            let found: Vec<String> =
                found.into_iter().take_while(|line| !line.starts_with("phys_base")).collect();
            let found = &found[..found.len().min(expected.len())];
            assert_eq!(found, expected, "{what}");
        }
    }
}

/// ABRT's retrace server takes the level of a dump from this line.
#[test]
fn the_dump_level_is_among_the_debugging_messages_of_a_flattened_dump_and_of_each_part_of_a_set() {
    let dump = small();
    let flat = Scratch::new("flat");
    run::convert(&dump.elf, flat.path(), &["--flattened", "-d", "17"]).ok();
    let run = debugging(ours(), &["-D", "--dump-dmesg"], flat.path()).ok();
    assert!(run.stdout.lines().any(|line| line == "  dump_level       : 17"), "{}", run.stdout);

    let set = Scratch::new("part");
    run::convert(&dump.elf, set.path(), &["--split", "2", "-d", "31"]).ok();
    let part = |n: u32| set.directory().join(format!("part.{n}"));
    let whole = set.directory().join("whole");
    let run = Run::of(ours().args(["-D", "--reassemble"]).args([part(0), part(1), whole])).ok();
    let levels = run.stdout.lines().filter(|line| *line == "  dump_level       : 31").count();
    assert_eq!(levels, 2, "{}", run.stdout);
}

/// `-F` leaves standard output to the dump.
#[test]
fn debugging_messages_of_a_stream_go_to_standard_error() {
    let dump = small();
    let run = Run::of(ours().args(["-D", "-F", "--dump-dmesg"]).arg(&dump.elf)).ok();
    assert_eq!(run.stdout, dump.text("expected/dmesg.txt"));
    assert!(run.stderr.contains("LOAD[ 0]"), "{}", run.stderr);
}

#[test]
fn a_log_since_the_last_clearing_is_the_whole_log_of_a_kernel_that_never_cleared_it() {
    let dump = small();
    for output in ["log", "-"] {
        let place = Scratch::new("log");
        let mut command = ours();
        command.args(["--dump-dmesg", "--partial-dmesg"]).arg(&dump.elf).arg(output);
        let run = Run::of(command.current_dir(place.directory())).ok();
        let log = if output == "-" { run.stdout } else { fs::read_to_string(place.path()).unwrap() };
        assert_eq!(log, dump.text("expected/dmesg.txt"), "{output}");
    }
}

#[test]
fn exclusion_of_struct_pages_is_accepted_and_told_that_it_has_no_effect() {
    let (dump, plain, with) = (small(), Scratch::new("plain"), Scratch::new("with"));
    let create = |options: &[&str], output: &Scratch| {
        Run::of(ours().args(options).arg(&dump.elf).arg(output.path())).ok()
    };
    create(&["-c", "-d", "31"], &plain);
    for options in [&["-c", "-d", "31", "-e", "--work-dir", "/tmp"][..], &["-f", "-ecd31"]] {
        let run = create(options, &with);
        assert!(run.stderr.contains("makedumpfile: -e: pages of struct page are kept"), "{}", run.stderr);
        assert!(!run.stdout.contains("-e:"), "{}", run.stdout);
        assert!(fs::read(plain.path()).unwrap() == fs::read(with.path()).unwrap());
    }
    let stream = Run::of(ours().args(["-F", "-e", "--dump-dmesg"]).arg(&dump.elf)).ok();
    assert_eq!(stream.stdout, dump.text("expected/dmesg.txt"), "remarks go to standard error");
}

/// A copy of an x86_64 ELF core with one more note.
fn with_note(dump: &Dump, name: &str, kind: u32) -> Scratch {
    let mut bytes = fs::read(&dump.elf).unwrap();
    let u64_at = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let headers = u64_at(&bytes, 32) as usize;
    // PT_NOTE is the first segment of /proc/vmcore.
    assert_eq!(bytes[headers..headers + 4], [4, 0, 0, 0]);
    let (at, len) = (u64_at(&bytes, headers + 8) as usize, u64_at(&bytes, headers + 32) as usize);
    let mut notes = Vec::new();
    for word in [name.len() as u32 + 1, 16, kind] {
        notes.extend(word.to_le_bytes());
    }
    notes.extend(name.as_bytes());
    notes.resize((notes.len() + 1).next_multiple_of(4), 0);
    notes.extend([0; 16]);
    notes.extend(&bytes[at..at + len]);
    let end = bytes.len().next_multiple_of(4096);
    bytes.resize(end, 0);
    bytes[headers + 8..headers + 16].copy_from_slice(&(end as u64).to_le_bytes());
    for field in [32, 40] {
        bytes[headers + field..headers + field + 8].copy_from_slice(&(notes.len() as u64).to_le_bytes());
    }
    bytes.extend(notes);
    let copy = Scratch::new("vmcore");
    fs::write(copy.path(), bytes).unwrap();
    copy
}

/// XEN_ELFNOTE_CRASH_INFO, which a hypervisor's crash kernel writes.
const XEN_CRASH_INFO: u32 = 0x100_0001;

#[test]
fn the_option_for_xen_hosts_refuses_other_dumps_in_the_original_s_words() {
    let (dump, output) = (small(), Scratch::new("out"));
    for options in [&["-X", "-d", "31"][..], &["-X", "--dump-dmesg"], &["-F", "-X"]] {
        let mut command = ours();
        command.args(options).arg(&dump.elf);
        if !options.contains(&"-F") {
            command.arg(output.path());
        }
        let run = Run::of(&mut command);
        assert_eq!(run.code, Some(1), "{options:?}");
        let said = if options.contains(&"-F") { &run.stderr } else { &run.stdout };
        let why =
            format!("'-X' option is disable,because {} is not Xen's memory core image.", dump.elf.display());
        assert!(said.contains(&why) && said.contains("Commandline parameter is invalid."), "{said}");
        assert!(said.ends_with("\nmakedumpfile Failed.\n"), "{said}");
        assert!(run::names(output.directory()).is_empty(), "{options:?}");
        let Some(mut theirs) = theirs() else { continue };
        let theirs = Run::of(theirs.args(options).arg(&dump.elf).arg(output.path()));
        assert_eq!(theirs.code, Some(1), "{options:?}");
    }
}

#[test]
fn all_pages_of_a_xen_host_s_dump_are_kept() {
    let (dump, output) = (x86(), Scratch::new("out"));
    let xen = with_note(&dump, "Xen", XEN_CRASH_INFO);
    let run = Run::of(ours().args(["-X", "-c", "-d", "31"]).arg(xen.path()).arg(output.path())).ok();
    assert!(run.stderr.contains("-X: ") && run.stderr.contains("all pages are kept"), "{}", run.stderr);
    let info = run::hadump(["info".as_ref(), "--json".as_ref(), output.path()]).ok();
    let info: serde_json::Value = serde_json::from_str(&info.stdout).unwrap();
    assert_eq!(info["dump_level"], 1);
    let diff = run::hadump(["diff".as_ref(), dump.elf.as_path(), output.path()]).ok();
    assert!(diff.stdout.contains("only in A  0 pages"), "{}", diff.stdout);
}

/// Command lines of published scripts and guides, and of the tests of distributions' kdump packages.
#[test]
fn command_lines_of_published_scripts_end_as_with_the_original() {
    let dump = small();
    let input = dump.elf.to_str().unwrap();
    let lines = [
        "--dump-dmesg --partial-dmesg INPUT log",
        "-d 31 -e INPUT vmcore --work-dir /tmp",
        "--check-params -X -d 31 vmcore dumpfile",
        "--check-params -c -d 31 -e vmcore dumpfile --work-dir /tmp",
        "-f --dump-dmesg INPUT /dev/null",
        "-f -c -d 31 INPUT /dev/null",
        "--xen_phys_start 0x1000 -c -d 31 INPUT vmcore",
        "-c --message-level 1 -d 31 INPUT vmcore-incomplete",
        "-l --message-level 7 -d 31 --non-mmap INPUT vmcore",
        "--cyclic-buffer 1024 -p -d 17 INPUT vmcore",
        "-E -d 31 -b 4 INPUT vmcore",
        "--mem-usage INPUT -f",
    ];
    for line in lines {
        let place = Scratch::new("vmcore");
        let args = line.split(' ').map(|arg| if arg == "INPUT" { input } else { arg });
        let run = Run::of(ours().args(args).current_dir(place.directory()));
        assert_eq!(run.code, Some(0), "{line}: {}{}", run.stdout, run.stderr);
    }
    assert!(fs::metadata("/dev/null").unwrap().len() == 0, "the device is still one");
    if theirs().is_none() {
        report_skipped("whether the original takes these lines");
    }
}

#[test]
fn an_address_is_hexadecimal_with_0x_and_without() {
    let dump = small();
    let translated = |address: &str| {
        let out = Scratch::new("out");
        let mut command = ours();
        Run::of(command.args(["--vtop", address]).arg(&dump.elf).arg(out.path()))
    };
    for address in ["0xc000000000010000", "0Xc000000000010000", "c000000000010000", "C000000000010000"] {
        let run = translated(address).ok();
        assert!(run.stdout.contains("c000000000010000  10000"), "{address}: {}", run.stdout);
    }
    for address in ["", "0x", "xyz", "c000000000010000c"] {
        assert_eq!(translated(address).code, Some(1), "{address}");
    }
}

#[test]
fn an_output_that_takes_nothing_is_named_with_what_to_do() {
    let (dump, place) = (small(), Scratch::new("d"));
    std::fs::create_dir(place.path()).unwrap();
    for options in [&[][..], &["-f"], &["-f", "--dump-dmesg"]] {
        let run = Run::of(ours().args(options).arg(&dump.elf).arg(place.path()));
        assert_eq!(run.code, Some(1), "{options:?}");
        assert!(run.stderr.contains("a directory; name a file in it"), "{options:?}: {}", run.stderr);
    }
    for (options, name) in
        [("-f --dump-dmesg \"$1\" /dev/full", "/dev/full"), ("-F --dump-dmesg \"$1\"", "standard output")]
    {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" makedumpfile {options} > /dev/full"), common::run::HADUMP]);
        let run = Run::of(shell.arg(&dump.elf));
        assert_eq!(run.code, Some(1), "{options}");
        let said = format!("{name}: cannot write the kernel log: ");
        assert!(
            run.stderr.contains(&said) && !run.stderr.contains("cannot read"),
            "{options}: {}",
            run.stderr
        );
    }
}
