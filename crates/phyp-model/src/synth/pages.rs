//! Page classes, and the `struct page` that makes a page what it is.
//!
//! Layout and numbers of Linux 6.12 (`include/linux/mm_types.h`, `page-flags.h`): flags at 0, lru and compound_head at
//! 8, mapping at 24, index at 32, private at 40, _mapcount or page type at 48, _refcount at 52.

use crate::bytes::Bytes;
use crate::content;
use crate::error::Result;
use crate::memory::Memory;
use crate::rng::Rng;
use crate::synth::statics::StaticData;
use crate::synth::vmemmap::Vmemmap;
use crate::synth::{Fill, LINEAR, SynthOptions, whole_frames};

/// What a page is to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The kernel's own: image, structures, page tables, slab. Never left out.
    Kernel,
    /// In the buddy allocator: level 16.
    Free,
    /// Anonymous memory of processes, swap cache and KSM included: level 8.
    Anonymous,
    /// Huge pages of hugetlbfs: level 8.
    Hugetlb,
    /// Page cache and shmem: level 2, and 4.
    Cache,
    /// Page cache with buffers: level 4.
    CachePrivate,
    /// Offline pages of a balloon: left out whenever `struct page` is looked at.
    Offline,
}

impl Class {
    /// Whether a page of this class is kept at dump level `level`: 1 zero, 2 cache, 4 cache with private, 8 user,
    /// 16 free. A zero page counts as kept.
    pub fn kept(self, level: u8) -> bool {
        match self {
            Self::Kernel => true,
            Self::Free => level & 16 == 0,
            Self::Anonymous | Self::Hugetlb => level & 8 == 0,
            Self::Cache => level & 6 == 0,
            Self::CachePrivate => level & 4 == 0,
            Self::Offline => level & 30 == 0,
        }
    }
}

/// How common each kind of block is, as weights; a block is between one page and the largest buddy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Blocks of the buddy allocator.
    pub free: u64,
    /// Single anonymous pages, some with waiters, some in the swap cache, some merged by KSM.
    pub anonymous: u64,
    /// Transparent huge pages and smaller anonymous folios.
    pub anonymous_folio: u64,
    /// Single pages of files.
    pub cache: u64,
    /// Large folios of files.
    pub cache_folio: u64,
    /// Pages of shared memory, some in the swap cache.
    pub shmem: u64,
    /// Pages of files with buffers.
    pub cache_private: u64,
    /// Slab, up to eight pages.
    pub slab: u64,
    /// Other kernel pages.
    pub kernel: u64,
    /// Huge pages of hugetlbfs: the chance, in eighths, that one begins wherever one can.
    pub hugetlb: u64,
    /// Offline pages. Readers differ about levels 0 and 1, where `struct page` need not be looked at.
    pub offline: u64,
}

impl Default for Mix {
    /// A busy machine.
    fn default() -> Self {
        Self {
            free: 6,
            anonymous: 12,
            anonymous_folio: 3,
            cache: 8,
            cache_folio: 2,
            shmem: 2,
            cache_private: 2,
            slab: 3,
            kernel: 3,
            hugetlb: 1,
            offline: 0,
        }
    }
}

