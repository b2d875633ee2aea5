//! Memory of the crashed system that this boot's firmware and loader have written over.

use super::resident::Residents;
use super::{Area, Resident, Unknown};
use crate::kdms::{KernelDump, SectionKind};
use crate::system::System;
use std::fmt;
use vmcore::{PhysAddr, Range, RangeSet};

/// Memory that is lost, though the firmware says that it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overwritten {
    /// Who lies there now.
    pub resident: Resident,
    /// Where that is in this boot's memory.
    pub at: Range<PhysAddr>,
    /// Which memory of the crashed system was there, at its own addresses. Pages that have a byte of it are lost.
    pub lost: RangeSet<PhysAddr>,
}

impl fmt::Display for Overwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of this boot lies at {:?}, where the crashed system's {:?} was",
            self.resident, self.at, self.lost
        )
    }
}

/// What this boot has written over: its RTAS, its initial RAM disk and what else is reserved, where they lie in the
/// copy of boot memory; and, except for RTAS and reservations, which the crashed boot had at the same place, where they
/// lie in memory that was left in place. The firmware's own working memory during the boot is not listed anywhere, so
/// that what it destroyed cannot be known.
///
/// # Errors
///
/// When it is not known where they lie. Nothing is known to be lost then.
pub fn overwritten(system: &System) -> Result<Vec<Overwritten>, Unknown> {
    let property = system.leavings.kernel_dump.as_deref();
    let property = property.ok_or_else(|| Unknown::new("no dump waits: there is no ibm,kernel-dump"))?;
    let dump = KernelDump::parse(property).map_err(Unknown::new)?;
    let area = Area::of_dump(system, &dump)?;
    let residents = Residents::of(system)?;
    let mut out = Vec::new();
    for (resident, at) in residents.placed() {
        let mut lost = RangeSet::default();
        for copy in dump.sections.iter().filter(|s| s.kind == SectionKind::RealMode) {
            let hit = copy.filled().intersect(&at);
            let source = |address: PhysAddr| {
                PhysAddr(copy.source.0.saturating_add(address.0.saturating_sub(copy.destination.0)))
            };
            if !hit.is_empty() {
                lost.insert(Range::new(source(hit.start), source(hit.end)));
            }
        }
        if resident == Resident::Initrd {
            let above: RangeSet<PhysAddr> =
                [at.intersect(&Range::new(area.boot_end, PhysAddr(u64::MAX)))].into_iter().collect();
            above.subtract(&[area.kept].into_iter().collect()).iter().for_each(|range| lost.insert(range));
        }
        if !lost.is_empty() {
            out.push(Overwritten { resident, at, lost });
        }
    }
    Ok(out)
}
