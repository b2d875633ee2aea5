//! Mini dumps: small, and yet a report, crash and drgn say of them what they say of the whole dump.

mod common;

use common::peer;
use common::reader::kdump::Kdump;
use common::run::{self, Scratch};
use common::small::Small;
use corpus::Dump;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The most that a mini dump takes where nothing else is asked for.
const USUAL: u64 = 64 << 20;
const FORMATS: [&str; 2] = ["kdump", "elf"];

/// All dumps of the corpus that are there, each with the options that name its vmlinux if it has one.
fn dumps() -> impl Iterator<Item = (Dump, Vec<String>)> {
    let dumps = corpus::NAMES.into_iter().chain(corpus::DEBIAN).filter_map(corpus::dump);
    dumps.map(|dump| {
        let has = [corpus::X86_64, corpus::POWER].contains(&dump.name);
        let vmlinux = has.then(|| dump.vmlinux()).flatten();
        let options = vmlinux.map(|path| vec!["--vmlinux".to_owned(), path.to_str().unwrap().to_owned()]);
        (dump, options.unwrap_or_default())
    })
}

fn mini(input: &Path, options: &[&str]) -> (Scratch, Value) {
    let output = Scratch::new("mini");
    let usual: &[&str] =
        if options.iter().any(|option| option.starts_with("--mini")) { &[] } else { &["--mini"] };
    let json = [usual, &["--json"], options].concat();
    let json = run::convert(input, output.path(), &json).ok().stdout;
    (output, serde_json::from_str(&json).unwrap())
}

fn texts(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

fn report(dump: &Path, options: &[&str]) -> Value {
    let args = [Path::new("report"), dump, Path::new("--json"), Path::new("--tasks"), Path::new("all")];
    let run = run::hadump(args.into_iter().chain(options.iter().map(Path::new)));
    serde_json::from_str(&run.ok().stdout).unwrap()
}

/// What a report says of the dump's content: not what the file is, nor which notes and ends of frames its format has.
fn content(mut report: Value) -> Value {
    report["dump"] = Value::Null;
    report["notes"] = Value::Null;
    report["machine"]["memory_bytes"] = Value::Null;
    report
}

#[test]
fn a_report_of_a_mini_dump_is_that_of_the_whole_dump_and_says_that_it_is_of_a_mini_dump() {
    for (dump, vmlinux) in dumps() {
        let whole = content(report(&dump.elf, &texts(&vmlinux)));
        for format in FORMATS {
            let options = [&["--format", format][..], &texts(&vmlinux)].concat();
            let (output, made) = mini(&dump.elf, &options);
            let size = output.path().metadata().unwrap().len();
            assert!(size <= USUAL && size == made["output"]["bytes"], "{} {format}: {size}", dump.name);
            assert_eq!(made["output"]["mini"]["left_out"], Value::Array(Vec::new()), "{}", dump.name);
            let read = report(output.path(), &texts(&vmlinux));
            assert_eq!(read["dump"]["mini"]["budget"], USUAL, "{} {format}", dump.name);
            assert!(content(read) == whole, "{} {format}", dump.name);
        }
    }
}

#[test]
fn what_a_mini_dump_lacks_was_left_out_and_is_not_lost() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    for format in FORMATS {
        let (output, made) = mini(&dump.elf, &["--format", format]);
        let (pages, kept) = (&made["pages"], made["pages"]["kept"].as_u64().unwrap());
        assert_eq!((&pages["lost"], &made["output"]["complete"]), (&0.into(), &true.into()));
        assert_eq!(pages["excluded"]["mini"], pages["total"].as_u64().unwrap() - kept);
        let args = ["verify", "--json"].map(Path::new);
        let verified = run::hadump(args.into_iter().chain([output.path()])).ok().stdout;
        let verified: Value = serde_json::from_str(&verified).unwrap();
        assert_eq!(verified["lost"]["pages"], 0, "{verified}");
        assert_eq!(verified["excluded"], pages["excluded"]["mini"], "{verified}");
        // Each page that is there is that of the dump.
        let common = ["diff", "--common"].map(Path::new);
        run::hadump(common.into_iter().chain([dump.elf.as_path(), output.path()])).ok();
    }
}

#[test]
fn a_mini_dump_is_the_same_for_any_number_of_threads() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    for budget in ["--mini", "--mini=2M"] {
        let made = ["1", "2", "5"].map(|threads| {
            let output = Scratch::new("mini");
            run::convert(&dump.elf, output.path(), &[budget, "-j", threads]).ok();
            fs::read(output.path()).unwrap()
        });
        assert!(made[0] == made[1] && made[0] == made[2], "{budget}");
    }
}

