//! What every frame is, and the `struct page` that says so.

mod block;
mod pages;
mod truth;

use crate::rng::Rng;
use crate::synth::dump::arch::{Arch, Orders};
use crate::synth::dump::generation::Generation;
pub(crate) use block::{Block, Kind};
pub(crate) use pages::write;
pub(crate) use truth::nature;

/// What is to be laid out.
pub(crate) struct Ground<'a> {
    pub(crate) generation: Generation,
    pub(crate) arch: Arch,
    pub(crate) memory_failure: bool,
    pub(crate) orders: &'a Orders,
    /// Frames that are RAM: first and number.
    pub(crate) ram: &'a [(u64, u64)],
    /// Frames that are the kernel's from the beginning.
    pub(crate) reserved: &'a [(u64, u64)],
    /// Where only free and movable pages may be.
    pub(crate) cma: &'a [(u64, u64)],
    /// Blocks whose place is given, ascending.
    pub(crate) placed: &'a [Block],
    /// Frames that no block may lie across.
    pub(crate) cuts: &'a [u64],
}

/// Decides what every frame is: blocks in ascending order, all of RAM but what is reserved.
pub(crate) fn lay_out(ground: &Ground<'_>, rng: &mut Rng) -> Vec<Block> {
    let weight = |kind: &Kind| kind.weight(ground.generation, ground.arch, ground.memory_failure);
    let kinds: Vec<(Kind, u64)> =
        Kind::ALL.iter().map(|kind| (*kind, weight(kind))).filter(|(_, weight)| *weight > 0).collect();
    // One of each first, so that a small machine has them all; of what is rare there is no more than a few.
    let mut wanted: Vec<Kind> = kinds.iter().flat_map(|(kind, _)| vec![*kind; kind.first()]).collect();
    let kinds: Vec<(Kind, u64)> = kinds.into_iter().filter(|(kind, _)| kind.first() == 1).collect();
    let hugetlb = [Kind::Hugetlb, Kind::HugetlbAnonymous, Kind::HugetlbFree];
    let sum: u64 = kinds.iter().map(|(_, weight)| weight).sum();
    let mut wanted_hugetlb: Vec<(Kind, u32)> =
        ground.orders.hugetlb.iter().rev().flat_map(|order| hugetlb.map(|kind| (kind, *order))).collect();
    let total: u64 = ground.ram.iter().map(|(_, count)| count).sum();
    let mut blocks: Vec<Block> = Vec::new();
    let within = |list: &[(u64, u64)], frame: u64| {
        list.iter().find(|(first, count)| (*first..first + count).contains(&frame)).copied()
    };
    for (first, count) in ground.ram {
        let (mut frame, end) = (*first, first + count);
        while frame < end {
            if let Some((first, count)) = within(ground.reserved, frame) {
                frame = first + count;
                continue;
            }
            if let Some(block) =
                ground.placed.iter().find(|block| (block.frame..block.end()).contains(&frame))
            {
                blocks.push(*block);
                frame = block.end();
                continue;
            }
            let limits = ground.reserved.iter().map(|(first, _)| *first);
            let limits = limits
                .chain(ground.placed.iter().map(|block| block.frame))
                .chain(ground.cuts.iter().copied());
            let left = limits.filter(|limit| *limit > frame).min().unwrap_or(end).min(end) - frame;
            let most = left.ilog2().min(frame.trailing_zeros());
            let cma = within(ground.cma, frame).is_some();
            let huge = wanted_hugetlb
                .iter()
                .position(|(_, order)| *order <= most && frame.trailing_zeros() >= *order);
            if let Some(at) = huge {
                let (kind, order) = wanted_hugetlb[at];
                // Few places are aligned for the largest, and little room is left beside two of them.
                let rare = total >> order < 24;
                if !cma && (rare || rng.below(3) == 0) {
                    wanted_hugetlb.remove(at);
                    wanted_hugetlb.retain(|(_, other)| !rare || *other != order);
                    blocks.push(Block { frame, order, kind });
                    frame += 1 << order;
                    continue;
                }
            }
            let fits = |kind: Kind| {
                !kind.whole() || kind.order(ground.orders, most, &mut Rng::new(0)) == full(kind, ground)
            };
            let mut kind = match wanted.iter().position(|kind| !cma && fits(*kind)) {
                Some(at) if rng.below(2) == 0 => wanted.remove(at),
                _ => draw(&kinds, sum, rng),
            };
            if !fits(kind) || cma && !matches!(kind, Kind::Free | Kind::Anonymous | Kind::Cache) {
                kind = if cma { Kind::Free } else { Kind::Anonymous };
            }
            let mut order = kind.order(ground.orders, most, rng);
            // A free block next to its free buddy would have become one block with it.
            let buddy = |order: u32| {
                blocks.last().is_some_and(|last| {
                    last.kind == Kind::Free && last.order == order && last.frame == frame ^ (1 << order)
                })
            };
            if kind == Kind::Free && order + 1 < ground.orders.free && buddy(order) {
                (kind, order) = (Kind::Anonymous, 0);
            }
            blocks.push(Block { frame, order, kind });
            frame += 1 << order;
        }
    }
    blocks
}

fn full(kind: Kind, ground: &Ground<'_>) -> u32 {
    kind.order(ground.orders, u32::MAX, &mut Rng::new(0))
}

fn draw(kinds: &[(Kind, u64)], sum: u64, rng: &mut Rng) -> Kind {
    let mut ticket = rng.below(sum);
    for (kind, weight) in kinds {
        if ticket < *weight {
            return *kind;
        }
        ticket -= weight;
    }
    Kind::Kernel
}
