//! What the hypervisor left of two real machines becomes the same dump as the one that their second kernels showed.

mod common;

use common::check;
use common::reader::elf::{Elf, Note, notes};
use common::reader::kdump::Kdump;
use common::reader::{Order, bit};
use common::run::{self, Run, Scratch};
use corpus::Dump;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

/// The machine's root as it was before anything was saved: memory and one property of the device tree.
fn machine(dump: &Dump) -> Scratch {
    let root = Scratch::new("machine");
    let (rtas, dev) = (root.path().join("proc/device-tree/rtas"), root.path().join("dev"));
    fs::create_dir_all(&rtas).expect("a directory");
    fs::create_dir_all(&dev).expect("a directory");
    fs::copy(dump.kernel_dump(), rtas.join("ibm,kernel-dump")).expect("the property");
    symlink(dump.memory(), dev.join("mem")).expect("a link to the memory");
    root
}

fn prstatus(bytes: &[u8], order: Order) -> Vec<Note> {
    notes(bytes, order).into_iter().filter(|note| note.name == "CORE" && note.kind == 1).collect()
}

/// Two kdump files hold the same frames with the same bytes, and the same registers.
fn same_dump(found: &Kdump, expected: &Kdump) -> check::Finding {
    check::same_frames(&found.bitmap1, &expected.bitmap1)?;
    check::same_frames(&found.bitmap2, &expected.bitmap2)?;
    let pages = expected.bitmap2.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
    for index in 0..pages {
        if found.stored(index).bytes != expected.stored(index).bytes {
            return Err(format!("stored page {index} differs"));
        }
    }
    let (found, wanted) = (prstatus(&found.notes, found.order), prstatus(&expected.notes, expected.order));
    if wanted.is_empty() || found != wanted {
        return Err(format!("{} NT_PRSTATUS notes, not the {} of the vmcore", found.len(), wanted.len()));
    }
    Ok(())
}

