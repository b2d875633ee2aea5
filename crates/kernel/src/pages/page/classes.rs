//! Which class a page belongs to.
//!
//! Everything that VMCOREINFO and the dump level decide is worked out once, into masks and offsets; the test of one page
//! is a few loads and comparisons. The order of the tests is makedumpfile's, so that counts can be compared.

use super::compound::{Compound, Head, LARGEST};
use super::fields::{Big, Layout, Little, Order, half, missing, word};
use super::kind::Kind;
use crate::Error;
use vmcore::{ByteOrder, DumpLevel, PageSize, Reason, VirtAddr, VmcoreInfo};

const CACHE: &str = "telling page cache";
const USER: &str = "telling pages of processes";
const FREE: &str = "telling free pages";

/// The tests that a dump level asks for, on the `struct page` of one kernel.
#[derive(Clone, Debug)]
pub(crate) struct Classes {
    /// Bytes of a `struct page`.
    pub(super) size: usize,
    flags: usize,
    /// `_refcount`, `_count` before 4.6; `None` where VMCOREINFO does not say.
    refcount: Option<usize>,
    mapcount: usize,
    mapping: usize,
    private: usize,
    /// `compound_head`, `compound_info` since 7.1.
    head: usize,
    /// Bit 0 of it, or 0 when the kernel has no such field.
    tail: u64,
    lru: u64,
    /// All flags that a page in the swap cache has; 0 when they are not known.
    swap: u64,
    has_private: u64,
    slab: u64,
    slab_kind: Kind,
    pub(super) hwpoison: u64,
    offline: Kind,
    buddy: Kind,
    unaccepted: Kind,
    /// LENGTH(zone.free_area): free blocks have an order below it.
    free_orders: u64,
    any_cache: bool,
    cache_private: bool,
    user: bool,
    /// Free pages are wanted and have no mark: the free lists must be walked.
    pub(crate) by_free_list: bool,
    compound: Compound,
}

/// What one page's `struct page` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Keep the page.
    Keep,
    /// Keep the page: it is a tail of a compound page, which goes with its head or not at all.
    Tail,
    /// Keep the page: the kernel made no `struct page` for it. Since 4.17 kernels with `CONFIG_DEBUG_VM` fill the array with
    /// ones before (`page_init_poison`), and again where memory goes offline.
    Unmade,
    /// Leave out 2^order pages from here on.
    Drop(Reason, u32),
    /// A block of free pages whose size makes no sense.
    BadOrder,
}

impl Classes {
    /// Prepares the tests for `level`. Classes that VMCOREINFO does not describe are kept, with a remark.
    ///
    /// # Errors
    ///
    /// [`Error::MissingKey`] for what every kernel of a kind must export.
    pub(crate) fn new(
        info: &VmcoreInfo,
        page: PageSize,
        level: DumpLevel,
        remarks: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let layout = Layout::new(info)?;
        let mut classes = Self::bare(&layout, page, level)?;
        if classes.any_cache || classes.user {
            classes.add_contents(&layout, remarks)?;
        }
        if level.has(DumpLevel::FREE) {
            classes.add_free(&layout, page)?;
        }
        Ok(classes)
    }

