//! The model against second boots of real kernels, whose files stand in `boots/`.

use std::collections::HashMap;

use phyp_model::release;
use phyp_model::root::{self, RegionText, RootOptions};
use phyp_model::scenario::{self, Dirt, Event, Run};
use phyp_model::{Extent, Linux, Machine, Options, extent};

const MIB: u64 = 1 << 20;

/// One machine: its memory and its `crashkernel=` in MiB, and what it showed.
fn machines() -> [(u64, Option<u64>, &'static str); 3] {
    [
        (1024, None, include_str!("boots/1024-default.txt")),
        (2304, Some(832), include_str!("boots/2304-crashkernel832.txt")),
        (4096, Some(1024), include_str!("boots/4096-crashkernel1G.txt")),
    ]
}

/// The files by name: "STATE: FILE", or FILE for what is the same in every state.
fn files(text: &'static str) -> HashMap<&'static str, &'static str> {
    text.split("\n== ").skip(1).filter_map(|part| part.split_once('\n')).collect()
}

fn options(ram: u64, crashkernel: Option<u64>, files: &HashMap<&str, &str>) -> Options {
    let options = Options::machine(Linux::V6_12, ram * MIB, crashkernel.map(|size| size * MIB)).unwrap();
    let number = |name: &str| u64::from_str_radix(files[name].trim(), 16).unwrap();
    let (start, end) = (number("chosen.linux,initrd-start"), number("chosen.linux,initrd-end"));
    assert_eq!(options.initrd_extent(), Extent::between(start, end));
    let rtas = Extent::new(number("rtas.linux,rtas-base"), number("rtas.rtas-size"));
    assert_eq!(options.rtas_extent(), rtas);
    options
}

fn run(options: &Options, event: Event) -> Run {
    let machine = Machine::new(options.clone()).unwrap();
    scenario::run(machine, event, &[], Dirt::Stamps).unwrap()
}

/// Compares all that both have: `state` is the name in the file.
fn compare(run: &Run, state: &str, files: &HashMap<&str, &str>) {
    let real = |name: &str| files[format!("{state}: {name}").as_str()].trim_end();
    // What a release has freed is somebody's at once in the model, and later in a real machine.
    let appended = run.bootargs_append().unwrap().filter(|_| run.released()).unwrap_or_default();
    let region = root::fadump_region(run, RegionText::C).unwrap().replace(&appended, "");
    assert_eq!(region.trim_end(), real("fadump_region"), "{state}");
    let directory = tempfile::tempdir().unwrap();
    let options = RootOptions { memory: false, ..RootOptions::default() };
    root::write(run, directory.path(), &options).unwrap();
    for name in ["enabled", "registered", "mem_reserved", "bootargs_append", "hotplug_ready"] {
        let path = directory.path().join("sys/kernel/fadump").join(name);
        let ours = std::fs::read_to_string(path).unwrap();
        let ours = ours.replace(&appended, "");
        assert_eq!(ours.trim_end(), real(&format!("fadump/{name}")), "{state}: {name}");
    }
    for (name, path) in [("vmcore", "proc/vmcore"), ("release_mem", "sys/kernel/fadump/release_mem")] {
        let ours = if directory.path().join(path).exists() { "there" } else { "missing" };
        assert_eq!(ours, real(name), "{state}: {name}");
    }
    // How much the kernel keeps for itself is measured, not worked out.
    let (ours, theirs) = (run.memory_total() >> 10, memory_total(real("meminfo")));
    assert!(ours.abs_diff(theirs) < 2048, "{state}: MemTotal {ours} kB, really {theirs} kB");
}

fn memory_total(line: &str) -> u64 {
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn each_state_of_a_real_machine_is_the_models() {
    for (ram, crashkernel, text) in machines() {
        let files = files(text);
        let options = options(ram, crashkernel, &files);
        let mut ordinary = run(&options, Event::CrashUnregistered);
        compare(&ordinary, "registered", &files);
        ordinary.write_registered("0").unwrap();
        compare(&ordinary, "unregistered", &files);

        let mut crashed = run(&options, Event::CRASH);
        compare(&crashed, "waits", &files);
        let waiting = crashed.memory_total();
        crashed.write_release_mem("1").unwrap();
        compare(&crashed, "released", &files);
        let gained = memory_total(files["released: meminfo"]) - memory_total(files["waits: meminfo"]);
        assert_eq!((crashed.memory_total() - waiting) >> 10, gained, "{ram} MiB, to the page");
        crashed.write_registered("1").unwrap();
        compare(&crashed, "registered again", &files);
    }
}

/// Seen in 2304 MiB with `crashkernel=832M`: 20 seconds after a program began to fill memory, an oops in `rtas_call`; with
/// `fadump=nocma` 102 seconds of it without one.
#[test]
fn a_real_kernel_lends_rtas_to_programs_unless_told_not_to() {
    let (ram, crashkernel, text) = machines()[1];
    let files = files(text);
    for (nocma, lives, cma_total) in [(false, false, 589_824), (true, true, 0)] {
        let options = Options { nocma, ..options(ram, crashkernel, &files) };
        let mut run = run(&options, Event::CrashUnregistered);
        assert_eq!(extent::total(&run.lent()) >> 10, cma_total);
        run.dirty_free_memory().unwrap();
        assert_eq!(run.rtas_is_there().unwrap(), lives);
    }
}

#[test]
fn what_a_real_kernel_frees_is_what_the_model_frees() {
    for (ram, crashkernel, text) in machines() {
        let files = files(text);
        let run = run(&options(ram, crashkernel, &files), Event::CRASH);
        let [frees] = release::frees(&run)[..] else { panic!("one range") };
        let line = format!("fadump: freeing reserved memory ({:#x} - {:#x})", frees.start, frees.end());
        assert_eq!(line, files["released: freed"].trim_end());
        // By default RTAS is freed; where boot memory reaches it or the dump area covers it, it is not.
        let rtas = release::clashes(&run).iter().any(|(name, _)| *name == "RTAS");
        assert_eq!(rtas, ram == 1024);
        // Inside the dump area this boot's RTAS stands on the copy of the page at 0xbfe0000.
        let lost = if ram == 2304 { vec![Extent::new(0xbfe_0000, 0x83c)] } else { Vec::new() };
        assert_eq!(run.truth.lost, lost);
    }
}
