//! `hadump search` and `hadump read`: what is found in real dumps, in every format, what is said of it, and what is there.

mod common;

use common::peer;
use common::run::{self, METHODS, Run, Scratch, hadump};
use memchr::memmem;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

fn search(dump: &Path, args: &[&str]) -> Run {
    hadump([Path::new("search"), dump].into_iter().chain(args.iter().map(Path::new)))
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", run.stdout, run.stderr))
}

/// The physical addresses of all matches.
fn places(dump: &Path, args: &[&str]) -> Vec<u64> {
    let run = search(dump, &[args, &["--json"]].concat()).ok();
    let found = json(&run);
    let at = |found: &Value| u64::from_str_radix(&found["physical"].as_str().unwrap()[2..], 16).unwrap();
    let places: Vec<u64> = found["matches"].as_array().unwrap().iter().map(at).collect();
    assert_eq!(found["count"], places.len());
    assert!(places.is_sorted_by(|a, b| a < b));
    places
}

/// What is in the memory of an ELF core that has all of it, by its program headers alone.
fn naive(elf: &Path, needle: &[u8]) -> Vec<u64> {
    let bytes = fs::read(elf).unwrap();
    let big = bytes[5] == 2;
    let number = |at: usize, len: usize| {
        let part = &bytes[at..at + len];
        let fold = |all: u64, byte: &u8| all << 8 | u64::from(*byte);
        if big { part.iter().fold(0, fold) } else { part.iter().rev().fold(0, fold) }
    };
    let (table, size, count) = (number(32, 8) as usize, number(54, 2) as usize, number(56, 2) as usize);
    let mut stretches: Vec<(u64, usize, usize)> = (0..count)
        .map(|i| table + i * size)
        .filter(|&at| number(at, 4) == 1)
        .map(|at| (number(at + 24, 8), number(at + 8, 8) as usize, number(at + 32, 8) as usize))
        .collect();
    stretches.sort_unstable();
    let mut places = Vec::new();
    for (phys, offset, len) in stretches {
        places.extend(memmem::find_iter(&bytes[offset..offset + len], needle).map(|at| phys + at as u64));
    }
    // The image is in the file twice, once for each of its virtual addresses.
    places.sort_unstable();
    places.dedup();
    places
}

#[test]
fn a_text_is_found_where_the_file_has_it_in_every_dump_and_every_format() {
    for dump in corpus::dumps() {
        let expected = naive(&dump.elf, b"Linux version ");
        assert!(!expected.is_empty(), "{}", dump.name);
        assert_eq!(places(&dump.elf, &["Linux version "]), expected, "{}", dump.name);
        let by_hex = places(&dump.elf, &["hex:4c696e7578 ?? 76657273696f6e20"]);
        assert!(expected.iter().all(|at| by_hex.contains(at)), "{}", dump.name);
        let all = search(&dump.elf, &["regex:Linux version [0-9.]+"]).ok().stdout;
        for (method, _) in METHODS {
            let kdump = run::to_kdump(&dump.elf, 0, method);
            let found = search(kdump.path(), &["regex:Linux version [0-9.]+"]).ok().stdout;
            assert_eq!(found, all, "{} as {method}", dump.name);
        }
    }
}

#[test]
fn pointers_to_the_first_task_are_found_by_its_name_and_by_its_address() {
    for dump in corpus::dumps() {
        let by_name = places(&dump.elf, &["pointer:init_task+1"]);
        assert!(by_name.len() > 3, "{}", dump.name);
        let found = search(&dump.elf, &["pointer:init_task+1", "--limit", "1"]).ok().stdout;
        assert!(found.contains("1 match in") && found.contains("stopped by --limit"), "{found}");
        let words = json(&search(&dump.elf, &["pointer:init_task+1", "--json"]));
        let digits = words["matches"][0]["context"]["hex"].as_str().unwrap().to_owned();
        let start = (by_name[0] % 16 * 2) as usize;
        let bytes = &digits[start..start + 16];
        // Aligned words are among the places of their bytes.
        let of_bytes = places(&dump.elf, &[&format!("hex:{bytes}")]);
        let aligned: Vec<u64> = of_bytes.into_iter().filter(|at| at % 8 == 0).collect();
        assert_eq!(aligned, by_name, "{}", dump.name);
    }
}

