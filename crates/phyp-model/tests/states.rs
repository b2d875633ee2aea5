//! Every state of a machine, by the files that show it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use phyp_model::root::RootOptions;
use phyp_model::state::{self, Other, State};
use phyp_model::{Linux, Machine, Mode, Options};

fn written(name: &str, linux: Linux) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let machine = || {
        let mut machine = Machine::new(Options { mode: Mode::Fadump(linux), ..Options::small_fadump() })?;
        machine.scatter(8)?;
        Ok(machine)
    };
    let options = RootOptions { memory: false, ..RootOptions::default() };
    assert!(state::write(name, machine, directory.path(), &options).unwrap(), "{name}");
    directory
}

fn text(root: &Path, name: &str) -> Option<String> {
    fs::read_to_string(root.join(name)).ok()
}

/// What a state shows: dump in the device tree, vmcore, release_mem, enabled, registered, "Memory above", "Dumped" with
/// something, and whether MemTotal is more than boot memory.
fn shown(root: &Path) -> [bool; 8] {
    let region = text(root, "sys/kernel/debug/powerpc/fadump_region").unwrap_or_default();
    let meminfo = text(root, "proc/meminfo").unwrap();
    let total: u64 = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();
    [
        root.join("proc/device-tree/rtas/ibm,kernel-dump").exists(),
        root.join("proc/vmcore").exists(),
        root.join("sys/kernel/fadump/release_mem").exists(),
        text(root, "sys/kernel/fadump/enabled").as_deref() == Some("1\n"),
        text(root, "sys/kernel/fadump/registered").as_deref() == Some("1\n"),
        region.contains("Memory above"),
        region.contains("Dumped: 0x1000000"),
        total > 16 << 10,
    ]
}

#[test]
fn each_state_of_fadump_shows_what_the_kernel_shows_in_it() {
    let (no, yes) = (false, true);
    let table = [
        ("waits", [yes, yes, yes, yes, no, yes, yes, no]),
        ("given-back", [yes, no, yes, yes, no, no, no, yes]),
        ("refused", [yes, no, yes, yes, no, no, no, yes]),
        ("registered-again", [yes, no, yes, yes, yes, no, no, yes]),
        ("registered", [no, no, no, yes, yes, no, no, yes]),
        ("not-registered", [no, no, no, yes, no, no, no, yes]),
        ("not-enabled", [no, no, no, no, no, no, no, yes]),
    ];
    assert_eq!(table.map(|row| row.0), State::ALL.map(|row| row.0));
    for linux in Linux::ALL {
        for (name, expected) in table {
            assert_eq!(shown(written(name, linux).path()), expected, "{name}, {linux:?}");
        }
    }
}

#[test]
fn only_the_kernels_log_tells_a_refused_dump_from_one_that_was_given_back() {
    let log = |name, linux| text(written(name, linux).path(), "dev/kmsg").unwrap();
    let freeing = "fadump: freeing reserved memory (0x2010000 - 0x3000000)\n";
    let given_back = log("given-back", Linux::V7_2);
    assert!(given_back.contains(freeing) && !given_back.contains("corrupted"), "{given_back}");
    let refused = log("refused", Linux::V7_2);
    assert!(refused.contains("fadump: Fadump header is corrupted.\n"), "{refused}");
    assert!(refused.contains(freeing), "{refused}");
    let before_6_10 = log("refused", Linux::V6_1);
    assert!(before_6_10.contains("rtas fadump: Crash info header is not valid.\n"), "{before_6_10}");
    assert!(log("registered", Linux::V7_2).contains("rtas fadump: Registration is successful!"));
}

#[test]
fn a_kernel_without_fadump_on_reserves_nothing() {
    let root = written("not-enabled", Linux::V7_2);
    assert_eq!(text(root.path(), "sys/kernel/fadump/mem_reserved").as_deref(), Some("0\n"));
    assert_eq!(text(root.path(), "sys/kernel/debug/powerpc/fadump_region").as_deref(), Some(""));
    assert!(!root.path().join("sys/kernel/fadump/bootargs_append").exists());
}

#[test]
fn machines_without_fadump_have_none_of_its_files() {
    for (name, kind) in Other::ALL {
        let root = written(name, Linux::V7_2);
        assert!(!root.path().join("sys/kernel/fadump").exists(), "{name}");
        assert!(!root.path().join("proc/device-tree/rtas/ibm,configure-kernel-dump").exists(), "{name}");
        assert_eq!(root.path().join("proc/vmcore").exists(), kind == Other::KdumpCaptures);
        let loaded = match kind {
            Other::Unsupported => None,
            Other::KdumpLoaded => Some("1\n"),
            Other::KdumpNotLoaded | Other::KdumpCaptures => Some("0\n"),
        };
        assert_eq!(text(root.path(), "sys/kernel/kexec_crash_loaded").as_deref(), loaded, "{name}");
    }
    let names: BTreeSet<&str> =
        State::ALL.map(|row| row.0).into_iter().chain(Other::ALL.map(|row| row.0)).collect();
    assert_eq!(names.len(), 11, "each name once");
    let nothing = tempfile::tempdir().unwrap();
    let machine = || Machine::new(Options::small_fadump());
    assert!(!state::write("nonsense", machine, nothing.path(), &RootOptions::default()).unwrap());
}

/// The flattened tree as the running kernel shows it: its reservation map, and where its parts begin.
#[test]
fn the_flattened_device_tree_reserves_the_initrd_and_rtas_in_whole_pages_and_not_itself() {
    let options = Options::machine(Linux::V6_12, 1 << 30, None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root_options = RootOptions { memory: false, vmcore: false, ..RootOptions::default() };
    state::write("waits", || Machine::new(options), directory.path(), &root_options).unwrap();
    let blob = fs::read(directory.path().join("sys/firmware/fdt")).unwrap();
    let word = |at: usize| u32::from_be_bytes(blob[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_be_bytes(blob[at..at + 8].try_into().unwrap());
    // As in a real boot of this machine (QEMU 11.1, Linux 6.12): magic, size, structure, names, map, version.
    let header: Vec<u32> = (0..7).map(|n| word(4 * n)).collect();
    assert_eq!(header, [0xd00d_feed, 0x3_0000, 0x2_0000, 0x1_0000, 0x28, 0x10, 0x10]);
    assert_eq!(blob.len(), 0x3_0000);
    let map: Vec<(u64, u64)> = (0..3).map(|n| (long(0x28 + 16 * n), long(0x30 + 16 * n))).collect();
    assert_eq!(map, [(0x101_0000, 0xc1_0000), (0x2fff_0000, 0x1_0000), (0, 0)]);
    // The structure begins with the root node, and ends.
    assert_eq!((word(0x2_0000), word(0x2_0004)), (1, 0));
    let property = fs::read(directory.path().join("proc/device-tree/rtas/linux,rtas-base")).unwrap();
    assert_eq!(property, 0x2fff_0000u32.to_be_bytes());
}
