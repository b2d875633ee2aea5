//! The array of `struct page`, as it will be in memory.

use crate::bytes::ByteOrder;
use crate::synth::dump::arch::Arch;
use crate::synth::dump::generation::{Compound, Generation, Layout, Type};

/// Addresses of functions that 3.19 and older keep in the second page of a compound page.
pub(crate) fn destructor(id: u8) -> u64 {
    const FREE_COMPOUND_PAGE: u64 = 0xffff_ffff_8117_1230;
    const FREE_HUGE_PAGE: u64 = 0xffff_ffff_811b_4560;
    if id == 2 { FREE_HUGE_PAGE } else { FREE_COMPOUND_PAGE }
}

/// Fields that all layouts have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// Without zone, node and section.
    pub(crate) flags: u64,
    pub(crate) lru: [u64; 2],
    pub(crate) mapping: u64,
    pub(crate) index: u64,
    pub(crate) private: u64,
    pub(crate) mapcount: u32,
    pub(crate) refcount: u32,
}

impl Page {
    /// A page that someone holds and nothing is known of.
    pub(crate) const PLAIN: Self =
        Self { flags: 0, lru: [0; 2], mapping: 0, index: 0, private: 0, mapcount: u32::MAX, refcount: 1 };
}

/// Frames whose `struct page`s lie side by side.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) bytes: Vec<u8>,
}

/// What the top of the flags says of a frame.
#[derive(Clone, Debug)]
pub(crate) struct Top {
    /// Banks of memory: first frame, the frame past the last, node.
    pub(crate) banks: Vec<(u64, u64, u64)>,
    /// The first frame of zone 1.
    pub(crate) normal: u64,
    /// Bits that nodes take; 0 with one node.
    pub(crate) node_bits: u32,
    /// Bits that sections take, and frames of a section as a power of two; only without vmemmap.
    pub(crate) section: Option<(u32, u32)>,
}

impl Top {
    /// The node of a frame, or of the memory before it.
    pub(crate) fn node(&self, frame: u64) -> u64 {
        let before = self.banks.iter().rev().find(|(first, ..)| *first <= frame);
        before.or(self.banks.first()).map_or(0, |(.., node)| *node)
    }

    fn flags(&self, frame: u64) -> u64 {
        let mut shift = 64;
        let mut flags = 0;
        if let Some((bits, frames)) = self.section {
            shift -= bits;
            flags |= (frame >> frames) << shift;
        }
        if self.node_bits > 0 {
            shift -= self.node_bits;
            flags |= self.node(frame) << shift;
        }
        flags | u64::from(frame >= self.normal) << (shift - 2)
    }
}

/// All `struct page`s of a kernel under construction.
pub(crate) struct Map {
    pub(crate) size: u64,
    pub(crate) generation: Generation,
    pub(crate) arch: Arch,
    order: ByteOrder,
    layout: Layout,
    top: Top,
    pub(crate) parts: Vec<Part>,
}

impl Map {
    /// Room for the runs of frames `covered`: first frame and number.
    pub(crate) fn new(
        (generation, arch, order): (Generation, Arch, ByteOrder),
        size: u64,
        top: Top,
        covered: &[(u64, u64)],
    ) -> Self {
        let part = |(first, count): &(u64, u64)| Part {
            first: *first,
            count: *count,
            bytes: vec![0; (count * size) as usize],
        };
        let parts = covered.iter().map(part).collect();
        Self { size, generation, arch, order, layout: generation.layout(), top, parts }
    }

    pub(crate) fn top(&self) -> &Top {
        &self.top
    }

    pub(crate) fn order(&self) -> ByteOrder {
        self.order
    }

    /// The mask of a flag.
    pub(crate) fn flag(&self, name: &str) -> u64 {
        self.generation.flag(self.arch, name)
    }

    /// A page of a type, or without one in kernels that do not know it.
    pub(crate) fn typed(&self, kind: Type) -> u32 {
        self.generation.type_word(kind).unwrap_or(u32::MAX)
    }

    fn bytes_of(&mut self, frame: u64) -> Option<&mut [u8]> {
        let next = self.parts.partition_point(|part| part.first <= frame);
        let part = self.parts[..next].last_mut()?;
        let at = ((frame - part.first) * self.size) as usize;
        part.bytes.get_mut(at..at + self.size as usize)
    }

