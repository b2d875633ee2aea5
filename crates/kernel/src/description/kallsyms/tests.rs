//! Tables made by hand.

use super::*;
use crate::testing::{BE64, FakeKernel, LE64, MACHINES};
use proptest::prelude::*;
use vmcore::{Machine, WordSize};

const NAMES: u64 = 0x10_0000;
const TABLE: u64 = 0x20_0000;
const INDEX: u64 = 0x30_0000;
const OFFSETS: u64 = 0x40_0000;
const TEXT: u64 = 0xc100_0000;

const KEYS: &str = "SYMBOL(kallsyms_names)=100000\nSYMBOL(kallsyms_num_syms)=1000\n\
    SYMBOL(kallsyms_token_table)=200000\nSYMBOL(kallsyms_token_index)=300000\nSYMBOL(_stext)=c1000000\n";
const RELATIVE: &str = "SYMBOL(kallsyms_offsets)=400000\nSYMBOL(kallsyms_relative_base)=1008\n";

/// Token 0x80 is `sys_`, 0x81 is `Tsys_`; all other bytes stand for themselves.
fn names(kernel: &mut FakeKernel, names: &[&[u8]]) {
    let (mut at, mut table) = (0u64, Vec::new());
    for token in 0..=255u8 {
        kernel.put_u16(INDEX + u64::from(token) * 2, table.len() as u16);
        match token {
            0x80 => table.extend(b"sys_"),
            0x81 => table.extend(b"Tsys_"),
            0 => {}
            byte => table.push(byte),
        }
        table.push(0);
    }
    // Memory comes in pages.
    table.resize(4096, 0xff);
    kernel.put(TABLE, &table);
    for name in names {
        let len = name.len();
        let head = if len < 128 { vec![len as u8] } else { vec![len as u8 | 0x80, (len >> 7) as u8] };
        kernel.put(NAMES + at, &[&head, *name].concat());
        at += (head.len() + len) as u64;
    }
    // The page continues after the names.
    kernel.put(NAMES + at, &vec![0xff; 8192 - at as usize % 4096]);
    kernel.put_u32(0x1000, names.len() as u32);
}

/// A table of `_stext` and functions 16 bytes apart, addresses encoded by `encode` from the symbol's number.
fn kernel(machine: Machine, keys: &str, encode: impl Fn(u64) -> u64) -> FakeKernel {
    let mut kernel = FakeKernel::new(machine);
    kernel.set_info(&format!("{KEYS}{keys}"));
    names(&mut kernel, &[b"T_stext", b"\x81read", b"t\x80write", b"Dprb"]);
    kernel.put_word(0x1008, TEXT);
    kernel.put(OFFSETS, &[0xff; 4096]);
    for i in 0..4 {
        kernel.put_u32(OFFSETS + i * 4, encode(i) as u32);
    }
    kernel
}

fn all(kernel: &FakeKernel) -> Vec<(String, char, u64)> {
    let table = Kallsyms::open(kernel).unwrap();
    table.iter().map(|s| s.map(|s| (s.name, s.kind, s.addr.0)).unwrap()).collect()
}

fn expected() -> Vec<(String, char, u64)> {
    [("_stext", 'T', 0), ("sys_read", 'T', 16), ("sys_write", 't', 32), ("prb", 'D', 48)]
        .map(|(name, kind, offset)| (name.into(), kind, TEXT + offset))
        .into()
}

#[test]
fn every_encoding_of_addresses_is_settled_by_a_known_symbol() {
    for machine in MACHINES {
        let above = kernel(machine, RELATIVE, |i| i * 16);
        assert_eq!(all(&above), expected(), "{machine:?}");
        let split = kernel(machine, RELATIVE, |i| (-1 - i as i64 * 16) as u64);
        assert_eq!(all(&split), expected(), "{machine:?}");
        let here = kernel(machine, "SYMBOL(kallsyms_offsets)=400000\n", |i| {
            (TEXT + i * 16).wrapping_sub(OFFSETS + i * 4)
        });
        if machine.word == WordSize::Bits32 {
            assert_eq!(all(&here), expected(), "{machine:?}");
            let half = kernel(machine, "SYMBOL(kallsyms_offsets)=400000\n", |i| TEXT + i * 16);
            assert_eq!(all(&half), expected(), "{machine:?}");
        }
        let mut words = kernel(machine, "SYMBOL(kallsyms_addresses)=500000\n", |_| 0);
        words.put(0x50_0000, &[0xff; 4096]);
        for i in 0..4 {
            words.put_word(0x50_0000 + i * machine.word.bytes() as u64, TEXT + i * 16);
        }
        assert_eq!(all(&words), expected(), "{machine:?}");
    }
}

