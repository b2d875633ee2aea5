//! Page tables of arm64, riscv64, loongarch64 and s390x, written as the architectures' manuals describe them.

use crate::image::Image;
use vmcore::{ByteOrder, PageSize};

/// How entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Armv8 with 48-bit physical addresses.
    Arm,
    /// FEAT_LPA: 64 KiB pages, physical bits 51 to 48 in bits 15 to 12.
    ArmLpa,
    /// FEAT_LPA2: smaller pages, physical bits 51 and 50 in bits 9 and 8.
    ArmLpa2,
    Riscv,
    /// LoongArch as Linux writes it: empty entries name tables of invalid entries.
    Loong,
    /// z/Architecture.
    Z,
}

/// A page table under construction. Levels are counted from the last one, 0.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) root: u64,
    pub(crate) style: Style,
    /// Shift and index bits of each level, the root first.
    pub(crate) levels: Vec<(u32, u32)>,
    order: ByteOrder,
    /// What entries that map nothing hold, for each level, the root first.
    empty: Vec<u64>,
}

impl Tree {
    /// An empty table with its root at `root`.
    pub(crate) fn new(image: &mut Image, style: Style, levels: &[(u32, u32)], root: u64) -> Self {
        let order = image.order();
        let mut tree = Self { root, style, levels: levels.to_vec(), order, empty: vec![0; levels.len()] };
        match style {
            Style::Z => {
                for (i, empty) in tree.empty.iter_mut().rev().enumerate() {
                    *empty = if i == 0 { 0x400 } else { 0x20 | (i as u64 - 1) << 2 };
                }
            }
            Style::Loong => {
                for i in (0..levels.len() - 1).rev() {
                    // invalid_pte_table, invalid_pmd_table, …
                    let invalid = tree.table(image, i + 1);
                    tree.empty[i] = 0x9000 << 48 | invalid;
                }
            }
            _ => {}
        }
        tree.clear(image, root, 0);
        tree
    }

    fn clear(&self, image: &mut Image, at: u64, i: usize) {
        for n in 0..1 << self.levels[i].1 {
            image.write(at + n * 8, &self.order.put_u64(self.empty[i]));
        }
    }

    /// A new table for level `i` from the root.
    fn table(&self, image: &mut Image, i: usize) -> u64 {
        let len = 8 << self.levels[i].1;
        let at = image.alloc(len, len.max(0x800));
        self.clear(image, at, i);
        at
    }

    fn naming(&self, next: u64, height: usize) -> u64 {
        match self.style {
            Style::Arm => next | 3,
            Style::ArmLpa => next & 0xffff_ffff_0000 | next >> 48 << 12 | 3,
            Style::ArmLpa2 => next & 0x3_ffff_ffff_f000 | next >> 50 << 8 | 3,
            Style::Riscv => next >> 12 << 10 | 1,
            Style::Loong => 0x9000 << 48 | next,
            // Table length 3 and type for region tables; segments have neither.
            Style::Z if height > 1 => next | 3 | (height as u64 - 1) << 2,
            Style::Z => next | 1,
        }
    }

    fn mapping(&self, phys: u64, height: usize) -> u64 {
        let kind = if height == 0 { 3 } else { 1 };
        match self.style {
            Style::Arm => phys | 0x0068_0000_0000_0700 | kind,
            Style::ArmLpa => phys & 0xffff_ffff_0000 | phys >> 48 << 12 | 0x0068_0000_0000_0700 | kind,
            Style::ArmLpa2 => phys & 0x3_ffff_ffff_f000 | phys >> 50 << 8 | 0x0068_0000_0000_0400 | kind,
            Style::Riscv => phys >> 12 << 10 | 0xef,
            Style::Loong if height == 0 => phys | 1 << 62 | 0x1d3,
            Style::Loong => phys | 1 << 62 | 0x11d3,
            Style::Z if height == 0 => phys | 0x3d,
            Style::Z => phys | 0xfc03 & !0xc | (height as u64 - 1) << 2,
        }
    }

    /// Maps `virt` to `phys` by one entry of the level `height` above the last.
    pub(crate) fn map(&self, image: &mut Image, virt: u64, phys: u64, height: usize) {
        let mut table = self.root;
        for i in 0..self.levels.len() {
            let (shift, bits) = self.levels[i];
            let at = table + (virt >> shift & ((1 << bits) - 1)) * 8;
            let here = self.levels.len() - 1 - i;
            if here == height {
                assert_eq!((virt | phys) & ((1 << shift) - 1), 0, "{virt:#x} and {phys:#x} are aligned");
                let entry = self.mapping(phys, height);
                return image.write(at, &self.order.put_u64(entry));
            }
            let entry = image.get64(at, self.order);
            table = if entry == self.empty[i] {
                let next = self.table(image, i + 1);
                image.write(at, &self.order.put_u64(self.naming(next, here)));
                next
            } else {
                self.named(entry)
            };
        }
    }

    fn named(&self, entry: u64) -> u64 {
        match self.style {
            Style::Arm => entry & 0xffff_ffff_f000,
            Style::ArmLpa => entry & 0xffff_ffff_0000 | (entry & 0xf000) << 36,
            Style::ArmLpa2 => entry & 0x3_ffff_ffff_f000 | (entry & 0x300) << 42,
            Style::Riscv => entry >> 10 << 12,
            Style::Loong => entry & 0xffff_ffff_ffff,
            Style::Z => entry & !0x7ff,
        }
    }

    /// Bytes of an entry of the level `height` above the last.
    pub(crate) fn size(&self, height: usize) -> u64 {
        1 << self.levels[self.levels.len() - 1 - height].0
    }

    /// Maps `len` bytes by entries of the level `height` above the last, wherever the ends are.
    pub(crate) fn map_range(&self, image: &mut Image, virt: u64, phys: u64, len: u64, height: usize) {
        let size = self.size(height);
        let lead = virt % size;
        assert_eq!(lead, phys % size);
        for at in (0..lead + len).step_by(size as usize) {
            self.map(image, virt - lead + at, phys - lead + at, height);
        }
    }
}

/// Shift and index bits of `count` levels of tables that fill a page, the root with `root` bits.
pub(crate) fn full(page: PageSize, count: u32, root: u32) -> Vec<(u32, u32)> {
    let each = page.shift() - 3;
    (0..count).rev().map(|n| (page.shift() + n * each, if n == count - 1 { root } else { each })).collect()
}