    /// Writes bytes at an offset of a `struct page`.
    pub(crate) fn put(&mut self, frame: u64, offset: usize, bytes: &[u8]) {
        if let Some(page) = self.bytes_of(frame) {
            page[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }

    pub(crate) fn put64(&mut self, frame: u64, offset: usize, value: u64) {
        self.put(frame, offset, &self.order.u64(value));
    }

    pub(crate) fn put32(&mut self, frame: u64, offset: usize, value: u32) {
        self.put(frame, offset, &self.order.u32(value));
    }

    /// The flags of a page.
    pub(crate) fn flags_of(&self, frame: u64) -> u64 {
        let next = self.parts.partition_point(|part| part.first <= frame);
        let word = self.parts[..next].last().and_then(|part| {
            let at = ((frame - part.first) * self.size) as usize;
            part.bytes.get(at..)?.first_chunk()
        });
        word.map_or(0, |word| match self.order {
            ByteOrder::Big => u64::from_be_bytes(*word),
            ByteOrder::Little => u64::from_le_bytes(*word),
        })
    }

    /// Changes one of the two pointers of `lru`.
    pub(crate) fn link(&mut self, frame: u64, previous: bool, address: u64) {
        self.put64(frame, self.layout.lru + if previous { 8 } else { 0 }, address);
    }

    /// The top of a frame's flags.
    pub(crate) fn top_flags(&self, frame: u64) -> u64 {
        self.top.flags(frame)
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Writes a whole `struct page`.
    pub(crate) fn write(&mut self, frame: u64, page: Page) {
        let (order, at) = (self.order, self.layout);
        let flags = page.flags | self.top.flags(frame);
        let Some(bytes) = self.bytes_of(frame) else { return };
        let mut put =
            |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
        put(0, &order.u64(flags));
        put(at.lru, &order.u64(page.lru[0]));
        put(at.lru + 8, &order.u64(page.lru[1]));
        put(at.mapping, &order.u64(page.mapping));
        put(at.index, &order.u64(page.index));
        put(at.private, &order.u64(page.private));
        put(at.mapcount, &order.u32(page.mapcount));
        put(at.refcount, &order.u32(page.refcount));
    }

    /// Writes a compound page: `head`, which gets the flag, and its tails. `pointer` is the address of the head's
    /// `struct page`, `destructor` 1 for most, 2 for hugetlb, 3 for a transparent huge page. Tails from
    /// `until` on are left out.
    pub(crate) fn compound(
        &mut self,
        frame: u64,
        order: u32,
        head: Page,
        (pointer, destructor): (u64, u8),
        until: u64,
    ) {
        self.write(frame, Page { flags: head.flags | self.flag("head"), ..head });
        let mut tail = Page { refcount: 0, flags: self.flag("tail"), ..Page::PLAIN };
        match self.generation {
            // `first_page`, in the word that is private otherwise.
            generation if generation < Generation::V4_4 => tail.private = pointer,
            // A mask that leads from any tail to the head, where huge pages may share `struct page`s.
            generation if generation.masks_tails(self.arch) && self.size.is_power_of_two() => {
                let mask = !0u64 << (order + self.size.trailing_zeros());
                tail = Page { lru: [mask | 1, 0], mapping: 0xdead_0000_0000_0400, ..tail };
            }
            _ => tail = Page { lru: [pointer | 1, 0], mapping: 0xdead_0000_0000_0400, ..tail },
        }
        for other in 1..(1u64 << order).min(until) {
            self.write(frame + other, tail);
        }
        self.second(frame + 1, order, destructor);
    }

    /// What the second page knows of the compound.
    fn second(&mut self, frame: u64, order: u32, destructor: u8) {
        let lru = self.layout.lru;
        match self.generation.compound() {
            Compound::List => {
                self.put64(frame, lru, self::destructor(destructor));
                self.put64(frame, lru + 8, order.into());
            }
            Compound::Words => {
                self.put32(frame, lru + 8, destructor.into());
                self.put32(frame, lru + 12, order);
            }
            Compound::Bytes => {
                self.put(frame, lru + 8, &[destructor, order as u8]);
                // The number of mappings, which may be anything: here odd, where `mapping` is.
                self.put32(frame, lru + 12, u32::MAX);
                self.put32(frame, lru + 16, 7);
            }
            Compound::Flags => {
                let mut flags = u64::from(order) | self.top.flags(frame);
                if self.generation == Generation::V6_6 && destructor == 2 {
                    flags |= self.flag("active");
                }
                if destructor == 3 {
                    // PG_large_rmappable.
                    flags |= self.flag("workingset");
                }
                self.put64(frame, 0, flags);
                // Counts of mappings and pins.
                self.put64(frame, lru + 8, 0x0000_0007_ffff_ffff);
                self.put64(frame, self.layout.mapping, 0x0000_0200_0000_0003);
            }
        }
    }
}
