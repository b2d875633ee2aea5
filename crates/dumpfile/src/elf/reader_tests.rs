//! Layouts that real and broken writers produce.

use super::*;
use crate::elf::testfile::TestElf;
use proptest::prelude::*;
use std::time::Instant;
use vmcore::{ByteOrder, PageState, Pfn};

fn try_open(bytes: &[u8]) -> Result<Dump, Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    crate::open(file.path())
}

fn page(dump: &Dump, pfn: u64) -> (PageState, Vec<u8>) {
    let mut bytes = vec![0xee; dump.page_size().len()];
    let state = dump.memory.read_page(Pfn(pfn), &mut bytes).unwrap();
    (state, bytes)
}

/// A body in which every byte depends on its page.
fn body(len: u64) -> Vec<u8> {
    (0..len).map(|i| (i >> 12) as u8).collect()
}

#[test]
fn segments_may_be_unsorted_unaligned_and_mixed_with_others() {
    let elf = TestElf::x86_64()
        .load(0x3100, 0x5000, 0x2000, 0x2000)
        .phdr(0, u64::MAX, u64::MAX)
        .load(0x1234, 0x1800, 0x1000, 0x1000)
        .phdr(0x6474_e551, 0, 0);
    let dump = try_open(&elf.over(&body(0x6000))).unwrap();
    let frames: Vec<_> = dump.memory.map().frames().iter().collect();
    assert_eq!(frames, [Range::new(Pfn(1), Pfn(3)), Range::new(Pfn(5), Pfn(7))]);
    assert_eq!(dump.memory.map().partial_frames(), 2);
    // The first half of frame 1 is not memory; the second begins at offset 0x1234.
    let (state, bytes) = page(&dump, 1);
    assert_eq!(state, PageState::Present);
    assert_eq!((bytes[0x7ff], bytes[0x800], bytes[0xfff]), (0, 1, 1));
    let (state, bytes) = page(&dump, 2);
    assert_eq!(state, PageState::Present);
    assert_eq!((bytes[0], bytes[0x5cc], bytes[0x7ff], bytes[0x800]), (1, 2, 2, 0));
    assert_eq!(page(&dump, 5).1[0xeff..0xf01], [3, 4]);
    assert_eq!(page(&dump, 3), (PageState::Absent, vec![0; 4096]));
    assert_eq!(dump.virt[0].virt.0, 0xffff_8880_0000_5000);
    let mut bytes = [9; 4];
    assert_eq!(dump.memory.read(PhysAddr(0x17fe), &mut bytes).unwrap(), PageState::Present);
    assert_eq!(bytes, [0, 0, 1, 1]);
    assert_eq!(dump.memory.read(PhysAddr(0x2ffe), &mut bytes).unwrap(), PageState::Absent);
}

#[test]
fn where_segments_overlap_the_first_in_the_file_wins() {
    let elf = TestElf::x86_64().load(0x3000, 0x2000, 0x1000, 0x1000).load(0x4000, 0, 0x4000, 0x4000);
    let dump = try_open(&elf.over(&body(0x8000))).unwrap();
    assert_eq!((0..4).map(|i| page(&dump, i).1[0]).collect::<Vec<_>>(), [4, 5, 3, 7]);
    assert_eq!(dump.memory.map().frames().total(), 4);
}

#[test]
fn a_tail_is_excluded_and_a_cut_segment_is_lost() {
    let elf = TestElf::x86_64().load(0x1000, 0, 0x1000, 0x3000).load(0x2000, 0x8000, 0x4000, 0x4000);
    let dump = try_open(&elf.over(&body(0x3800))).unwrap();
    let states: Vec<_> = (0..12).map(|i| page(&dump, i).0).collect();
    use PageState::*;
    assert_eq!(states[..4], [Present, Excluded, Excluded, Absent]);
    assert_eq!(states[8..], [Present, Lost, Lost, Lost]);
    assert_eq!(page(&dump, 9).1, vec![0; 4096], "what is known of a lost page is not handed out as the page");
    let mut known = [0; 4];
    assert_eq!(dump.memory.read(PhysAddr(0x9000), &mut known).unwrap(), Present);
    assert_eq!(known, [3; 4]);
    assert_eq!(dump.memory.read(PhysAddr(0x97fe), &mut known).unwrap(), Lost);
    assert!(dump.source.incomplete);
    assert!(dump.source.remarks[0].contains("0x2800 bytes of memory are lost"), "{:?}", dump.source.remarks);
}