impl Mix {
    /// An idle machine of terabytes: nearly everything free, in the largest blocks.
    pub fn idle() -> Self {
        Self {
            free: 1,
            anonymous: 0,
            anonymous_folio: 0,
            cache: 0,
            cache_folio: 0,
            shmem: 0,
            cache_private: 0,
            slab: 0,
            kernel: 0,
            hugetlb: 0,
            offline: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Free,
    Anonymous,
    AnonymousFolio,
    Cache,
    CacheFolio,
    Shmem,
    CachePrivate,
    Slab,
    Kernel,
    Hugetlb,
    Offline,
}

impl Kind {
    fn class(self) -> Class {
        match self {
            Self::Slab | Self::Kernel => Class::Kernel,
            Self::Free => Class::Free,
            Self::Anonymous | Self::AnonymousFolio => Class::Anonymous,
            Self::Cache | Self::CacheFolio | Self::Shmem => Class::Cache,
            Self::CachePrivate => Class::CachePrivate,
            Self::Hugetlb => Class::Hugetlb,
            Self::Offline => Class::Offline,
        }
    }
}

/// All frames of a machine as blocks in ascending order.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    blocks: Vec<(u64, u8, Kind)>,
    /// Frames that are the kernel's image and pool, as runs.
    reserved: Vec<(u64, u64)>,
}

impl Frames {
    /// Runs of frames of one class.
    pub(crate) fn runs(&self) -> Vec<(u64, u64, Class)> {
        let blocks = self.blocks.iter().map(|(frame, order, kind)| (*frame, 1u64 << order, kind.class()));
        let reserved = self.reserved.iter().map(|(frame, count)| (*frame, *count, Class::Kernel));
        let mut all: Vec<(u64, u64, Class)> = blocks.chain(reserved).collect();
        all.sort_unstable_by_key(|(frame, ..)| *frame);
        let mut out: Vec<(u64, u64, Class)> = Vec::new();
        for (frame, count, class) in all {
            match out.last_mut() {
                Some((first, length, last)) if *last == class && *first + *length == frame => {
                    *length += count;
                }
                _ => out.push((frame, count, class)),
            }
        }
        out
    }
}

/// Orders that the buddy allocator knows: `LENGTH(zone.free_area)`.
pub(crate) fn orders(page_size: u64) -> u8 {
    if page_size == 0x1_0000 { 9 } else { 13 }
}

/// Decides for every frame what it is.
pub(crate) fn lay_out(options: &SynthOptions, reserved: &[(u64, u64)], rng: &mut Rng) -> Frames {
    let mix = options.mix;
    let weights = [
        (Kind::Free, mix.free),
        (Kind::Anonymous, mix.anonymous),
        (Kind::AnonymousFolio, mix.anonymous_folio),
        (Kind::Cache, mix.cache),
        (Kind::CacheFolio, mix.cache_folio),
        (Kind::Shmem, mix.shmem),
        (Kind::CachePrivate, mix.cache_private),
        (Kind::Slab, mix.slab),
        (Kind::Kernel, mix.kernel),
        (Kind::Offline, mix.offline),
    ];
    let sum: u64 = weights.iter().map(|(_, weight)| weight).sum::<u64>().max(1);
    let top = orders(options.page_size) - 1;
    let thp = if options.page_size == 0x1_0000 { 5 } else { 9 };
    // Large blocks of few classes make equal pieces of vmemmap, which is what sharing lives on.
    let whole = options.share_vmemmap;
    // A block whose head a dump does not have cannot be known by its tails: none crosses into the reserved area.
    let page = options.page_size;
    let cuts: Vec<u64> = options
        .avoid
        .iter()
        .flat_map(|area| {
            [area.start / page, area.start.div_ceil(page), area.end() / page, area.end().div_ceil(page)]
        })
        .collect();
    let mut blocks = Vec::new();
    for (first, count) in whole_frames(&options.ram, options.page_size) {
        let (mut frame, end) = (first, first + count);
        while frame < end {
            if let Some((start, length)) =
                reserved.iter().find(|(start, length)| (*start..start + length).contains(&frame))
            {
                frame = start + length;
                continue;
            }
            let limit = reserved.iter().map(|(start, _)| *start).chain(cuts.iter().copied());
            let left = limit.filter(|start| *start > frame).min().unwrap_or(end).min(end) - frame;
            // Few places are aligned for a huge page: drawn among all kinds, they would hardly ever come.
            if frame.is_multiple_of(1 << thp) && left >= 1 << thp && !whole && rng.below(8) < mix.hugetlb {
                blocks.push((frame, thp, Kind::Hugetlb));
                frame += 1 << thp;
                continue;
            }
            let mut ticket = rng.below(sum);
            let kind = weights.iter().find(|(_, weight)| {
                let mine = ticket < *weight;
                ticket = ticket.saturating_sub(*weight);
                mine
            });
            let kind = kind.map_or(Kind::Kernel, |(kind, _)| *kind);
            let order = match kind {
                Kind::Free if whole => top,
                Kind::Free => rng.below(u64::from(top) + 1) as u8,
                Kind::AnonymousFolio => [thp, 2, 4][rng.below(3) as usize],
                Kind::CacheFolio => 2 + rng.below(3) as u8,
                Kind::Slab => rng.below(4) as u8,
                _ => 0,
            };
            let order = order.min(left.ilog2() as u8).min(frame.trailing_zeros().min(63) as u8);
            blocks.push((frame, order, kind));
            frame += 1 << order;
        }
    }
    Frames { blocks, reserved: reserved.to_vec() }
}

const PG_REFERENCED: u64 = 1 << 2;
const PG_UPTODATE: u64 = 1 << 3;
const PG_LRU: u64 = 1 << 5;
const PG_HEAD: u64 = 1 << 6;
const PG_WAITERS: u64 = 1 << 7;
const PG_SWAPCACHE: u64 = 1 << 10;
const PG_RESERVED: u64 = 1 << 13;
const PG_PRIVATE: u64 = 1 << 14;
const PG_SWAPBACKED: u64 = 1 << 17;

/// Page types stand in the top byte of what is otherwise the map count.
pub(crate) const BUDDY: u32 = 0xf000_0000;
pub(crate) const OFFLINE: u32 = 0xf100_0000;
pub(crate) const HUGETLB: u32 = 0xf400_0000;
pub(crate) const SLAB: u32 = 0xf500_0000;

#[derive(Clone, Copy, Default)]
struct StructPage {
    flags: u64,
    lru: [u64; 2],
    mapping: u64,
    index: u64,
    private: u64,
    mapcount: u32,
    refcount: u32,
}

impl StructPage {
    fn bytes(self, options: &SynthOptions) -> [u8; 64] {
        let mut out = Bytes::new(options.order);
        out.u64(self.flags)
            .u64(self.lru[0])
            .u64(self.lru[1])
            .u64(self.mapping)
            .u64(self.index)
            .u64(self.private);
        out.u32(self.mapcount).u32(self.refcount).u64(0);
        let mut page = [0; 64];
        page.copy_from_slice(&out.bytes);
        page
    }
}

/// What the zone's counters and free lists say.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) free_pages: u64,
    /// Blocks of each order.
    pub(crate) blocks: Vec<u64>,
    /// First and last `struct page` of each list, by order and migrate type; `None` where it is empty.
    pub(crate) lists: Vec<[Option<(u64, u64)>; 6]>,
}

