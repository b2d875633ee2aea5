//! Kernels of arm64, riscv64, loongarch64 and s390x, for every page size and number of levels that Linux has there.

use crate::image::Image;
use crate::pages::keys;
use crate::trees::{Style, Tree, full};
use vmcore::PageSize;

const MEBI: u64 = 1 << 20;
/// Lengths of the two banks of memory.
const LOW: u64 = 64 * MEBI;
const HIGH: u64 = 32 * MEBI;
/// The image: where in the low bank, how long, and what its initialisation freed.
const IMAGE: u64 = 2 * MEBI;
pub(crate) const IMAGE_LEN: u64 = 8 * MEBI;
const FREED: (u64, u64) = (4 * MEBI, MEBI);
/// The root of the page table, inside the image.
const ROOT: u64 = 2 * MEBI;
const STRUCT_PAGE: u64 = 64;

/// What a kernel is like.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) name: String,
    machine: &'static str,
    pub(crate) page: PageSize,
    style: Style,
    levels: Vec<(u32, u32)>,
    /// Starts of the two banks.
    pub(crate) banks: [u64; 2],
    /// What the direct map's virtual addresses are further than physical ones, and whether tables have it.
    pub(crate) distance: u64,
    tabled: bool,
    /// Where the image is mapped, if not in the direct map.
    pub(crate) image: Option<u64>,
    /// The address of frame 0's struct page.
    vmemmap: u64,
    section_bits: u32,
    physmem_bits: u32,
    keys: Vec<(String, String)>,
    pub(crate) phys_base: u64,
}

fn page(kib: u64) -> PageSize {
    PageSize::new(kib << 10).unwrap()
}

fn top(bits: u32) -> u64 {
    u64::MAX << bits
}

/// Which generation of arm64's address space.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arm {
    /// Before 5.4.
    Old,
    /// 5.4 to 5.10: hardware with fewer bits moves the direct map.
    Turned,
    /// 5.11 and later: it makes PHYS_OFFSET negative.
    Now,
}

fn arm(kib: u64, va_bits: u32, actual: u32, generation: Arm) -> Spec {
    let page = page(kib);
    let walked = if kib == 64 { va_bits } else { actual };
    let style = match (kib, walked) {
        (64, _) => Style::ArmLpa,
        (_, 52) => Style::ArmLpa2,
        _ => Style::Arm,
    };
    let each = page.shift() - 3;
    let count = (walked - page.shift()).div_ceil(each);
    let levels = full(page, count, walked - page.shift() - (count - 1) * each);
    let base = 0x4000_0000;
    let high = match actual {
        52 => 0xc_0000_0000_0000,
        48 => 1 << 44,
        _ => base + (16 << 30),
    };
    let short = va_bits.min(48);
    let struct_pages = |bytes: u64| (bytes >> page.shift()).wrapping_mul(STRUCT_PAGE);
    let (distance, image, phys_offset, vmemmap_start, first) = match generation {
        Arm::Old => {
            let linear = top(va_bits - 1);
            let start = linear - struct_pages(1 << (va_bits - 1));
            (linear.wrapping_sub(base), top(va_bits) + 0x0800_0000, base, start, base)
        }
        Arm::Turned => {
            // vmemmap itself is moved too: its first struct page is still that of the first memory.
            let start = (top(va_bits) / (1 << (page.shift() - 6))) | top(va_bits - (page.shift() - 6));
            let moved = struct_pages(top(actual).wrapping_sub(top(va_bits)));
            (top(actual).wrapping_sub(base), top(short - 1) + 0x0800_0000, base, start + moved, base)
        }
        Arm::Now => {
            let start = top(va_bits - (page.shift() - 6));
            let moved = if actual < va_bits { top(actual).wrapping_sub(top(va_bits)) } else { 1 << 30 };
            let offset = base.wrapping_sub(moved);
            let kaslr = 37 * 2 * MEBI;
            (top(va_bits).wrapping_sub(offset), top(short - 1) + 0x1000_0000 + kaslr, offset, start, offset)
        }
    };
    let first_frame = (first as i64 >> page.shift()) as u64;
    let vmemmap = vmemmap_start.wrapping_sub(first_frame.wrapping_mul(STRUCT_PAGE));
    let mut keys = vec![
        ("NUMBER(VA_BITS)".to_owned(), va_bits.to_string()),
        ("NUMBER(kimage_voffset)".to_owned(), format!("{:#x}", image.wrapping_sub(base + IMAGE))),
        ("NUMBER(PHYS_OFFSET)".to_owned(), format!("{phys_offset:#x}")),
    ];
    if generation == Arm::Now {
        keys.push(("NUMBER(TCR_EL1_T1SZ)".to_owned(), format!("{:#x}", 64 - actual)));
    }
    let era = match generation {
        Arm::Old => " before 5.4",
        Arm::Turned => " of 5.4",
        Arm::Now => "",
    };
    Spec {
        name: format!("arm64 {kib}K VA {va_bits} on {actual}{era}"),
        machine: "aarch64",
        page,
        style,
        levels,
        banks: [base, high],
        distance,
        tabled: true,
        image: Some(image),
        vmemmap,
        section_bits: if kib == 64 { 29 } else { 27 },
        physmem_bits: if actual == 52 { 52 } else { 48 },
        keys,
        phys_base: phys_offset,
    }
}