#[test]
fn program_headers_may_be_far_away_and_more_than_65535() {
    let mut elf = TestElf::x86_64();
    elf.phoff = 0x10_0000;
    for i in 0..70_000u64 {
        elf = elf.load(0x1000 + i % 8 * 0x1000, i * 0x3000, 0x1000, 0x1000);
    }
    let file = elf.over(&body(0x9000));
    let started = Instant::now();
    let dump = try_open(&file).unwrap();
    assert!(started.elapsed().as_millis() < 1000, "{:?}", started.elapsed());
    assert_eq!(dump.memory.map().frames().total(), 70_000);
    assert_eq!(page(&dump, 69_999 * 3).1[0], 69_999u64.rem_euclid(8) as u8 + 1);
    assert_eq!(dump.virt.len(), 70_000);
}

#[test]
fn both_classes_and_orders_are_read() {
    for is_64 in [false, true] {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let mut elf = TestElf::x86_64();
            (elf.is_64, elf.order, elf.machine, elf.flags) = (is_64, order, 20, 0x8000);
            elf.phoff = if is_64 { 64 } else { 52 };
            let mut notes = Notes::default();
            let desc = b"PAGESIZE=16384\nOSRELEASE=x\n".to_vec();
            notes.push(vmcore::Note { name: b"VMCOREINFO".into(), kind: 0, desc }, order);
            let mut body = body(0x8000);
            body[0x200..][..notes.raw().len()].copy_from_slice(notes.raw());
            let elf = elf.phdr(4, 0x200, notes.raw().len() as u64).load(0x4000, 0x8000, 0x4000, 0x4000);
            let dump = try_open(&elf.over(&body)).unwrap();
            assert_eq!(dump.page_size().bytes(), 16384);
            assert_eq!(dump.machine.order, order);
            assert_eq!(dump.notes, notes);
            assert_eq!(dump.elf_flags, 0x8000);
            assert_eq!(page(&dump, 2).1[0x3000], 7);
            assert_eq!(dump.source.format, if is_64 { "ELF64 core" } else { "ELF32 core" });
        }
    }
}

#[test]
fn several_notes_are_one_list_and_a_broken_one_keeps_what_came_before() {
    let order = ByteOrder::Little;
    let note = |name: &[u8]| vmcore::Note { name: name.into(), kind: 7, desc: vec![1; 8] };
    let (mut one, mut two) = (Notes::default(), Notes::default());
    one.push(note(b"ONE"), order);
    two.push(note(b"TWO"), order);
    two.push(note(b"CUT"), order);
    let mut file = body(0x3000);
    file[0x400..][..one.raw().len()].copy_from_slice(one.raw());
    file[0x300..][..two.raw().len()].copy_from_slice(two.raw());
    let elf = TestElf::x86_64().phdr(4, 0x400, one.raw().len() as u64).load(0x1000, 0, 0x1000, 0x1000).phdr(
        4,
        0x300,
        two.raw().len() as u64 - 1,
    );
    let dump = try_open(&elf.over(&file)).unwrap();
    let names: Vec<_> = dump.notes.iter().map(|n| n.name.as_slice()).collect();
    assert_eq!(names, [b"ONE", b"TWO"]);
    assert!(dump.source.remarks[0].contains("damaged"), "{:?}", dump.source.remarks);
}

