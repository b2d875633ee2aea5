//! What the input itself says of virtual addresses: the `p_vaddr` of its PT_LOADs.

use super::Mapping;
use vmcore::{PhysAddr, VirtAddr, VirtSegment};

/// Segments in kernel space, sorted.
pub(crate) struct Segments {
    sorted: Vec<VirtSegment>,
}

impl Segments {
    /// Takes the segments in any order. Those below the upper half of the address space are left out: dumpers that
    /// do not know an address write 0.
    pub(crate) fn new(segments: &[VirtSegment]) -> Self {
        let known = |s: &&VirtSegment| {
            let len = s.phys.len();
            s.virt.0 >= 1 << 63 && len != 0 && s.virt.0.checked_add(len - 1).is_some()
        };
        let mut sorted: Vec<_> = segments.iter().filter(known).copied().collect();
        sorted.sort_by_key(|s| s.virt);
        Self { sorted }
    }

    /// Where `addr` lies, if a segment holds it.
    pub(crate) fn translate(&self, addr: VirtAddr) -> Option<Mapping> {
        let next = self.sorted.partition_point(|s| s.virt <= addr);
        let segment = self.sorted[..next].last()?;
        let offset = addr.0 - segment.virt.0;
        (offset < segment.phys.len()).then(|| Mapping {
            phys: PhysAddr(segment.phys.start.0 + offset),
            len: segment.phys.len() - offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::Range;

    #[test]
    fn a_segment_answers_for_its_own_addresses_only() {
        let segment = |virt, start, end| VirtSegment {
            virt: VirtAddr(virt),
            phys: Range::new(PhysAddr(start), PhysAddr(end)),
        };
        let segments = Segments::new(&[
            segment(0xc000_0000_2000_0000, 0x2000_0000, 0x2000_1000),
            segment(0xc000_0000_0000_0000, 0, 0x1000),
            segment(0, 0x5000, 0x6000),
            segment(u64::MAX, 0x5000, 0x6000),
        ]);
        let at = |virt| segments.translate(VirtAddr(virt));
        assert_eq!(at(0xc000_0000_0000_0010), Some(Mapping { phys: PhysAddr(0x10), len: 0xff0 }));
        assert_eq!(at(0xc000_0000_2000_0fff), Some(Mapping { phys: PhysAddr(0x2000_0fff), len: 1 }));
        assert_eq!(at(0xc000_0000_2000_1000), None);
        assert_eq!(at(0x10), None);
        assert_eq!(at(u64::MAX), None);
    }
}
