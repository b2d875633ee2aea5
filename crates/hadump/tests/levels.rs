//! Which pages a dump keeps at each of the 32 levels.

mod common;

use common::check;
use common::reader::elf::Elf;
use common::reader::kdump::Kdump;
use common::run;
use corpus::Dump;
use serde_json::Value;

fn keeps_what_is_expected(dump: &Dump) {
    let input = Elf::open(&dump.elf);
    let expected: Value = serde_json::from_str(&dump.text("expected/levels.json")).expect("levels.json");
    let mut wrong = Vec::new();
    for level in 0..32 {
        let output = run::Scratch::new("out.kdump");
        let run =
            run::convert(&dump.elf, output.path(), &["-d", &level.to_string(), "-c", "lzo", "--json"]).ok();
        let report: Value = serde_json::from_str(&run.stdout).expect("a report");
        let kdump = Kdump::open(output.path());
        for finding in [
            check::same_frames(&kdump.bitmap1, &dump.bitmap(0)),
            check::same_frames(&kdump.bitmap2, &dump.bitmap(level)),
            check::notes_are_kept(&input.notes, &kdump.notes, input.order),
            check::kdump_header(dump, &input, &kdump),
            if kdump.dump_level == u64::from(level) { Ok(()) } else { Err("the header's level".into()) },
            same_counts(&report["pages"], &expected["levels"][level.to_string()]),
        ] {
            if let Err(finding) = finding {
                wrong.push(format!("level {level}: {finding}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", dump.name, wrong.join("\n"));
}

/// Pages by class are as many as makedumpfile counts, where it was the peer; it counts zero pages at odd levels only.
fn same_counts(pages: &Value, expected: &Value) -> check::Finding {
    for class in ["cache", "cache_private", "user", "free", "hwpoison", "offline"] {
        let (found, wanted) = (&pages["excluded"][class], &expected[class]);
        if !wanted.is_null() && found != wanted {
            return Err(format!("{found} pages of class {class}, expected {wanted}"));
        }
    }
    Ok(())
}

#[test]
fn power_64k_radix_keeps_the_expected_pages_at_every_level() {
    corpus::dump(corpus::POWER).iter().for_each(keeps_what_is_expected);
}

#[test]
fn power_big_endian_4k_hash_keeps_the_expected_pages_at_every_level() {
    corpus::dump(corpus::POWER_BE).iter().for_each(keeps_what_is_expected);
}

#[test]
fn x86_64_keeps_the_expected_pages_at_every_level() {
    corpus::dump(corpus::X86_64).iter().for_each(keeps_what_is_expected);
}

#[test]
fn classes_by_name_are_the_level_of_their_bits() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    for (names, level) in
        [("zero,cache,private,user,free", 31), ("free", 16), ("user,zero", 9), ("private,cache", 6)]
    {
        let output = run::Scratch::new("out.kdump");
        run::convert(&dump.elf, output.path(), &["--exclude", names]).ok();
        let kdump = Kdump::open(output.path());
        assert_eq!(kdump.dump_level, level, "{names}");
        check::same_frames(&kdump.bitmap2, &dump.bitmap(level as u32)).unwrap();
    }
}
