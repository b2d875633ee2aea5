use super::*;
use crate::register::RegisterId;
use crate::regsave::Register;
use proptest::prelude::*;

fn state(registers: impl IntoIterator<Item = (String, u64)>) -> CpuState {
    let registers = registers.into_iter().map(|(n, raw)| Register { id: RegisterId::new(&n), raw }).collect();
    CpuState { cpu: 3, registers, complete: true }
}

fn named(names: &[(&str, u64)]) -> Vec<(String, u64)> {
    names.iter().map(|&(n, v)| (n.to_owned(), v)).collect()
}

fn of(state: CpuState, order: ByteOrder) -> Notes {
    cpu_notes(&[CpuRegisters { cpu: 3, kernel: None, firmware: Some(state) }], order, false)
}

fn desc(notes: &Notes, name: &str, kind: u32) -> Option<Vec<u8>> {
    notes.iter().find(|n| n.name == name.as_bytes() && n.kind == kind).map(|n| n.desc.clone())
}

#[test]
fn a_prstatus_has_every_register_at_its_place() {
    let mut registers: Vec<(String, u64)> = (0..32).map(|n| (format!("GPR{n:02}"), 0x100 + n)).collect();
    registers.extend(named(&[
        ("NIA", 0x200),
        ("MSR", 0x201),
        ("CTR", 0x203),
        ("LR", 0x204),
        ("XER", 0x205),
        ("CR", 0xdead_0000_0206),
        ("DAR", 0x209),
        ("DSISR", 0x20a),
        ("CFAR", 0x999),
    ]));
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let notes = of(state(registers.clone()), order);
        let status = desc(&notes, "CORE", 1).unwrap();
        assert_eq!(status.len(), 504);
        assert_eq!(status[..0x70], [0; 0x70]);
        let word = |n: usize| order.u64(&status[0x70 + n * 8..]);
        assert_eq!((word(0), word(31)), (0x100, 0x11f));
        let expected = [0x200, 0x201, 0, 0x203, 0x204, 0x205, 0x206, 0, 0, 0x209, 0x20a, 0, 0, 0, 0, 0];
        assert_eq!((32..48).map(word).collect::<Vec<_>>(), expected);
        assert_eq!(status[0x1f0..], [0; 8]);
    }
}

#[test]
fn the_kernels_own_registers_go_before_the_firmwares() {
    let cpu = CpuRegisters {
        cpu: 1,
        kernel: Some((0..50).collect()),
        firmware: Some(state(named(&[("GPR01", 99), ("TAR", 7)]))),
    };
    assert_eq!(cpu.gregs(), std::array::from_fn(|n| n as u64));
    let notes = cpu_notes(&[cpu], ByteOrder::Big, true);
    let status = desc(&notes, "CORE", 1).unwrap();
    assert_eq!(status[0x20..0x24], [0, 0, 0, 2]);
    assert_eq!(desc(&notes, "LINUX", 0x103), Some(vec![0, 0, 0, 0, 0, 0, 0, 7]));
    let nothing = CpuRegisters { cpu: 5, kernel: None, firmware: None };
    let notes = cpu_notes(&[nothing], ByteOrder::Big, false);
    assert_eq!(notes.iter().count(), 1);
    assert_eq!(desc(&notes, "CORE", 1), Some(vec![0; 504]));
}

#[test]
fn floating_point_and_vector_notes_need_every_register() {
    let mut registers: Vec<(String, u64)> = (0..32).map(|n| (format!("FPR{n:02}"), n)).collect();
    registers.push(("FPSCR".into(), 0xf9));
    for n in 0..32 {
        registers.extend([(format!("VR{n:02}_HI"), 0x1000 + n), (format!("VR{n:02}_LO"), 0x2000 + n)]);
        registers.extend([(format!("VSR{n:02}_HI"), n), (format!("VSR{n:02}_LO"), 0x3000 + n)]);
    }
    registers.extend(named(&[("VSCR", 0x1_0000), ("VRSAVE", 0xffff_fff1)]));
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let notes = of(state(registers.clone()), order);
        let fp = desc(&notes, "CORE", 2).unwrap();
        assert_eq!((fp.len(), order.u64(&fp[31 * 8..]), order.u64(&fp[32 * 8..])), (264, 31, 0xf9));
        let vsx = desc(&notes, "LINUX", 0x102).unwrap();
        assert_eq!((vsx.len(), order.u64(&vsx[8..])), (256, 0x3001));
        let vmx = desc(&notes, "LINUX", 0x100).unwrap();
        assert_eq!(vmx.len(), 544);
        let (first, second, scr) = match order {
            ByteOrder::Little => (0x2001, 0x1001, 32 * 16),
            ByteOrder::Big => (0x1001, 0x2001, 32 * 16 + 12),
        };
        assert_eq!((order.u64(&vmx[16..]), order.u64(&vmx[24..])), (first, second));
        assert_eq!((order.u32(&vmx[scr..]), order.u32(&vmx[33 * 16..])), (0x1_0000, 0xffff_fff1));
        assert_eq!(vmx[33 * 16 + 4..], [0; 12]);
    }
    registers.retain(|(n, _)| n != "FPR09" && n != "VSR09_HI" && n != "VR30_LO" && n != "VSR01_LO");
    let notes = of(state(registers), ByteOrder::Big);
    for kind in [2, 0x100, 0x102] {
        assert!(!notes.iter().any(|n| n.kind == kind), "{kind:#x}");
    }
}

