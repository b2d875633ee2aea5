//! From physical addresses back to virtual ones.

use super::translate::TableVisitor;
use crate::{Error, Kernel};
use vmcore::{PhysAddr, Range, VirtAddr, VirtSegment};

/// Pieces of memory that are remembered, 24 bytes each.
const MOST_PIECES: usize = 1 << 18;
/// The most mappings that are named of one address.
const MOST_NAMED: usize = 4;

/// Where the kernel has memory mapped: its image, what vmalloc and others mapped, and the direct map.
#[derive(Debug, Default)]
pub struct Reverse {
    /// By physical address.
    pieces: Vec<VirtSegment>,
    /// For each piece where it, or one before it, ends at the highest.
    highest: Vec<PhysAddr>,
    /// The direct map, and the image where its tables are not in the dump.
    segments: Vec<VirtSegment>,
}

impl Kernel<'_> {
    /// Reads the kernel's page tables for [`Reverse`]; what is not in the dump is left out.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged.
    pub fn reverse(&self) -> Result<Reverse, Error> {
        let mut pieces = Pieces { linear: self.direct_distance(), found: Vec::new() };
        self.visit_tables(&mut pieces)?;
        Ok(Reverse::new(pieces.found, self.virt_segments()))
    }
}

impl Reverse {
    fn new(mut pieces: Vec<VirtSegment>, segments: Vec<VirtSegment>) -> Self {
        pieces.sort_by_key(|piece| (piece.phys.start, piece.virt));
        let mut end = PhysAddr(0);
        let highest = pieces.iter().map(|piece| {
            end = end.max(piece.phys.end);
            end
        });
        Self { highest: highest.collect(), pieces, segments }
    }

    /// The virtual addresses of `phys`, that of the direct map last.
    pub fn of(&self, phys: PhysAddr) -> Vec<VirtAddr> {
        let behind = self.pieces.partition_point(|piece| piece.phys.start <= phys);
        let reaching = self.highest[..behind].iter().rev().take_while(|&&end| end > phys).count();
        let pieces = &self.pieces[behind - reaching..behind];
        let segments = self.segments.iter().rev();
        let mut found: Vec<VirtAddr> = Vec::new();
        for piece in pieces.iter().chain(segments).filter(|piece| piece.phys.contains(phys)) {
            let virt = VirtAddr(piece.virt.0.wrapping_add(phys.0 - piece.phys.start.0));
            if found.len() < MOST_NAMED && !found.contains(&virt) {
                found.push(virt);
            }
        }
        found
    }
}

/// Collects what is mapped beside the direct map.
struct Pieces {
    linear: Option<u64>,
    found: Vec<VirtSegment>,
}

impl TableVisitor for Pieces {
    fn table(&mut self, _: Range<PhysAddr>) {}

    fn memory(&mut self, virt: VirtAddr, at: Range<PhysAddr>) {
        if Some(virt.0.wrapping_sub(at.start.0)) == self.linear {
            return;
        }
        let goes_on = |last: &VirtSegment| {
            last.phys.end == at.start && last.virt.0.wrapping_add(last.phys.len()) == virt.0
        };
        let room = self.found.len() < MOST_PIECES;
        match self.found.last_mut() {
            Some(last) if goes_on(last) => last.phys.end = at.end,
            _ if room => self.found.push(VirtSegment { virt, phys: at }),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_mapped_twice_has_both_addresses_and_the_direct_map_is_last() {
        let piece = |virt, start, end| VirtSegment {
            virt: VirtAddr(virt),
            phys: Range::new(PhysAddr(start), PhysAddr(end)),
        };
        let reverse = Reverse::new(
            vec![
                piece(0xf000, 0x2000, 0x3000),
                piece(0x4_0000, 0x1000, 0x9000),
                piece(0xd000, 0x2000, 0x2800),
            ],
            vec![piece(0x8000_0000, 0, 0x10000), piece(0xf000, 0x2000, 0x3000)],
        );
        let of = |phys| reverse.of(PhysAddr(phys)).into_iter().map(|virt| virt.0).collect::<Vec<_>>();
        assert_eq!(of(0x2004), [0x4_1004, 0xd004, 0xf004, 0x8000_2004]);
        assert_eq!(of(0x8fff), [0x4_7fff, 0x8000_8fff]);
        assert_eq!(of(0x10), [0x8000_0010]);
        assert!(of(0x10000).is_empty());
    }
}
