//! Which bytes of the crashed system's memory lie where, and which are lost.
//!
//! Independently of who copied memory (the hypervisor or OPAL) and of what describes the copy (the device tree or
//! `release_region`), the input is a list of [`Section`]s. The plan follows the firmware through that list in order and
//! works out what later copies left of each copy, what the second boot has overwritten, and what never belonged to the
//! crashed system.

use crate::assemble::reassembled::Segment;
use crate::kdms::{Section, SectionKind};
use vmcore::{PhysAddr, Range, RangeSet};

/// The largest page that a dump area is aligned to, in bytes: gaps between its parts are shorter.
const ALIGNMENT: u64 = 0x1_0000;

/// Everything that is needed to find a byte.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// What the firmware did, in its order.
    pub(crate) sections: Vec<Section>,
    /// The second boot has written to memory below this address.
    pub(crate) boot_end: PhysAddr,
    /// Where memory is.
    pub(crate) memory: RangeSet<PhysAddr>,
    /// What of memory the image has.
    pub(crate) image: RangeSet<PhysAddr>,
    /// What lies after the copies and belongs to the dump area as well: the crash-info header, metadata.
    pub(crate) after: Vec<Range<PhysAddr>>,
}

/// Memory of the crashed system that is not there any more, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Overwritten by the second boot, and not copied or not copied completely.
    pub(crate) overwritten: RangeSet<PhysAddr>,
    /// Copied, but the copy is not in the image, or another one lies over it.
    pub(crate) copy_gone: RangeSet<PhysAddr>,
    /// Overwritten by a copy that was longer than its destination.
    pub(crate) overrun: RangeSet<PhysAddr>,
    /// In place, but not in the image.
    pub(crate) not_in_image: RangeSet<PhysAddr>,
}

impl Lost {
    pub(crate) fn all(&self) -> RangeSet<PhysAddr> {
        [&self.overwritten, &self.copy_gone, &self.overrun, &self.not_in_image]
            .iter()
            .flat_map(|s| s.iter())
            .collect()
    }
}

fn set(range: Range<PhysAddr>) -> RangeSet<PhysAddr> {
    [range].into_iter().collect()
}

/// Moves `range`, a part of what begins at `from`, to where that begins at `to`.
fn shift(range: Range<PhysAddr>, from: PhysAddr, to: PhysAddr) -> Range<PhysAddr> {
    let start = to.0.saturating_add(range.start.0 - from.0);
    Range::new(PhysAddr(start), PhysAddr(start.saturating_add(range.len())))
}

/// What the firmware wrote for a section, past its destination's end included.
fn written(section: &Section) -> Range<PhysAddr> {
    if section.is_in_place() || !section.is_requested() {
        return Range::new(section.destination, section.destination);
    }
    Range::new(section.destination, PhysAddr(section.destination.0.saturating_add(section.copied)))
}

fn is_copy(section: &Section) -> bool {
    section.kind.copies_memory() && section.is_requested() && !section.is_in_place()
}

