//! That kept pages and notes are the input's, at levels 0, 1 and 31, in every compression and as ELF.

mod common;

use common::check;
use common::peer;
use common::reader::elf::Elf;
use common::reader::kdump::Kdump;
use common::run::{self, METHODS};
use corpus::Dump;

const LEVELS: [u32; 3] = [0, 1, 31];

fn kdump_holds_the_input(dump: &Dump) {
    let input = Elf::open(&dump.elf);
    for (method, flag) in METHODS {
        for level in LEVELS {
            let told = |finding| panic!("{} -d {level} -c {method}: {finding}", dump.name);
            let output = run::to_kdump(&dump.elf, level, method);
            let kdump = Kdump::open(output.path());
            check::notes_are_kept(&input.notes, &kdump.notes, input.order).unwrap_or_else(told);
            stored_as_asked(&kdump, flag).unwrap_or_else(told);
            if let Some(python) = peer::python_kdumpfile() {
                check::pages_by_libkdumpfile(python, dump, output.path(), &dump.bitmap(level))
                    .unwrap_or_else(told);
            }
        }
    }
}

/// Pages carry the flag of the compression that was asked for or are stored whole, and both kinds occur.
fn stored_as_asked(kdump: &Kdump, flag: u64) -> check::Finding {
    let (mut compressed, mut raw) = (0, 0);
    for index in 0..kdump.kept().count() as u64 {
        let stored = kdump.stored(index);
        match (stored.flags, stored.bytes.len() as u64) {
            (0, size) if size == kdump.block_size => raw += 1,
            (flags, 1..) if flags == flag && flag != 0 => compressed += 1,
            (flags, size) => return Err(format!("page {index} has flags {flags:#x} and {size} bytes")),
        }
    }
    if (compressed > 0) == (flag != 0) {
        Ok(())
    } else {
        Err(format!("{compressed} pages compressed, {raw} stored whole"))
    }
}

fn elf_holds_the_input(dump: &Dump) {
    let input = Elf::open(&dump.elf);
    for level in LEVELS {
        let told = |finding| panic!("{} -d {level} --format elf: {finding}", dump.name);
        let output = run::to_elf(&dump.elf, level);
        let elf = Elf::open(output.path());
        assert_eq!((elf.order, elf.machine), (input.order, input.machine), "{}", dump.name);
        // crash takes the first header for the only PT_NOTE and all others for PT_LOADs.
        assert_eq!(elf.types[0], 4, "the first program header");
        assert!(elf.types[1..].iter().all(|kind| *kind == 1), "all other program headers");
        check::notes_are_kept(&input.notes, &elf.notes, input.order).unwrap_or_else(told);
        check::pages_of_elf(dump, &input, &elf, &dump.bitmap(level)).unwrap_or_else(told);
    }
}

#[test]
fn a_kdump_of_power_64k_holds_every_kept_page_and_note() {
    corpus::dump(corpus::POWER).iter().for_each(kdump_holds_the_input);
}

#[test]
fn a_kdump_of_power_big_endian_holds_every_kept_page_and_note() {
    corpus::dump(corpus::POWER_BE).iter().for_each(kdump_holds_the_input);
}

#[test]
fn a_kdump_of_x86_64_holds_every_kept_page_and_note() {
    corpus::dump(corpus::X86_64).iter().for_each(kdump_holds_the_input);
}

#[test]
fn an_elf_core_of_power_64k_holds_every_kept_page_and_note() {
    corpus::dump(corpus::POWER).iter().for_each(elf_holds_the_input);
}

#[test]
fn an_elf_core_of_power_big_endian_holds_every_kept_page_and_note() {
    corpus::dump(corpus::POWER_BE).iter().for_each(elf_holds_the_input);
}

#[test]
fn an_elf_core_of_x86_64_holds_every_kept_page_and_note() {
    corpus::dump(corpus::X86_64).iter().for_each(elf_holds_the_input);
}

#[test]
fn the_same_input_and_options_give_the_same_bytes_whatever_the_threads() {
    for name in [corpus::POWER, corpus::X86_64] {
        let Some(dump) = corpus::dump(name) else { continue };
        for format in ["kdump", "elf"] {
            let made = ["1", "2", "5"].map(|threads| {
                let output = run::Scratch::new("out");
                run::convert(&dump.elf, output.path(), &["--format", format, "-j", threads]).ok();
                std::fs::read(output.path()).expect("the output")
            });
            assert!(made[0] == made[1] && made[1] == made[2], "{name} as {format}");
        }
    }
}
