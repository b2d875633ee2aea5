//! Memory images of LiME and AVML.

use super::{Seed, Target};
use crate::walk::walk;
use dumpfile::Assume;
use vmcore::Machine;

pub(super) const TARGET: Target = Target { name: "captured", seeds, run };

/// A record of `memory` from `start` on, whose bytes in the file are `stored`.
fn record(magic: &[u8; 4], version: u32, start: u64, memory: &[u8], stored: &[u8]) -> Vec<u8> {
    let last = start + memory.len() as u64 - 1;
    let words = [start, last, 0].map(u64::to_le_bytes).concat();
    [&magic[..], &version.to_le_bytes(), &words, stored].concat()
}

/// A compressed chunk that holds `memory` as it is, with a checksum that is wrong.
fn chunk(memory: &[u8]) -> Vec<u8> {
    let len = (memory.len() as u32 + 4) << 8 | 1;
    [&len.to_le_bytes()[..], &[0; 4], memory].concat()
}

fn seeds() -> Vec<Seed> {
    let memory: Vec<u8> = (0..0x11000u32).map(|i| (i / 5) as u8).collect();
    let lime = |start, memory: &[u8]| record(b"EMiL", 1, start, memory, memory);
    let avml = |start, memory: &[u8]| {
        let mut stored = b"\xff\x06\0\0sNaPpY".to_vec();
        memory.chunks(0x10000).for_each(|memory| stored.extend(chunk(memory)));
        stored.extend((stored.len() as u64).to_le_bytes());
        record(b"AVML", 2, start, memory, &stored)
    };
    let mut seeds = Vec::new();
    for write in [&lime as &dyn Fn(u64, &[u8]) -> Vec<u8>, &avml] {
        let (first, second) = (write(0x1000, &memory), write(0x100800, &memory[..0x2345]));
        let next = first.len();
        let hot = vec![0..46, 0..46, next..next + 46, next - 20..next];
        seeds.push(Seed { bytes: [first, second].concat(), hot });
    }
    seeds
}

fn run(bytes: Vec<u8>) -> bool {
    let assume = Assume { machine: Machine::from_name("x86_64"), ..Assume::default() };
    dumpfile::open_bytes_assuming(vec![bytes], &assume).is_ok_and(|dump| {
        walk(&dump);
        true
    })
}