#[test]
fn what_cannot_be_read_is_said_by_name() {
    let fails = |elf: TestElf| try_open(&elf.over(&body(0x3000))).map(|_| ()).unwrap_err().to_string();
    let load = |elf: TestElf| elf.load(0x1000, 0, 0x1000, 0x1000);
    let machine = |number| TestElf { machine: number, ..TestElf::x86_64() };
    assert!(fails(load(machine(9999))).contains("e_machine 9999"));
    let process = TestElf::x86_64().load(0x1000, 0, 0x1000, 0x1000).load(0x2000, 0, 0x1000, 0x1000);
    assert!(fails(process).contains("a process"));
    assert!(fails(TestElf::x86_64().phdr(4, 0x200, 16)).contains("no PT_LOAD"));
    assert!(fails(TestElf::x86_64().load(0, 1 << 60, 0, 4096)).contains("2^56"));
    assert!(fails(TestElf::x86_64().load(0, 0, 0, 1 << 51)).contains("256 TiB"));
    let mut executable = load(TestElf::x86_64()).over(&body(0x3000));
    executable[16] = 2;
    assert!(try_open(&executable).map(|_| ()).unwrap_err().to_string().contains("vmlinux"));
}

#[test]
fn virtual_only_segments_are_no_memory() {
    let elf = TestElf::x86_64().load(0x1000, u64::MAX, 0x1000, 0x1000).load(0x2000, 0x4000, 0x1000, 0x1000);
    let dump = try_open(&elf.over(&body(0x3000))).unwrap();
    assert_eq!(dump.memory.map().frames().total(), 1);
    assert_eq!(dump.virt.len(), 1);
    // High memory of a 32-bit kernel: the other way round.
    let mut elf = TestElf { is_64: false, machine: 3, phoff: 52, ..TestElf::x86_64() }
        .load(0x1000, 0x1000, 0x1000, 0x1000);
    elf.phdrs[0].vaddr = u64::MAX;
    let dump = try_open(&elf.load(0x2000, u64::MAX, 0x1000, 0x1000).over(&body(0x3000))).unwrap();
    assert_eq!((dump.memory.map().frames().total(), dump.virt.len()), (1, 0));
}

#[test]
fn the_incomplete_flag_is_not_the_abi_of_power() {
    let mut elf = TestElf { flags: 1, ..TestElf::x86_64() }.load(0x1000, 0, 0x1000, 0x1000);
    let dump = try_open(&elf.over(&body(0x3000))).unwrap();
    assert!(dump.source.incomplete);
    assert_eq!(dump.elf_flags, 0);
    (elf.machine, elf.flags) = (21, 1);
    let mut notes = Notes::default();
    notes.push(
        vmcore::Note { name: b"VMCOREINFO".into(), kind: 0, desc: b"PAGESIZE=4096\n".into() },
        elf.order,
    );
    let mut file = body(0x3000);
    file[0x200..][..notes.raw().len()].copy_from_slice(notes.raw());
    let dump = try_open(&elf.phdr(4, 0x200, notes.raw().len() as u64).over(&file)).unwrap();
    assert!(!dump.source.incomplete);
    assert_eq!(dump.elf_flags, 1);
}

fn read_all(dump: &Dump) {
    let size = dump.page_size().len();
    let mut pages = vec![0; 16 * size];
    for range in dump.memory.map().frames().iter().take(64) {
        let mut states = [PageState::Absent; 16];
        dump.memory.read_run(range.start, &mut pages, &mut states).unwrap();
        let _ = dump.memory.read(dump.page_size().addr(range.start), &mut pages[..100]).unwrap();
    }
}