#[test]
fn notes_of_special_registers_have_the_regsets_order() {
    let notes = of(
        state(named(&[
            ("EBBHR", 2),
            ("EBBRR", 1),
            ("BESCR", 3),
            ("SIAR", 1),
            ("SDAR", 2),
            ("SIER", 3),
            ("MMCR2", 4),
            ("MMCR0", 5),
            ("AMR", 1),
            ("IAMR", 2),
            ("UAMOR", 3),
            ("TFIAR", 3),
            ("TEXASR", 2),
            ("TFHAR", 1),
            ("DSCR", 9),
        ])),
        ByteOrder::Little,
    );
    let words = |kind| {
        let desc = desc(&notes, "LINUX", kind).unwrap_or_default();
        desc.chunks_exact(8).map(|w| ByteOrder::Little.u64(w)).collect::<Vec<_>>()
    };
    assert_eq!(words(0x106), [1, 2, 3]);
    assert_eq!(words(0x107), [1, 2, 3, 4, 5]);
    assert_eq!(words(0x110), [1, 2, 3]);
    assert_eq!(words(0x10c), [1, 2, 3]);
    assert_eq!(words(0x105), [9]);
    assert!(words(0x103).is_empty());
    let kinds: Vec<u32> = notes.iter().map(|n| n.kind).collect();
    assert_eq!(kinds, [1, 0x105, 0x106, 0x107, 0x10c, 0x110]);
}

#[test]
fn a_transactions_checkpoint_has_notes_of_its_own() {
    let mut registers: Vec<(String, u64)> = (0..32).map(|n| (format!("X-GPR{n:02}"), n + 1)).collect();
    registers.extend(named(&[
        ("X-CR", 38),
        ("X-XER", 37),
        ("X-LR", 36),
        ("X-CTR", 35),
        ("X-TAR", 5),
        ("X-DSCR", 6),
        ("X-FPSCR", 7),
        ("X-VSCR", 8),
        ("X-VRSAVE", 9),
    ]));
    for n in 0..64 {
        registers.extend([(format!("X-VS{n:02}HI"), 100 + n), (format!("X-VS{n:02}LO"), 200 + n)]);
    }
    let notes = of(state(registers), ByteOrder::Big);
    let at = |kind: u32, word: usize| ByteOrder::Big.u64(&desc(&notes, "LINUX", kind).unwrap()[word * 8..]);
    assert_eq!((at(0x108, 0), at(0x108, 31), at(0x108, 35), at(0x108, 38)), (1, 32, 35, 38));
    assert_eq!(desc(&notes, "LINUX", 0x108).unwrap().len(), 384);
    assert_eq!((at(0x109, 3), at(0x109, 32)), (103, 7));
    assert_eq!((at(0x10a, 0), at(0x10a, 1)), (132, 232));
    assert_eq!(at(0x10b, 3), 203);
    assert_eq!((at(0x10d, 0), at(0x10f, 0)), (5, 6));
    assert!(desc(&notes, "LINUX", 0x103).is_none() && desc(&notes, "CORE", 2).is_none());
}

#[test]
fn private_types_are_told_apart_and_stay_clear_of_other_notes_of_that_name() {
    let mut kinds: Vec<u32> = PRIVATE.iter().map(|(kind, _)| *kind).collect();
    kinds.dedup();
    assert_eq!(kinds.len(), PRIVATE.len());
    assert!(kinds.iter().all(|k| *k > 0x100));
    assert_eq!(private_note(CPU_STATE, vec![1]).name, b"HADUMP");
}

proptest! {
    #[test]
    fn any_registers_make_notes_that_parse_back(registers in prop::collection::vec(("(X-)?(GPR|FPR|TAR|VSR)[0-3][0-9](_HI|_LO)?", any::<u64>()), 0..80), big: bool) {
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let notes = of(state(registers), order);
        prop_assert_eq!(Notes::parse(notes.raw(), order).unwrap(), notes);
    }
}
