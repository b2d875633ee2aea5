//! Specs by name: every combination that exists in the world, once or more.

use crate::bytes::ByteOrder::{self, Big, Little};
use crate::error::{ModelError, Result};
use crate::extent::Extent;
use crate::synth::dump::Generation as G;
use crate::synth::dump::{self, Arch, Bank, Dump, Mmu, Model, Placed, Spec};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A small machine of this sort; [`Model::Vmemmap`], no name.
pub fn machine(mmu: Mmu, order: ByteOrder, page_size: u64, generation: G) -> Spec {
    let bank = |start: u64, length: u64| Bank { extent: Extent::new(start, length), node: 0 };
    let banks = match (mmu, page_size) {
        (Mmu::X86 { .. }, _) => {
            vec![bank(0, 0x9_f000), bank(MIB, 79 * MIB), bank(88 * MIB, 8 * MIB), bank(4 * GIB, 24 * MIB)]
        }
        (Mmu::Hash { vmemmap_shift: 24 }, _) => vec![bank(0, 192 * MIB), bank(GIB, 32 * MIB)],
        (Mmu::Radix | Mmu::Hash { .. }, 0x1000) => vec![bank(0, 64 * MIB), bank(96 * MIB, 16 * MIB)],
        (Mmu::Radix | Mmu::Hash { .. }, _) => vec![bank(0, 192 * MIB), bank(GIB, 64 * MIB)],
        (Mmu::Arm { .. }, 0x1000) => vec![bank(GIB, 96 * MIB), bank(33 * GIB + 8 * MIB, 32 * MIB)],
        (Mmu::Arm { .. }, 0x4000) => vec![bank(GIB, 192 * MIB), bank(33 * GIB, 32 * MIB)],
        (Mmu::Arm { .. }, _) => vec![bank(GIB, 256 * MIB), bank(34 * GIB, 512 * MIB)],
        (Mmu::S390 { .. }, _) => vec![bank(0, 96 * MIB), bank(4 * GIB, 32 * MIB)],
        (Mmu::Sv { .. }, _) if generation < G::V6_6 => {
            vec![bank(2 * GIB + 2 * MIB, 94 * MIB), bank(5 * GIB, 16 * MIB)]
        }
        (Mmu::Sv { .. }, _) => vec![bank(2 * GIB, 96 * MIB), bank(5 * GIB, 16 * MIB)],
        (Mmu::Loong { .. }, 0x1000) => vec![bank(0, 96 * MIB), bank(9 * GIB / 4, 32 * MIB)],
        (Mmu::Loong { .. }, _) => vec![bank(0, 384 * MIB), bank(9 * GIB / 4, 64 * MIB)],
    };
    Spec {
        name: String::new(),
        mmu,
        order,
        page_size,
        generation,
        model: Model::Vmemmap,
        struct_page: 64,
        banks,
        absent: Vec::new(),
        cma: Vec::new(),
        placed: Vec::new(),
        memory_failure: matches!(mmu.arch(), Arch::X86_64 | Arch::Arm64),
        shared_vmemmap: false,
        huge_vmemmap: false,
        addresses: false,
        fill: 24,
        cpus: 2,
        seed: 7,
    }
}

const fn x86(five: bool, kaslr: bool, sme: Option<u32>) -> Mmu {
    Mmu::X86 { five, kaslr, sme }
}

const fn arm(built: u32, actual: u32, pa: u32, kaslr: bool) -> Mmu {
    Mmu::Arm { built, actual, pa, kaslr }
}

/// Collects specs under names.
struct Shelf(Vec<Spec>);

impl Shelf {
    fn add(&mut self, what: &str, spec: Spec) {
        let size = match spec.page_size {
            0x1000 => "4k",
            0x4000 => "16k",
            _ => "64k",
        };
        let arch = spec.mmu.arch().name(spec.order);
        let what = if what.is_empty() { String::new() } else { format!("-{what}") };
        let name = format!("{arch}-{size}{what}-{}", spec.generation.release());
        self.0.push(Spec { name, seed: 1 + self.0.len() as u64, ..spec });
    }
}