fn riscv(va_bits: u32, page_offset: u64, vmemmap_start: u64, told: bool) -> Spec {
    let base = 0x8000_0000;
    let count = (va_bits - 12) / 9;
    // Untold kernels have no KASLR.
    let image = 0xffff_ffff_8000_0000 + if told { 74 * MEBI } else { 0 };
    let mut keys = vec![
        ("NUMBER(phys_ram_base)".to_owned(), base.to_string()),
        ("NUMBER(PAGE_OFFSET)".to_owned(), format!("{page_offset:#x}")),
    ];
    if told {
        keys.push(("NUMBER(VA_BITS)".to_owned(), va_bits.to_string()));
        keys.push(("NUMBER(va_kernel_pa_offset)".to_owned(), format!("{:#x}", image - (base + IMAGE))));
    }
    Spec {
        name: format!("riscv64 Sv{va_bits}{}", if told { "" } else { ", untold" }),
        machine: "riscv64",
        page: PageSize::K4,
        style: Style::Riscv,
        levels: full(PageSize::K4, count, 9),
        banks: [base, base + (if va_bits == 39 { 16 << 30 } else { 1 << 40 })],
        distance: page_offset.wrapping_sub(base),
        tabled: true,
        image: Some(image),
        vmemmap: vmemmap_start - (base >> 12) * STRUCT_PAGE,
        section_bits: 27,
        physmem_bits: 56,
        keys,
        phys_base: base,
    }
}

fn loong(kib: u64, count: u32) -> Spec {
    let page = page(kib);
    let va_bits = page.shift() + count * (page.shift() - 3);
    Spec {
        name: format!("loongarch64 {kib}K, {count} levels"),
        machine: "loongarch64",
        page,
        style: Style::Loong,
        levels: full(page, count, page.shift() - 3),
        banks: [0, 1 << 36],
        distance: 0x9000 << 48,
        tabled: false,
        image: None,
        vmemmap: top(va_bits.min(48)) + (1 << (va_bits.min(48) - 2)),
        section_bits: 29,
        physmem_bits: 48,
        keys: Vec::new(),
        phys_base: 0,
    }
}

/// How an s390x kernel says its layout.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Z {
    /// Virtual addresses are physical ones: until 6.9.
    Same,
    Note,
    OsInfo,
}

