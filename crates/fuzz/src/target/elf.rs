//! ELF cores.

use super::{Seed, Target, open_and_walk};
use crate::{corpus, sample};
use vmcore::PageSize;

pub(super) const TARGET: Target = Target { name: "elf", seeds, run };

fn seeds() -> Vec<Seed> {
    let machines = [
        ("x86_64", PageSize::K4),
        ("ppc64", PageSize::K4),
        ("ppc64le", PageSize::K64),
        ("i686", PageSize::K4),
        ("s390x", PageSize::K4),
    ];
    let mut seeds: Vec<Seed> = machines
        .into_iter()
        .map(|(machine, size)| {
            let bytes = sample::elf(&sample::dump(machine, size));
            // The ELF header, the first program headers, and the notes after the room for all of them.
            let vmcoreinfo = bytes.windows(10).position(|w| w == b"VMCOREINFO").unwrap_or(0x1000);
            Seed { hot: vec![0..64, 52..320, vmcoreinfo.saturating_sub(400)..vmcoreinfo + 100], bytes }
        })
        .collect();
    seeds.push(many_headers());
    let real = |bytes: Vec<u8>| Seed { hot: vec![0..64, 64..1024, 64..bytes.len()], bytes };
    seeds.extend(corpus::beginnings().into_iter().map(real));
    seeds
}

/// More than 65,534 program headers, counted in section header 0, over a short file.
fn many_headers() -> Seed {
    const COUNT: u64 = 66_000;
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    let end = 64 + 64 + COUNT * 56;
    for half in [4u16, 62, 1, 0] {
        bytes.extend(half.to_le_bytes());
    }
    for word in [0u64, 128, 64] {
        bytes.extend(word.to_le_bytes());
    }
    for half in [0u16, 0, 64, 56, 0xffff, 64, 1, 0] {
        bytes.extend(half.to_le_bytes());
    }
    // Section header 0: sh_info.
    bytes.resize(64 + 44, 0);
    bytes.extend((COUNT as u32).to_le_bytes());
    bytes.resize(128, 0);
    for i in 0..COUNT {
        bytes.extend([1u32, 7].map(u32::to_le_bytes).concat());
        let paddr = i * 0x3000;
        for word in [end, 0xffff_8880_0000_0000 + paddr, paddr, 0x1000, 0x1000, 0] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes.resize(bytes.len() + 4096, 7);
    Seed { hot: vec![0..128, 0..128, 128..bytes.len() - 4096], bytes }
}

fn run(bytes: Vec<u8>) -> bool {
    open_and_walk(vec![bytes])
}