impl Plan {
    /// The boot memory that the firmware was asked to copy.
    pub(crate) fn boot_sections(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|s| s.kind == SectionKind::RealMode && s.is_requested())
    }

    /// The pieces of the crashed system's memory that have a good copy in the image, sorted, each with where that is;
    /// and what was copied and has none.
    fn copies(&self) -> (Vec<Segment>, RangeSet<PhysAddr>) {
        let mut taken = RangeSet::default();
        let mut gone = RangeSet::default();
        let mut pieces = Vec::new();
        // A copy that lies in memory which the second boot used is gone.
        let kept = self.image.subtract(&set(Range::new(PhysAddr(0), self.boot_end)));
        for (k, section) in self.sections.iter().enumerate().filter(|(_, s)| is_copy(s)) {
            let filled = section.filled();
            let source = section.source_range();
            let copied = Range::new(source.start, PhysAddr(source.start.0.saturating_add(filled.len())));
            let bad = self.clobbered(k, section);
            let there: RangeSet<PhysAddr> =
                kept.within(filled).map(|r| shift(r, filled.start, source.start)).collect();
            let good = set(copied).intersect(&there).subtract(&bad).intersect(&self.memory);
            gone = set(copied).intersect(&self.memory).subtract(&good).iter().chain(gone.iter()).collect();
            for piece in good.subtract(&taken).iter() {
                let image = shift(piece, source.start, filled.start).start;
                pieces.push(Segment { range: piece, image: Some(image) });
                taken.insert(piece);
            }
        }
        pieces.sort_by_key(|p| p.range.start);
        (pieces, gone.subtract(&taken))
    }

    /// What of section `k`'s source its copy does not hold: the source was overwritten before it was copied, or the
    /// copy was overwritten afterwards. Firmware does not look for overlaps (QEMU copies forward, in pieces).
    fn clobbered(&self, k: usize, section: &Section) -> RangeSet<PhysAddr> {
        let source = section.source_range();
        let mut bad = RangeSet::default();
        for (i, other) in self.sections.iter().enumerate() {
            let written = written(other);
            if i < k {
                bad.insert(written.intersect(&source));
            } else if i > k {
                let over = written.intersect(&section.filled());
                if !over.is_empty() {
                    bad.insert(shift(over, section.destination, source.start));
                }
            } else if section.destination > source.start {
                // A copy forwards over its own source smears what it has not copied yet.
                bad.insert(written.intersect(&source));
            }
        }
        bad
    }

    /// Where in the image a piece of the crashed system's memory lies, when it lies in one piece.
    pub(crate) fn locate(&self, range: Range<PhysAddr>) -> Option<Range<PhysAddr>> {
        let (pieces, _) = self.copies();
        let inside = |outer: Range<PhysAddr>| outer.intersect(&range) == range;
        if let Some(piece) = pieces.iter().find(|p| inside(p.range)) {
            return piece.image.map(|image| shift(range, piece.range.start, image));
        }
        let in_place = range.start >= self.boot_end && self.image.find(range.start).is_some_and(inside);
        in_place.then_some(range)
    }

    /// The copies of boot memory as they lie in the image, in ascending order of what they are copies of.
    pub(crate) fn boot_copies(&self) -> Vec<Range<PhysAddr>> {
        let (pieces, _) = self.copies();
        pieces.iter().filter_map(|p| Some(shift(p.range, p.range.start, p.image?))).collect()
    }

    /// The dump area: what the crashed kernel kept free for the firmware, so that nothing of it is in the dump.
    ///
    /// `/proc/vmcore` leaves out one range, from the CPU state to the end of what follows the copy of boot memory,
    /// the padding between included; so parts that lie closer than a page to each other become one.
    pub(crate) fn reserved(&self) -> RangeSet<PhysAddr> {
        let mut parts: Vec<Range<PhysAddr>> = self
            .sections
            .iter()
            .filter(|s| s.is_requested() && !s.is_in_place())
            .map(Section::target)
            .chain(self.after.iter().copied())
            .filter(|r| !r.is_empty())
            .collect();
        parts.sort_by_key(|r| r.start);
        let mut merged: Vec<Range<PhysAddr>> = Vec::new();
        for part in parts {
            match merged.last_mut() {
                Some(last) if part.start.0 < last.end.0.saturating_add(ALIGNMENT) => {
                    last.end = last.end.max(part.end);
                }
                _ => merged.push(part),
            }
        }
        // A destination inside boot memory is odd, but boot memory has been copied and is wanted.
        let sources = self.sections.iter().filter(|s| is_copy(s)).map(Section::source_range).collect();
        merged.into_iter().collect::<RangeSet<_>>().subtract(&sources)
    }

    /// Where every byte of the crashed system's memory is, sorted and disjoint, and what is lost for which reason.
    pub(crate) fn segments(&self) -> (Vec<Segment>, Lost) {
        let (mut segments, mut copy_gone) = self.copies();
        let copied: RangeSet<PhysAddr> = segments.iter().map(|s| s.range).collect();
        let reserved = self.reserved();
        let low = set(Range::new(PhysAddr(0), self.boot_end)).intersect(&self.memory).subtract(&reserved);
        // A copy that failed matters only where the original was overwritten; else the original is still in place.
        copy_gone = copy_gone.intersect(&low);
        let overwritten = low.subtract(&copied).subtract(&copy_gone);

        let in_place = self.memory.subtract(&reserved).subtract(&low).subtract(&copied);
        let mut overrun: RangeSet<PhysAddr> = RangeSet::default();
        self.sections.iter().for_each(|s| overrun.insert(written(s)));
        let overrun = overrun.intersect(&in_place);
        let in_place = in_place.subtract(&overrun);
        let not_in_image = in_place.subtract(&self.image);
        let lost = Lost { overwritten, copy_gone, overrun, not_in_image };

        segments.extend(lost.all().iter().map(|range| Segment { range, image: None }));
        let here = in_place.intersect(&self.image);
        segments.extend(here.iter().map(|range| Segment { range, image: Some(range.start) }));
        segments.sort_by_key(|s| s.range.start);
        (segments, lost)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
