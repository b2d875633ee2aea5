//! What is counted while struct pages are judged, so that the sums can be held against what the kernel counted.

use super::classes::{Classes, Verdict};
use super::fields::Order;
use super::region::CELL;
use super::sound::Sound;
use vmcore::{Pfn, Reason};

/// Orders of free blocks that are distinguished: all there are (see `Classes`).
pub(crate) const ORDERS: usize = 24;

/// Sums over struct pages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    /// Cells of 64 pages that were looked at, and those that hold nonsense.
    pub(crate) cells: u64,
    pub(crate) bad_cells: u64,
    /// Free blocks by order.
    pub(crate) free: [u64; ORDERS],
    /// Pages on an LRU list.
    pub(crate) lru: u64,
    /// Slab, and how much of it claims to be on an LRU list as well.
    pub(crate) slab: u64,
    pub(crate) slab_on_lru: u64,
    /// Heads of compound pages, and those that no tail follows.
    pub(crate) heads: u64,
    pub(crate) lone_heads: u64,
    /// Compounds of which a first tail was seen, and those without a head before it.
    pub(crate) tails: u64,
    pub(crate) headless: u64,
    /// Pages of the cache whose flag of private data and whose private data agree that there is some; where only the
    /// flag says so; where there is a pointer without the flag.
    pub(crate) private: u64,
    pub(crate) private_missing: u64,
    pub(crate) private_unmarked: u64,
    /// Broken and offline pages.
    pub(crate) broken: u64,
    pub(crate) offline: u64,
    /// Pages without a `struct page` in the dump, and those of them that have none anywhere, as between sections.
    pub(crate) unknown: u64,
    pub(crate) uncovered: u64,
}

impl Census {
    /// Adds the sums of other pages.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.free.iter_mut().zip(other.free).for_each(|(a, b)| *a += b);
        let pairs = [
            (&mut self.cells, other.cells),
            (&mut self.bad_cells, other.bad_cells),
            (&mut self.lru, other.lru),
            (&mut self.slab, other.slab),
            (&mut self.slab_on_lru, other.slab_on_lru),
            (&mut self.heads, other.heads),
            (&mut self.lone_heads, other.lone_heads),
            (&mut self.tails, other.tails),
            (&mut self.headless, other.headless),
            (&mut self.private, other.private),
            (&mut self.private_missing, other.private_missing),
            (&mut self.private_unmarked, other.private_unmarked),
            (&mut self.broken, other.broken),
            (&mut self.offline, other.offline),
            (&mut self.unknown, other.unknown),
            (&mut self.uncovered, other.uncovered),
        ];
        for (mine, theirs) in pairs {
            *mine += theirs;
        }
    }

    /// Pages of which the kernel knew more than the dump shows. What has no `struct page` was in none of its counts.
    pub(crate) fn hidden(&self) -> u64 {
        self.bad_cells * CELL + self.unknown.saturating_sub(self.uncovered)
    }

    /// Pages in free blocks.
    pub(crate) fn free_pages(&self) -> u64 {
        self.free.iter().zip(0..).map(|(blocks, order)| blocks << order).sum()
    }

    /// Counts frames of which the dump does not hold the `struct page`.
    pub(super) fn unknown(&mut self, from: Pfn, to: Pfn) {
        self.unknown += to.0.saturating_sub(from.0);
    }

    /// Counts frames that have no `struct page`.
    pub(super) fn uncovered(&mut self, from: Pfn, to: Pfn) {
        self.unknown(from, to);
        self.uncovered += to.0.saturating_sub(from.0);
    }

    /// Counts a free block of 2^`order` pages.
    pub(super) fn free_block(&mut self, order: u32) {
        self.free[(order as usize).min(ORDERS - 1)] += 1;
    }

    /// Counts a page on an LRU list, with all of the block that it is the head of; `next` is the struct page after it.
    pub(super) fn listed<O: Order>(&mut self, classes: &Classes, page: &[u8], next: Option<&[u8]>) {
        self.lru += 1 << next.map_or(0, |next| classes.order::<O>(page, next));
    }

    /// Counts a page that was judged and looks like one. `before` and `next` are its neighbours' struct pages, where
    /// they are at hand.
    #[inline(always)]
    pub(super) fn count<O: Order>(
        &mut self,
        classes: &Classes,
        sound: &Sound,
        [before, page, next]: [Option<&[u8]>; 3],
        verdict: Verdict,
    ) {
        let Some(page) = page else { return };
        let order = match verdict {
            Verdict::Tail => {
                if let Some(before) = before.filter(|before| !sound.is_tail::<O>(before)) {
                    self.tails += 1;
                    let headed = sound.flags::<O>(before) & sound.head_flag != 0;
                    self.headless += u64::from(!headed && sound.head_flag != 0);
                }
                return;
            }
            Verdict::Drop(Reason::Free, order) => {
                self.free_block(order);
                return;
            }
            Verdict::Unmade => return,
            Verdict::Keep | Verdict::BadOrder => None,
            Verdict::Drop(reason, order) => {
                match reason {
                    Reason::HwPoison => self.broken += 1,
                    Reason::Offline => self.offline += 1,
                    Reason::Cache | Reason::CachePrivate => self.private::<O>(sound, page),
                    Reason::User | Reason::Free | Reason::Earlier | Reason::Destroyed | Reason::Mini => {}
                }
                Some(order)
            }
        };
        let flags = sound.flags::<O>(page);
        let slab = classes.is_slab::<O>(page);
        self.slab += u64::from(slab);
        if flags & sound.head_flag != 0 {
            self.heads += 1;
            self.lone_heads += u64::from(next.is_some_and(|next| !sound.is_tail::<O>(next)));
        }
        if flags & sound.lru_flag != 0 {
            match order {
                Some(order) => self.lru += 1 << order,
                None => self.listed::<O>(classes, page, next),
            }
            self.slab_on_lru += u64::from(slab);
        }
    }

    fn private<O: Order>(&mut self, sound: &Sound, page: &[u8]) {
        match sound.private::<O>(page) {
            Some((true, 0)) => self.private_missing += 1,
            Some((true, _)) => self.private += 1,
            Some((false, word)) if sound.is_pointer(word) => self.private_unmarked += 1,
            _ => {}
        }
    }
}
