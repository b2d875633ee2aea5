//! `memory`: physical memory, of which byte n is physical address n.

use crate::content::{Content, Failure};
use crate::pages::{Missing, Pages};
use std::sync::Arc;
use vmcore::{Pfn, PhysAddr, Range, RangeSet};

/// Physical memory as one file, with holes where there is none.
pub struct Physical {
    pages: Arc<Pages>,
    /// Where something may be read that is not zero, in whole frames.
    there: RangeSet<PhysAddr>,
    len: u64,
}

impl Physical {
    /// The file of all memory. `kept` is what is in the dump, where that is known; what an earlier filter left out is a hole as well
    /// then, unless reading it is an error.
    pub fn new(pages: Arc<Pages>, all: &RangeSet<Pfn>, kept: Option<RangeSet<PhysAddr>>) -> Self {
        let size = pages.page_size();
        let all: RangeSet<PhysAddr> =
            all.iter().map(|r| Range::new(size.addr(r.start), size.addr(r.end))).collect();
        let len = all.end().map_or(0, |end| end.0);
        let there = kept.filter(|_| pages.missing() == Missing::Zeros).unwrap_or(all);
        Self { pages, there, len }
    }
}

impl Content for Physical {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        bytes.fill(0);
        let window = Range::new(PhysAddr(offset), PhysAddr(offset.saturating_add(bytes.len() as u64)));
        for range in self.there.within(window) {
            let part = &mut bytes[(range.start.0 - offset) as usize..(range.end.0 - offset) as usize];
            self.pages.read(range.start, part)?;
        }
        Ok(())
    }

    fn stored(&self) -> u64 {
        self.there.total()
    }

    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        let behind = Range::new(PhysAddr(offset), PhysAddr(u64::MAX));
        self.there.within(behind).next().map(|range| Range::new(range.start.0, range.end.0))
    }
}