fn saves_what_the_second_kernel_shows(dump: &Dump, levels: impl Iterator<Item = u32>) {
    let root = machine(dump);
    let mut wrong = Vec::new();
    for level in levels {
        let (found, expected) =
            (run::to_kdump(root.path(), level, "none"), run::to_kdump(&dump.elf, level, "none"));
        if let Err(finding) = same_dump(&Kdump::open(found.path()), &Kdump::open(expected.path())) {
            wrong.push(format!("level {level}: {finding}"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", dump.name, wrong.join("\n"));
}

#[test]
fn power_64k_radix_is_saved_from_its_leavings_at_even_levels() {
    corpus::dump(corpus::POWER)
        .iter()
        .for_each(|d| saves_what_the_second_kernel_shows(d, (0..32).step_by(2)));
}

#[test]
fn power_64k_radix_is_saved_from_its_leavings_at_odd_levels() {
    corpus::dump(corpus::POWER)
        .iter()
        .for_each(|d| saves_what_the_second_kernel_shows(d, (1..32).step_by(2)));
}

#[test]
fn power_big_endian_4k_hash_is_saved_from_its_leavings_at_even_levels() {
    corpus::dump(corpus::POWER_BE)
        .iter()
        .for_each(|d| saves_what_the_second_kernel_shows(d, (0..32).step_by(2)));
}

#[test]
fn power_big_endian_4k_hash_is_saved_from_its_leavings_at_odd_levels() {
    corpus::dump(corpus::POWER_BE)
        .iter()
        .for_each(|d| saves_what_the_second_kernel_shows(d, (1..32).step_by(2)));
}

/// The arguments that name the leavings one by one.
fn named(dump: &Dump) -> [PathBuf; 4] {
    ["--memory".into(), dump.memory(), "--kernel-dump".into(), dump.kernel_dump()]
}

#[test]
fn files_named_one_by_one_are_as_good_as_a_root() {
    for dump in [corpus::POWER, corpus::POWER_BE].into_iter().filter_map(corpus::dump) {
        let output = Scratch::new("out.kdump");
        let mut arguments: Vec<PathBuf> = vec!["convert".into()];
        arguments.extend(named(&dump));
        arguments.extend(["-c".into(), "none".into(), "-o".into(), output.path().to_owned()]);
        run::hadump(&arguments).ok();
        let expected = run::to_kdump(&dump.elf, 31, "none");
        same_dump(&Kdump::open(output.path()), &Kdump::open(expected.path())).expect(dump.name);
    }
}

/// What the register save area holds, read by the layout of LoPAR and nothing else: CPU number, and its registers'
/// values in their order.
fn save_area(dump: &Dump) -> Vec<(u64, Vec<u64>)> {
    const BIG: Order = Order { big: true };
    let structure = fs::read(dump.kernel_dump()).expect("the property");
    let memory = fs::File::open(dump.memory()).expect("the memory");
    // The first section is the CPU state: bytes copied at 18h, destination at 20h behind a header of 28h.
    let (copied, at) = (BIG.u64(&structure, 0x40), BIG.u64(&structure, 0x48));
    let mut area = vec![0; copied as usize];
    memory.read_exact_at(&mut area, at).expect("the area");
    assert_eq!(area[..8], *b"REGSAVE\0");
    let mut entry = BIG.u32(&area, 12) as usize + 4;
    let mut cpus = Vec::new();
    while entry + 16 <= area.len() {
        let value = BIG.u64(&area, entry + 8);
        match &area[entry..entry + 8] {
            b"CPUSTRT\0" => cpus.push((value & 0xffff_ffff, Vec::new())),
            b"CPUEND\0\0" | b"\0\0\0\0\0\0\0\0" => {}
            _ => cpus.last_mut().expect("a CPU").1.push(value),
        }
        entry += 16;
    }
    cpus
}

fn json(run: Run) -> Value {
    serde_json::from_str(&run.ok().stdout).expect("JSON")
}

fn value(register: &Value) -> u64 {
    let text = register["value"].as_str().expect("a string").strip_prefix("0x").expect("hexadecimal");
    u64::from_str_radix(text, 16).expect("a number")
}

/// Checks `hadump regs` against the area and against the vmcore's notes; returns the number of CPUs that did not crash.
fn prints_every_register(dump: &Dump, arguments: &[&Path]) -> usize {
    let with = |extra: &[&str]| {
        let mut all: Vec<&Path> = vec![Path::new("regs")];
        all.extend(arguments);
        all.extend(extra.iter().map(Path::new));
        run::hadump(all)
    };
    let listing = json(with(&["--json"]));
    let listing = listing.as_array().expect("an array");
    let area = save_area(dump);
    assert_eq!(listing.len(), area.len());
    let input = Elf::open(&dump.elf);
    let notes = prstatus(&input.notes, input.order);
    let mut others = 0;
    for ((cpu, (number, saved)), note) in listing.iter().zip(&area).zip(&notes) {
        assert_eq!(cpu["cpu"].as_u64(), Some(*number));
        let registers = cpu["firmware"].as_array().expect("registers");
        // QEMU saves 32 general registers and 45 others.
        assert_eq!(registers.len(), 77);
        assert_eq!(registers.iter().map(value).collect::<Vec<_>>(), *saved);
        let names: Vec<&str> = registers.iter().map(|r| r["name"].as_str().expect("a name")).collect();
        let text = with(&["--cpu", &number.to_string()]).ok().stdout;
        for name in &names {
            assert!(text.split_whitespace().any(|word| word == *name), "{name} is missing from:\n{text}");
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name} is there twice");
        }
        // elf_prstatus has its registers at 70h: gpr[32], nip.
        let noted = |index: usize| input.order.u64(&note.desc, 0x70 + 8 * index);
        if cpu["crashed"] == true {
            let kernel = cpu["kernel"].as_array().expect("registers");
            assert_eq!(
                (0..33).map(noted).collect::<Vec<_>>(),
                kernel[..33].iter().map(value).collect::<Vec<_>>()
            );
            continue;
        }
        others += 1;
        let by_name = |name: String| value(&registers[names.iter().position(|n| *n == name).expect(&name)]);
        for gpr in 0..32 {
            assert_eq!(by_name(format!("GPR{gpr:02}")), noted(gpr), "GPR{gpr:02} of CPU {number}");
        }
        assert_eq!(by_name("NIA".into()), noted(32), "NIA of CPU {number}");
    }
    others
}

#[test]
fn every_register_of_the_save_area_is_printed_and_agrees_with_the_vmcore() {
    for dump in [corpus::POWER, corpus::POWER_BE].into_iter().filter_map(corpus::dump) {
        let root = machine(&dump);
        // Two CPUs, one of which crashed: else nothing would have been compared.
        assert_eq!(prints_every_register(&dump, &[root.path()]), 1);
        let files = named(&dump);
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        assert_eq!(prints_every_register(&dump, &files), 1);
        let saved = run::to_kdump(root.path(), 31, "zstd");
        assert_eq!(prints_every_register(&dump, &[saved.path()]), 1);
    }
}

#[test]
fn a_cpu_that_was_not_saved_is_an_error_and_not_an_empty_list() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let root = machine(&dump);
    let run = run::hadump([Path::new("regs"), root.path(), Path::new("--cpu"), Path::new("7")]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(run.stderr.contains("no registers of CPU 7 were saved"), "{}", run.stderr);
}

#[test]
fn a_dump_without_page_table_entries_says_so_and_is_none_the_worse() {
    for dump in [corpus::POWER, corpus::POWER_BE].into_iter().filter_map(corpus::dump) {
        let root = machine(&dump);
        let hpte = [Path::new("hpte"), root.path()];
        let run = run::hadump(hpte).ok();
        assert_eq!(run.stdout, "");
        assert!(run.stderr.contains("saved no page-table entries"), "{}", run.stderr);
        let listing = json(run::hadump(hpte.iter().chain(&[Path::new("--json")])));
        assert_eq!(listing["entries"], Value::Array(Vec::new()));
        assert_eq!(listing["remarks"], Value::Array(Vec::new()));
    }
}

#[test]
fn info_names_the_areas_that_a_dump_carries_along() {
    for dump in [corpus::POWER, corpus::POWER_BE].into_iter().filter_map(corpus::dump) {
        let root = machine(&dump);
        let info = run::hadump([Path::new("info"), root.path()]).ok().stdout;
        assert!(info.contains("HADUMP type 0x101 (register save area), "), "{info}");
        assert!(info.contains("HADUMP type 0x103 (device-tree property ibm,kernel-dump), "), "{info}");
    }
}

#[test]
fn status_of_a_real_machine_counts_what_its_boot_memory_held() {
    for dump in [corpus::POWER, corpus::POWER_BE].into_iter().filter_map(corpus::dump) {
        let root = machine(&dump);
        let status = ["status", "--json", "--root"].map(Path::new);
        let answer = json(run::hadump(status.iter().chain(&[root.path()])));
        assert_eq!(answer["last_boot"], "dump_waiting", "{answer:#}");
        assert_eq!(answer["dump"]["whole"], true);
        let kept = |level| dump.bitmap(level).iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
        assert_eq!(answer["dump"]["memory"]["total"], kept(0));
        assert_eq!(answer["dump"]["memory"]["kernel"], kept(31));
        // Boot memory lies below 320 MiB.
        let frames = (320 << 20) / dump.page_size;
        let bitmap = dump.bitmap(31);
        let low = (0..frames).filter(|pfn| bit(&bitmap, *pfn)).count();
        assert_eq!(answer["dump"]["boot_memory"]["total"], frames);
        assert_eq!(answer["dump"]["boot_memory"]["kernel"], low);
    }
}

/// The machine with what its second boot said of itself: RTAS at `rtas`, and the flattened device tree as it lies in
/// memory.
fn booted(dump: &Dump, rtas: u32) -> Scratch {
    let root = machine(dump);
    let write = |path: &str, bytes: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    };
    let mut tree = vec![0; 0x3_0000];
    fs::File::open(dump.memory()).expect("memory").read_exact_at(&mut tree, 0x108_0000).expect("the tree");
    write("sys/firmware/fdt", &tree);
    write("sys/kernel/fadump/enabled", b"1\n");
    write("sys/kernel/fadump/registered", b"0\n");
    write("sys/kernel/fadump/release_mem", b"");
    write("sys/kernel/fadump/mem_reserved", b"335610288\n");
    write("proc/device-tree/rtas/linux,rtas-base", &rtas.to_be_bytes());
    write("proc/device-tree/rtas/rtas-size", &0x83cu32.to_be_bytes());
    write("proc/device-tree/chosen/linux,initrd-start", &0x101_0000u64.to_be_bytes());
    write("proc/device-tree/chosen/linux,initrd-end", &0x107_fb60u64.to_be_bytes());
    root
}

/// Converts the machine's dump at a level, and returns the run and the report's counts.
fn converted(root: &Scratch, level: &str) -> (Run, Value) {
    let output = Scratch::new("out.kdump");
    let run = run::convert(root.path(), output.path(), &["-d", level, "-c", "none", "--json"]);
    let report = serde_json::from_str(&run.stdout).unwrap_or_default();
    (run, report)
}

#[test]
fn a_page_that_this_boots_firmware_has_overwritten_is_lost_and_not_missed_unless_it_was_the_kernels() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    // RTAS of the second boot lies over the copy of frame 0xbfe, which was free.
    let root = booted(&dump, 0x1fff_0000);
    for (level, destroyed) in [("31", 0), ("0", 1)] {
        let (run, report) = converted(&root, level);
        assert_eq!(run.code, Some(0), "level {level}: {}", run.stderr);
        assert!(run.stderr.contains("RTAS of this boot lies at 0x1fff0000..0x1fff083c"), "{}", run.stderr);
        assert_eq!(report["pages"]["lost"], 0);
        assert_eq!(report["pages"]["excluded"]["destroyed"], destroyed, "level {level}");
    }
    let pages = run::hadump([Path::new("verify"), root.path()]);
    assert_eq!(pages.code, Some(4), "{}", pages.stdout);
    assert!(pages.stdout.contains("1 lost"), "{}", pages.stdout);

    // Over the copy of frame 0x10 it destroys the kernel's text.
    let root = booted(&dump, 0x1411_0000);
    for level in ["31", "0"] {
        let (run, report) = converted(&root, level);
        assert_eq!(run.code, Some(4), "level {level}: {}", run.stderr);
        assert_eq!(report["pages"]["lost"], 1, "level {level}: {report}");
    }
}

#[test]
fn what_proc_vmcore_shows_in_place_of_an_overwritten_page_is_not_believed() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let root = booted(&dump, 0x1411_0000);
    symlink(&dump.elf, root.path().join("proc/vmcore")).expect("a link to the dump");
    let (run, report) = converted(&root, "31");
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    assert_eq!(report["pages"]["lost"], 1, "{report}");
}

