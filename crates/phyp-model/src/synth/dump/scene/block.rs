//! What frames can be used for, how common that is, and in blocks of what size.

use crate::rng::Rng;
use crate::synth::dump::arch::{Arch, Orders};
use crate::synth::dump::generation::Generation;

/// What a block of frames is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Free,
    Unaccepted,
    Anonymous,
    AnonymousMlocked,
    SwapCache,
    Ksm,
    Thp,
    AnonymousFolio,
    PoisonedThp,
    Cache,
    CacheDirty,
    CacheFolio,
    CacheBatched,
    Shmem,
    ShmemSwap,
    CachePrivate,
    Hugetlb,
    HugetlbAnonymous,
    HugetlbFree,
    Slab,
    Kernel,
    KernelCompound,
    KernelBlock,
    KernelPrivate,
    LargeKmalloc,
    PageTable,
    PerCpu,
    Movable,
    Zsmalloc,
    Offline,
    Poisoned,
    PoisonedAnonymous,
}

impl Kind {
    /// How common, in how many draws of about a hundred; what the release does not have is 0.
    pub(super) fn weight(self, generation: Generation, arch: Arch, memory_failure: bool) -> u64 {
        let since = |first: Generation| generation >= first;
        let when = |holds: bool, weight: u64| if holds { weight } else { 0 };
        match self {
            Self::Free => 14,
            Self::Anonymous => 10,
            Self::Cache => 8,
            Self::Kernel => 4,
            Self::Slab => 6,
            Self::CacheDirty | Self::CachePrivate | Self::Shmem => 3,
            Self::AnonymousMlocked | Self::SwapCache | Self::ShmemSwap | Self::Ksm => 2,
            Self::CacheBatched
            | Self::KernelCompound
            | Self::KernelBlock
            | Self::KernelPrivate
            | Self::PerCpu
            | Self::PageTable => 2,
            Self::Thp => when(since(Generation::V3_2), 2),
            Self::AnonymousFolio => when(since(Generation::V6_10), 3),
            Self::PoisonedThp => when(memory_failure && since(Generation::V5_10), 1),
            Self::CacheFolio => when(since(Generation::V6_1), 3),
            Self::LargeKmalloc => when(since(Generation::V6_16), 1),
            Self::Movable => when(since(Generation::V4_14) && generation < Generation::V6_16, 1),
            Self::Zsmalloc => when(since(Generation::V6_11), 1),
            Self::Offline => when(since(Generation::V3_19), 1),
            Self::Poisoned | Self::PoisonedAnonymous => when(memory_failure, 1),
            Self::Unaccepted => when(arch == Arch::X86_64 && since(Generation::V6_12), 1),
            // Drawn apart, where they fit.
            Self::Hugetlb | Self::HugetlbAnonymous | Self::HugetlbFree => 0,
        }
    }

    pub(super) const ALL: [Self; 32] = [
        Self::Free,
        Self::Unaccepted,
        Self::Anonymous,
        Self::AnonymousMlocked,
        Self::SwapCache,
        Self::Ksm,
        Self::Thp,
        Self::AnonymousFolio,
        Self::PoisonedThp,
        Self::Cache,
        Self::CacheDirty,
        Self::CacheFolio,
        Self::CacheBatched,
        Self::Shmem,
        Self::ShmemSwap,
        Self::CachePrivate,
        Self::Hugetlb,
        Self::HugetlbAnonymous,
        Self::HugetlbFree,
        Self::Slab,
        Self::Kernel,
        Self::KernelCompound,
        Self::KernelBlock,
        Self::KernelPrivate,
        Self::LargeKmalloc,
        Self::PageTable,
        Self::PerCpu,
        Self::Movable,
        Self::Zsmalloc,
        Self::Offline,
        Self::Poisoned,
        Self::PoisonedAnonymous,
    ];

    /// Its order, of those that fit below `most`.
    pub(super) fn order(self, orders: &Orders, most: u32, rng: &mut Rng) -> u32 {
        let wanted = match self {
            Self::Free => rng.below(u64::from(orders.free)) as u32,
            Self::Thp | Self::PoisonedThp => orders.huge,
            Self::AnonymousFolio => 2 + rng.below(3) as u32,
            Self::CacheFolio => 2 + rng.below(4) as u32,
            Self::Slab => rng.below(4) as u32,
            Self::KernelCompound | Self::KernelBlock => 1 + rng.below(3) as u32,
            Self::LargeKmalloc => 2 + rng.below(2) as u32,
            Self::Unaccepted => orders.free - 1,
            _ => 0,
        };
        wanted.min(most)
    }

    /// How many there are at least; more than one of what is never drawn again, as machines with many broken pages are
    /// taken out of service.
    pub(super) fn first(self) -> usize {
        match self {
            Self::Poisoned => 4,
            Self::PoisonedAnonymous => 3,
            Self::PoisonedThp => 2,
            _ => 1,
        }
    }

    /// Whether only its full order makes sense.
    pub(super) fn whole(self) -> bool {
        matches!(self, Self::Unaccepted | Self::Thp | Self::PoisonedThp)
    }
}

/// Frames that are one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) frame: u64,
    pub(crate) order: u32,
    pub(crate) kind: Kind,
}

impl Block {
    pub(crate) fn end(self) -> u64 {
        self.frame + (1 << self.order)
    }

    pub(crate) fn is_hugetlb(self) -> bool {
        matches!(self.kind, Kind::Hugetlb | Kind::HugetlbAnonymous | Kind::HugetlbFree)
    }
}