#[test]
fn the_kernels_banner_is_named_and_is_at_its_virtual_address() {
    let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
    let found = json(&search(&dump.elf, &["Linux version ", "--json"]));
    let banner = found["matches"].as_array().unwrap().iter().find(|m| m["owner"]["name"] == "linux_banner");
    let banner = banner.expect("the banner");
    assert_eq!(banner["owner"]["offset"], 0);
    assert_eq!(banner["class"], "essential");
    assert!(banner["virtual"][0].as_str().unwrap().starts_with("0xc0000000"));
    assert!(banner["context"]["text"].as_str().unwrap().contains("Linux version"));
}

#[test]
fn classes_take_all_matches_apart_and_a_range_has_only_its_own() {
    let dump = corpus::dump(corpus::X86_64).expect("testdata/ holds the x86_64 dump");
    let pattern = "Linux version ";
    let all = places(&dump.elf, &[pattern]);
    let mut apart: Vec<u64> = ["kernel", "user", "cache", "free"]
        .iter()
        .flat_map(|class| places(&dump.elf, &[pattern, "--class", class]))
        .collect();
    apart.sort_unstable();
    assert_eq!(apart, all);
    let both = places(&dump.elf, &[pattern, "--class", "kernel,user,cache,free"]);
    assert_eq!(both, all);
    let (start, end) = (all[1], all[2] + 14);
    let ends = |start: u64, end: u64| format!("{start:#x}-{end:#x}");
    assert_eq!(places(&dump.elf, &[pattern, "--physical", &ends(start, end)]), all[1..3]);
    assert!(places(&dump.elf, &[pattern, "--physical", &ends(start + 1, end - 1)]).is_empty());
}

#[test]
fn a_filtered_dump_has_what_its_pages_have_and_the_others_are_counted() {
    let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
    let kdump = run::to_kdump(&dump.elf, 31, "zstd");
    let found = json(&search(kdump.path(), &["text:nothing of this kind", "--json"]).ok());
    assert_eq!(found["count"], 0);
    assert_eq!((&found["pages"]["searched"], &found["pages"]["excluded"]), (&991.into(), &6176.into()));
    let (all, kept) = (places(&dump.elf, &["fadump"]), places(kdump.path(), &["fadump"]));
    assert!(kept.len() > 3 && kept.len() < all.len() && kept.iter().all(|at| all.contains(at)));
}

#[test]
fn a_search_through_a_dump_that_is_cut_off_says_what_it_did_not_see() {
    let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
    let whole = run::to_kdump(&dump.elf, 31, "zstd");
    let cut = Scratch::new("cut");
    let bytes = fs::read(whole.path()).unwrap();
    fs::write(cut.path(), &bytes[..bytes.len() * 3 / 4]).unwrap();
    let run = search(cut.path(), &["Linux version ", "--json"]);
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    let found = json(&run);
    let pages = |name: &str| found["pages"][name].as_u64().unwrap();
    assert!(pages("lost") > 0 && pages("searched") > 0);
    assert_eq!(pages("lost") + pages("searched"), 991);
}

#[test]
fn wrong_patterns_are_wrong_usage_before_and_behind_the_opening_of_the_dump() {
    let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
    for pattern in
        ["hex:1", "regex:(", "word:1/0", "pointer:10", "pointer:no_such_symbol+1", "u16:0x10000", ""]
    {
        let run = search(&dump.elf, &[pattern]);
        assert_eq!(run.code, Some(2), "{pattern}: {}", run.stderr);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty());
    }
    assert_eq!(hadump(["search", "text"]).code, Some(2));
    assert_eq!(hadump(["search"]).code, Some(2));
    let memory =
        hadump(["search".as_ref(), "--memory".as_ref(), dump.elf.as_os_str(), "a".as_ref(), "b".as_ref()]);
    assert_eq!(memory.code, Some(2));
}

