//! Releasing memory range by range, through the `release_region` of kernels 2.6.26 to 3.3.
//!
//! That file is a trap (`store_release_region`, `release_memory_range` in
//! `arch/powerpc/platforms/pseries/phyp_dump.c`). Its loop includes the page at start + length; a range that begins below
//! what the kernel reserves is moved up without being shortened; one that begins past its end runs off the memory map. So
//! only whole pages of reserved, contiguous memory are named here, and a range of n pages is written with the length of
//! n - 1 pages: the loop then ends where the range does.
//!
//! A kernel without the bug would leave the last page. The kernel's count of memory (`MemTotal`), which grows by every page,
//! shows which kind of kernel it is. A page that stayed behind becomes the first one of the next range. Nothing is released
//! before it is saved, with either kind.

use crate::Error;
use crate::journal::{Journal, Record};
use phyp::kdms::KernelDump;
use phyp::region::{Reading, ReleaseRegion};
use phyp::system::System;
use std::io;
use vmcore::{PhysAddr, Range, RangeSet};

/// The most bytes that are released in one write: the kernel's loop does not yield its processor.
const MAX_WRITE: u64 = 1 << 30;

/// The kernel's side.
pub trait ReleaseFile: Send {
    /// Writes `start` and `len` to `release_region`.
    ///
    /// # Errors
    ///
    /// Returns the I/O error of the system.
    fn release(&mut self, start: PhysAddr, len: u64) -> io::Result<()>;

    /// The bytes of memory that the kernel manages now, if it reports that exactly.
    fn memory_total(&mut self) -> Option<u64>;

    /// Makes sure that nobody else reads the dump until [`ReleaseFile::let_go`], and returns what others released before. With
    /// `last` this process reads nothing more either, and waits for the others.
    ///
    /// # Errors
    ///
    /// When others read it, or that cannot be found out: then nothing may be released.
    fn claim(&mut self, last: bool) -> Result<RangeSet<PhysAddr>, Error> {
        let _ = last;
        Ok(RangeSet::default())
    }

    /// Lets others read again.
    fn let_go(&mut self) {}
}

/// What there is to release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground {
    /// The running kernel's page size in bytes.
    pub page: u64,
    /// Memory of the crashed system that stayed in place, in whole pages.
    pub in_place: RangeSet<PhysAddr>,
    /// The save areas with the copy of low memory, in whole pages. Without them nothing else can be read.
    pub areas: RangeSet<PhysAddr>,
}

impl Ground {
    /// What of `memory` may be released: the kernel reserves what is `listed`, the save areas reach from `areas` to the end,
    /// and `keep` stays with the firmware. `page` is the running kernel's page size in bytes, a power of two.
    pub fn new(
        memory: &RangeSet<PhysAddr>,
        listed: &RangeSet<PhysAddr>,
        areas: PhysAddr,
        keep: &RangeSet<PhysAddr>,
        page: u64,
    ) -> Self {
        // Rounded inwards what is released, outwards what is kept.
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

    /// What may be released on the machine that `system` describes.
    ///
    /// # Errors
    ///
    /// When it has no `release_region`, or lacks what is needed to use that safely.
    pub fn of(system: &System, reading: Reading, page: u64) -> Result<Self, Error> {
        let no = |why: &str| Error::NoRelease { why: why.to_owned() };
        let leavings = &system.leavings;
        let text = leavings.release_region.as_deref().ok_or_else(|| {
            no("there is no sys/kernel/release_region; a fadump kernel releases all of it at the end: --release after")
        })?;
        let region = ReleaseRegion::parse(text).map_err(|error| no(&error.to_string()))?;
        let structure = leavings.kernel_dump.as_deref().map(KernelDump::parse);
        let structure = structure.transpose().map_err(|error| no(&error.to_string()))?;
        let copies =
            structure.iter().flat_map(|s| &s.sections).filter(|s| s.is_requested() && !s.is_in_place());
        let areas = copies.map(|s| s.destination).min().or(region.scratch());
        let areas = areas.ok_or_else(|| no("it is not known where the save areas begin"))?;
        let memory =
            leavings.memory_map.as_ref().ok_or_else(|| no("the device tree does not say where memory is"))?;
        let listed = region.listed(reading, Some(areas), page).iter().map(|l| l.clamped).collect();
        Ok(Self::new(memory, &listed, areas, &system.reserved_ranges, page))
    }

    /// Everything that may be released.
    pub fn all(&self) -> RangeSet<PhysAddr> {
        self.in_place.iter().chain(self.areas.iter()).collect()
    }
}

/// What the kernel does with the page at start + length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loop {
    /// Not known yet; taken for inclusive, as every released kernel is.
    Unknown,
    /// It releases that page.
    Inclusive,
    /// It does not.
    Exclusive,
}

