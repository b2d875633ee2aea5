//! 64-bit RISC-V: Sv39, Sv48 and Sv57.

use super::segments::Segments;
use super::table::{Entries, Entry, Level, PageTable, Stop, Tree, levels, page_sized};
use super::tables::{TableVisitor, visit};
use super::{Mapping, missing};
use crate::Error;
use crate::address::physical::Physical;
use vmcore::{ByteOrder, PageSize, PhysAddr, VirtAddr, VmcoreInfo};

const PURPOSE: &str = "address translation";
const VALID: u64 = 1;
/// Readable, writable or executable: the entry maps memory.
const LEAF: u64 = 0b1110;
/// Frame numbers are in bits 10 to 53.
const PFN_SHIFT: u32 = 10;
const PFN: u64 = (1 << 44) - 1;
/// Svnapot: the entry is one of 16 equal ones, which map 64 KiB together. On T-Head's cores the top five bits are a
/// memory type, of which bit 63 alone means device memory.
const NAPOT: u64 = 1 << 63;
const NAPOT_PAGES: u64 = 16;

/// Where images are linked (`KERNEL_LINK_ADDR`): 2 GiB at the end.
const IMAGES: u64 = 0xffff_ffff_8000_0000;
const IMAGE_ALIGN: u64 = 2 << 20;
/// Places that are looked into for the image: the first GiB of memory.
const IMAGE_PLACES: u64 = 512;

/// The entries of a page table.
#[derive(Debug)]
struct RiscvEntries;

impl Entries for RiscvEntries {
    fn decode(&self, entry: u64, index: u64, _level: &Level, last: bool) -> Entry {
        let pfn = entry >> PFN_SHIFT & PFN;
        match (entry & VALID != 0, entry & LEAF != 0) {
            (true, true) if last && entry & NAPOT != 0 && pfn % NAPOT_PAGES == NAPOT_PAGES / 2 => {
                Entry::Memory((pfn - NAPOT_PAGES / 2 + index % NAPOT_PAGES) << PageSize::K4.shift())
            }
            (true, true) => Entry::Memory(pfn << PageSize::K4.shift()),
            (true, false) if !last => Entry::Table(pfn << PageSize::K4.shift()),
            _ => Entry::Nothing,
        }
    }
}

/// Whether `table` maps the image where it would be if it were mapped at this distance.
fn has_image(
    table: &PageTable<RiscvEntries>,
    physical: &Physical<'_>,
    text: Option<u64>,
    distance: u64,
) -> Result<bool, Error> {
    let Some(text) = text else { return Ok(false) };
    match table.walk(physical, VirtAddr(text)) {
        Ok(mapping) => Ok(mapping.phys.0 == text.wrapping_sub(distance)),
        Err(Stop { error: Error::Read(error), .. }) => Err(Error::Read(error)),
        Err(_) => Ok(false),
    }
}

/// The translator of a RISC-V kernel.
pub(super) struct Riscv64 {
    table: PageTable<RiscvEntries>,
    /// From a physical address of the image to its virtual one (`kernel_map.va_kernel_pa_offset`).
    image: u64,
    text: Option<u64>,
    page_offset: Option<u64>,
    ram_base: Option<u64>,
}