    /// The tests that every level has: of broken and offline pages, of slab, of the parts of a compound page.
    fn bare(layout: &Layout<'_>, page: PageSize, level: DumpLevel) -> Result<Self, Error> {
        let head = match layout.field("page.compound_head", 8)? {
            None => layout.field("page.compound_info", 8)?,
            head => head,
        };
        let mapcount = layout.field("page._mapcount", 4)?;
        let refcount = match layout.field("page._refcount", 4)? {
            None => layout.field("page._count", 4)?,
            refcount => refcount,
        };
        // Without the word that holds types no page has one.
        let kind = |name: &str| mapcount.and_then(|_| Kind::of(layout.info(), name)).unwrap_or(Kind::NONE);
        Ok(Self {
            size: layout.size,
            flags: layout.need("page.flags", 8, "classifying pages")?,
            refcount,
            mapcount: mapcount.unwrap_or(0),
            mapping: 0,
            private: 0,
            head: head.unwrap_or(0),
            tail: head.is_some().into(),
            lru: 0,
            swap: 0,
            has_private: 0,
            // Since 6.10 slab is a type and its flag's number means something else: no default replaces it.
            slab: layout.flag("PG_slab").unwrap_or(0),
            slab_kind: kind("PAGE_SLAB_MAPCOUNT_VALUE"),
            hwpoison: layout.flag("PG_hwpoison").unwrap_or(0),
            offline: kind("PAGE_OFFLINE_MAPCOUNT_VALUE"),
            buddy: Kind::NONE,
            unaccepted: Kind::NONE,
            free_orders: 0,
            any_cache: level.has(DumpLevel::CACHE | DumpLevel::CACHE_PRIVATE),
            cache_private: level.has(DumpLevel::CACHE_PRIVATE),
            user: level.has(DumpLevel::USER),
            by_free_list: false,
            compound: Compound::new(layout, page, head)?,
        })
    }

