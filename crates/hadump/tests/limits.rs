//! The bounds of docs/limits.md: what the largest machines have is read, and what is beyond is refused with its name.

mod common;

use common::run::{Run, Scratch, hadump};
use std::fs::File;
use std::os::unix::fs::FileExt;

const TIB: u64 = 1 << 40;

/// A PT_LOAD: physical address, bytes in the file and in memory. The bytes of all of them are at the same place.
type Load = (u64, u64, u64);

/// An x86_64 core with these segments and notes, whose file ends `len` bytes behind its headers.
fn core(loads: &[Load], notes: &[u8], len: u64) -> Scratch {
    let count = loads.len() as u64 + 1;
    let (section, first) = (64, 128);
    let notes_at = first + 56 * count;
    let data = notes_at + notes.len() as u64;
    let mut head = Vec::new();
    head.extend(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    head.extend([4, 0, 62, 0, 1, 0, 0, 0]);
    // Entry, program headers, section headers.
    [0, first, section].iter().for_each(|n: &u64| head.extend(n.to_le_bytes()));
    head.extend([0; 4]);
    let short = u16::try_from(count).unwrap_or(0xffff);
    [64, 56, short, 64, 1, 0].iter().for_each(|n: &u16| head.extend(n.to_le_bytes()));
    // Section 0 has the number of program headers where there are too many for the header (PN_XNUM).
    let mut zero = [0; 64];
    zero[44..48].copy_from_slice(&(count as u32).to_le_bytes());
    head.extend(zero);
    let mut put = |kind: u32, offset: u64, address: u64, in_file: u64, in_memory: u64| {
        head.extend(kind.to_le_bytes());
        head.extend(7u32.to_le_bytes());
        [offset, 0, address, in_file, in_memory, 0].iter().for_each(|n| head.extend(n.to_le_bytes()));
    };
    put(4, notes_at, 0, notes.len() as u64, 0);
    loads.iter().for_each(|&(address, in_file, in_memory)| put(1, data, address, in_file, in_memory));
    head.extend(notes);
    let scratch = Scratch::new("core");
    let file = File::create(scratch.path()).unwrap();
    file.write_all_at(&head, 0).unwrap();
    file.set_len(data + len).unwrap();
    scratch
}

/// The notes of so many CPUs, 336 bytes of registers each, as x86_64 has them.
fn registers(cpus: usize) -> Vec<u8> {
    let mut note = Vec::new();
    [5u32, 336, 1].iter().for_each(|n| note.extend(n.to_le_bytes()));
    note.extend(*b"CORE\0\0\0\0");
    note.resize(note.len() + 336, 0);
    note.repeat(cpus)
}

fn info(file: &Scratch) -> Run {
    hadump(["info".as_ref(), file.path().as_os_str()])
}

#[test]
fn a_core_of_the_largest_machine_has_a_hundred_thousand_segments_and_half_a_million_are_read() {
    let loads = |count: u64| (0..count).map(|n| (n << 13, 4096, 4096)).collect::<Vec<Load>>();
    for count in [100_000, (1 << 19) - 1] {
        let run = info(&core(&loads(count), &registers(1), 4096)).ok();
        assert!(run.stdout.contains(&format!("{count} pages")), "{count}: {}", run.stdout);
    }
    let run = info(&core(&loads(1 << 19), &registers(1), 4096));
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    assert!(run.stderr.contains("at most 524288"), "{}", run.stderr);
}

#[test]
fn registers_of_thousands_of_cpus_are_read() {
    for cpus in [2048, 8192] {
        let run = info(&core(&[(0, 4096, 4096)], &registers(cpus), 4096)).ok();
        assert!(run.stdout.contains(&format!("{cpus} with registers")), "{}", run.stdout);
    }
}

#[test]
fn memory_up_to_256_tib_is_read_and_more_is_refused() {
    for (tib, text) in [(64, "64.0 TiB"), (256, "256 TiB")] {
        let run = info(&core(&[(0, 0, tib * TIB)], &registers(1), 4096)).ok();
        assert!(run.stdout.contains(text), "{}", run.stdout);
    }
    let run = info(&core(&[(0, 0, 256 * TIB + 4096)], &registers(1), 4096));
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    assert!(run.stderr.contains("at most 256 TiB"), "{}", run.stderr);
}

#[test]
fn a_dump_of_64_tib_that_was_cut_after_a_gibibyte_is_read_and_a_small_file_that_claims_as_much_is_not() {
    let claims = [(0, 64 * TIB, 64 * TIB)];
    let run = info(&core(&claims, &registers(1), 1 << 30));
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    assert!(run.stdout.contains("64.0 TiB"), "{}", run.stdout);
    let run = info(&core(&claims, &registers(1), 1 << 20));
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    assert!(run.stderr.contains("past the end of the file"), "{}", run.stderr);
}

#[test]
fn a_vmcoreinfo_of_16_mib_is_read_and_a_larger_one_is_a_large_note() {
    for (mib, keys) in [(16, 2), (17, 0)] {
        let text = [b"OSRELEASE=6.1\n".to_vec(), b"A=1\n".repeat((mib << 18) - 4)].concat();
        let mut notes = registers(1);
        [11, text.len() as u32, 0].iter().for_each(|n: &u32| notes.extend(n.to_le_bytes()));
        notes.extend(*b"VMCOREINFO\0\0");
        notes.extend(&text);
        notes.resize(notes.len().next_multiple_of(4), 0);
        let run = info(&core(&[(0, 4096, 4096)], &notes, 4096)).ok();
        assert!(run.stdout.contains(&format!("VMCOREINFO type 0x0, {} bytes", text.len())), "{}", run.stdout);
        assert!(run.stdout.contains(&format!("vmcoreinfo  {keys} keys")), "{}", run.stdout);
    }
}

#[test]
fn a_property_of_the_device_tree_may_have_64_mib() {
    let tree = Scratch::new("property");
    let device_tree = phyp::devtree::DeviceTree::new(tree.directory());
    let file = File::create(tree.path()).unwrap();
    file.set_len(64 << 20).unwrap();
    assert_eq!(device_tree.property("property").unwrap().map(|bytes| bytes.len()), Some(64 << 20));
    file.set_len((64 << 20) + 1).unwrap();
    let error = device_tree.property("property").unwrap_err();
    assert!(format!("{error:?}").contains("too long"), "{error:?}");
}