#[test]
fn distances_from_the_element_reach_below_it() {
    let mut kernel = kernel(BE64, "SYMBOL(kallsyms_offsets)=400000\n", |i| {
        0x20_0000u64.wrapping_add(i * 16).wrapping_sub(OFFSETS + i * 4)
    });
    kernel.set_info(&format!("{KEYS}SYMBOL(kallsyms_offsets)=400000\n").replace("c1000000", "200000"));
    assert_eq!(all(&kernel)[2].2, 0x20_0020);
}

#[test]
fn per_cpu_offsets_stay_what_they_are_beside_relative_addresses() {
    let kernel = kernel(LE64, RELATIVE, |i| if i == 3 { 0x1f000 } else { (-1 - i as i64 * 16) as u64 });
    let table = Kallsyms::open(&kernel).unwrap();
    assert_eq!(table.find("prb").unwrap(), Some(VirtAddr(0x1f000)));
    assert_eq!(table.find("sys_write").unwrap(), Some(VirtAddr(TEXT + 32)));
}

#[test]
fn names_find_addresses() {
    let kernel = kernel(LE64, RELATIVE, |i| i.div_ceil(2) * 16);
    let table = Kallsyms::open(&kernel).unwrap();
    assert_eq!(table.len(), 4);
    assert_eq!(table.find("sys_write").unwrap(), Some(VirtAddr(TEXT + 16)));
    assert_eq!(table.find("sys_writ").unwrap(), None);
    assert_eq!(table.find("").unwrap(), None);
}

#[test]
fn names_longer_than_127_references_have_a_length_of_two_bytes() {
    let long = [b"T".as_slice(), &[b'x'; 300]].concat();
    let mut kernel = kernel(LE64, RELATIVE, |i| i * 16);
    names(&mut kernel, &[b"T_stext", &long, b"Tafter"]);
    assert_eq!(Kallsyms::open(&kernel).unwrap().find("after").unwrap(), Some(VirtAddr(TEXT + 32)));
    assert_eq!(all(&kernel)[1].0.len(), 300);
}

#[test]
fn a_table_that_contradicts_vmcoreinfo_is_refused() {
    let kernel = kernel(LE64, RELATIVE, |i| i * 16 + 4);
    let error = Kallsyms::open(&kernel).err().unwrap().to_string();
    assert!(error.contains("1 known symbols have other addresses"), "{error}");
}

#[test]
fn a_key_that_is_missing_is_named() {
    for key in ["kallsyms_names", "kallsyms_num_syms", "kallsyms_token_table", "kallsyms_token_index"] {
        let mut kernel = kernel(LE64, RELATIVE, |i| i * 16);
        kernel.set_info(&format!("{KEYS}{RELATIVE}").replace(&format!("({key})"), "(x)"));
        let error = Kallsyms::open(&kernel).err().unwrap().to_string();
        assert_eq!(error, format!("VMCOREINFO has no SYMBOL({key}), which the kernel's symbol table needs"));
    }
    let kernel = kernel(LE64, "", |i| i * 16);
    let error = Kallsyms::open(&kernel).err().unwrap().to_string();
    assert!(error.contains("SYMBOL(kallsyms_offsets) or SYMBOL(kallsyms_addresses)"), "{error}");
}

#[test]
fn a_table_cut_off_by_a_missing_page_is_an_error() {
    let mut kernel = kernel(LE64, RELATIVE, |i| i * 16);
    kernel.put_u32(0x1000, 1_000_000);
    assert!(matches!(Kallsyms::open(&kernel), Err(Error::Implausible { .. } | Error::NotMapped { .. })));
    kernel.put_u32(0x1000, u32::MAX);
    let error = Kallsyms::open(&kernel).err().unwrap().to_string();
    assert_eq!(error, "kallsyms_num_syms at 0x1000 is 4294967295, expected 1 to 4194304");
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_table_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 4096), index in prop::collection::vec(any::<u8>(), 512),
        count in 1u32..5000, machine in prop::sample::select(&MACHINES[..]), tame: bool,
    ) {
        let mut kernel = kernel(machine, RELATIVE, |i| i * 16);
        kernel.put_u32(0x1000, count);
        kernel.put(NAMES + if tame { 8 } else { 0 }, &bytes);
        kernel.put(TABLE, &bytes);
        kernel.put(OFFSETS + if tame { 4 } else { 0 }, &bytes);
        if !tame {
            kernel.put(INDEX, &index);
        }
        if let Ok(table) = Kallsyms::open(&kernel) {
            let _ = table.find("nothing");
            prop_assert!(table.iter().count() <= count as usize);
        }
    }
}
