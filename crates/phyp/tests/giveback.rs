//! Real boots: what is foretold and what is said of a release is what the kernel did.

use phyp::giveback::{
    Advice, Forecast, Hazard, NextCrash, Resident, forecast, overwritten, release, still_reserved,
};
use phyp::system::System;
use std::fs::{self, File};
use std::io::{BufReader, Cursor};
use std::os::unix::fs::FileExt;
use std::path::Path;
use vmcore::{PageSize, PhysAddr, Range, RangeSet};

/// A boot of a guest: its flattened device tree, and what the kernel said.
struct Boot {
    tree: Vec<u8>,
    mem_reserved: u64,
    cma_kib: u64,
    command_line: &'static str,
}

fn range(start: u64, end: u64) -> Range<PhysAddr> {
    Range::new(PhysAddr(start), PhysAddr(end))
}

fn set(start: u64, end: u64) -> RangeSet<PhysAddr> {
    [range(start, end)].into_iter().collect()
}

fn tree(name: &str) -> Vec<u8> {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/boots/{name}.fdt.zst"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fdt");
    corpus::unpack::unpack(BufReader::new(File::open(packed).unwrap()), File::create(&path).unwrap())
        .unwrap();
    fs::read(path).unwrap()
}

/// Writes the nodes and properties of a flattened tree below `root`, as the kernel shows them.
fn unflatten(tree: &[u8], root: &Path) {
    let word = |at: usize| u32::from_be_bytes(tree[at..at + 4].try_into().unwrap()) as usize;
    let text = |at: usize| {
        let len = tree[at..].iter().position(|&b| b == 0).unwrap();
        std::str::from_utf8(&tree[at..at + len]).unwrap()
    };
    let (mut at, names) = (word(8), word(12));
    let mut dir = root.to_owned();
    loop {
        let token = word(at);
        at += 4;
        match token {
            1 => {
                let name = text(at);
                at = (at + name.len() + 4) & !3;
                dir.push(name);
                fs::create_dir_all(&dir).unwrap();
            }
            2 => drop(dir.pop()),
            3 => {
                let (len, name) = (word(at), text(names + word(at + 4)));
                fs::write(dir.join(name), &tree[at + 8..at + 8 + len]).unwrap();
                at = (at + 8 + len + 3) & !3;
            }
            4 => {} // nothing
            9 => break,
            other => panic!("token {other}"),
        }
    }
}