/// All specs.
pub fn catalogue() -> Vec<Spec> {
    let mut shelf = Shelf(Vec::new());
    x86_64(&mut shelf);
    ppc64(&mut shelf);
    arm64(&mut shelf);
    others(&mut shelf);
    shelf.0
}

/// Builds the dump of this name.
///
/// # Errors
///
/// There is none, or it cannot be built.
pub fn build(name: &str) -> Result<Dump> {
    let expected = "a name that `cargo xtask synth --list` prints";
    let missing = ModelError::Options { what: "name", found: name.len() as u64, expected };
    dump::build(&named(name).ok_or(missing)?)
}

/// The spec of this name.
pub fn named(name: &str) -> Option<Spec> {
    catalogue().into_iter().find(|spec| spec.name == name)
}

fn x86_64(shelf: &mut Shelf) {
    let plain = |generation| machine(x86(false, false, None), Little, 0x1000, generation);
    for generation in G::ALL {
        let kaslr = generation >= G::V3_19;
        let spec = machine(x86(false, kaslr, None), Little, 0x1000, generation);
        shelf.add("vmemmap", Spec { huge_vmemmap: generation >= G::V5_10, ..spec });
    }
    for generation in [G::V4_14, G::V5_10, G::V6_6, G::V6_12, G::V7_1] {
        let sme = (generation >= G::V5_10).then_some(47);
        let spec = machine(x86(true, generation > G::V4_14, sme), Little, 0x1000, generation);
        if generation > G::V4_14 {
            shelf.add("5level-sme", spec);
        }
    }
    for generation in [G::V2_6_32, G::V3_10, G::V5_10] {
        shelf.add("sparse-extreme", Spec { model: Model::SparseExtreme, ..plain(generation) });
    }
    shelf.add("sparse", Spec { model: Model::Sparse, ..plain(G::V2_6_32) });
    for generation in [G::V2_6_32, G::V3_10, G::V6_12] {
        shelf.add("numa", two_nodes(plain(generation)));
    }
    let mut spec = Spec { model: Model::Discontig, ..plain(G::V2_6_32) };
    // A node has one array, holes included.
    spec.banks = spec.banks[..2].to_vec();
    spec.banks.push(Bank { extent: Extent::new(GIB, 24 * MIB), node: 3 });
    shelf.add("discontig", spec);
    for generation in [G::V6_1, G::V6_6, G::V6_12, G::V7_1] {
        // A gigantic page in each of the two pools, and the crash kernel's memory between RAM.
        let mut spec = Spec { shared_vmemmap: true, ..plain(generation) };
        spec.banks.push(Bank { extent: Extent::new(6 * GIB, 2 * GIB), node: 0 });
        spec.placed = vec![
            Placed { address: 6 * GIB, shift: 30, free: false },
            Placed { address: 7 * GIB, shift: 30, free: true },
        ];
        spec.absent = vec![Extent::new(88 * MIB, 8 * MIB)];
        shelf.add("gigantic-hvo", spec);
    }
    for (struct_page, generation) in [(56, G::V3_10), (56, G::V6_6), (80, G::V6_12), (96, G::V5_10)] {
        let spec = Spec { struct_page, ..plain(generation) };
        shelf.add(&format!("page{struct_page}"), spec);
    }
    shelf.add("addresses", Spec { addresses: true, ..plain(G::V6_12) });
}

/// The second half of the banks is a node of its own.
fn two_nodes(spec: Spec) -> Spec {
    let mut banks = spec.banks.clone();
    let half = banks.len() / 2;
    banks.iter_mut().skip(half).for_each(|bank| bank.node = 3);
    Spec { banks, ..spec }
}