#[test]
fn status_warns_before_any_crash_when_programs_get_rtas_memory() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let root = booted(&dump, 0x1fff_0000);
    // An ordinary boot: no dump waits, the kernel is registered and lends the dump area, in which RTAS lies.
    let tree = root.path().join("proc/device-tree");
    fs::remove_file(tree.join("rtas/ibm,kernel-dump")).expect("removed");
    fs::remove_file(root.path().join("sys/kernel/fadump/release_mem")).expect("removed");
    fs::create_dir_all(tree.join("memory@0")).expect("a directory");
    fs::create_dir_all(root.path().join("proc/self")).expect("a directory");
    let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).expect("a file");
    write(&tree.join("memory@0/reg"), &[0u64, 768 << 20].map(u64::to_be_bytes).concat());
    write(&tree.join("rtas/ibm,configure-kernel-dump"), &[0, 0, 0x20, 0x2d]);
    write(&root.path().join("proc/self/auxv"), &[6u64, 0x10000].map(u64::to_le_bytes).concat());
    write(&root.path().join("proc/cmdline"), b"fadump=on\n");
    write(&root.path().join("proc/meminfo"), b"MemTotal: 754112 kB\nCmaTotal: 327680 kB\n");
    write(&root.path().join("sys/kernel/fadump/registered"), b"1\n");
    let root_option = format!("--root={}", root.path().display());
    let run = run::hadump(["status", "--json", &root_option]);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(report["after_next_crash"]["possible"], true, "{report:#}");
    assert_eq!(report["after_next_crash"]["advice"], "fadump=nocma");
    let lends = "the kernel lends RTAS's own memory (0x1fff0000..0x1fff083c) to programs";
    assert!(run.stdout.contains(lends) && run.stdout.contains("boot with fadump=nocma"), "{report:#}");
}
