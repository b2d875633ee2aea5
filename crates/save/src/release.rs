//! Giving memory back range by range, through the `release_region` of kernels 2.6.26 to 3.3.
//!
//! That file is a trap (`store_release_region`, `release_memory_range` in
//! `arch/powerpc/platforms/pseries/phyp_dump.c`). Its loop includes the page at start + length; a range that begins below
//! what the kernel keeps is moved up and not shortened; one that begins past its end runs off the memory map. So only
//! whole pages of memory that is kept and lies in one piece are named here, and a range of n pages is written with the
//! length of n - 1: the loop then ends where the range does.
//!
//! A kernel without the bug would leave the last page. Which kind of kernel it is, it tells itself: its count of memory
//! (`MemTotal`) grows by every page. A page that stayed behind becomes the first one of the next range. Nothing is freed
//! before it is saved, whatever the kernel is.

use crate::Error;
use crate::journal::{Journal, Record};
use phyp::kdms::KernelDump;
use phyp::region::{Reading, ReleaseRegion};
use phyp::system::System;
use std::io;
use vmcore::{PhysAddr, Range, RangeSet};

/// The most that is given back in one write, in bytes: the kernel's loop does not let go of its processor.
const MAX_WRITE: u64 = 1 << 30;

/// The kernel's side.
pub trait ReleaseFile: Send {
    /// Writes `start` and `len` to `release_region`.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn release(&mut self, start: PhysAddr, len: u64) -> io::Result<()>;

    /// The bytes of memory that the kernel has for use now, where it says so exactly.
    fn memory_total(&mut self) -> Option<u64>;
}

/// What there is to give back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground {
    /// The running kernel's page size in bytes: what it frees one too many of.
    pub page: u64,
    /// Memory of the crashed system that stayed in place, whole pages.
    pub in_place: RangeSet<PhysAddr>,
    /// The save areas with the copy of low memory, whole pages. Without them nothing else can be read.
    pub areas: RangeSet<PhysAddr>,
}

impl Ground {
    /// What of `memory` may be given back: the kernel keeps what it `lists`, the save areas begin at `areas` and reach to the
    /// end, and `keep` belongs to the firmware for good. `page` is the running kernel's page size in bytes, a power of two.
    pub fn new(
        memory: &RangeSet<PhysAddr>,
        listed: &RangeSet<PhysAddr>,
        areas: PhysAddr,
        keep: &RangeSet<PhysAddr>,
        page: u64,
    ) -> Self {
        // Towards the inside for what is given back, towards the outside for what is kept.
        let inner = |r: Range<PhysAddr>| {
            let start = r.start.0.checked_next_multiple_of(page).unwrap_or(u64::MAX);
            Range::new(PhysAddr(start), PhysAddr(r.end.0 - r.end.0 % page))
        };
        let outer = |r: Range<PhysAddr>| {
            let end = r.end.0.checked_next_multiple_of(page).unwrap_or(u64::MAX);
            Range::new(PhysAddr(r.start.0 - r.start.0 % page), PhysAddr(end))
        };
        let keep: RangeSet<PhysAddr> = keep.iter().map(outer).collect();
        let part = |window: Range<PhysAddr>| {
            let there: RangeSet<PhysAddr> = memory.within(window).map(inner).collect();
            there.subtract(&keep)
        };
        let areas = PhysAddr(areas.0 - areas.0 % page);
        let below = Range::new(PhysAddr(0), areas);
        let in_place =
            listed.within(below).flat_map(|r| part(r).iter().map(inner).collect::<Vec<_>>()).collect();
        let end = memory.end().unwrap_or_default();
        Self { page, in_place, areas: part(Range::new(areas, end)) }
    }

    /// What may be given back on the machine that `system` shows.
    ///
    /// # Errors
    ///
    /// When it has no `release_region`, or not all that is needed to use it safely.
    pub fn of(system: &System, reading: Reading, page: u64) -> Result<Self, Error> {
        let no = |why: &str| Error::NoRelease { why: why.to_owned() };
        let leavings = &system.leavings;
        let text = leavings.release_region.as_deref().ok_or_else(|| {
            no("there is no sys/kernel/release_region; a fadump kernel gives all of it back at the end: --release after")
        })?;
        let region = ReleaseRegion::parse(text).map_err(|error| no(&error.to_string()))?;
        let structure = leavings.kernel_dump.as_deref().map(KernelDump::parse);
        let structure = structure.transpose().map_err(|error| no(&error.to_string()))?;
        let copies =
            structure.iter().flat_map(|s| &s.sections).filter(|s| s.is_requested() && !s.is_in_place());
        let areas = copies.map(|s| s.destination).min().or(region.scratch());
        let areas = areas.ok_or_else(|| no("nothing says where the save areas begin"))?;
        let memory =
            leavings.memory_map.as_ref().ok_or_else(|| no("the device tree does not say where memory is"))?;
        let listed = region.listed(reading, Some(areas), page).iter().map(|l| l.clamped).collect();
        Ok(Self::new(memory, &listed, areas, &system.reserved_ranges, page))
    }

