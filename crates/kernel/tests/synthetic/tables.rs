//! Page tables as the kernel would have built them, and the five kinds of kernels that tests run on.

use crate::image::Image;
use vmcore::{ByteOrder, PageSize};

/// A page table under construction.
pub(crate) struct Tables {
    pub(crate) root: u64,
    /// Shift and index bits of each level, the root first.
    levels: Vec<(u32, u32)>,
    order: ByteOrder,
    /// Bits of an entry that names a table, that maps the smallest page, and that maps a larger one.
    table: u64,
    small: u64,
    large: u64,
    /// The bits of an entry that are the next table's address.
    address: u64,
}

impl Tables {
    pub(crate) fn x86_64(image: &mut Image, root: u64, levels: usize, encryption: u64) -> Self {
        let all = [(48, 9), (39, 9), (30, 9), (21, 9), (12, 9)];
        image.write(root, &[0; 4096]);
        Self {
            root,
            levels: all[5 - levels..].to_vec(),
            order: ByteOrder::Little,
            table: 0x067 | encryption,
            small: 0x8000_0000_0000_0163 | encryption,
            large: 0x8000_0000_0000_11e3 | encryption,
            address: 0x000f_ffff_ffff_f000 & !encryption,
        }
    }

    /// Radix tables of POWER, in memory as the hardware wants them: big-endian under either byte order.
    pub(crate) fn radix(image: &mut Image, root: u64) -> Self {
        let levels = match image.page {
            PageSize::K4 => vec![(39, 13), (30, 9), (21, 9), (12, 9)],
            _ => vec![(39, 13), (30, 9), (21, 9), (16, 5)],
        };
        image.write(root, &vec![0; 8 << 13]);
        Self {
            root,
            levels,
            order: ByteOrder::Big,
            table: 1 << 63 | 9,
            small: 3 << 62 | 0x18e,
            large: 3 << 62 | 0x18e,
            address: 0x00ff_ffff_ffff_ff00,
        }
    }

    /// Maps `virt` to `phys` by an entry that covers `1 << shift` bytes.
    pub(crate) fn map(&self, image: &mut Image, virt: u64, phys: u64, shift: u32) {
        let mut table = self.root;
        let smallest = self.levels.last().unwrap().0;
        for (i, &(level, bits)) in self.levels.iter().enumerate() {
            let at = table + (virt >> level & ((1 << bits) - 1)) * 8;
            if level == shift {
                let flags = if shift == smallest { self.small } else { self.large };
                image.write(at, &self.order.put_u64(phys | flags));
                return;
            }
            let entry = image.get64(at, self.order);
            table = if entry == 0 {
                let len = 8 << self.levels[i + 1].1;
                let next = image.alloc(len, len);
                image.write(at, &self.order.put_u64(next | self.table));
                next
            } else {
                entry & self.address
            };
        }
        panic!("no level maps {shift} bits");
    }
}

/// What tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    X86Four,
    /// Five levels, KASLR downwards, encrypted memory.
    X86Five,
    Radix4K,
    Radix64K,
    HashLittle64K,
    HashBig4K,
}

pub(crate) const KINDS: [Kind; 6] =
    [Kind::X86Four, Kind::X86Five, Kind::Radix4K, Kind::Radix64K, Kind::HashLittle64K, Kind::HashBig4K];

impl Kind {
    pub(crate) fn page(self) -> PageSize {
        match self {
            Self::Radix64K | Self::HashLittle64K => PageSize::K64,
            _ => PageSize::K4,
        }
    }
}

/// A kernel that can be opened, and the way to make its memory reachable.
pub(crate) struct Machine {
    pub(crate) kind: Kind,
    pub(crate) image: Image,
    tables: Option<Tables>,
    blocks: Vec<(u64, u64)>,
    linear: u64,
}

const MEBI: u64 = 1 << 20;
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
const PPC_LINEAR: u64 = 0xc000_0000_0000_0000;
const X86_LINEAR: u64 = 0xffff_8880_0000_0000;
/// `mmu_psize_defs[…].shift` that hash kernels are given here.
const BLOCK_SHIFT: u32 = 20;

/// Maps all memory at `linear` by entries of 1 GiB.
fn map_linear(tables: &Tables, image: &mut Image, linear: u64, frames: u64) {
    for at in (0..frames * image.page.bytes()).step_by(1 << 30) {
        tables.map(image, linear + at, at, 30);
    }
}

