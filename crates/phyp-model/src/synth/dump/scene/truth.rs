//! What a block is, and what of that a reader can know.

use super::block::{Block, Kind};
use crate::synth::dump::page::Map;
use crate::synth::dump::truth::{Class, Run};

/// What a block is, whether the kernel exports it or not.
pub(crate) fn nature(block: Block) -> Run {
    let class = match block.kind {
        Kind::Free | Kind::Unaccepted => Class::Free,
        Kind::Anonymous
        | Kind::AnonymousMlocked
        | Kind::SwapCache
        | Kind::Ksm
        | Kind::Thp
        | Kind::AnonymousFolio
        | Kind::PoisonedThp
        | Kind::PoisonedAnonymous => Class::Anonymous,
        Kind::Hugetlb | Kind::HugetlbAnonymous | Kind::HugetlbFree => Class::Hugetlb,
        Kind::Cache | Kind::CacheDirty | Kind::CacheFolio | Kind::Shmem | Kind::ShmemSwap => Class::Cache,
        Kind::CachePrivate => Class::CachePrivate,
        Kind::Offline => Class::Offline,
        Kind::Poisoned => Class::HwPoison,
        Kind::Slab
        | Kind::Kernel
        | Kind::KernelCompound
        | Kind::KernelBlock
        | Kind::KernelPrivate
        | Kind::LargeKmalloc
        | Kind::PageTable
        | Kind::PerCpu
        | Kind::Movable
        | Kind::Zsmalloc
        | Kind::CacheBatched => Class::Kernel,
    };
    Run { first: block.frame, count: 1 << block.order, class, poisoned: false }
}

/// What a reader can know of the frames of a block.
pub(super) fn truth(map: &Map, block: Block) -> Vec<Run> {
    let Block { frame, order, kind } = block;
    let generation = map.generation;
    let told = match kind {
        Kind::Unaccepted => generation.tells_unaccepted(),
        Kind::Hugetlb | Kind::HugetlbAnonymous | Kind::HugetlbFree => generation.tells_compounds(),
        Kind::Offline => generation.tells_offline(),
        Kind::Poisoned => generation.tells_hwpoison(),
        _ => true,
    };
    let class = if told { nature(block).class } else { Class::Kernel };
    let run = |first: u64, count: u64, class: Class| Run { first, count, class, poisoned: false };
    let single = order == 0 || matches!(kind, Kind::Free | Kind::Unaccepted);
    if single {
        let poisoned = kind == Kind::PoisonedAnonymous && generation.tells_hwpoison();
        return vec![Run { poisoned, ..run(frame, 1 << order, class) }];
    }
    if !generation.tells_compounds() {
        // Each page speaks for itself, and only the head says anything.
        let head = if kind == Kind::HugetlbAnonymous { Class::Anonymous } else { class };
        return vec![run(frame, 1, head), run(frame + 1, (1 << order) - 1, Class::Kernel)];
    }
    if kind == Kind::PoisonedThp {
        let broken = frame + poisoned_tail(order);
        return vec![
            run(frame, broken - frame, class),
            Run { poisoned: true, ..run(broken, 1, class) },
            run(broken + 1, block.end() - broken - 1, class),
        ];
    }
    vec![run(frame, 1 << order, class)]
}

/// Which page of a transparent huge page is broken.
pub(super) fn poisoned_tail(order: u32) -> u64 {
    (1 << order) - 3
}
