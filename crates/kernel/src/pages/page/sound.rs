//! Whether a `struct page` looks like one.
//!
//! Nothing here says what a page is. It says what no `struct page` of a running kernel holds: a node that does not
//! exist, a count beyond any number of users, a value that is not a pointer. Text, another structure's fields or an
//! array read with the wrong stride fail sooner or later, and mostly at once.

use super::fields::{Layout, Order, half, word};
use super::kind::Kind;
use crate::Error;
use vmcore::{Arch, Machine, PhysAddr, VmcoreInfo};

/// More users than a page has: the kernel itself stops counting at half of what the field holds, and a page that every
/// process of a machine maps has some hundred thousand.
const MOST_USERS: i32 = 1 << 28;
/// Counts that went below zero by some, as on kernels that crashed for just that reason.
const FEWEST_USERS: i32 = -1024;
/// `MAX_NUMNODES` is 1024 at most.
const MOST_NODES: usize = 1024;

/// What a `struct page` of this kernel may look like.
#[derive(Clone, Debug)]
pub(crate) struct Sound {
    flags: usize,
    refcount: Option<usize>,
    mapcount: Option<usize>,
    mapping: Option<usize>,
    private: Option<usize>,
    lru: Option<usize>,
    head: Option<usize>,
    slab: u64,
    slab_kind: Kind,
    /// Where the node's number begins in the flags; 64 when it is not looked at.
    node_shift: u32,
    nodes: [u64; MOST_NODES / 64],
    /// The lowest number that represents a type of page in `_mapcount`.
    lowest_type: i32,
    pointers: Pointers,
    /// PG_lru, 0 when it is not known.
    pub(crate) lru_flag: u64,
    /// PG_private.
    pub(crate) private_flag: u64,
    /// The flag of heads of compound pages.
    pub(crate) head_flag: u64,
}

/// Where pointers of the kernel lead.
#[derive(Clone, Copy, Debug)]
struct Pointers {
    /// The end of physical memory: kernels that run where their memory is have pointers below.
    low: u64,
    /// The first address of the kernel's half.
    high: u64,
    /// One past the last.
    end: u64,
}

impl Pointers {
    fn new(machine: Machine, memory: PhysAddr) -> Self {
        match machine.arch {
            // The kernel has an address space of its own, from 0 on.
            Arch::S390x => Self { low: 1 << 53, high: u64::MAX, end: u64::MAX },
            _ => Self { low: memory.0, high: 1 << 63, end: u64::MAX },
        }
    }

    /// Null, an address, or one of the kernel's poisons, of which POWER's alone is not in the kernel's half.
    fn holds(self, pointer: u64) -> bool {
        const POISON_OF_POWER: u64 = 0x05de_adbe_ef00_0000;
        pointer < self.low
            || self.high <= pointer && pointer <= self.end
            || pointer & !0xfff == POISON_OF_POWER
    }
}

impl Sound {
    /// Takes what VMCOREINFO says; what it does not say is not looked at. `memory` is where physical memory ends.
    ///
    /// # Errors
    ///
    /// When a field lies past the end of `struct page`.
    pub(crate) fn new(info: &VmcoreInfo, machine: Machine, memory: PhysAddr) -> Result<Self, Error> {
        let layout = Layout::new(info)?;
        let first = |a: &str, b: &str, width: usize| match layout.field(a, width)? {
            None => layout.field(b, width),
            found => Ok(found),
        };
        let mapcount = layout.field("page._mapcount", 4)?;
        let head = first("page.compound_head", "page.compound_info", 8)?;
        let buddy = info.number("PAGE_BUDDY_MAPCOUNT_VALUE").map(|number| number as u32);
        Ok(Self {
            flags: layout.need("page.flags", 8, "classifying pages")?,
            refcount: first("page._refcount", "page._count", 4)?,
            // Without the value of a type it is not known how types are stored, or whether there are any.
            mapcount: buddy.and(mapcount),
            mapping: layout.field("page.mapping", 8)?,
            private: layout.field("page.private", 8)?,
            lru: layout.field("page.lru", 8)?,
            head,
            slab: layout.flag("PG_slab").unwrap_or(0),
            slab_kind: Kind::of(info, "PAGE_SLAB_MAPCOUNT_VALUE").unwrap_or(Kind::NONE),
            node_shift: 64,
            nodes: [0; MOST_NODES / 64],
            lowest_type: match buddy {
                // Numbers in the top byte from 0xf0 on, then bits cleared from all ones with any low bits, then bits
                // among the low sixteen, or single small numbers.
                Some(value) if value & 0x00ff_ffff == 0 => 0xf000_0000_u32 as i32,
                Some(value) if value < 0xffff_0000 => i32::MIN,
                _ => -0x1_0000,
            },
            pointers: Pointers::new(machine, memory),
            lru_flag: layout.flag("PG_lru").unwrap_or(0),
            private_flag: layout.flag("PG_private").unwrap_or(0),
            head_flag: head.and(info.number("PG_head_mask")).map_or(0, |mask| mask as u64),
        })
    }