impl Machine {
    /// A kernel of `kind` with `frames` frames, of which the first 4 MiB are its image.
    pub(crate) fn new(kind: Kind, frames: u64) -> Self {
        let name = match kind {
            Kind::X86Four | Kind::X86Five => "x86_64",
            Kind::Radix4K | Kind::Radix64K | Kind::HashLittle64K => "ppc64le",
            Kind::HashBig4K => "ppc64",
        };
        let mut image = Image::new(name, kind.page(), frames);
        let mut linear = PPC_LINEAR;
        let tables = match kind {
            Kind::X86Four | Kind::X86Five => {
                let five = kind == Kind::X86Five;
                let encryption = if five { 1 << 47 } else { 0 };
                // Linked at 16 MiB, loaded at 2 MiB: a negative phys_base.
                let phys_base = (2 * MEBI).wrapping_sub(16 * MEBI);
                let tables = Tables::x86_64(&mut image, 3 * MEBI, if five { 5 } else { 4 }, encryption);
                image.symbol("swapper_pg_dir", KERNEL_MAP + 17 * MEBI);
                image.key("NUMBER(phys_base)", phys_base as i64);
                image.key("NUMBER(pgtable_l5_enabled)", u8::from(five));
                image.key("NUMBER(sme_mask)", encryption);
                tables.map(&mut image, KERNEL_MAP + 16 * MEBI, 2 * MEBI, 21);
                linear = if five { 0xff11_0000_0000_0000 } else { X86_LINEAR };
                map_linear(&tables, &mut image, linear, frames);
                image.name(KERNEL_MAP + 16 * MEBI + 0x100, 2 * MEBI + 0x100);
                Some(tables)
            }
            Kind::Radix4K | Kind::Radix64K => {
                let tables = Tables::radix(&mut image, MEBI);
                // The linear map in slot 0 of the root, where bug 5.1-A of makedumpfile finds vmemmap.
                map_linear(&tables, &mut image, PPC_LINEAR, frames);
                image.key("NUMBER(RADIX_MMU)", 1).key("NUMBER(VMALLOC_START)", "0xc008000000000000");
                image.symbol("swapper_pg_dir", PPC_LINEAR + MEBI);
                image.symbol("vmemmap_list", PPC_LINEAR + 2 * MEBI);
                image.name(PPC_LINEAR + 3 * MEBI, 3 * MEBI);
                Some(tables)
            }
            Kind::HashLittle64K | Kind::HashBig4K => {
                image.key("NUMBER(RADIX_MMU)", 0);
                image.symbol("vmemmap_list", PPC_LINEAR + 2 * MEBI);
                image.symbol("mmu_vmemmap_psize", PPC_LINEAR + 2 * MEBI + 16);
                image.symbol("mmu_psize_defs", PPC_LINEAR + 2 * MEBI + 32);
                image.key("SIZE(mmu_psize_def)", 96).key("OFFSET(mmu_psize_def.shift)", 4);
                image.key("SIZE(vmemmap_backing)", 24).key("OFFSET(vmemmap_backing.list)", 0);
                image.key("OFFSET(vmemmap_backing.phys)", 8).key("OFFSET(vmemmap_backing.virt_addr)", 16);
                let psize = 3;
                image.put32(2 * MEBI + 16, psize);
                image.put32(2 * MEBI + 32 + 96 * u64::from(psize) + 4, BLOCK_SHIFT);
                image.name(PPC_LINEAR + 3 * MEBI, 3 * MEBI);
                None
            }
        };
        Self { kind, image, tables, blocks: Vec::new(), linear }
    }

    /// The linear-map address of `phys`.
    pub(crate) fn linear(&self, phys: u64) -> u64 {
        self.linear + phys
    }

    /// Where this kind of kernel keeps vmemmap.
    pub(crate) fn vmemmap(&self) -> u64 {
        match self.kind {
            Kind::X86Four => 0xffff_ea00_0000_0000,
            Kind::X86Five => 0xffd4_0000_0000_0000,
            Kind::Radix4K | Kind::Radix64K => 0xc00c_0000_0000_0000,
            Kind::HashLittle64K => 0xf000_0000_0000_0000,
            Kind::HashBig4K => 0xc000_3f00_0000_0000,
        }
    }

    /// The size of the pieces that vmemmap is mapped in.
    pub(crate) fn piece(&self) -> u64 {
        1 << self.piece_shift()
    }

    fn piece_shift(&self) -> u32 {
        match self.kind {
            Kind::X86Four | Kind::Radix4K => 21,
            Kind::X86Five => 12,
            Kind::Radix64K => 16,
            Kind::HashLittle64K | Kind::HashBig4K => BLOCK_SHIFT,
        }
    }

    /// Maps one piece of vmemmap, by page tables or `vmemmap_list`.
    pub(crate) fn map(&mut self, virt: u64, phys: u64) {
        let shift = self.piece_shift();
        match &self.tables {
            Some(tables) => tables.map(&mut self.image, virt, phys, shift),
            None => self.blocks.push((virt, phys)),
        }
    }

    /// Writes `vmemmap_list` with the blocks mapped so far.
    pub(crate) fn finish(mut self) -> Image {
        let mut next = 0;
        // Newest first, as the kernel has it.
        for &(virt, phys) in &self.blocks {
            let node = self.image.alloc(24, 8);
            self.image.put64(node, next);
            self.image.put64(node + 8, phys);
            self.image.put64(node + 16, virt);
            next = PPC_LINEAR + node;
        }
        if next != 0 {
            self.image.put64(2 * MEBI, next);
        }
        self.image
    }
}
