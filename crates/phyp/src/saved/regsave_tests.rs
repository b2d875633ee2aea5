use super::*;
use proptest::prelude::*;

type Entry = ([u8; 8], u64);

fn entry(name: &str, value: u64) -> Entry {
    let mut id = [0; 8];
    id[..name.len()].copy_from_slice(name.as_bytes());
    (id, value)
}

fn write(count_offset: u32, cpus: u32, entries: &[Entry]) -> Vec<u8> {
    let mut out = b"REGSAVE\0".to_vec();
    out.extend([0; 4]);
    out.extend(count_offset.to_be_bytes());
    out.resize(count_offset as usize, 0);
    out.extend(cpus.to_be_bytes());
    for (id, value) in entries {
        out.extend(id);
        out.extend(value.to_be_bytes());
    }
    out
}

fn cpu(id: u64) -> Vec<Entry> {
    let mut out = vec![entry("CPUSTRT", id), entry("CR", 0x2800_0000), entry("CTR", 7)];
    out.extend((0..32).map(|n| entry(&format!("GPR{n:02}"), id << 8 | n)));
    out.extend([entry("MSR", 0x8000), entry("NIA", 0xc000_0000_0000_1234), entry("CPUEND", id)]);
    out
}

#[test]
fn papr_and_qemu_layouts_read_the_same() {
    let entries = [cpu(0), cpu(8)].concat();
    let papr = SaveArea::parse(&write(0x1c, 2, &entries)).unwrap();
    let mut bytes = write(0x10, 2, &entries);
    bytes.extend([0xaa; 12]);
    let qemu = SaveArea::parse(&bytes).unwrap();
    assert_eq!(papr.cpus, qemu.cpus);
    assert_eq!((&papr.faults[..], &qemu.faults[..]), (&[][..], &[][..]));
    let second = papr.cpu(8).unwrap();
    assert!(second.complete);
    assert_eq!(second.get("GPR03"), Some(0x803));
    assert_eq!(second.find(RegisterKind::Gpr(31), false), Some(0x81f));
    assert_eq!(second.get("NIA"), Some(0xc000_0000_0000_1234));
    assert_eq!(second.get("LR"), None);
}

#[test]
fn any_offset_of_the_count_is_followed_and_one_outside_is_refused() {
    let odd = SaveArea::parse(&write(0x33, 1, &cpu(0))).unwrap();
    assert_eq!((odd.cpus.len(), &odd.faults[..]), (1, &[Fault::Offset(0x33)][..]));
    let mut bytes = write(0x1c, 1, &cpu(0));
    for bad in [0u32, 0xf, 0x7fff_ffff, u32::MAX] {
        bytes[0xc..0x10].copy_from_slice(&bad.to_be_bytes());
        assert!(SaveArea::parse(&bytes).unwrap_err().to_string().contains("NumCpusOffset at offset 0xc"));
    }
}

#[test]
fn a_bad_magic_number_is_an_error_that_tells_a_swapped_one() {
    let mut bytes = write(0x1c, 1, &cpu(0));
    bytes[..8].reverse();
    assert!(SaveArea::parse(&bytes).unwrap_err().to_string().contains("byte-swapped"));
    bytes[0] = 9;
    assert!(!SaveArea::parse(&bytes).unwrap_err().to_string().contains("byte-swapped"));
    for len in 0..0x14 {
        assert!(SaveArea::parse(&write(0x10, 1, &[])[..len]).is_err());
    }
}

#[test]
fn the_registers_of_8192_cpus_are_read_and_those_of_one_more_are_left_out() {
    let few = |id| [entry("CPUSTRT", id), entry("NIA", id), entry("CPUEND", id)];
    let entries: Vec<Entry> = (0..8193).flat_map(few).collect();
    let area = SaveArea::parse(&write(0x1c, 8193, &entries)).unwrap();
    assert_eq!(area.faults, [Fault::HugeCpu(8192)]);
    let cpus: Vec<u32> = area.into_ascending().iter().map(|cpu| cpu.cpu).collect();
    assert_eq!(cpus, (0..8192).collect::<Vec<u32>>());
}

fn faults(claimed: u32, entries: &[Entry]) -> (Vec<u32>, Vec<Fault>) {
    let area = SaveArea::parse(&write(0x1c, claimed, entries)).unwrap();
    (area.cpus.iter().map(|c| c.cpu).collect(), area.faults)
}