impl Boot {
    fn look(&self) -> System {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let auxv: Vec<u8> = [6u64, 0x10000, 0, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
        write("proc/self/auxv", &auxv);
        write("proc/cmdline", self.command_line.as_bytes());
        write("proc/cpuinfo", b"MMU\t\t: Radix\n");
        write("proc/meminfo", format!("CmaTotal: {} kB\n", self.cma_kib).as_bytes());
        write("sys/firmware/fdt", &self.tree);
        write("sys/kernel/fadump/enabled", b"1\n");
        write("sys/kernel/fadump/registered", b"0\n");
        write("sys/kernel/fadump/mem_reserved", format!("{}\n", self.mem_reserved).as_bytes());
        write("sys/kernel/fadump/bootargs_append", b"\n");
        unflatten(&self.tree, &dir.path().join("proc/device-tree"));
        let system = System::look(dir.path()).unwrap();
        assert!(system.findings.is_empty(), "{:?}", system.findings);
        system
    }
}

fn ordinary(name: &str, mem_reserved: u64, cma_kib: u64, command_line: &'static str) -> NextCrash {
    let boot = Boot { tree: tree(&format!("{name}-ordinary")), mem_reserved, cma_kib, command_line };
    match forecast(&boot.look()).unwrap() {
        Forecast::Next(next) => *next,
        other => panic!("{other:?}"),
    }
}

fn waits(name: &str, mem_reserved: u64, command_line: &'static str) -> System {
    Boot { tree: tree(&format!("{name}-waits")), mem_reserved, cma_kib: 0, command_line }.look()
}

#[test]
fn on_1_gib_the_release_freed_rtas_and_the_machine_died() {
    // "freeing reserved memory (0x28010000 - 0x40000000)"; RTAS's page was in the allocator afterwards, as were the
    // header's and the parameter area's, and the next dump was refused: "Fadump header is corrupted."
    let release = release(&waits("1024", 335_610_288, "fadump=on")).unwrap();
    assert_eq!(release.freed, set(0x2801_0000, 0x4000_0000));
    assert_eq!(release.clashes.len(), 1);
    assert_eq!(
        (release.clashes[0].resident, release.clashes[0].range),
        (Resident::Rtas, range(0x2fff_0000, 0x2fff_083c))
    );
    let header = Hazard::HeaderPage(range(0x2801_0000, 0x2802_0000));
    let parameters = Hazard::Parameters(range(0x3fff_0000, 0x4000_0000));
    assert_eq!(release.hazards, [header, parameters]);

    let next = ordinary("1024", 335_610_288, 327_680, "fadump=on");
    assert_eq!((next.release.freed, next.release.clashes), (release.freed, release.clashes));
    assert_eq!((next.advice, next.lent, next.lost), (Advice::Impossible, None, 0));
}

#[test]
fn on_2304_mib_the_dump_area_covered_rtas_and_programs_got_it_before_the_crash() {
    let line = "fadump=on crashkernel=832M";
    let system = waits("2304", 604_045_744, line);
    let release = release(&system).unwrap();
    // "freeing reserved memory (0x48010000 - 0x90000000)"
    assert_eq!(release.freed, set(0x4801_0000, 0x9000_0000));
    assert!(release.is_safe() && !release.allows_registration());
    let lost = overwritten(&system).unwrap();
    assert_eq!((lost.len(), &lost[0].lost), (1, &set(0xbfe_0000, 0xbfe_083c)));

    // In the ordinary boot RTAS's frame was in the allocator (CMA), and a program that filled memory killed the
    // machine; with fadump=nocma it lived.
    let next = ordinary("2304", 604_045_744, 589_824, line);
    assert_eq!(next.lent, Some(range(0x2fff_0000, 0x2fff_083c)));
    assert_eq!(next.advice, Advice::Nocma);
    let next = ordinary("2304", 604_045_744, 0, "fadump=nocma crashkernel=832M");
    assert_eq!((next.lent, next.lost, next.advice), (None, 0x83c, Advice::Nothing));
}

#[test]
fn on_4_gib_boot_memory_reached_rtas_and_nothing_was_lost() {
    let system = waits("4096", 1_073_807_792, "fadump=on crashkernel=1G");
    let release = release(&system).unwrap();
    // "freeing reserved memory (0x80010000 - 0x100000000)"
    assert_eq!(release.freed, set(0x8001_0000, 0x1_0000_0000));
    assert!(release.is_safe() && !release.allows_registration());
    assert!(overwritten(&system).unwrap().is_empty());
    let next = ordinary("4096", 1_073_807_792, 1_048_576, "fadump=on crashkernel=1G");
    assert_eq!((next.advice, next.lent, next.lost), (Advice::Nothing, None, 0));
    assert_eq!(next.release.freed, release.freed);
}

#[test]
fn the_tree_in_the_raw_memory_of_the_recorded_dump_says_what_it_cost() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    // Its firmware has only 512 MiB of room, so that RTAS lies in the copy of boot memory.
    let mut tree = vec![0; 0x3_0000];
    File::open(dump.memory()).unwrap().read_exact_at(&mut tree, 0x108_0000).unwrap();
    let boot = Boot { tree, mem_reserved: 335_610_288, cma_kib: 0, command_line: "fadump=on" };
    let system = boot.look();
    assert_eq!(system.leavings.kernel_dump, Some(fs::read(dump.kernel_dump()).unwrap()));
    let release = release(&system).unwrap();
    assert_eq!(release.freed, set(0x2801_0000, 0x3000_0000));
    assert!(release.is_safe());
    let lost = overwritten(&system).unwrap();
    assert_eq!((lost.len(), &lost[0].lost), (1, &set(0xbfe_0000, 0xbfe_083c)));
}

#[test]
fn a_kernel_that_freed_the_headers_page_shows_it_in_its_page_flags() {
    let release = release(&waits("2304", 604_045_744, "fadump=on crashkernel=832M")).unwrap();
    let header = release.hazards[0].range();
    assert_eq!(header, range(0x4801_0000, 0x4802_0000));
    // What the guest showed of that frame: reserved while the dump waited, then free, then a program's.
    for (flags, expected) in [(0x1_0000_0000u64, true), (0x400, false), (0, false), (0x68, false)] {
        let mut all = vec![0; 0x4801 * 8];
        all.extend(flags.to_ne_bytes());
        assert_eq!(still_reserved(&mut Cursor::new(all), header, PageSize::K64).unwrap(), expected);
    }
}