#[test]
fn a_small_budget_is_kept_by_every_way_to_write_and_what_had_no_room_is_said() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    for budget in [1u64 << 20, 3 << 20] {
        for way in [
            &["-c", "zstd"][..],
            &["-c", "lzo"],
            &["-c", "none"],
            &["-c", "zlib", "--no-checksums"],
            &["-c", "auto"],
            &["--format", "elf"],
            &["--flattened"],
            &["--encrypt-to", "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"],
        ] {
            let size = format!("--mini={budget}");
            let options = [&[&size, "--json"][..], way].concat();
            let output = Scratch::new("mini");
            let run = run::convert(&dump.elf, output.path(), &options).ok();
            let made: Value = serde_json::from_str(&run.stdout).unwrap();
            let len = output.path().metadata().unwrap().len();
            assert!(len <= budget, "{budget} {way:?}: {len}");
            // Where it is known what pages take, and holes are part of the file, little is left unused.
            let known = ["zstd", "lzo", "none", "elf"].iter().any(|known| way.contains(known));
            assert!(!known || len + 5 * dump.page_size > budget, "{budget} {way:?}: {len}");
            let left_out = made["output"]["mini"]["left_out"].as_array().unwrap();
            assert!(!left_out.is_empty() && run.stderr.contains("have no room for"), "{}", run.stderr);
            // The log is of most use, the code of least.
            assert!(budget < 2 << 20 || left_out[0]["what"] != "the log", "{way:?}: {left_out:?}");
            // What nobody knows more of comes after what is known.
            assert_eq!(left_out.last().unwrap()["what"], "the kernel's other memory");
            if !way.contains(&"--encrypt-to") {
                let info = run::hadump([Path::new("info"), output.path()]).ok().stdout;
                assert!(info.contains("mini dump  of at most ") && info.contains("no room for"), "{info}");
            }
        }
    }
}

#[test]
fn a_budget_without_room_for_a_page_makes_no_dump() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let output = Scratch::new("mini");
    let run = run::convert(&dump.elf, output.path(), &["--mini=40K"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("is too small") && !output.path().exists(), "{}", run.stderr);
}

#[test]
fn a_mini_dump_at_a_dump_level_or_in_parts_is_wrong_usage() {
    for wrong in [
        &["-d", "31"][..],
        &["--exclude", "free"],
        &["--no-gate"],
        &["--split", "2"],
        &["--shard", "0/2"],
        &["--mini=1x"],
    ] {
        let options = [&["--mini"][..], wrong].concat();
        let run = run::convert(Path::new("in"), Path::new("out"), &options);
        assert_eq!(run.code, Some(2), "{wrong:?}: {}", run.stderr);
    }
}

#[test]
fn a_mini_dump_of_a_mini_dump_is_one_and_says_the_smaller_size() {
    let Some(dump) = corpus::dump(corpus::X86_64) else { return };
    let (first, _) = mini(&dump.elf, &[]);
    let second = Scratch::new("second");
    run::convert(first.path(), second.path(), &["--mini=2M"]).ok();
    assert!(second.path().metadata().unwrap().len() <= 2 << 20);
    let kdump = Kdump::open(second.path());
    assert!(kdump.bitmap1.iter().eq(Kdump::open(first.path()).bitmap1.iter()));
    let info = run::hadump([Path::new("info"), second.path(), Path::new("--json")]).ok().stdout;
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["mini"]["budget"], 2 << 20);
}

#[test]
fn a_mini_dump_of_a_small_mini_dump_lacks_what_that_lacks() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let (first, made) = mini(&dump.elf, &["--mini=1M"]);
    let left_out = &made["output"]["mini"]["left_out"];
    assert!(!left_out.as_array().unwrap().is_empty());
    let (_second, again) = mini(first.path(), &[]);
    assert_eq!(&again["output"]["mini"]["left_out"], left_out);
    assert_eq!(again["output"]["mini"]["budget"], 1 << 20);
}

#[test]
fn what_of_a_kernel_without_types_had_no_room_is_counted() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let (_small, made) = mini(&dump.elf, &["--mini=5M"]);
    let (_large, all) = mini(&dump.elf, &[]);
    let left_out = made["output"]["mini"]["left_out"].as_array().unwrap();
    let kept = |made: &Value| made["pages"]["kept"].as_u64().unwrap();
    assert_eq!(left_out.last().unwrap()["what"], "the kernel's other memory");
    let pages = left_out.iter().fold(0, |sum, left| sum + left["pages"].as_u64().unwrap());
    assert_eq!(pages, kept(&all) - kept(&made));
}

/// A machine whose kernel shows `dump` as `/proc/vmcore`.
fn root(dump: &Dump) -> Scratch {
    let root = Scratch::new("root");
    fs::create_dir_all(root.path().join("proc")).unwrap();
    std::os::unix::fs::symlink(&dump.elf, root.path().join("proc/vmcore")).unwrap();
    root
}

fn save(root: &Path, to: &Path, options: &[&str]) -> run::Run {
    let args = [Path::new("save"), Path::new("--json"), Path::new("--root"), root, Path::new("--to"), to];
    run::hadump(args.into_iter().chain(options.iter().map(Path::new)))
}