/// Writes the `struct page` of every frame.
pub(crate) fn write(
    options: &SynthOptions,
    frames: &Frames,
    vmemmap: &mut Vmemmap,
    memory: &mut Memory,
    data: &StaticData,
) -> Result<Zone> {
    let orders = usize::from(orders(options.page_size));
    let mut zone = Zone { free_pages: 0, blocks: vec![0; orders], lists: vec![[None; 6]; orders] };
    let mut reserved = frames.reserved.iter().peekable();
    let mut rng = Rng::new(options.seed).fork(14);
    for (frame, order, kind) in &frames.blocks {
        while let Some((start, count)) = reserved.next_if(|(start, _)| start < frame) {
            write_reserved(options, vmemmap, memory, *start, *count)?;
        }
        write_block(options, vmemmap, memory, (*frame, *order, *kind), &mut rng)?;
        if *kind == Kind::Free {
            let order = usize::from(*order);
            zone.free_pages += 1 << order;
            zone.blocks[order] += 1;
            if vmemmap.can_link() {
                link(options, vmemmap, memory, data, &mut zone, *frame, order)?;
            }
        }
    }
    for (start, count) in reserved {
        write_reserved(options, vmemmap, memory, *start, *count)?;
    }
    Ok(zone)
}

fn write_reserved(
    options: &SynthOptions,
    vmemmap: &mut Vmemmap,
    memory: &mut Memory,
    start: u64,
    count: u64,
) -> Result<()> {
    let page = StructPage { flags: PG_RESERVED, mapcount: u32::MAX, refcount: 1, ..StructPage::default() };
    let bytes = page.bytes(options);
    (start..start + count).try_for_each(|frame| vmemmap.write(memory, frame, &bytes))
}

/// Puts a free block at the end of its list.
fn link(
    options: &SynthOptions,
    vmemmap: &mut Vmemmap,
    memory: &mut Memory,
    data: &StaticData,
    zone: &mut Zone,
    frame: u64,
    order: usize,
) -> Result<()> {
    // Unmovable, movable, reclaimable.
    let kind = ((frame >> order) % 3) as usize;
    let node = vmemmap.address(frame) + 8;
    let head = data.free_list(order, kind);
    let before = zone.lists[order][kind].map_or(head, |(_, last)| last);
    vmemmap.patch(memory, node, options.order.u64(head))?;
    vmemmap.patch(memory, node + 8, options.order.u64(before))?;
    if before != head {
        vmemmap.patch(memory, before, options.order.u64(node))?;
    }
    let first = zone.lists[order][kind].map_or(node, |(first, _)| first);
    zone.lists[order][kind] = Some((first, node));
    Ok(())
}