fn read(dump: &Path, args: &[&str]) -> Run {
    hadump([Path::new("read"), dump].into_iter().chain(args.iter().map(Path::new)))
}

#[test]
fn memory_is_read_by_symbol_by_address_and_by_what_it_is() {
    for dump in corpus::dumps() {
        let text = read(&dump.elf, &["linux_banner", "4096", "--format", "string"]).ok().stdout;
        assert!(text.starts_with("Linux version ") && text.lines().count() <= 2, "{}: {text}", dump.name);
        // What a search says of it leads to the same bytes.
        let found = json(&search(&dump.elf, &["Linux version ", "--json"]));
        let banner =
            found["matches"].as_array().unwrap().iter().find(|m| m["owner"]["name"] == "linux_banner");
        let banner = banner.expect("the banner");
        let hex = |args: &[&str]| read(&dump.elf, args).ok().stdout;
        let by_symbol = hex(&["linux_banner", "0x30"]);
        assert_eq!(hex(&[banner["virtual"][0].as_str().unwrap(), "48"]), by_symbol, "{}", dump.name);
        let physical = hex(&[banner["physical"].as_str().unwrap(), "48", "--physical"]);
        let bytes = |text: &str| {
            text.lines().map(|line| line.split_once("  ").unwrap().1.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(bytes(&physical), bytes(&by_symbol), "{}", dump.name);
        assert!(by_symbol.lines().count() == 3 && by_symbol.contains("|Linux version "), "{by_symbol}");
        let raw = hex(&["linux_banner", "48", "--format", "raw"]);
        assert!(raw.len() == 48 && text.starts_with(&raw), "{raw}");
    }
}

#[test]
fn words_are_printed_in_the_dumps_byte_order_with_the_symbols_that_they_point_to() {
    for dump in corpus::dumps() {
        // A list that is its own only member, or points to others of its kind.
        let places = json(&search(&dump.elf, &["pointer:init_task+1", "--json"]));
        let found =
            places["matches"].as_array().unwrap().iter().find(|m| !m["virtual"][0].is_null()).unwrap();
        let words =
            read(&dump.elf, &[found["virtual"][0].as_str().unwrap(), "12", "--format", "words"]).ok().stdout;
        let mut lines = words.lines();
        assert!(lines.next().unwrap().ends_with("  init_task+0x0"), "{}: {words}", dump.name);
        // Half a word is shown as the bytes that it is.
        assert!(lines.next().unwrap().ends_with('|') && lines.next().is_none(), "{words}");
    }
}

#[test]
fn a_page_that_is_missing_ends_a_read_and_what_is_before_it_is_printed() {
    let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
    let kdump = run::to_kdump(&dump.elf, 31, "zstd");
    let list = hadump(["pages".as_ref(), kdump.path()]).ok().stdout;
    let states: Vec<(u64, &str)> = list
        .lines()
        .map(|line| line.split_whitespace().skip(1))
        .map(|mut words| (words.next().unwrap().parse().unwrap(), words.next().unwrap()))
        .collect();
    let border = states.windows(2).find(|pair| pair[0].1 == "data" && pair[1].1 == "excluded").unwrap()[1].0;
    let from = |border: u64| format!("{:#x}", border * 65536 - 32);
    let run = read(kdump.path(), &[&from(border), "64", "--physical"]);
    assert_eq!((run.code, run.stdout.lines().count()), (Some(4), 2), "{}", run.stderr);
    assert!(run.stderr.contains("was left out of the dump by an earlier filter"), "{}", run.stderr);
    // The same page in a file that ends before it.
    let cut = Scratch::new("cut");
    let bytes = fs::read(kdump.path()).unwrap();
    fs::write(cut.path(), &bytes[..bytes.len() * 3 / 4]).unwrap();
    let list = hadump(["pages".as_ref(), cut.path()]).stdout;
    let lost = list.lines().find(|line| line.ends_with("lost")).unwrap();
    let lost: u64 = lost.split_whitespace().nth(1).unwrap().parse().unwrap();
    let run = read(cut.path(), &[&format!("{:#x}", lost * 65536), "64", "--physical"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(4), ""), "{}", run.stderr);
    assert!(run.stderr.contains("is lost"), "{}", run.stderr);
}

#[test]
fn an_address_where_nothing_can_be_is_wrong_usage() {
    let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
    for (args, said) in [
        (&["no_such_symbol", "8"][..], "no symbol"),
        (&["0x10", "8"], "not mapped"),
        (&["0xffffffffffffffff", "8"], "not mapped"),
        (&["0xfffffffffff0", "8", "--physical"], "has no memory"),
        (&["linux_banner", "8", "--physical"], "symbols are virtual"),
        (&["linux_banner", "x"], "number"),
        (&["linux_banner"], "needed"),
    ] {
        let run = read(&dump.elf, args);
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.stderr);
        assert!(run.stdout.is_empty() && run.stderr.contains(said), "{args:?}: {}", run.stderr);
    }
    assert_eq!(read(&dump.elf, &["linux_banner", "0"]).ok().stdout, "");
}

#[test]
fn drgn_finds_a_text_and_a_word_in_the_same_places() {
    let Some(python) = peer::python_drgn() else { return };
    for name in [corpus::X86_64, corpus::POWER] {
        let Some(dump) = corpus::dump(name) else { continue };
        let Some(vmlinux) = dump.vmlinux() else { continue };
        let (text, word) = (
            "Linux version ",
            if name == corpus::POWER { "0x5deadbeef0000100" } else { "0xdead000000000100" },
        );
        let mut command = Command::new(python);
        command.arg(peer::script("search.py")).arg(&vmlinux).arg(&dump.elf).args([text, word]);
        let seen = Run::of(&mut command).ok().stdout;
        let mut ours = String::new();
        for (what, pattern) in [("text", text.to_owned()), ("word", format!("word:{word}"))] {
            let found = json(&search(&dump.elf, &[&pattern, "--json"]).ok());
            let matches = found["matches"].as_array().unwrap();
            assert!(matches.len() > 3, "{name}: {pattern}");
            for found in matches {
                // That of the direct map.
                let virt = found["virtual"].as_array().unwrap().last().unwrap().as_str().unwrap();
                ours.push_str(&format!("{what} {virt}\n"));
            }
        }
        assert_eq!(ours, seen, "{name}");
    }
}

#[test]
fn owners_are_told_by_the_kernels_own_types_and_are_where_the_kernel_has_them() {
    for dump in corpus::DEBIAN.into_iter().filter_map(corpus::dump) {
        // Every kernel thread and every child of init's has a parent.
        let found = json(&search(&dump.elf, &["pointer:init_task+1", "--json"]).ok());
        let matches = found["matches"].as_array().unwrap();
        let number = |value: &Value| u64::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap();
        let tasks: Vec<&Value> =
            matches.iter().filter(|found| found["owner"]["name"] == "task_struct").collect();
        assert!(tasks.len() > 3, "{}: {} of {}", dump.name, tasks.len(), matches.len());
        for found in tasks {
            assert_eq!((&found["owner"]["kind"], &found["class"]), (&"slab".into(), &"essential".into()));
            let (object, offset) = (&found["owner"]["object"], &found["owner"]["offset"]);
            let last = found["virtual"].as_array().unwrap().last().unwrap();
            assert_eq!(number(object) + offset.as_u64().unwrap(), number(last), "{found}");
        }
    }
}