#[test]
fn every_fault_of_the_entries_costs_only_what_it_hit() {
    let (one, two) = (cpu(1), cpu(2));
    let both = [one.clone(), two.clone()].concat();
    assert_eq!(faults(0, &both), (vec![1, 2], vec![Fault::Count { claimed: 0, found: 2 }]));
    assert_eq!(faults(9, &both), (vec![1, 2], vec![Fault::Count { claimed: 9, found: 2 }]));
    assert_eq!(faults(1, &both), (vec![1, 2], vec![Fault::Count { claimed: 1, found: 2 }]));

    let no_start = [one[1..].to_vec(), two.clone()].concat();
    assert_eq!(
        faults(2, &no_start),
        (vec![2], vec![Fault::NoStart(0x20), Fault::Count { claimed: 2, found: 1 }])
    );
    let no_end = [one[..one.len() - 1].to_vec(), two].concat();
    assert_eq!(faults(2, &no_end), (vec![1, 2], vec![Fault::NoEnd(1)]));
    let mut wrong_end = both;
    wrong_end[one.len() - 1].1 = 7;
    assert_eq!(faults(2, &wrong_end), (vec![1, 2], vec![Fault::EndOfOther { started: 1, ended: 7 }]));
    let twice = [one.clone(), one].concat();
    assert_eq!(faults(1, &twice), (vec![1], vec![Fault::DuplicateCpu(1)]));
    assert_eq!(faults(1, &cpu(9000)), (vec![9000], vec![Fault::HugeCpu(9000)]));
    assert!(SaveArea::parse(&write(0x1c, 1, &cpu(9000))).unwrap().into_ascending().is_empty());
}

#[test]
fn odd_registers_are_kept_and_named() {
    let with = |extra: Entry| {
        let mut entries = cpu(1);
        entries.insert(1, extra);
        faults(1, &entries).1
    };
    assert_eq!(with(entry("GPR32", 1)), [Fault::UnknownRegister(1, RegisterId::new("GPR32"))]);
    assert_eq!(with(entry("GPR1", 1)), [Fault::UnknownRegister(1, RegisterId::new("GPR1"))]);
    assert_eq!(with(entry("CTR", 1)), [Fault::DuplicateRegister(1, RegisterId::new("CTR"))]);
    assert_eq!(with(entry("DSISR", 1 << 40 | 5)), [Fault::DirtyUpperHalf(1, RegisterId::new("DSISR"))]);
    assert_eq!(with(entry("X-GPR00", 1)), []);

    let mut swapped = cpu(1);
    swapped.swap(4, 5);
    assert_eq!(faults(1, &swapped).1, [Fault::OutOfOrder(1, "GPR")]);
    let mut interrupted = cpu(1);
    interrupted.insert(9, entry("LR", 0));
    assert_eq!(faults(1, &interrupted).1, [Fault::OutOfOrder(1, "GPR")]);

    let mut dirty = cpu(1);
    dirty[1].1 |= 0xdead << 32;
    let area = SaveArea::parse(&write(0x1c, 1, &dirty)).unwrap();
    assert_eq!(area.cpus[0].get("CR"), Some(0x2800_0000));
}

#[test]
fn an_area_cut_inside_an_entry_keeps_what_came_before() {
    let bytes = write(0x1c, 2, &[cpu(1), cpu(2)].concat());
    let cut = SaveArea::parse(&bytes[..bytes.len() - 24]).unwrap();
    assert_eq!(cut.cpus.len(), 2);
    assert_eq!(cut.cpus[1].get("MSR"), Some(0x8000));
    assert_eq!(cut.faults, [Fault::NoEnd(2), Fault::Truncated(bytes.len() - 32)]);
}

#[test]
fn cpus_come_in_ascending_order_when_asked_for() {
    let area = SaveArea::parse(&write(0x1c, 3, &[cpu(8), cpu(0), cpu(4)].concat())).unwrap();
    assert_eq!(area.into_ascending().iter().map(|c| c.cpu).collect::<Vec<_>>(), [0, 4, 8]);
}

proptest! {
    #[test]
    fn what_is_written_is_read(qemu: bool, cpus in prop::collection::btree_map(
        0u32..8192, prop::collection::vec(("[A-Z]{2,6}[0-9]?", any::<u64>()), 0..20), 0..6)) {
        let mut entries = Vec::new();
        for (&id, registers) in &cpus {
            entries.push(entry("CPUSTRT", id.into()));
            entries.extend(registers.iter().map(|(n, v)| entry(n, *v)));
            entries.push(entry("CPUEND", id.into()));
        }
        let area = SaveArea::parse(&write(if qemu { 0x10 } else { 0x1c }, cpus.len() as u32, &entries)).unwrap();
        prop_assert_eq!(area.cpus.len(), cpus.len());
        for (state, (&id, registers)) in area.cpus.iter().zip(&cpus) {
            prop_assert_eq!(state.cpu, id);
            prop_assert!(state.complete);
            let read: Vec<(String, u64)> = state.registers.iter().map(|r| (r.id.name(), r.raw)).collect();
            prop_assert_eq!(&read, registers);
        }
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600), magic: bool, marks in prop::collection::vec((0usize..30, 0usize..3), 0..8)) {
        for (at, mark) in marks {
            let at = 0x14 + at * 16;
            if at + 8 <= bytes.len() {
                bytes[at..at + 8].copy_from_slice([b"CPUSTRT\0", b"CPUEND\0\0", b"GPR01\0\0\0"][mark]);
            }
        }
        if magic && bytes.len() > 16 {
            bytes[..16].copy_from_slice(b"REGSAVE\0\0\0\0\0\0\0\0\x10");
        }
        if let Ok(area) = SaveArea::parse(&bytes) {
            let _ = area.cpu(0);
            let _ = area.into_ascending();
        }
    }
}
