//! The kernel's own symbol table.

use super::{Seed, Target};
use crate::virt::{self, MACHINES, Virtual, region};
use kernel::kallsyms::Kallsyms;
use std::hint::black_box;
use vmcore::{Machine, WordSize};

pub(super) const TARGET: Target = Target { name: "kallsyms", seeds, run };

const TEXT: u64 = 0xc100_0000;
const SYMBOLS: [&[u8]; 5] = [b"T_stext", b"\x81read", b"t\x80write", b"T\x80open", b"Dprb"];

/// How a kernel stores addresses.
#[derive(Clone, Copy, Debug)]
enum Stored {
    Words,
    Offsets,
    Negative,
}

fn seed(index: usize, stored: Stored) -> Seed {
    let machine = Machine::from_name(MACHINES[index]).expect("a machine that hadump knows");
    let order = machine.order;
    let word = |number: u64| match machine.word {
        WordSize::Bits32 => order.put_u32(number as u32).to_vec(),
        WordSize::Bits64 => order.put_u64(number).to_vec(),
    };
    let mut names = Vec::new();
    let long = [b"d".as_slice(), &[b'x'; 200]].concat();
    for name in SYMBOLS.into_iter().chain([&long[..]]) {
        // From 128 references on, a length has two bytes.
        names.extend((name.len() >= 128).then_some(name.len() as u8 | 0x80));
        names.push(if name.len() < 128 { name.len() as u8 } else { (name.len() >> 7) as u8 });
        names.extend(name);
    }
    // Token 0x80 is `sys_`, 0x81 `Tsys_`, any other the byte itself.
    let (mut table, mut places) = (Vec::new(), Vec::new());
    for token in 0..=255u8 {
        places.extend(order.put_u16(table.len() as u16));
        match token {
            0 => {}
            0x80 => table.extend(b"sys_"),
            0x81 => table.extend(b"Tsys_"),
            byte => table.push(byte),
        }
        table.push(0);
    }
    let count = SYMBOLS.len() as u64 + 1;
    let address = |i: u64| match stored {
        Stored::Words => word(TEXT + i * 16),
        Stored::Offsets => order.put_u32(i as u32 * 16).to_vec(),
        Stored::Negative => order.put_u32((-1 - i as i32 * 16) as u32).to_vec(),
    };
    let addresses: Vec<u8> = (0..count).flat_map(address).collect();
    let mut numbers = order.put_u32(count as u32).to_vec();
    numbers.resize(8, 0);
    numbers.extend(word(TEXT));
    let mut info = format!("SYMBOL(_stext)={TEXT:x}\nSYMBOL(kallsyms_num_syms)={:x}\n", region(4));
    for (n, name) in ["names", "token_table", "token_index"].into_iter().enumerate() {
        info += &format!("SYMBOL(kallsyms_{name})={:x}\n", region(n as u64));
    }
    match stored {
        Stored::Words => info += &format!("SYMBOL(kallsyms_addresses)={:x}\n", region(3)),
        _ => {
            info += &format!("SYMBOL(kallsyms_offsets)={:x}\n", region(3));
            info += &format!("SYMBOL(kallsyms_relative_base)={:x}\n", region(4) + 8);
        }
    }
    virt::seed(index, &info, &[&names, &table, &places, &addresses, &numbers])
}

fn seeds() -> Vec<Seed> {
    let stored = [Stored::Words, Stored::Offsets, Stored::Negative];
    (0..MACHINES.len()).flat_map(|machine| stored.map(|stored| seed(machine, stored))).collect()
}

fn run(bytes: Vec<u8>) -> bool {
    let Some(memory) = Virtual::read(&bytes) else { return false };
    let Ok(table) = Kallsyms::open(&memory) else { return false };
    black_box((table.len(), table.find("sys_write").is_ok(), table.find("").is_ok()));
    let symbols = table.iter().take_while(Result::is_ok).count();
    assert!(symbols <= table.len());
    true
}