fn write_block(
    options: &SynthOptions,
    vmemmap: &mut Vmemmap,
    memory: &mut Memory,
    (frame, order, kind): (u64, u8, Kind),
    rng: &mut Rng,
) -> Result<()> {
    let same = options.share_vmemmap;
    let mut draw = |limit: u64| if same { 1 } else { rng.below(limit) };
    let object = LINEAR | 0x40_0000 | (draw(0x1000) << 8);
    let plain = StructPage { mapcount: u32::MAX, refcount: 1, ..StructPage::default() };
    let index = draw(1 << 20);
    let listed = StructPage {
        flags: PG_LRU | PG_UPTODATE,
        // A neighbour on the reclaim list: some address in vmemmap.
        lru: [vmemmap.address(frame) + 0x208, vmemmap.address(frame) + 0x408],
        index,
        mapcount: 0,
        ..plain
    };
    let listed = if same { StructPage { lru: [0x100, 0x122], ..listed } } else { listed };
    let choice = draw(8);
    let head = match kind {
        Kind::Kernel => plain,
        Kind::Free => StructPage { mapcount: BUDDY, refcount: 0, private: u64::from(order), ..plain },
        Kind::Anonymous | Kind::AnonymousFolio => {
            let page = StructPage { flags: listed.flags | PG_SWAPBACKED, mapping: object | 1, ..listed };
            match choice {
                // A page with waiters: the bit that was slab's before 6.10.
                0 => StructPage { flags: page.flags | PG_WAITERS, ..page },
                2 => StructPage { flags: page.flags | PG_SWAPCACHE, private: 0x1234, ..page },
                3 if kind == Kind::Anonymous => StructPage { mapping: object | 3, ..page },
                // Not yet on the list.
                4 => StructPage { flags: page.flags & !PG_LRU, ..page },
                _ => page,
            }
        }
        Kind::Cache | Kind::CacheFolio => StructPage {
            flags: listed.flags | if choice < 4 { PG_REFERENCED } else { 0 },
            mapping: object,
            ..listed
        },
        Kind::Shmem => {
            let page = StructPage { flags: listed.flags | PG_SWAPBACKED, mapping: object, ..listed };
            if choice < 2 { StructPage { flags: page.flags & !PG_LRU | PG_SWAPCACHE, ..page } } else { page }
        }
        Kind::CachePrivate => {
            StructPage { flags: listed.flags | PG_PRIVATE, mapping: object, private: object | 0x80, ..listed }
        }
        Kind::Slab => StructPage { lru: [object, 0], mapcount: SLAB, ..plain },
        Kind::Hugetlb => StructPage { mapcount: HUGETLB, flags: PG_UPTODATE, ..plain },
        Kind::Offline => StructPage { mapcount: OFFLINE, ..plain },
    };
    let compound = order > 0 && kind != Kind::Free;
    let flags = head.flags | if compound { PG_HEAD } else { 0 };
    vmemmap.write(memory, frame, &StructPage { flags, ..head }.bytes(options))?;
    // A shared piece cannot name its own head, so sharing goes with blocks of the buddy allocator only.
    let compound_head = vmemmap.address(frame) | 1;
    for tail in 1..1u64 << order {
        let page = if compound {
            StructPage {
                // `_flags_1` of the folio: its order in the low byte.
                flags: if tail == 1 { u64::from(order) } else { 0 },
                lru: [compound_head, 0],
                mapping: 0x0dea_d000_0000_0400,
                refcount: 0,
                ..plain
            }
        } else {
            StructPage { refcount: 0, ..plain }
        };
        vmemmap.write(memory, frame + tail, &page.bytes(options))?;
    }
    Ok(())
}

/// Gives pages contents.
pub(crate) fn fill(
    options: &SynthOptions,
    frames: &Frames,
    memory: &mut Memory,
    rng: &mut Rng,
) -> Result<()> {
    let Fill::OneIn(rate) = options.fill else { return Ok(()) };
    let mut page = vec![0; options.page_size as usize];
    for (frame, order, _) in &frames.blocks {
        for frame in *frame..frame + (1 << order) {
            if rng.below(rate.max(1)) == 0 {
                content::fill_page(rng, &mut page);
                memory.write(frame * options.page_size, &page)?;
            }
        }
    }
    Ok(())
}
