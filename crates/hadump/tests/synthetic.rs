//! The program on dumps of synthetic kernels: what it keeps is what the generator says it must.

mod common;

use common::check;
use common::reader::Order;
use common::reader::elf::Elf;
use common::reader::kdump::Kdump;
use common::run::{self, Scratch};
use common::synth;
use phyp_model::ByteOrder;
use phyp_model::synth::dump::{Dump, Why};
use serde_json::Value;

/// Every page of `kdump`, stored without compression, is memory's.
fn pages(made: &Dump, kdump: &Kdump) -> check::Finding {
    let size = made.spec.page_size;
    for (index, pfn) in kdump.kept().enumerate() {
        let stored = kdump.stored(index as u64);
        if stored.flags != 0 || stored.bytes != made.memory.bytes(pfn * size, size).unwrap() {
            return Err(format!("page {pfn:#x} is not what memory has"));
        }
    }
    Ok(())
}

fn counts(made: &Dump, level: u32, report: &Value) -> check::Finding {
    let expected = made.truth.counts(level);
    for (name, why) in [
        ("free", Why::Free),
        ("cache", Why::Cache),
        ("cache_private", Why::CachePrivate),
        ("user", Why::User),
        ("hwpoison", Why::HwPoison),
        ("offline", Why::Offline),
    ] {
        let (found, wanted) = (&report["pages"]["excluded"][name], expected.get(&why).copied().unwrap_or(0));
        if found.as_u64().unwrap_or(0) != wanted {
            return Err(format!("{found} pages of class {name}, expected {wanted}"));
        }
    }
    Ok(())
}

fn convert(name: &str, levels: &[u32]) {
    let (made, file) = synth::dump(name);
    let big = made.spec.order == ByteOrder::Big;
    let mut wrong = Vec::new();
    for level in levels {
        let output = Scratch::new("out.kdump");
        let level_text = level.to_string();
        let run = run::convert(file.path(), output.path(), &["-d", &level_text, "-c", "none", "--json"]).ok();
        let report: Value = serde_json::from_str(&run.stdout).expect("a report");
        let kdump = Kdump::open(output.path());
        let input = Elf::open(file.path());
        let is = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        for finding in [
            check::same_frames(&kdump.bitmap1, &made.truth.bitmap_of_all()),
            check::same_frames(&kdump.bitmap2, &made.truth.kept_bitmap(*level)),
            check::notes_are_kept(&input.notes, &kdump.notes, Order { big }),
            pages(&made, &kdump),
            counts(&made, *level, &report),
            is(kdump.order == Order { big }, "the byte order"),
            is(kdump.block_size == made.spec.page_size, "the page size"),
            is(kdump.uts[2] == made.release, "the release"),
            is(kdump.uts[4] == made.spec.mmu.arch().name(made.spec.order), "the machine"),
            is(kdump.nr_cpus == u64::from(made.spec.cpus), "the number of CPUs"),
        ] {
            if let Err(finding) = finding {
                wrong.push(format!("{name}, level {level}: {finding}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn x86_64_dumps_are_converted_as_their_generator_says() {
    convert("x86_64-4k-vmemmap-2.6.32", &[2, 31]);
    convert("x86_64-4k-5level-sme-6.12", &[16, 31]);
    convert("x86_64-4k-gigantic-hvo-7.1", &[31]);
}

#[test]
fn ppc64_dumps_are_converted_as_their_generator_says() {
    convert("ppc64-4k-radix-7.1", &[8, 31]);
    convert("ppc64le-64k-fadump-6.12", &[0, 31]);
}

#[test]
fn arm64_dumps_are_converted_as_their_generator_says() {
    convert("aarch64-4k-lpa2on48-6.12", &[30]);
    convert("aarch64-16k-47-6.6", &[4, 31]);
}

#[test]
fn s390x_dumps_are_converted_as_their_generator_says() {
    convert("s390x-4k-identity1t-6.12", &[1, 31]);
    // 2 GiB of hugetlb, across a chunk.
    convert("s390x-4k-gigantic-6.6", &[31]);
}

#[test]
fn riscv64_and_loongarch64_dumps_are_converted_as_their_generator_says() {
    convert("riscv64-4k-sv57-6.16", &[31]);
    convert("loongarch64-16k-3level-6.1", &[24, 31]);
}

#[test]
fn an_elf_of_a_synthetic_dump_has_the_kept_pages_and_no_others() {
    let (made, file) = synth::dump("s390x-4k-identity0-7.1");
    let output = run::to_elf(file.path(), 31);
    let elf = Elf::open(output.path());
    let kept = made.truth.kept_bitmap(31);
    check::same_frames(&elf.frames(made.spec.page_size, kept.len()), &kept).unwrap();
    let size = made.spec.page_size;
    let mut page = vec![0; size as usize];
    for run in made.truth.runs.iter().filter(|run| run.why(31).is_none()) {
        for frame in run.first..run.first + run.count {
            elf.read(frame * size, &mut page);
            assert_eq!(page, made.memory.bytes(frame * size, size).unwrap(), "frame {frame:#x}");
        }
    }
}