fn ppc64(shelf: &mut Shelf) {
    for order in [Big, Little] {
        for page_size in [0x1000, 0x1_0000] {
            for generation in [G::V4_14, G::V5_10, G::V6_1, G::V6_6, G::V6_9, G::V6_12, G::V6_16, G::V7_1] {
                let spec = machine(Mmu::Radix, order, page_size, generation);
                let huge_vmemmap = generation == G::V6_1 || generation == G::V6_16;
                shelf.add("radix", Spec { huge_vmemmap, ..spec });
            }
            let shift = page_size.trailing_zeros();
            for (vmemmap_shift, generation) in [
                (shift, G::V3_19),
                (16, G::V4_4),
                (24, G::V4_14),
                (shift, G::V5_10),
                (16, G::V6_3),
                (24, G::V6_12),
            ] {
                let spec = machine(Mmu::Hash { vmemmap_shift }, order, page_size, generation);
                shelf.add("hash", spec);
            }
        }
    }
    let hash =
        |page_size: u64, generation| machine(Mmu::Hash { vmemmap_shift: 16 }, Big, page_size, generation);
    for generation in [G::V2_6_32, G::V3_2, G::V3_10] {
        shelf.add("sparse-extreme", Spec { model: Model::SparseExtreme, ..hash(0x1000, generation) });
        shelf.add(
            "sparse-extreme",
            two_nodes(Spec { model: Model::SparseExtreme, ..hash(0x1_0000, generation) }),
        );
    }
    shelf.add("sparse", Spec { model: Model::Sparse, ..hash(0x1_0000, G::V3_10) });
    for (order, generation) in [(Big, G::V2_6_32), (Little, G::V4_4), (Little, G::V6_12)] {
        let spec = machine(Mmu::Hash { vmemmap_shift: 16 }, order, 0x1_0000, generation);
        shelf.add("flat", Spec { model: Model::Flat, ..one_bank(spec) });
    }
    // Firmware keeps a part of CMA for its dump: free in the dumped kernel, not in the dump.
    for (order, page_size) in [(Little, 0x1_0000), (Big, 0x1000)] {
        let mmu = if page_size == 0x1000 { Mmu::Hash { vmemmap_shift: 16 } } else { Mmu::Radix };
        let spec = machine(mmu, order, page_size, G::V6_12);
        let reserved = Extent::new(if page_size == 0x1000 { 40 * MIB } else { 128 * MIB }, 16 * MIB);
        shelf.add("fadump", Spec { absent: vec![reserved], cma: vec![reserved], addresses: true, ..spec });
    }
    // 16 GiB, across chunks of 2^18 frames when pages are 4 KiB.
    let mut spec = machine(Mmu::Hash { vmemmap_shift: 24 }, Big, 0x1000, G::V6_12);
    spec.banks.push(Bank { extent: Extent::new(16 * GIB, 16 * GIB), node: 0 });
    spec.banks[0].extent.length = 512 * MIB;
    spec.placed = vec![Placed { address: 16 * GIB, shift: 34, free: false }];
    shelf.add("hash-16g", spec);
    let mut spec = machine(Mmu::Radix, Little, 0x1_0000, G::V6_9);
    spec.banks.push(Bank { extent: Extent::new(2 * GIB, 2 * GIB), node: 0 });
    spec.placed = vec![
        Placed { address: 2 * GIB, shift: 30, free: true },
        Placed { address: 3 * GIB, shift: 30, free: false },
    ];
    shelf.add("radix-1g", spec);
    let far = |spec: Spec| {
        let mut banks = spec.banks.clone();
        banks.push(Bank { extent: Extent::new(0x3_ffff_c000_0000, 32 * MIB), node: 0 });
        Spec { banks, ..spec }
    };
    shelf.add("far", far(machine(Mmu::Radix, Little, 0x1_0000, G::V6_12)));
    shelf.add("far", far(machine(Mmu::Radix, Little, 0x1000, G::V6_12)));
}

fn one_bank(spec: Spec) -> Spec {
    let banks = spec.banks[..1].to_vec();
    Spec { banks, ..spec }
}

