//! The virtual addresses of a core's segments.

use crate::segments::{Content, Piece, Table};
use vmcore::{PageSize, Range, VirtSegment};

/// The kernel image is mapped once beside the direct map; a few more are no harm.
const MAX_ALIASES: usize = 8;

/// One PT_LOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::elf) struct Load {
    pub(in crate::elf) paddr: u64,
    pub(in crate::elf) vaddr: u64,
    pub(in crate::elf) offset: u64,
    pub(in crate::elf) filesz: u64,
    pub(in crate::elf) memsz: u64,
}

impl Load {
    /// The part at physical addresses `start..end`, which overlap the segment.
    pub(super) fn within(self, start: u64, end: u64) -> Self {
        let skip = start.saturating_sub(self.paddr);
        let memsz = end.min(self.paddr + self.memsz) - self.paddr - skip;
        Self {
            paddr: self.paddr + skip,
            vaddr: self.vaddr,
            // A part without bytes begins nowhere; it is given the end of those before it.
            offset: self.offset + skip.min(self.filesz),
            filesz: self.filesz.saturating_sub(skip).min(memsz),
            memsz,
        }
    }

    /// The parts before and from physical address `at` on.
    pub(super) fn split(self, at: u64) -> (Self, Self) {
        (self.within(self.paddr, at), self.within(at, self.paddr + self.memsz))
    }
}

/// The virtual addresses of physical memory.
#[derive(Debug)]
pub(in crate::elf) struct Addresses {
    /// Pieces whose "file offset" is a virtual address.
    pub(super) main: Table,
    /// Memory that has another virtual address beside that in `main`.
    pub(in crate::elf) aliases: Vec<Piece>,
}

impl Addresses {
    /// Tells the direct map from its aliases: it is the distance of virtual and physical addresses that most memory
    /// has. A kernel image that is mapped apart (x86_64: `0xffffffff80000000` and up) has another one.
    pub(super) fn new(virt: &[VirtSegment], page_size: PageSize) -> Self {
        let delta = |v: &VirtSegment| v.virt.0.wrapping_sub(v.phys.start.0);
        let mut by_delta: Vec<(u64, u64)> = virt.iter().map(|v| (delta(v), v.phys.len())).collect();
        by_delta.sort_unstable();
        let direct = by_delta
            .chunk_by(|a, b| a.0 == b.0)
            .max_by_key(|same| same.iter().fold(0u64, |sum, (_, len)| sum.saturating_add(*len)))
            .map(|same| same[0].0);
        let piece = |v: &VirtSegment, rank| {
            // Frames are whole in the output, also those that were cut in two.
            let lead = page_size.offset(v.phys.start.0) as u64;
            Piece {
                start: v.phys.start.0 - lead,
                end: v.phys.end.0.checked_next_multiple_of(page_size.bytes()).unwrap_or(v.phys.end.0),
                offset: v.virt.0.wrapping_sub(lead),
                content: Content::Data,
                rank,
            }
        };
        let (near, far): (Vec<&VirtSegment>, Vec<&VirtSegment>) =
            virt.iter().partition(|v| Some(delta(v)) == direct);
        let main = near.iter().chain(&far).zip(0..).map(|(v, rank)| piece(v, rank)).collect();
        let main = Table::resolve(main).bridged();
        let mut aliases: Vec<Piece> = far.iter().map(|v| piece(v, 0)).collect();
        aliases.retain(|a| {
            main.within(Range::new(a.start, a.end)).any(|m| {
                let at = m.start.max(a.start);
                m.file_offset(at) != a.file_offset(at)
            })
        });
        aliases.truncate(MAX_ALIASES);
        Self { main, aliases }
    }

    /// How many times the distance between virtual and physical addresses may change.
    pub(in crate::elf) fn jumps(&self) -> u64 {
        2 * self.main.len() as u64
    }

    /// Emits `load` with its virtual address, in parts where virtual addresses are not contiguous as memory is.
    pub(super) fn place(&self, load: Load, each: &mut impl FnMut(Load)) {
        let end = load.paddr + load.memsz;
        let mut at = load.paddr;
        for piece in self.main.within(Range::new(load.paddr, end)) {
            if at < piece.start {
                each(load.within(at, piece.start));
                at = piece.start;
            }
            let stop = piece.end.min(end);
            each(Load { vaddr: piece.file_offset(at), ..load.within(at, stop) });
            at = stop;
        }
        if at < end {
            each(load.within(at, end));
        }
    }
}