#[test]
fn a_saved_mini_dump_keeps_its_size_also_encrypted_and_with_many_checkpoints() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let root = root(&dump);
    for way in [
        &["-c", "zstd"][..],
        &["--segment", "64K"],
        &["--format", "elf"],
        &["--encrypt-to", "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"],
    ] {
        let to = Scratch::new("vmcore");
        let saved = save(root.path(), to.path(), &[&["--mini=3M", "--report=never"][..], way].concat()).ok();
        let saved: Value = serde_json::from_str(&saved.stdout).unwrap();
        let len: u64 = saved["output"]["paths"]
            .as_array()
            .unwrap()
            .iter()
            .fold(0, |sum, path| sum + Path::new(path.as_str().unwrap()).metadata().unwrap().len());
        assert!(len <= 3 << 20 && len > 1 << 20, "{way:?}: {len}");
        assert_eq!(saved["output"]["mini"]["budget"], 3 << 20);
        assert_eq!(saved["output"]["complete"], true);
    }
}

#[test]
fn a_mini_dump_that_is_saved_where_there_is_little_room_is_complete() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let root = root(&dump);
    for size in ["2m", "4m", "5m"] {
        let Some(small) = Small::of(size) else { return };
        let to = small.0.path().join("vmcore");
        let saved = save(root.path(), &to, &["--mini", "--report=never"]).ok();
        let json: Value = serde_json::from_str(&saved.stdout).unwrap();
        let output = &json["output"];
        assert_eq!(output["complete"], true, "{size}: {}", saved.stderr);
        assert!(output["mini"]["budget"].as_u64() < Some(8 << 20), "{size}: {output}");
        assert!(to.exists() && !small.0.path().join("vmcore-incomplete").exists(), "{size}");
        // What had no room is in memory only, which must not be released for what was saved.
        assert_eq!(json["asked_level"], 0, "{size}: {json}");
    }
}

#[test]
fn where_no_mini_dump_can_be_saved_a_whole_one_is() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let (root, to) = (root(&dump), Scratch::new("vmcore"));
    let saved = save(root.path(), to.path(), &["--mini=1K", "--report=never"]);
    assert_eq!(saved.code, Some(3), "{}", saved.stderr);
    assert!(saved.stderr.contains("no mini dump is saved, but one at dump level 31"), "{}", saved.stderr);
    let json: Value = serde_json::from_str(&saved.stdout).unwrap();
    assert_eq!((&json["output"]["mini"], &json["output"]["dump_level"]), (&Value::Null, &31.into()));
    let wrong = save(root.path(), Path::new("other"), &["--mini", "-d", "31"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}

/// What crash looks at when it starts is more than what a report looks at. `SHARED` and `SLAB` are what crash before 9
/// counts in all `struct page`s, which are not in a mini dump.
#[test]
fn crash_prints_of_a_mini_dump_what_it_prints_of_the_whole_dump() {
    let (Some(dump), Some(crash)) = (corpus::dump(corpus::X86_64), peer::program("crash")) else { return };
    let Some(vmlinux) = dump.vmlinux() else { return };
    let commands = ["sys", "bt -a", "ps", "log", "mod", "kmem -i", "foreach bt"];
    let printed = |file: &Path| -> String {
        let printed = peer::crash(&crash, &vmlinux, file, &commands);
        let counted = |line: &&str| !["SHARED ", "SLAB "].iter().any(|counted| line.contains(counted));
        printed.lines().filter(counted).map(|line| format!("{line}\n")).collect()
    };
    let expected = printed(&dump.elf);
    assert!(expected.contains("sysrq triggered crash") && expected.contains("TOTAL MEM"), "{expected}");
    for format in FORMATS {
        let (output, _) =
            mini(&dump.elf, &["--format", format, "--vmlinux", vmlinux.to_str().expect("a path")]);
        let printed = printed(output.path());
        let differing = expected.lines().zip(printed.lines()).find(|(a, b)| a != b);
        assert!(printed == expected, "{format}: first difference (whole, mini): {differing:?}");
    }
}

#[test]
fn drgn_sees_in_a_mini_dump_what_it_sees_in_the_whole_dump() {
    for name in [corpus::X86_64, corpus::POWER] {
        let (Some(dump), Some(python)) = (corpus::dump(name), peer::python_drgn()) else { continue };
        let Some(vmlinux) = dump.vmlinux() else { continue };
        let expected = peer::drgn(python, &vmlinux, &dump.elf);
        assert!(expected.lines().filter(|line| line.starts_with("task ")).count() >= 40, "{expected}");
        for format in FORMATS {
            let (output, _) =
                mini(&dump.elf, &["--format", format, "--vmlinux", vmlinux.to_str().expect("a path")]);
            let seen = peer::drgn(python, &vmlinux, output.path());
            let differing = expected.lines().zip(seen.lines()).find(|(a, b)| a != b);
            assert!(seen == expected, "{name} {format}: first difference (whole, mini): {differing:?}");
        }
    }
}