fn z(regions: usize, how: Z) -> Spec {
    let all = [(53, 11), (42, 11), (31, 11), (20, 11), (12, 8)];
    let levels = all[3 - regions..].to_vec();
    let span = levels[0].0 + levels[0].1;
    let identity = if how == Z::Same { 0 } else { 1 << (span - 2) };
    let image = (how != Z::Same).then(|| (1 << (span - 1)) + (1 << (span - 2)) + 6 * MEBI);
    let mut keys = Vec::new();
    if how == Z::Note {
        keys.push(("IDENTITYBASE".to_owned(), format!("{identity:x}")));
        keys.push(("KERNELOFFSET".to_owned(), format!("{:x}", image.unwrap() - 0x10_0000)));
        keys.push(("KERNELOFFPHYS".to_owned(), format!("{:x}", IMAGE - 0x10_0000)));
    }
    Spec {
        name: format!(
            "s390x, {regions} region tables, {}",
            match how {
                Z::Same => "identity",
                Z::Note => "told by the note",
                Z::OsInfo => "told by os_info",
            }
        ),
        machine: "s390x",
        page: PageSize::K4,
        style: Style::Z,
        levels,
        banks: [0, 1 << 35],
        distance: identity,
        tabled: true,
        image,
        vmemmap: 1 << (span - 1),
        section_bits: if how == Z::Same { 28 } else { 27 },
        physmem_bits: 46,
        keys,
        phys_base: 0,
    }
}

/// All kernels.
pub(crate) fn specs() -> Vec<Spec> {
    let mut specs = vec![
        arm(4, 39, 39, Arm::Old),
        arm(4, 48, 48, Arm::Old),
        arm(64, 42, 42, Arm::Old),
        arm(64, 48, 48, Arm::Old),
        arm(4, 39, 39, Arm::Turned),
        arm(64, 52, 52, Arm::Turned),
        arm(64, 52, 48, Arm::Turned),
    ];
    for (kib, all) in [(4, &[39, 48, 52][..]), (16, &[36, 47, 48, 52]), (64, &[42, 48, 52])] {
        specs.extend(all.iter().map(|&va_bits| arm(kib, va_bits, va_bits, Arm::Now)));
    }
    specs.extend([(4, 48), (16, 47), (64, 48)].map(|(kib, actual)| arm(kib, 52, actual, Arm::Now)));
    let big = arm(64, 48, 48, Arm::Now);
    specs.push(Spec {
        name: "arm64 with its bytes in big-endian order".to_owned(),
        machine: "aarch64_be",
        ..big
    });
    for (va_bits, page_offset, vmemmap) in [
        (39, 0xffff_ffd6_0000_0000, 0xffff_ffc6_0000_0000),
        (48, 0xffff_af80_0000_0000, 0xffff_8d80_0000_0000),
        (57, 0xff60_0000_0000_0000, 0xff1c_0000_0000_0000),
    ] {
        specs.extend([true, false].map(|told| riscv(va_bits, page_offset, vmemmap, told)));
    }
    specs.extend([(4, 3), (4, 4), (16, 2), (16, 3), (64, 2)].map(|(kib, count)| loong(kib, count)));
    specs.push(z(1, Z::Same));
    for regions in 1..=3 {
        specs.extend([Z::Note, Z::OsInfo].map(|how| z(regions, how)));
    }
    specs
}

/// A kernel with its memory.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) spec: Spec,
    pub(crate) image: Image,
    pub(crate) tree: Tree,
    /// Where the struct pages of the banks are: from the last page of each to its first.
    arrays: [u64; 2],
}

impl Spec {
    pub(crate) fn banks_with_len(&self) -> [(u64, u64); 2] {
        [(self.banks[0], LOW), (self.banks[1], HIGH)]
    }