#[test]
fn a_file_cut_anywhere_in_its_headers_never_panics() {
    let file = TestElf::x86_64().load(0x200, 0x1000, 0x1000, 0x2000).phdr(4, 0x180, 0x40).over(&body(0x1200));
    for len in 0..0x300 {
        if let Ok(dump) = try_open(&file[..len]) {
            assert!(dump.source.incomplete, "{len}");
            read_all(&dump);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn random_damage_never_panics(
        is_64: bool,
        big: bool,
        damage in prop::collection::vec((0usize..0x200, any::<u8>()), 1..6),
    ) {
        let mut elf = TestElf::x86_64();
        (elf.is_64, elf.phoff) = (is_64, if is_64 { 64 } else { 52 });
        if big {
            (elf.order, elf.machine) = (ByteOrder::Big, 22);
        }
        let elf = elf.phdr(4, 0x180, 0x40).load(0x200, 0x1000, 0x1000, 0x2000).load(0x400, 0x1800, 0x900, 0x900);
        let mut file = elf.over(&body(0x1200));
        for (at, byte) in damage {
            file[at] = byte;
        }
        if let Ok(dump) = try_open(&file) {
            read_all(&dump);
        }
    }

    /// Any memory map in any class, order and page size reads as a model of bytes says.
    #[test]
    fn pages_and_states_are_those_of_the_bytes(
        is_64: bool,
        big: bool,
        shift in prop::sample::select(vec![12u32, 14, 16]),
        loads in prop::collection::vec((0u64..64, 0u64..24, 0u64..24, 0u64..8), 1..8),
        cut in 0u64..8,
    ) {
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let mut notes = Notes::default();
        let desc = format!("PAGESIZE={}\n", 1 << shift).into_bytes();
        notes.push(vmcore::Note { name: b"VMCOREINFO".into(), kind: 0, desc }, order);
        let machine = if is_64 { 21 } else { 20 };
        let mut elf = TestElf { is_64, order, machine, flags: 0, phoff: if is_64 { 64 } else { 52 }, phdrs: vec![] };
        elf = elf.phdr(4, 0x800, notes.raw().len() as u64);
        // The unit is an eighth of a page, so that borders fall inside frames.
        let unit = 1u64 << (shift - 3);
        let mut at = 0x1000;
        let mut model = std::collections::BTreeMap::<u64, (u8, u64)>::new();
        let mut file = vec![0; at as usize];
        file[0x800..][..notes.raw().len()].copy_from_slice(notes.raw());
        let mut claims = Vec::new();
        for (i, &(start, data, tail, shifted)) in loads.iter().enumerate() {
            prop_assume!(data + tail > 0);
            at += shifted;
            elf = elf.load(at, (start + 1) * unit, data * unit, (data + tail) * unit);
            file.resize((at + data * unit) as usize, 0);
            for k in 0..data * unit {
                file[(at + k) as usize] = (i as u8 + 1).wrapping_mul(31).wrapping_add((k / unit) as u8) | 1;
            }
            claims.push((start + 1, data, tail, at));
            at += data * unit;
        }
        let file_end = (file.len() as u64).saturating_sub(cut * unit).max(0x1000);
        let mut file = elf.over(&file);
        file.truncate(file_end as usize);
        // The content of each unit: 1 data, 3 lost, 4 excluded, and where in the file.
        for &(start, data, tail, offset) in &claims {
            for u in 0..data + tail {
                let (first, last) = (offset + u * unit, offset + (u + 1) * unit);
                prop_assume!(u >= data || first >= file_end || last <= file_end);
                let kind = if u >= data { 4 } else if last > file_end { 3 } else { 1 };
                let known = model.entry(start + u).or_insert((kind, first));
                if kind < known.0 {
                    *known = (kind, first);
                }
            }
        }
        prop_assume!(loads.len() < 2 || elf.phdrs.iter().skip(1).any(|p| p.paddr != 0));
        let dump = try_open(&file).unwrap();
        let size = 1usize << shift;
        let frames = 100 / 8 + 1;
        let mut run = vec![0xaa; frames * size];
        let mut states = vec![PageState::Lost; frames];
        dump.memory.read_run(Pfn(0), &mut run, &mut states).unwrap();
        for pfn in 0..frames as u64 {
            let units: Vec<_> = (0..8).map(|k| model.get(&(pfn * 8 + k)).copied()).collect();
            let has = |kind| units.iter().flatten().any(|u| u.0 == kind);
            let expected = if has(3) {
                PageState::Lost
            } else if has(4) {
                PageState::Excluded
            } else if has(1) {
                PageState::Present
            } else {
                PageState::Absent
            };
            let mut content = vec![0; size];
            if expected == PageState::Present {
                for (k, u) in units.iter().enumerate() {
                    if let Some((_, offset)) = u {
                        let unit = unit as usize;
                        content[k * unit..][..unit].copy_from_slice(&file[*offset as usize..][..unit]);
                    }
                }
            }
            prop_assert_eq!(states[pfn as usize], expected);
            prop_assert!(run[pfn as usize * size..][..size] == content);
            prop_assert_eq!(page(&dump, pfn), (expected, content.clone()));
        }
    }
}
