//! What the input itself says of virtual addresses: the `p_vaddr` of its PT_LOADs.

use super::Mapping;
use vmcore::{Arch, Machine, PhysAddr, VirtAddr, VirtSegment, WordSize};

/// Segments in kernel space, sorted.
pub(crate) struct Segments {
    sorted: Vec<VirtSegment>,
}

impl Segments {
    /// Takes the segments in any order. Those that no kernel of the machine can have are left out: dumpers that do not
    /// know an address write 0.
    pub(crate) fn new(machine: Machine, segments: &[VirtSegment]) -> Self {
        let kernel = |s: &VirtSegment| match (machine.arch, machine.word) {
            // Kernels of IBM Z have an address space of their own, which begins at 0.
            (Arch::S390x, _) => s.virt.0 != 0 || s.phys.start.0 == 0,
            (_, WordSize::Bits64) => s.virt.0 >= 1 << 63,
            (_, WordSize::Bits32) => (1 << 30..1 << 32).contains(&s.virt.0),
        };
        let known = |s: &&VirtSegment| {
            let len = s.phys.len();
            kernel(s) && len != 0 && s.virt.0.checked_add(len - 1).is_some()
        };
        let mut sorted: Vec<_> = segments.iter().filter(known).copied().collect();
        sorted.sort_by_key(|s| s.virt);
        Self { sorted }
    }

    /// Reports whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// How far from `addr`, which no segment holds, the next one is.
    pub(crate) fn distance(&self, addr: VirtAddr) -> u64 {
        let next = self.sorted.partition_point(|s| s.virt <= addr);
        self.sorted.get(next).map_or(u64::MAX, |segment| segment.virt.0 - addr.0)
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
    use crate::testing::{BE64, LE32};
    use vmcore::Range;

    #[test]
    fn addresses_that_a_dumper_did_not_know_are_left_out() {
        let whole = |virt, start| VirtSegment {
            virt: VirtAddr(virt),
            phys: Range::new(PhysAddr(start), PhysAddr(start + 0x1000)),
        };
        let z = Machine { arch: Arch::S390x, ..BE64 };
        let found = |machine, segment: VirtSegment| {
            Segments::new(machine, &[segment]).translate(segment.virt).map(|m| m.phys)
        };
        assert_eq!(found(BE64, whole(0, 0)), None);
        assert_eq!(found(z, whole(0, 0)), Some(PhysAddr(0)));
        assert_eq!(found(z, whole(0x1_0000, 0x1_0000)), Some(PhysAddr(0x1_0000)));
        assert_eq!(found(z, whole(0, 0x1_0000)), None);
        assert_eq!(found(LE32, whole(0xc000_0000, 0)), Some(PhysAddr(0)));
        assert_eq!(found(LE32, whole(0, 0)), None);
        assert_eq!(found(LE32, whole(u64::MAX << 31, 0)), None);
    }

    #[test]
    fn a_segment_answers_for_its_own_addresses_only() {
        let segment = |virt, start, end| VirtSegment {
            virt: VirtAddr(virt),
            phys: Range::new(PhysAddr(start), PhysAddr(end)),
        };
        let segments = Segments::new(
            BE64,
            &[
                segment(0xc000_0000_2000_0000, 0x2000_0000, 0x2000_1000),
                segment(0xc000_0000_0000_0000, 0, 0x1000),
                segment(0, 0x5000, 0x6000),
                segment(u64::MAX, 0x5000, 0x6000),
            ],
        );
        let at = |virt| segments.translate(VirtAddr(virt));
        assert_eq!(at(0xc000_0000_0000_0010), Some(Mapping { phys: PhysAddr(0x10), len: 0xff0 }));
        assert_eq!(at(0xc000_0000_2000_0fff), Some(Mapping { phys: PhysAddr(0x2000_0fff), len: 1 }));
        assert_eq!(at(0xc000_0000_2000_1000), None);
        assert_eq!(at(0x10), None);
        assert_eq!(at(u64::MAX), None);
    }
}
