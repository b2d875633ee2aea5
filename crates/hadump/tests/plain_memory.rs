//! Plain memory of a virtual machine: byte n of the file is physical address n, and somebody says which machine it is.

mod common;

use common::check;
use common::reader::kdump::Kdump;
use common::run::{Run, Scratch, hadump};
use phyp_model::synth::dump::{Dump, catalogue};
use std::path::Path;

const NAMES: [(&str, &str); 4] = [
    ("x86_64-4k-vmemmap-6.12", "x86_64"),
    ("s390x-4k-4level-6.12", "s390x"),
    ("riscv64-4k-sv48-6.12", "riscv64"),
    ("ppc64le-64k-radix-6.12", "ppc64le"),
];

fn image(name: &str) -> (Dump, Scratch) {
    let made = catalogue::build(name).unwrap();
    let file = Scratch::new("memory.raw");
    made.memory.write_raw(file.path()).unwrap();
    (made, file)
}

fn run(command: &str, file: &Path, options: &[&str]) -> Run {
    hadump([command].into_iter().chain(options.iter().copied()).map(Path::new).chain([file]))
}

#[test]
fn plain_memory_is_a_dump_once_the_machine_is_named() {
    for (name, machine) in NAMES {
        let (made, file) = image(name);
        let info = run("info", file.path(), &["--machine", machine]).ok().stdout;
        assert!(info.contains(&made.release) && info.contains("raw memory image"), "{name}: {info}");
        // The map, where it is known, makes it the very dump.
        let map: Vec<String> =
            made.loads.iter().map(|l| format!("{:#x}-{:#x}", l.physical.start, l.physical.end())).collect();
        let out = Scratch::new("out");
        let path = out.path().to_str().unwrap();
        let map = map.join(",");
        for options in [
            ["convert", "--machine", machine, "--memory-map", &map, "-o", path, "-f"].map(Path::new).to_vec(),
            ["convert", "--machine", machine, "--memory-map", &map, "-o", path, "-f", "--memory"]
                .map(Path::new)
                .to_vec(),
        ] {
            hadump(options.into_iter().chain([file.path()])).ok();
            let kdump = Kdump::open(out.path());
            check::same_frames(&kdump.bitmap2, &made.truth.kept_bitmap(31))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

/// What `pmemsave` writes of guests whose memory does not begin at 0 (Arm, RISC-V) or has a hole for devices.
#[test]
fn plain_memory_with_holes_is_filtered_as_if_the_map_were_given() {
    let names = [
        ("x86_64-4k-vmemmap-6.12", "x86_64"),
        ("aarch64-4k-48-6.12", "aarch64"),
        ("aarch64-16k-48-6.12", "aarch64"),
        ("riscv64-4k-sv48-6.12", "riscv64"),
        ("loongarch64-4k-4level-6.12", "loongarch64"),
        ("s390x-4k-4level-6.12", "s390x"),
    ];
    for (name, machine) in names {
        let (made, file) = image(name);
        let out = Scratch::new("out");
        let options = ["convert", "--machine", machine, "-d", "31", "-o", out.path().to_str().unwrap()];
        hadump(options.iter().map(Path::new).chain([file.path()])).ok();
        let kdump = Kdump::open(out.path());
        // Nobody says that holes are none of its memory: they are pages of zeros.
        let kept = made.truth.kept_bitmap(31);
        let with_holes: Vec<u8> =
            kept.iter().zip(made.truth.bitmap_of_all()).map(|(kept, all)| kept | !all).collect();
        check::same_frames(&kdump.bitmap2, &with_holes).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn plain_memory_without_a_machine_is_refused_with_the_option_that_is_missing() {
    let (_, file) = image(NAMES[0].0);
    let run = run("info", file.path(), &[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("--machine NAME"), "{}", run.stderr);
    let run = hadump(["info".as_ref(), "--memory".as_ref(), file.path()]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("--machine NAME"), "{}", run.stderr);
    let run = self::run("info", file.path(), &["--machine", "vax"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("expected a machine as uname -m prints it"), "{}", run.stderr);
}

#[test]
fn a_dump_is_opened_as_what_it_is_though_a_machine_is_named() {
    let made = catalogue::build(NAMES[0].0).unwrap();
    let file = Scratch::new("vmcore");
    made.write_elf(file.path()).unwrap();
    let info = run("info", file.path(), &["--machine", "s390x"]).ok().stdout;
    assert!(info.contains("ELF64 core") && info.contains("x86_64"), "{info}");
}

/// What LiME writes of the same machines: each range behind a header, in the machine's byte order.
#[test]
fn an_image_of_lime_is_filtered_as_the_dump_of_the_machine() {
    for (name, machine) in NAMES {
        let (made, raw) = image(name);
        let memory = std::fs::read(raw.path()).unwrap();
        let mut lime = Vec::new();
        for load in &made.loads {
            let (start, end) = (load.physical.start, load.physical.end());
            let (magic, one) = (0x4c69_4d45u32, 1u32);
            let order =
                |number: u64| if machine == "s390x" { number.to_be_bytes() } else { number.to_le_bytes() };
            for half in [magic, one] {
                lime.extend(if machine == "s390x" { half.to_be_bytes() } else { half.to_le_bytes() });
            }
            lime.extend([start, end - 1, 0].map(order).concat());
            lime.extend(&memory[start as usize..end as usize]);
        }
        let file = Scratch::new("memory.lime");
        std::fs::write(file.path(), lime).unwrap();
        let info = run("info", file.path(), &["--machine", machine]).ok().stdout;
        assert!(info.contains(&made.release) && info.contains("LiME memory image"), "{name}: {info}");
        let out = Scratch::new("out");
        run("convert", file.path(), &["--machine", machine, "-o", out.path().to_str().unwrap()]).ok();
        let kdump = Kdump::open(out.path());
        check::same_frames(&kdump.bitmap2, &made.truth.kept_bitmap(31))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let nobody = run("info", file.path(), &[]);
        assert!(nobody.code == Some(1) && nobody.stderr.contains("--machine"), "{name}: {}", nobody.stderr);
    }
}