fn arm64(shelf: &mut Shelf) {
    let plain = |mmu, page_size, generation| machine(mmu, Little, page_size, generation);
    let old = [G::V4_14];
    let new = [G::V5_10, G::V6_1, G::V6_6, G::V6_12, G::V6_16, G::V7_1];
    for (n, generation) in old.iter().chain(&new).enumerate() {
        let kaslr = n % 2 == 1;
        let huge_vmemmap = n % 3 != 2;
        shelf.add("39", Spec { huge_vmemmap, ..plain(arm(39, 39, 48, kaslr), 0x1000, *generation) });
        shelf.add("48", Spec { huge_vmemmap, ..plain(arm(48, 48, 48, !kaslr), 0x1000, *generation) });
        shelf.add("47", plain(arm(47, 47, 48, kaslr), 0x4000, *generation));
        shelf.add("48", plain(arm(48, 48, 48, kaslr), 0x4000, *generation));
        shelf.add("42", plain(arm(42, 42, 48, kaslr), 0x1_0000, *generation));
        shelf.add("48", plain(arm(48, 48, 48, !kaslr), 0x1_0000, *generation));
    }
    for generation in new {
        shelf.add("52", plain(arm(52, 52, 52, false), 0x1_0000, generation));
        // Built for 52 bits, on a processor that has 48.
        shelf.add("52on48", plain(arm(52, 48, 52, true), 0x1_0000, generation));
    }
    for generation in [G::V6_9, G::V6_12, G::V7_1] {
        shelf.add("lpa2", high(plain(arm(52, 52, 52, false), 0x1000, generation)));
        shelf.add("lpa2", high(plain(arm(52, 52, 52, true), 0x4000, generation)));
        shelf.add("lpa2on48", plain(arm(52, 48, 52, true), 0x1000, generation));
        shelf.add("lpa2on47", plain(arm(52, 47, 52, false), 0x4000, generation));
        shelf.add("52pa52", high(plain(arm(52, 52, 52, true), 0x1_0000, generation)));
        shelf.add("48pa52", high(plain(arm(48, 48, 52, false), 0x1_0000, generation)));
    }
    for (mmu, page_size, generation) in [
        (arm(48, 48, 48, false), 0x1000, G::V4_14),
        (arm(52, 48, 52, true), 0x1_0000, G::V6_1),
        (arm(39, 39, 48, true), 0x1000, G::V6_12),
    ] {
        shelf.add("be", machine(mmu, Big, page_size, generation));
    }
    let flat = one_bank(plain(arm(48, 48, 48, false), 0x1000, G::V4_14));
    shelf.add("flat", Spec { model: Model::Flat, ..flat });
    for page_size in [0x1000, 0x1_0000] {
        let spec = plain(arm(48, 48, 48, false), page_size, G::V4_14);
        shelf.add("sparse-extreme", Spec { model: Model::SparseExtreme, ..spec });
    }
    // 1 GiB of contiguous entries across shards of 4096 frames, 16 GiB of one level-1 entry.
    let mut spec = plain(arm(48, 48, 48, true), 0x1000, G::V6_12);
    spec.banks.push(Bank { extent: Extent::new(64 * GIB, GIB), node: 0 });
    spec.placed = vec![Placed { address: 64 * GIB, shift: 30, free: false }];
    shelf.add("gigantic-hvo", Spec { shared_vmemmap: true, ..spec });
    let mut spec = plain(arm(52, 52, 52, true), 0x1_0000, G::V6_6);
    spec.banks.push(Bank { extent: Extent::new(64 * GIB, 16 * GIB), node: 0 });
    spec.placed = vec![Placed { address: 64 * GIB, shift: 34, free: false }];
    shelf.add("gigantic", spec);
    shelf.add("addresses", Spec { addresses: true, ..plain(arm(48, 48, 48, true), 0x1000, G::V6_12) });
}

