//! What every frame is, and the `struct page` that says so.

use crate::rng::Rng;
use crate::synth::dump::arch::{Arch, Orders};
use crate::synth::dump::generation::{Generation, Type};
use crate::synth::dump::page::{Map, Page};
use crate::synth::dump::truth::{Class, Run};

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
    fn weight(self, generation: Generation, arch: Arch, memory_failure: bool) -> u64 {
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

    const ALL: [Self; 32] = [
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
    fn order(self, orders: &Orders, most: u32, rng: &mut Rng) -> u32 {
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
    fn first(self) -> usize {
        match self {
            Self::Poisoned => 4,
            Self::PoisonedAnonymous => 3,
            Self::PoisonedThp => 2,
            _ => 1,
        }
    }

    /// Whether only its full order makes sense.
    fn whole(self) -> bool {
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

/// Writes the pages of a block; returns what its frames are to a filter. `address` is that of the block's first
/// `struct page`; `linear` of some memory of the kernel; the pages from `until` on share another's memory.
pub(crate) fn write(
    map: &mut Map,
    block: Block,
    (address, linear): (u64, u64),
    until: u64,
    rng: &mut Rng,
) -> Vec<Run> {
    let Block { frame, order, kind } = block;
    let generation = map.generation;
    let (lru, uptodate, backed) = (map.flag("lru"), map.flag("uptodate"), map.flag("swapbacked"));
    let object = linear + 0x100 * (1 + rng.below(0x800));
    let listed = Page {
        flags: lru | uptodate,
        // Neighbours on a list of the reclaim.
        lru: [address + 8 + 4 * map.size, address + 8 + 9 * map.size],
        index: rng.below(1 << 20),
        refcount: 1 + rng.below(3) as u32,
        ..Page::PLAIN
    };
    let anonymous =
        Page { flags: listed.flags | backed, mapping: object | 1, mapcount: 0, refcount: 1, ..listed };
    let cache = Page { mapping: object, ..listed };
    let waiters = if rng.below(4) == 0 { map.flag("waiters") } else { 0 };
    let active = if rng.below(2) == 0 { map.flag("active") | map.flag("referenced") } else { 0 };
    let page = match kind {
        Kind::Free => {
            let flags =
                if order > 4 && generation >= Generation::V6_1 && rng.below(4) == 0 { uptodate } else { 0 };
            Page {
                flags: flags | map.flag("buddy"),
                private: order.into(),
                mapcount: map.typed(Type::Buddy),
                refcount: 0,
                ..Page::PLAIN
            }
        }
        Kind::Unaccepted => Page { mapcount: map.typed(Type::Unaccepted), refcount: 0, ..Page::PLAIN },
        Kind::Anonymous | Kind::Thp | Kind::AnonymousFolio | Kind::PoisonedThp => {
            Page { flags: anonymous.flags | waiters | active, ..anonymous }
        }
        Kind::AnonymousMlocked => {
            Page { flags: anonymous.flags | map.flag("unevictable") | map.flag("mlocked"), ..anonymous }
        }
        Kind::SwapCache => Page {
            flags: anonymous.flags | map.flag("swapcache"),
            private: 0x1_2340 | rng.below(16),
            ..anonymous
        },
        Kind::Ksm => Page { mapping: object | 3, mapcount: 4, ..anonymous },
        Kind::Cache | Kind::CacheFolio => Page { flags: cache.flags | active | waiters, ..cache },
        Kind::CacheDirty => Page { flags: cache.flags | map.flag("dirty") | map.flag("writeback"), ..cache },
        // In a batch that has yet to be put on the list.
        Kind::CacheBatched => Page { flags: uptodate, ..cache },
        Kind::Shmem => Page { flags: cache.flags | backed, ..cache },
        Kind::ShmemSwap => {
            Page { flags: uptodate | backed | map.flag("swapcache"), private: 0x5_6780, mapping: 0, ..cache }
        }
        Kind::CachePrivate => {
            Page { flags: cache.flags | map.flag("private"), private: object | 0x40, refcount: 2, ..cache }
        }
        Kind::Hugetlb => Page {
            flags: uptodate | active,
            mapping: object,
            mapcount: map.typed(Type::Hugetlb),
            ..Page::PLAIN
        },
        Kind::HugetlbAnonymous => {
            Page { flags: uptodate, mapping: object | 1, mapcount: map.typed(Type::Hugetlb), ..Page::PLAIN }
        }
        Kind::HugetlbFree => Page { refcount: 0, mapcount: map.typed(Type::Hugetlb), ..Page::PLAIN },
        Kind::Slab => slab(map, object, rng),
        Kind::Kernel | Kind::KernelCompound | Kind::KernelBlock => {
            Page { private: rng.below(2) * object, ..Page::PLAIN }
        }
        Kind::KernelPrivate => Page { flags: map.flag("private"), private: object | 8, ..Page::PLAIN },
        Kind::LargeKmalloc => Page { mapcount: map.typed(Type::LargeKmalloc), ..Page::PLAIN },
        Kind::PageTable => Page { mapcount: map.typed(Type::Table), index: object, ..Page::PLAIN },
        Kind::PerCpu => Page { refcount: 0, lru: listed.lru, index: rng.below(3), ..Page::PLAIN },
        Kind::Movable => Page { mapping: object | 2, private: object | 0x10, ..Page::PLAIN },
        // The owner has the low bits of the type: where the first object begins.
        Kind::Zsmalloc => {
            let mapcount = map.typed(Type::Zsmalloc) & !0xffff | rng.below(0x1000) as u32;
            Page { mapcount, private: object, flags: map.flag("private"), ..Page::PLAIN }
        }
        Kind::Offline => Page { mapcount: map.typed(Type::Offline), ..Page::PLAIN },
        Kind::Poisoned => Page { flags: map.flag("hwpoison") | uptodate, ..Page::PLAIN },
        Kind::PoisonedAnonymous => Page { flags: anonymous.flags | map.flag("hwpoison"), ..anonymous },
    };
    match kind {
        Kind::Free | Kind::Unaccepted => {
            map.write(frame, page);
            let inner =
                Page { refcount: 0, lru: [0xdead_0000_0000_0100, 0xdead_0000_0000_0122], ..Page::PLAIN };
            for other in 1..1 << order {
                map.write(frame + other, inner);
            }
        }
        _ if order == 0 => map.write(frame, page),
        // Allocated at once, and not compound: only the first of the pages is counted as in use.
        Kind::KernelBlock => {
            map.write(frame, page);
            for other in 1..1 << order {
                map.write(frame + other, Page { refcount: 0, ..Page::PLAIN });
            }
        }
        _ => {
            let destructor = match kind {
                Kind::Hugetlb | Kind::HugetlbAnonymous | Kind::HugetlbFree => 2,
                Kind::Thp | Kind::PoisonedThp | Kind::AnonymousFolio | Kind::CacheFolio => 3,
                _ => 1,
            };
            map.compound(frame, order, page, (address, destructor), until);
            if kind == Kind::Slab {
                slab_count(map, frame, rng);
            }
        }
    }
    if kind == Kind::Slab && order == 0 {
        slab_count(map, frame, rng);
    }
    if kind == Kind::PoisonedThp && order > 0 {
        let broken = frame + poisoned_tail(order);
        let flags = map.flag("hwpoison") | map.top_flags(broken);
        map.put64(broken, 0, flags);
    }
    truth(map, block)
}

/// Which page of a transparent huge page is broken.
fn poisoned_tail(order: u32) -> u64 {
    (1 << order) - 3
}

fn slab(map: &Map, object: u64, rng: &mut Rng) -> Page {
    let flags = map.flag("slab") & if map.generation >= Generation::V6_10 { 0 } else { !0 };
    let page = Page { flags, mapcount: map.typed(Type::Slab), ..Page::PLAIN };
    match map.generation {
        Generation::V2_6_32 => Page { private: object, mapcount: 0x15_0005, ..page },
        // Objects in use, objects, frozen: where the map count is.
        generation if generation < Generation::V5_10 => {
            let mapcount = (rng.below(20) | 21 << 16) as u32;
            Page { mapcount, private: object, index: object + 0x10, ..page }
        }
        Generation::V5_10 | Generation::V6_1 => {
            Page { mapping: object, index: object + 0x10, private: 0x15_0005, ..page }
        }
        _ => Page { lru: [object, object + 0x800], index: object + 0x10, private: 0x15_0005, ..page },
    }
}

/// Since 6.2 slab counts slabs on a processor's list where `mapping` is: odd as often as not.
fn slab_count(map: &mut Map, frame: u64, rng: &mut Rng) {
    if map.generation >= Generation::V6_3 {
        let mapping = map.layout().mapping;
        map.put64(frame, mapping, 0);
        map.put32(frame, mapping, 1 + 2 * rng.below(8) as u32);
        // What fills the word up is left from the page's last owner.
        map.put32(frame, mapping + 4, 1);
    }
}

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
fn truth(map: &Map, block: Block) -> Vec<Run> {
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