    /// All of it.
    pub fn all(&self) -> RangeSet<PhysAddr> {
        self.in_place.iter().chain(self.areas.iter()).collect()
    }
}

/// What the kernel does with the page at start + length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loop {
    /// Not known yet; taken for inclusive, as every kernel that shipped is.
    Unknown,
    /// It frees it.
    Inclusive,
    /// It does not.
    Exclusive,
}

/// Gives back what is durable.
pub struct Releaser {
    ground: Ground,
    file: Box<dyn ReleaseFile>,
    kernel: Loop,
    /// What has been given back for certain.
    released: RangeSet<PhysAddr>,
    /// Why no more is given back, once the kernel refused.
    refused: Option<String>,
}

impl Releaser {
    /// Gives back `ground` through `file`, but for what was `released` before, in this boot.
    pub fn new(ground: Ground, file: Box<dyn ReleaseFile>, released: RangeSet<PhysAddr>) -> Self {
        Self { ground, file, kernel: Loop::Unknown, released, refused: None }
    }

    /// What there is to give back.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// What has been given back.
    pub fn released(&self) -> &RangeSet<PhysAddr> {
        &self.released
    }

    /// Why the kernel took no more, if it refused.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Gives back the memory in place below `durable`: every page below it that is to be saved is durable, and so is
    /// all that is needed to read the pages above.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written; the kernel's refusal is kept for [`Releaser::refused`].
    pub fn up_to(&mut self, durable: PhysAddr, journal: &mut Journal) -> Result<(), Error> {
        let end = PhysAddr(durable.0 - durable.0 % self.ground.page);
        let window = [Range::new(PhysAddr(0), end)].into_iter().collect();
        let free = self.ground.in_place.intersect(&window).subtract(&self.released);
        self.give_back(&free, false, journal)
    }

    /// Gives back everything that is left. The output must be durable and have its name.
    ///
    /// # Errors
    ///
    /// As [`Releaser::up_to`].
    pub fn rest(&mut self, journal: &mut Journal) -> Result<(), Error> {
        // Where the loop ends before the last page, the first round leaves that page of each range for the second.
        for _ in 0..2 {
            let free = self.ground.all().subtract(&self.released);
            self.give_back(&free, true, journal)?;
        }
        Ok(())
    }

    fn give_back(
        &mut self,
        free: &RangeSet<PhysAddr>,
        last: bool,
        journal: &mut Journal,
    ) -> Result<(), Error> {
        // A single page waits for its neighbours: where the loop is exclusive, no write frees it safely.
        let worth = |r: &Range<PhysAddr>| last || r.len() > self.ground.page;
        let ranges: Vec<Range<PhysAddr>> = free.iter().filter(worth).flat_map(pieces).collect();
        if ranges.is_empty() || self.refused.is_some() {
            return Ok(());
        }
        journal.append(&Record::Release(ranges.clone()))?;
        let mut done = Vec::new();
        for &range in &ranges {
            match self.write(range, last) {
                Ok(freed) => {
                    self.released.insert(freed);
                    done.push(freed);
                }
                Err(error) => {
                    self.refused = Some(format!("release_region refused {range:?}: {error}"));
                    break;
                }
            }
        }
        done.retain(|r| !r.is_empty());
        if !done.is_empty() {
            journal.append(&Record::Released(done))?;
        }
        Ok(())
    }

    /// Writes one range, all of which may be freed; answers what of it was.
    fn write(&mut self, range: Range<PhysAddr>, last: bool) -> io::Result<Range<PhysAddr>> {
        let page = self.ground.page;
        let len = range.len() - page;
        let before = self.file.memory_total();
        match self.file.release(range.start, len) {
            // No kernel that frees one page too many refuses a length of nought: this one frees what it is told.
            Err(error) if len == 0 && last && error.kind() == io::ErrorKind::InvalidInput => {
                self.kernel = Loop::Exclusive;
                self.file.release(range.start, page)?;
                return Ok(range);
            }
            other => other?,
        }
        let grown = before.zip(self.file.memory_total()).and_then(|(b, a)| a.checked_sub(b));
        match grown {
            _ if len == 0 => (),
            Some(grown) if grown == range.len() => self.kernel = Loop::Inclusive,
            Some(grown) if grown == len && self.kernel == Loop::Unknown => self.kernel = Loop::Exclusive,
            _ => (),
        }
        // Where memory that was free already, from before a crash of the tool, hides what the kernel does, the last page
        // counts as left: to name it once more does no harm.
        let freed_it = match self.kernel {
            Loop::Inclusive => true,
            Loop::Exclusive => false,
            Loop::Unknown => grown.is_none(),
        };
        let left = if freed_it || len == 0 { 0 } else { page };
        Ok(Range::new(range.start, PhysAddr(range.end.0 - left)))
    }
}

fn pieces(range: Range<PhysAddr>) -> impl Iterator<Item = Range<PhysAddr>> {
    (range.start.0..range.end.0)
        .step_by(MAX_WRITE as usize)
        .map(move |at| Range::new(PhysAddr(at), PhysAddr(at.saturating_add(MAX_WRITE).min(range.end.0))))
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