    /// What tells the page cache and the pages of processes apart.
    fn add_contents(&mut self, layout: &Layout<'_>, remarks: &mut Vec<String>) -> Result<(), Error> {
        let purpose = if self.user { USER } else { CACHE };
        self.mapping = layout.need("page.mapping", 8, purpose)?;
        // Kernels before 3.9 export neither slab nor where map counts are, and have no need to: until 6.2 nothing
        // that slab writes into `mapping` is odd.
        let slab = self.slab != 0 || self.slab_kind != Kind::NONE;
        if !slab && layout.field("page._mapcount", 4)?.is_some() {
            return Err(missing("NUMBER(PG_slab)", purpose));
        }
        if self.any_cache {
            self.lru = layout.need_flag("PG_lru", CACHE)?;
            self.has_private = layout.need_flag("PG_private", CACHE)?;
            self.swap = swap_flags(layout, self.has_private, remarks);
        }
        if self.user && !self.compound.tells_hugetlb() {
            remarks.push(
                "VMCOREINFO does not describe huge pages of hugetlbfs (a kernel without them, or older than 3.17); \
                 if there are any, they are kept"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// How free pages are found.
    fn add_free(&mut self, layout: &Layout<'_>, page: PageSize) -> Result<(), Error> {
        if layout.info().number("PAGE_BUDDY_MAPCOUNT_VALUE").is_some() {
            self.private = layout.need("page.private", 8, FREE)?;
            layout.need("page._mapcount", 4, FREE)?;
        }
        let typed = layout.field("page._mapcount", 4)?.is_some();
        let kind = |name: &str| Kind::of(layout.info(), name).filter(|_| typed).unwrap_or(Kind::NONE);
        self.buddy = kind("PAGE_BUDDY_MAPCOUNT_VALUE");
        self.by_free_list = self.buddy == Kind::NONE;
        self.unaccepted = kind("PAGE_UNACCEPTED_MAPCOUNT_VALUE");
        let length = layout.info().length("zone.free_area");
        self.free_orders = length
            .ok_or_else(|| missing("LENGTH(zone.free_area)", FREE))?
            .min(u64::from(LARGEST - page.shift()) + 1);
        Ok(())
    }

    /// Bytes of a `struct page`.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Where the flags of the `struct page` at `page` are.
    pub(crate) fn flags_of(&self, page: VirtAddr) -> VirtAddr {
        VirtAddr(page.0.wrapping_add(self.flags as u64))
    }

    /// Reports whether the kernel exports how many pages a compound has, as those since 3.17 do.
    pub(crate) fn tells_sizes(&self) -> bool {
        self.compound.tells_sizes()
    }

    /// Reports whether any page could be left out.
    pub(crate) fn finds_something(&self) -> bool {
        self.any_cache
            || self.user
            || self.hwpoison != 0
            || self.buddy != Kind::NONE
            || self.by_free_list
            || self.offline != Kind::NONE
    }

    /// Judges the page at frame `pfn` by its `struct page` and, for a compound page, by the `struct page` after it.
    #[inline(always)]
    pub(super) fn judge<O: Order>(&self, page: &[u8], next: Option<&[u8]>, pfn: u64) -> Verdict {
        let flags = word::<O>(page, self.flags);
        if word::<O>(page, self.head) & self.tail != 0 {
            // Tails go with their head, but reading a broken one may stop the machine even if the rest is kept.
            let broken = flags & self.hwpoison != 0;
            if is_poison(flags) {
                return Verdict::Unmade;
            }
            return if broken { Verdict::Drop(Reason::HwPoison, 0) } else { Verdict::Tail };
        }
        let mapcount = half::<O>(page, self.mapcount);
        let slab = flags & self.slab != 0 || self.slab_kind.is(mapcount);
        if self.buddy.is(mapcount) && !slab {
            let order = word::<O>(page, self.private);
            return if order < self.free_orders && pfn & ((1 << order) - 1) == 0 {
                Verdict::Drop(Reason::Free, order as u32)
            } else {
                Verdict::BadOrder
            };
        }
        if self.unaccepted.is(mapcount) {
            let order = self.free_orders.saturating_sub(1);
            return if pfn & ((1 << order) - 1) == 0 {
                Verdict::Drop(Reason::Free, order as u32)
            } else {
                Verdict::BadOrder
            };
        }
        let head = match next {
            Some(next) if flags & self.compound.head != 0 => self.compound.read::<O>(next, pfn, mapcount),
            _ => Head::default(),
        };
        self.reason::<O>(page, flags, mapcount, slab, head.hugetlb)
            .map_or(Verdict::Keep, |reason| Verdict::Drop(reason, head.order))
    }

    /// The order of the block that begins at frame `pfn` when a kernel cannot be understood without it: slab, or what has
    /// the flag `reserved`. It is a page that is kept.
    pub(super) fn foundation<O: Order>(
        &self,
        page: &[u8],
        next: Option<&[u8]>,
        pfn: u64,
        reserved: u64,
    ) -> Option<u32> {
        let flags = word::<O>(page, self.flags);
        if word::<O>(page, self.head) & self.tail != 0 {
            return None;
        }
        let mapcount = half::<O>(page, self.mapcount);
        let slab = flags & self.slab != 0 || self.slab_kind.is(mapcount);
        if !slab {
            return (flags & reserved != 0).then_some(0);
        }
        match next {
            Some(next) if flags & self.compound.head != 0 => {
                Some(self.compound.read::<O>(next, pfn, mapcount).order)
            }
            _ => Some(0),
        }
    }

    /// Reports whether a page that is not a tail is slab.
    #[inline]
    pub(super) fn is_slab<O: Order>(&self, page: &[u8]) -> bool {
        word::<O>(page, self.flags) & self.slab != 0 || self.slab_kind.is(half::<O>(page, self.mapcount))
    }

    /// Where the `struct page` of the head of the block is that the page of `page` is in; `at` is where `page` is.
    ///
    /// A tail points to its head. Since 7.1 it may have a mask instead, of which its own address makes the head's
    /// (kernel: `compound_info_has_mask`).
    pub(crate) fn head_of(&self, order: ByteOrder, page: &[u8], at: VirtAddr) -> VirtAddr {
        let info = order.u64(&page[self.head..]);
        if info & self.tail == 0 {
            return at;
        }
        let is_mask = (!(info & !1)).wrapping_add(1).is_power_of_two();
        VirtAddr(if is_mask { at.0 & info } else { info & !1 })
    }

    /// As [`Classes::is_slab`], for one page.
    pub(crate) fn is_one_of_slab(&self, order: ByteOrder, page: &[u8]) -> bool {
        match order {
            ByteOrder::Little => self.is_slab::<Little>(page),
            ByteOrder::Big => self.is_slab::<Big>(page),
        }
    }

    /// Reports whether a page begins a free block.
    pub(super) fn is_buddy<O: Order>(&self, page: &[u8]) -> bool {
        self.buddy.is(half::<O>(page, self.mapcount))
    }

    /// Reports whether a page begins a block that the kernel has not accepted from its host yet.
    pub(super) fn is_unaccepted<O: Order>(&self, page: &[u8]) -> bool {
        self.unaccepted.is(half::<O>(page, self.mapcount))
    }

    /// The order of a page that is kept and no tail, as its head has it, without regard to where it is.
    pub(super) fn order<O: Order>(&self, page: &[u8], next: &[u8]) -> u32 {
        if word::<O>(page, self.flags) & self.compound.head == 0 {
            return 0;
        }
        self.compound.read::<O>(next, 0, half::<O>(page, self.mapcount)).order
    }

    /// Reports whether a page is part of a block that was allocated at once and is not compound, as stacks are without
    /// `CONFIG_VMAP_STACK`. Only the first of its pages is counted as in use; `inside` says that the page before this
    /// one is of such a block.
    pub(super) fn in_block<O: Order>(
        &self,
        page: &[u8],
        next: Option<&[u8]>,
        pfn: u64,
        inside: bool,
    ) -> bool {
        let Some(refcount) = self.refcount else { return false };
        let further = |page: &[u8]| {
            let alone = word::<O>(page, self.head) & self.tail == 0;
            half::<O>(page, refcount) == 0 && half::<O>(page, self.mapcount) == u32::MAX && alone
        };
        let first = pfn & 1 == 0 && half::<O>(page, refcount) == 1 && next.is_some_and(further);
        first || inside && further(page)
    }

    /// The class of a page that is neither free nor a tail.
    #[inline(always)]
    fn reason<O: Order>(
        &self,
        page: &[u8],
        flags: u64,
        mapcount: u32,
        slab: bool,
        hugetlb: bool,
    ) -> Option<Reason> {
        // Bit 0 of `mapping` says anonymous, KSM included; slab uses the word otherwise.
        let anon = word::<O>(page, self.mapping) & 1 != 0 && !slab;
        let in_cache = flags & self.lru != 0 || self.swap != 0 && flags & self.swap == self.swap;
        if self.any_cache && in_cache && !anon {
            if flags & self.has_private == 0 {
                // Level 4 alone takes these too.
                return Some(Reason::Cache);
            }
            if self.cache_private {
                return Some(Reason::CachePrivate);
            }
        }
        if self.user && (anon || hugetlb) {
            return Some(Reason::User);
        }
        if flags & self.hwpoison != 0 {
            return Some(Reason::HwPoison);
        }
        (self.offline.is(mapcount) && !slab).then_some(Reason::Offline)
    }
}

/// Reports whether these are the flags of a `struct page` that the kernel did not make: no page has all of them.
pub(crate) fn is_poison(flags: u64) -> bool {
    flags == u64::MAX
}

/// The flags that a page of the swap cache has.
///
/// Since 4.10 PG_swapcache is another name for PG_owner_priv_1, whose number is below PG_private, and means the swap
/// cache only together with PG_swapbacked. Where that is not exported (4.10 and 4.11) such pages are kept.
fn swap_flags(layout: &Layout<'_>, private: u64, remarks: &mut Vec<String>) -> u64 {
    match (layout.flag("PG_swapcache"), layout.flag("PG_swapbacked")) {
        (Some(cache), Some(backed)) => cache | backed,
        (Some(cache), None) if cache > private => cache,
        (Some(_), None) => {
            remarks.push(
                "VMCOREINFO has no NUMBER(PG_swapbacked); pages of the swap cache that are on no LRU list are kept"
                    .to_owned(),
            );
            0
        }
        (None, _) => 0,
    }
}
