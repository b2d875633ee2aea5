//! Rules of what to erase, over the types of a vmlinux and memory that they lead through.

use super::dwarf::{Packing, vmlinux, with_vmlinux};
use super::{Seed, Target};
use crate::pack::{pack, unpack};
use crate::virt::{self, Virtual, region};
use kernel::erase::Rules;
use kernel::knowledge::Known;

pub(super) const TARGET: Target = Target { name: "erase", seeds, run };

/// Where the variable `first` is.
pub(super) const FIRST: u64 = region(0);

const RULES: [&str; 6] = [
    "# secrets\nerase first\nerase first.name size 4\n",
    "[vmlinux]\nerase first.next.next.name size 1K\nerase first.next nullify\n",
    "for node in first via next\n\terase node.name size 6\n\terase node.next nullify\nendfor\n",
    "for node in first.next via next\n erase node.name\nendfor\nerase first.name\n",
    "erase first.name size first.next\n\n[module]\nerase first.name\n",
    "for n in first.name\nerase n\nendfor\nerase first size 2M\n",
];

fn seeds() -> Vec<Seed> {
    // Three nodes: a name of 6 bytes, and at 8 where the next is.
    let node = |name: &[u8; 6], next: u64| [&name[..], &[0; 2], &next.to_le_bytes()].concat();
    let at = |n: u64| region(0) + 16 * n;
    let memory =
        [node(b"......", 0), node(b"secret", at(2)), node(b"hidden", at(3)), node(b"last\0\0", 0)].concat();
    let of = |rules: &str| {
        let mut memory = memory.clone();
        memory[..8].copy_from_slice(&at(1).to_le_bytes());
        let text = Seed { bytes: rules.into(), hot: vec![0..rules.len()] };
        pack(&[text, virt::seed(0, "OSRELEASE=6.1.0\nPAGESIZE=4096\n", &[&memory])])
    };
    RULES.into_iter().map(of).collect()
}

fn run(bytes: Vec<u8>) -> bool {
    let Some(files) = unpack(&bytes) else { return false };
    let [rules, memory] = &files[..] else { return false };
    let Ok(rules) = Rules::parse(&String::from_utf8_lossy(rules)) else { return false };
    let Some(memory) = Virtual::read(memory) else { return false };
    let erased = with_vmlinux(&vmlinux(5, Packing::Plain), |vmlinux| {
        let known = Known::of_vmlinux(&memory, vmlinux).ok()?;
        rules.resolve(&known).ok().map(|found| found.erasures.len() + found.remarks.len())
    });
    std::hint::black_box(erased);
    true
}