/// Releases memory that is durable in the output.
pub struct Releaser {
    ground: Ground,
    file: Box<dyn ReleaseFile>,
    kernel: Loop,
    /// What was certainly released.
    released: RangeSet<PhysAddr>,
    /// Why no more is released, once the kernel refused.
    refused: Option<String>,
}

impl Releaser {
    /// Will release `ground` through `file`, except what was `released` before in this boot.
    pub fn new(ground: Ground, file: Box<dyn ReleaseFile>, released: RangeSet<PhysAddr>) -> Self {
        Self { ground, file, kernel: Loop::Unknown, released, refused: None }
    }

    /// Everything that there is to release.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// What has been released.
    pub fn released(&self) -> &RangeSet<PhysAddr> {
        &self.released
    }

    /// Why the kernel took no more, if it refused.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Releases the memory in place below `durable`. Every page below it that is to be saved must be durable, and so must
    /// everything that is needed to read the pages above.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written; [`Releaser::refused`] has the kernel's refusal.
    pub fn up_to(&mut self, durable: PhysAddr, journal: &mut Journal) -> Result<(), Error> {
        let end = PhysAddr(durable.0 - durable.0 % self.ground.page);
        let window = [Range::new(PhysAddr(0), end)].into_iter().collect();
        let free = self.ground.in_place.intersect(&window).subtract(&self.released);
        self.release(&free, false, journal)
    }

    /// Releases everything that is left. The output must be durable and have its name.
    ///
    /// # Errors
    ///
    /// As [`Releaser::up_to`].
    pub fn rest(&mut self, journal: &mut Journal) -> Result<(), Error> {
        // Where the loop ends before the last page, the first round leaves that page of each range for the second.
        for _ in 0..2 {
            let free = self.ground.all().subtract(&self.released);
            self.release(&free, true, journal)?;
        }
        Ok(())
    }

    fn release(&mut self, free: &RangeSet<PhysAddr>, last: bool, journal: &mut Journal) -> Result<(), Error> {
        // A single page waits for its neighbours: where the loop is exclusive, no write releases it safely.
        let page = self.ground.page;
        let worth = |r: &Range<PhysAddr>| last || r.len() > page;
        if free.iter().all(|r| !worth(&r)) || self.refused.is_some() {
            return Ok(());
        }
        let released = match self.file.claim(last) {
            Ok(by_others) => {
                by_others.iter().for_each(|range| self.released.insert(range));
                let free = free.subtract(&self.released);
                let ranges: Vec<_> = free.iter().filter(worth).flat_map(pieces).collect();
                self.release_ranges(&ranges, last, journal)
            }
            Err(error) if last => {
                self.refused = Some(format!("memory is not released: {}", with_cause(&error)));
                return Ok(());
            }
            // There will be another time.
            Err(_) => return Ok(()),
        };
        self.file.let_go();
        released
    }

    fn release_ranges(
        &mut self,
        ranges: &[Range<PhysAddr>],
        last: bool,
        journal: &mut Journal,
    ) -> Result<(), Error> {
        if ranges.is_empty() {
            return Ok(());
        }
        journal.append(&Record::Release(ranges.to_vec()))?;
        let mut done = Vec::new();
        for &range in ranges {
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

    /// Writes one range, all of which may be released, and returns the part that was.
    fn write(&mut self, range: Range<PhysAddr>, last: bool) -> io::Result<Range<PhysAddr>> {
        let page = self.ground.page;
        let len = range.len() - page;
        let before = self.file.memory_total();
        match self.file.release(range.start, len) {
            // Kernels with the off-by-one accept a length of 0; this one refused it, so it releases exactly what it is told.
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
        // Where memory that was released before a crash of the tool hides what the kernel does, the last page counts as left:
        // naming it once more does no harm.
        let freed_it = match self.kernel {
            Loop::Inclusive => true,
            Loop::Exclusive => false,
            Loop::Unknown => grown.is_none(),
        };
        let left = if freed_it || len == 0 { 0 } else { page };
        Ok(Range::new(range.start, PhysAddr(range.end.0 - left)))
    }
}

fn with_cause(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn pieces(range: Range<PhysAddr>) -> impl Iterator<Item = Range<PhysAddr>> {
    (range.start.0..range.end.0)
        .step_by(MAX_WRITE as usize)
        .map(move |at| Range::new(PhysAddr(at), PhysAddr(at.saturating_add(MAX_WRITE).min(range.end.0))))
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
