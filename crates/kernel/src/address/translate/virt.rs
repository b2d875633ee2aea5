//! The virtual addresses of memory and of the kernel's image, for a dump whose input has none.

use super::{Translator, Way, loongarch64, ppc64};
use crate::address::physical::Physical;
use crate::uts;
use vmcore::{MemoryMap, PhysAddr, Range, VirtAddr, VirtSegment, VmcoreInfo};

/// Ranges of memory that are looked up to say whether a distance is that of the direct map.
const SAMPLES: usize = 32;
/// Mappings that are looked at to find the direct map: more than it can be away from the start of the kernel's addresses,
/// with a full table of each level between.
const STEPS: usize = 8192;
/// The image and what may be unmapped inside of it: the kernel gives the memory of its initialisation back.
const IMAGE_SIZE: u64 = 1 << 30;
const IMAGE_GAP: u64 = 64 << 20;
/// Images begin at a multiple of this where they are mapped apart, on every architecture.
const IMAGE_ALIGN: u64 = 2 << 20;

/// Finds where things are mapped.
struct Finder<'a, 'd> {
    translator: &'a Translator,
    physical: &'a Physical<'d>,
    map: &'a MemoryMap,
}

impl Translator {
    /// Where memory and the kernel's image are mapped; see [`crate::Kernel::virt_segments`].
    pub(crate) fn virt_segments(&self, info: &VmcoreInfo, physical: &Physical<'_>) -> Vec<VirtSegment> {
        let finder = self.finder(physical);
        let direct = finder.direct();
        let mut segments = Vec::new();
        if let Some((distance, end)) = direct {
            let ranges = finder
                .map
                .bytes()
                .iter()
                .map(|range| range.intersect(&Range::new(PhysAddr(0), PhysAddr(end))));
            segments.extend(ranges.filter_map(|phys| {
                let virt = VirtAddr(phys.start.0.wrapping_add(distance));
                (!phys.is_empty() && virt.0.checked_add(phys.len() - 1).is_some())
                    .then_some(VirtSegment { virt, phys })
            }));
        }
        segments.extend(finder.image(info, direct.map(|(distance, _)| distance)));
        segments
    }

    /// What the virtual addresses of the direct map are further than the physical ones.
    pub(crate) fn direct_distance(&self, physical: &Physical<'_>) -> Option<u64> {
        self.finder(physical).direct().map(|(distance, _)| distance)
    }

    fn finder<'a, 'd>(&'a self, physical: &'a Physical<'d>) -> Finder<'a, 'd> {
        Finder { translator: self, physical, map: physical.memory().map() }
    }
}

impl Finder<'_, '_> {
    /// What the direct map's virtual addresses are further than the physical ones, and where it ends at the latest.
    fn direct(&self) -> Option<(u64, u64)> {
        let everything = |distance| (distance, u64::MAX);
        let found = |candidates: [Option<u64>; 3], start| {
            let candidate = candidates.into_iter().flatten().find(|&distance| self.is_direct(distance));
            candidate.or_else(|| self.search(start)).map(everything)
        };
        match &self.translator.way {
            Way::Ppc64(_) => Some(everything(ppc64::LINEAR)),
            Way::LoongArch64(_) => Some(everything(loongarch64::CACHED)),
            Way::S390x(way) => Some(everything(way.identity())),
            Way::Lowmem(way) => Some(way.linear()),
            Way::X86_64(way) => found([None; 3], way.kernel_half()),
            Way::Arm64(way) => found(way.linear_distances(), way.kernel_half()),
            Way::Riscv64(way) => found(way.linear_distances(), way.kernel_half()),
            Way::SegmentsOnly => None,
        }
    }

    /// Whether the kernel's tables have memory at this distance. Some of it may be unmapped, but none mapped otherwise.
    fn is_direct(&self, distance: u64) -> bool {
        let ranges = self.map.bytes();
        let every = ranges.len().div_ceil(SAMPLES).max(1);
        let ends = ranges.iter().step_by(every).flat_map(|range| [range.start.0, range.end.0 - 1]);
        let mut mapped = 0;
        for phys in ends {
            match self.translator.way.walk(self.physical, VirtAddr(phys.wrapping_add(distance))) {
                Ok(mapping) if mapping.phys.0 == phys => mapped += 1,
                Ok(_) => return false,
                Err(_) => {}
            }
        }
        mapped > 0
    }

    /// The distance of the first mapping from `start` on that is that of the direct map. x86_64 kernels with KASLR put it
    /// anywhere and say so in no note.
    fn search(&self, start: u64) -> Option<u64> {
        let mut addr = start;
        for _ in 0..STEPS {
            let len = match self.translator.way.walk(self.physical, VirtAddr(addr)) {
                Ok(mapping) => {
                    let distance = addr.wrapping_sub(mapping.phys.0);
                    if self.is_direct(distance) {
                        return Some(distance);
                    }
                    mapping.len
                }
                Err(stop) => stop.len,
            };
            addr = addr.checked_add(len)?;
        }
        None
    }

    /// The image, if it is mapped apart from the direct map.
    fn image(&self, info: &VmcoreInfo, direct: Option<u64>) -> Option<VirtSegment> {
        if let Way::S390x(way) = &self.translator.way
            && let Some(image) = way.image()
        {
            return Some(image);
        }
        let anchor = info.symbol("_stext").or_else(|| uts::address(info).ok())?;
        let phys = self.translator.translate(self.physical, anchor).ok()?.phys;
        let distance = anchor.0.wrapping_sub(phys.0);
        if direct == Some(distance) {
            return None;
        }
        let (start, end) = (self.image_start(anchor.0, distance), self.image_end(anchor.0, distance));
        let phys = |virt: u64| PhysAddr(virt.wrapping_sub(distance));
        let segment = VirtSegment { virt: VirtAddr(start), phys: Range::new(phys(start), phys(end)) };
        (start < end && phys(start) < phys(end)).then_some(segment)
    }

    /// The image's first address: the multiple of 2 MiB at or before `anchor`, of which arm64 unmaps the first 64 KiB.
    /// What is mapped elsewhere before it is not part of the image.
    fn image_start(&self, anchor: u64, distance: u64) -> u64 {
        let first = anchor - (anchor.wrapping_sub(distance) % IMAGE_ALIGN).min(anchor);
        let (mut addr, mut start) = (first, first);
        while addr < anchor {
            let len = match self.translator.way.walk(self.physical, VirtAddr(addr)) {
                Ok(mapping) => {
                    if addr.wrapping_sub(mapping.phys.0) != distance {
                        start = addr.saturating_add(mapping.len).min(anchor);
                    }
                    mapping.len
                }
                Err(stop) => stop.len,
            };
            addr = addr.saturating_add(len);
        }
        start
    }

    /// The end of the image: of the last mapping at the same distance before a large gap.
    fn image_end(&self, anchor: u64, distance: u64) -> u64 {
        let (mut addr, mut end) = (anchor, anchor);
        let limit = anchor.saturating_add(IMAGE_SIZE);
        while addr < limit && addr - end <= IMAGE_GAP {
            let len = match self.translator.way.walk(self.physical, VirtAddr(addr)) {
                Ok(mapping) => {
                    if addr.wrapping_sub(mapping.phys.0) == distance {
                        end = addr.saturating_add(mapping.len).min(limit);
                    }
                    mapping.len
                }
                Err(stop) => stop.len,
            };
            addr = addr.saturating_add(len.max(1));
        }
        end
    }
}