/// The same machine with all RAM beyond 48 bits of address.
fn high(spec: Spec) -> Spec {
    let up = |bank: &Bank| Bank {
        extent: Extent::new(bank.extent.start + 0x7_0000_0000_0000, bank.extent.length),
        ..*bank
    };
    let banks = spec.banks.iter().map(up).collect();
    Spec { banks, ..spec }
}

fn others(shelf: &mut Shelf) {
    let s390 = |four, identity, generation| machine(Mmu::S390 { four, identity }, Big, 0x1000, generation);
    for generation in [G::V3_19, G::V4_4, G::V4_14, G::V5_10, G::V6_1, G::V6_6, G::V6_9] {
        let huge_vmemmap = generation > G::V5_10;
        shelf.add("3level", Spec { huge_vmemmap, ..s390(false, 0, generation) });
    }
    for generation in [G::V5_10, G::V6_6] {
        shelf.add("4level", s390(true, 0, generation));
    }
    for generation in [G::V6_10, G::V6_12, G::V6_16, G::V7_1] {
        shelf.add("identity0", s390(false, 0, generation));
        shelf.add("identity1t", Spec { huge_vmemmap: true, ..s390(false, 1 << 40, generation) });
        shelf.add("4level", s390(true, 1 << 41, generation));
    }
    // 2 GiB: two chunks of 2^18 frames.
    for (shared_vmemmap, generation) in [(false, G::V6_6), (true, G::V6_12)] {
        let mut spec = s390(false, 0, generation);
        spec.banks[0].extent.length = 160 * MIB;
        spec.banks.push(Bank { extent: Extent::new(6 * GIB, 2 * GIB), node: 0 });
        spec.placed = vec![Placed { address: 6 * GIB, shift: 31, free: false }];
        shelf.add("gigantic", Spec { shared_vmemmap, ..spec });
    }
    for bits in [39, 48, 57] {
        for (n, generation) in
            [G::V6_1, G::V6_3, G::V6_6, G::V6_9, G::V6_12, G::V6_16, G::V7_1].iter().enumerate()
        {
            let spec = machine(Mmu::Sv { bits }, Little, 0x1000, *generation);
            shelf.add(&format!("sv{bits}"), Spec { huge_vmemmap: n % 2 == 0, ..spec });
        }
    }
    for generation in [G::V6_1, G::V6_12] {
        let spec = one_bank(machine(Mmu::Sv { bits: 48 }, Little, 0x1000, generation));
        shelf.add("flat", Spec { model: Model::Flat, ..spec });
    }
    let mut spec = machine(Mmu::Sv { bits: 48 }, Little, 0x1000, G::V6_12);
    spec.banks.push(Bank { extent: Extent::new(8 * GIB, GIB), node: 0 });
    spec.placed = vec![Placed { address: 8 * GIB, shift: 30, free: true }];
    shelf.add("gigantic-hvo", Spec { shared_vmemmap: true, ..spec });
    for (levels, page_size) in [(4, 0x1000), (3, 0x4000), (2, 0x1_0000), (3, 0x1_0000)] {
        for (n, generation) in [G::V6_1, G::V6_6, G::V6_12, G::V6_16, G::V7_1].iter().enumerate() {
            let spec = machine(Mmu::Loong { levels }, Little, page_size, *generation);
            let huge_vmemmap = n % 2 == 1 && levels > 2 && page_size < 0x1_0000;
            shelf.add(&format!("{levels}level"), Spec { huge_vmemmap, ..spec });
        }
    }
    let spec = one_bank(machine(Mmu::Loong { levels: 3 }, Little, 0x4000, G::V6_6));
    shelf.add("flat", Spec { model: Model::Flat, ..spec });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_different() {
        let all = catalogue();
        let names: BTreeSet<&str> = all.iter().map(|spec| &*spec.name).collect();
        let twice: Vec<&str> = all
            .iter()
            .map(|spec| &*spec.name)
            .filter(|name| all.iter().filter(|spec| spec.name == *name).count() > 1)
            .collect();
        assert_eq!(names.len(), all.len(), "{twice:?}");
    }
}