    /// Makes the kernel: its image, direct map and struct pages, the latter in reversed pages.
    pub(crate) fn make(&self) -> Made {
        let [(low, _), (_, _)] = self.banks_with_len();
        let mut image = Image::with_banks(self.machine, self.page, &self.banks_with_len());
        let virt = self.image.unwrap_or_else(|| (low + IMAGE).wrapping_add(self.distance));
        let tree = Tree::new(&mut image, self.style, &self.levels, low + IMAGE + ROOT);
        if self.tabled {
            for (start, len) in self.banks_with_len() {
                tree.map_range(&mut image, start.wrapping_add(self.distance), start, len, 1);
            }
        }
        if self.image.is_some() {
            // Its first 64 KiB are not mapped for good.
            let lead = 64 << 10;
            tree.map_range(&mut image, virt + lead, low + IMAGE + lead, FREED.0 - lead, 0);
            let rest = FREED.0 + FREED.1;
            tree.map_range(&mut image, virt + rest, low + IMAGE + rest, IMAGE_LEN - rest, 0);
        }
        for (key, value) in &self.keys {
            image.key(key, value);
        }
        image.symbol("_stext", virt + (64 << 10)).symbol("swapper_pg_dir", virt + ROOT);
        image.name(virt + MEBI, low + IMAGE + MEBI);
        if self.style == Style::Z && self.image.is_some() && self.keys.is_empty() {
            self.os_info(&mut image, virt);
        }
        keys(&mut image);
        image.key("SIZE(page)", STRUCT_PAGE);
        let arrays = self.banks_with_len().map(|(start, len)| {
            let page = self.page.bytes();
            let first = (start >> self.page.shift()) * STRUCT_PAGE;
            let bytes = ((len >> self.page.shift()) * STRUCT_PAGE).next_multiple_of(page);
            let array = image.alloc(bytes, page);
            for at in (0..bytes).step_by(page as usize) {
                tree.map(&mut image, self.vmemmap.wrapping_add(first + at), array + bytes - page - at, 0);
            }
            array + bytes - page
        });
        let mut made = Made { spec: self.clone(), image, tree, arrays };
        made.sections();
        made
    }

    fn os_info(&self, image: &mut Image, virt: u64) {
        let at = self.banks[0] + IMAGE + 3 * MEBI;
        image.put64(0xe18, at);
        image.put64(at, 0x4f53_494e_464f_535a);
        let phys = self.banks[0] + IMAGE;
        for (n, value) in [
            (4, self.distance),
            (5, virt - 0x10_0000),
            (6, phys - 0x10_0000),
            (10, virt),
            (11, virt + IMAGE_LEN),
            (12, phys),
        ] {
            image.put64(at + 32 + 20 * n, value);
        }
    }
}

impl Made {
    /// The physical address of a frame's struct page.
    fn struct_page(&self, pfn: u64) -> u64 {
        let page = self.spec.page;
        let bank = usize::from(pfn >= self.spec.banks[1] >> page.shift());
        let offset = (pfn - (self.spec.banks[bank] >> page.shift())) * STRUCT_PAGE;
        self.arrays[bank] - offset / page.bytes() * page.bytes() + offset % page.bytes()
    }

    pub(crate) fn write(&mut self, pfn: u64, flags: u64, mapping: u64) {
        let at = self.struct_page(pfn);
        self.image.put64(at, flags);
        self.image.put64(at + 24, mapping);
        self.image.put32(at + 48, u32::MAX);
    }

    /// Writes SPARSEMEM_EXTREME's tables, entries as kernels for vmemmap have them.
    fn sections(&mut self) {
        let spec = self.spec.clone();
        let (page, image) = (spec.page, &mut self.image);
        let per_root = page.bytes() / 16;
        let roots = (1u64 << (spec.physmem_bits - spec.section_bits)).div_ceil(per_root);
        let table = spec.banks[0] + IMAGE + IMAGE_LEN;
        for (start, len) in spec.banks_with_len() {
            for section in start >> spec.section_bits..=(start + len - 1) >> spec.section_bits {
                let slot = table + section / per_root * 8;
                let known = image.get64(slot, image.order());
                let root = match known {
                    0 => image.alloc(page.bytes(), page.bytes()),
                    virt => virt.wrapping_sub(spec.distance),
                };
                image.put64(slot, root.wrapping_add(spec.distance));
                image.put64(root + section % per_root * 16, spec.vmemmap | 0b1111);
            }
        }
        image.symbol("mem_section", table.wrapping_add(spec.distance));
        image.key("LENGTH(mem_section)", roots).key("SIZE(mem_section)", 16);
        image.key("OFFSET(mem_section.section_mem_map)", 0);
        image.key("NUMBER(SECTION_SIZE_BITS)", spec.section_bits);
        image.key("NUMBER(MAX_PHYSMEM_BITS)", spec.physmem_bits);
    }
}