impl Riscv64 {
    pub(super) fn open(
        info: &VmcoreInfo,
        segments: &Segments,
        physical: &Physical<'_>,
    ) -> Result<Self, Error> {
        let number = |name: &str| info.number(name).map(|n| n as u64);
        let root = info.symbol("swapper_pg_dir").ok_or_else(|| missing("SYMBOL(swapper_pg_dir)", PURPOSE))?;
        let (page_offset, ram_base) = (number("PAGE_OFFSET"), number("phys_ram_base"));
        let text = info.symbol("_stext").map(|text| text.0);
        // The mode of the satp register.
        let mode = number("satp").and_then(|satp| match satp >> 60 {
            8 => Some(39),
            9 => Some(48),
            10 => Some(57),
            _ => None,
        });
        let table = |va_bits: u64, image: u64| {
            let bits = u32::try_from(va_bits).ok().filter(|bits| [39, 48, 57].contains(bits));
            let index_bits = bits.and_then(|bits| page_sized(PageSize::K4, bits)).ok_or_else(|| {
                Error::Unsupported(format!(
                    "NUMBER(VA_BITS)={va_bits}: RISC-V kernels have addresses of 39, 48 or 57 bits"
                ))
            })?;
            Ok::<_, Error>(PageTable {
                root: PhysAddr(root.0.wrapping_sub(image)),
                levels: levels(PageSize::K4, &index_bits),
                order: ByteOrder::Little,
                entries: RiscvEntries,
            })
        };
        let told = number("va_kernel_pa_offset")
            .or_else(|| segments.translate(root).map(|mapping| root.0.wrapping_sub(mapping.phys.0)));
        let va_bits = number("VA_BITS").or(mode);
        if let (Some(image), Some(va_bits)) = (told, va_bits) {
            return Ok(Self { table: table(va_bits, image)?, image, text, page_offset, ram_base });
        }
        // Before 6.5 nothing says where the image is, and before 6.1 how many levels there are. The image begins a
        // multiple of 2 MiB after the first memory, mostly none.
        let link = number("KERNEL_LINK_ADDR").unwrap_or(IMAGES);
        let lowest = ram_base.unwrap_or(physical.start().0) & !(IMAGE_ALIGN - 1);
        let places = (0..IMAGE_PLACES).map(|n| link.wrapping_sub(lowest.wrapping_add(n * IMAGE_ALIGN)));
        let places = told.map_or_else(|| places.collect(), |image| vec![image]);
        let depths = va_bits.map_or_else(|| vec![39, 48, 57], |va_bits| vec![va_bits]);
        for (&image, &va_bits) in places.iter().flat_map(|image| depths.iter().map(move |bits| (image, bits)))
        {
            let table = table(va_bits, image)?;
            if physical.exists(table.root) && has_image(&table, physical, text, image)? {
                return Ok(Self { table, image, text, page_offset, ram_base });
            }
        }
        Err(missing(if told.is_none() { "NUMBER(va_kernel_pa_offset)" } else { "NUMBER(VA_BITS)" }, PURPOSE))
    }

    pub(super) fn walk(&self, physical: &Physical<'_>, addr: VirtAddr) -> Result<Mapping, Stop> {
        self.table.walk_canonical(physical, addr)
    }

    /// Shows all of the kernel's page table.
    pub(super) fn visit(&self, physical: &Physical<'_>, visitor: &mut dyn TableVisitor) -> Result<(), Error> {
        visit(&self.table, physical, u64::MAX << (self.table.va_bits() - 1), visitor)
    }

    /// The image, which is mapped in the last 2 GiB, where a dump lacks the page tables.
    pub(super) fn computed(&self, physical: &Physical<'_>, addr: VirtAddr) -> Option<Mapping> {
        let phys = PhysAddr(addr.0.wrapping_sub(self.image));
        (addr.0 >= IMAGES && physical.exists(phys))
            .then(|| Mapping { phys, len: (1 << 12) - (addr.0 & 0xfff) })
    }

    /// What the direct map's virtual addresses may be further than the physical ones: it begins with the first memory
    /// (6.4 and later), or with the image (before), which the bootloader put 2 MiB after that or at it.
    pub(super) fn linear_distances(&self) -> [Option<u64>; 3] {
        let from = |phys: u64| self.page_offset.map(|virt| virt.wrapping_sub(phys));
        let image = self.text.map(|text| text.wrapping_sub(self.image) & !0x1f_ffff);
        [self.ram_base.and_then(from), image.and_then(from), None]
    }

    /// Where the direct map begins, or the kernel's addresses.
    pub(super) fn kernel_half(&self) -> u64 {
        self.page_offset.unwrap_or(u64::MAX << (self.table.va_bits() - 1))
    }
}