    /// Looks at nodes from now on: the flags' topmost bits, of which there are as many as `count` nodes need, must be
    /// the number of one of `nodes`.
    pub(crate) fn expect_nodes(&mut self, count: u64, nodes: impl Iterator<Item = usize>) {
        if !count.is_power_of_two() || count < 2 || count > MOST_NODES as u64 {
            return;
        }
        self.node_shift = 64 - count.trailing_zeros();
        for node in nodes.filter(|node| *node < MOST_NODES) {
            self.nodes[node / 64] |= 1 << (node % 64);
        }
    }

    /// Stops looking at nodes: on this kernel the bits mean something else.
    pub(crate) fn ignore_nodes(&mut self) {
        self.node_shift = 64;
    }

    /// The flags of a page.
    pub(crate) fn flags<O: Order>(&self, page: &[u8]) -> u64 {
        word::<O>(page, self.flags)
    }

    /// Reports whether the page's node exists.
    #[inline]
    pub(crate) fn has_node(&self, flags: u64) -> bool {
        flags.checked_shr(self.node_shift).is_none_or(|node| {
            let node = node as usize % MOST_NODES;
            self.nodes[node / 64] >> (node % 64) & 1 != 0
        })
    }

    /// Reports whether this is a tail of a compound page.
    #[inline]
    pub(crate) fn is_tail<O: Order>(&self, page: &[u8]) -> bool {
        self.head.is_some_and(|head| word::<O>(page, head) & 1 != 0)
    }

    /// Reports whether this could be the `struct page` of a page that is not a tail.
    #[inline]
    pub(crate) fn page<O: Order>(&self, page: &[u8]) -> bool {
        let flags = word::<O>(page, self.flags);
        if !self.has_node(flags) {
            return false;
        }
        if let Some(refcount) = self.refcount {
            let users = half::<O>(page, refcount) as i32;
            if !(FEWEST_USERS..MOST_USERS).contains(&users) {
                return false;
            }
        }
        let mapcount = self.mapcount.map_or(0, |mapcount| half::<O>(page, mapcount));
        // Slab has its own use for the other fields.
        if flags & self.slab != 0 || self.slab_kind.is(mapcount) {
            return true;
        }
        let maps = mapcount as i32;
        (self.lowest_type..MOST_USERS).contains(&maps)
            && self.mapping.is_none_or(|mapping| self.pointers.holds(word::<O>(page, mapping) & !3))
    }

    /// Reports whether this could be the `struct page` of a tail: it points to its head, or since 7.1 says how to get
    /// there.
    #[inline]
    pub(crate) fn tail<O: Order>(&self, page: &[u8]) -> bool {
        self.has_node(word::<O>(page, self.flags))
            && self.head.is_none_or(|head| self.pointers.holds(word::<O>(page, head)))
    }

    /// Reports whether this page, which is free, broken or on an LRU list, could be a link of a list. Others leave there
    /// what they like.
    #[inline]
    pub(crate) fn linked<O: Order>(&self, page: &[u8]) -> bool {
        self.lru.is_none_or(|lru| self.pointers.holds(word::<O>(page, lru)))
    }

    /// Reports whether this could be a further page of a free block: it has no users and no type.
    pub(crate) fn inside_free<O: Order>(&self, page: &[u8]) -> bool {
        self.has_node(word::<O>(page, self.flags))
            && self.refcount.is_none_or(|refcount| half::<O>(page, refcount) == 0)
            && self.mapcount.is_none_or(|mapcount| matches!(half::<O>(page, mapcount) as i32, -1 | 0))
    }

    /// Reports whether this could be a further page of a compound: a tail, or not in use on its own.
    pub(crate) fn inside_compound<O: Order>(&self, page: &[u8]) -> bool {
        self.is_tail::<O>(page)
            || self.head.is_none()
            || self.refcount.is_none_or(|refcount| half::<O>(page, refcount) == 0)
    }

    /// What PG_private is about: whether the page has the flag, and whether its word holds anything, and a pointer.
    pub(crate) fn private<O: Order>(&self, page: &[u8]) -> Option<(bool, u64)> {
        let flag = (self.private_flag != 0).then(|| word::<O>(page, self.flags) & self.private_flag != 0);
        flag.zip(self.private.map(|private| word::<O>(page, private)))
    }

    /// Reports whether a word is an address of the kernel's half.
    pub(crate) fn is_pointer(&self, word: u64) -> bool {
        self.pointers.high <= word && word < u64::MAX - 4095
    }
}
