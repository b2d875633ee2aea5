//! The readers.

mod assemble;
mod btf;
mod captured;
mod damage;
mod dwarf;
mod elf;
mod erase;
mod firmware;
mod flattened;
mod gdb;
mod journal;
mod kallsyms;
mod kdump;
mod knowledge;
mod log;
mod report;
mod sealed;
mod search;
mod split;
mod system;
mod vmcoreinfo;

use crate::walk::walk;
use std::ops::Range;

/// A sound input.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The input.
    pub bytes: Vec<u8>,
    /// Where a change matters: headers, tables. Empty when everywhere is alike.
    pub hot: Vec<Range<usize>>,
}

/// A reader, and how to give it input.
pub struct Target {
    /// As `--target` spells it.
    pub name: &'static str,
    /// Makes the inputs that hostile ones are made from.
    pub seeds: fn() -> Vec<Seed>,
    /// Hands an input to the reader, looks at all that it answers, and says whether the reader took it.
    pub run: fn(Vec<u8>) -> bool,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    elf::TARGET,
    kdump::TARGET,
    flattened::TARGET,
    split::TARGET,
    captured::TARGET,
    damage::BITS,
    damage::RECORDS,
    vmcoreinfo::TARGET,
    knowledge::TARGET,
    btf::TARGET,
    kallsyms::TARGET,
    dwarf::TARGET,
    erase::TARGET,
    log::TARGET,
    report::TARGET,
    gdb::TARGET,
    firmware::KDMS,
    firmware::REGSAVE,
    firmware::HPTE,
    firmware::CRASHINFO,
    firmware::REGION,
    firmware::OPAL,
    system::TARGET,
    assemble::TARGET,
    journal::TARGET,
    sealed::TARGET,
    search::TARGET,
];

/// Opens files as one dump and walks it.
fn open_and_walk(files: Vec<Vec<u8>>) -> bool {
    let opened = dumpfile::open_bytes(files);
    opened.as_ref().is_ok_and(|dump| {
        walk(dump);
        true
    })
}
