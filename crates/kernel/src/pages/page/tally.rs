//! The walk over arrays of `struct page`s that only counts what the kernel counted.

use super::census::Census;
use super::classes::{Classes, Verdict};
use super::fields::{Big, Little, Order};
use super::sound::Sound;
use crate::pages::walk::Visitor;
use vmcore::{ByteOrder, Pfn, Reason};

/// Counts free blocks and pages on LRU lists.
pub(crate) struct Tally<'a> {
    classes: &'a Classes,
    sound: &'a Sound,
    order: ByteOrder,
    pub(crate) census: Census,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(classes: &'a Classes, sound: &'a Sound, order: ByteOrder) -> Self {
        Self { classes, sound, order, census: Census::default() }
    }

    fn pages_in<O: Order>(&mut self, bytes: &[u8], from: u64, to: u64) -> u64 {
        let (classes, sound, size) = (self.classes, self.sound, self.classes.size);
        let mut pfn = from;
        while pfn < to {
            let at = (pfn - from) as usize * size;
            let Some(page) = bytes.get(at..at + size) else { break };
            // Most of what is not in a dump was set aside at boot, and is neither.
            let listed = sound.flags::<O>(page) & sound.lru_flag != 0;
            if !listed && !classes.is_buddy::<O>(page) && !classes.is_unaccepted::<O>(page) {
                pfn += 1;
                continue;
            }
            let next = bytes.get(at + size..at + 2 * size);
            match classes.judge::<O>(page, next, pfn) {
                Verdict::Drop(Reason::Free, order) => {
                    self.census.free_block(order);
                    pfn += 1 << order;
                    continue;
                }
                Verdict::Tail => {}
                Verdict::Unmade => self.census.uncovered(Pfn(pfn), Pfn(pfn + 1)),
                _ if listed => self.census.listed::<O>(classes, page, next),
                _ => {}
            }
            pfn += 1;
        }
        pfn
    }
}

impl Visitor for Tally<'_> {
    fn page_struct(&self) -> usize {
        self.classes.size
    }

    fn pages(&mut self, bytes: &[u8], from: u64, to: u64) -> u64 {
        match self.order {
            ByteOrder::Little => self.pages_in::<Little>(bytes, from, to),
            ByteOrder::Big => self.pages_in::<Big>(bytes, from, to),
        }
    }

    fn unknown(&mut self, from: Pfn, to: Pfn) {
        self.census.unknown(from, to);
    }

    fn uncovered(&mut self, from: Pfn, to: Pfn) {
        self.census.uncovered(from, to);
    }
}
