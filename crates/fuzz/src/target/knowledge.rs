//! Physical memory of an x86_64 kernel without a VMCOREINFO note: the search for one, page tables, the kernel's name,
//! its log, its memory map.

use super::{Seed, Target};
use kernel::knowledge::{Given, Known, complete};
use kernel::{Kernel, log::read_log};
use std::hint::black_box;
use vmcore::{
    Dump, DumpLevel, Machine, MemoryMap, Note, Notes, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory,
    Range, ReadError, Source,
};

pub(super) const TARGET: Target = Target { name: "knowledge", seeds, run };

const PAGE: usize = 4096;
const FRAMES: usize = 24;
/// Where link address 0 is mapped (`__START_KERNEL_map`), and all memory (`__PAGE_OFFSET_BASE_L4`).
const IMAGE: u64 = 0xffff_ffff_8000_0000;
const DIRECT: u64 = 0xffff_8880_0000_0000;

/// An image of memory from address 0 on.
struct Image {
    map: MemoryMap,
    bytes: Vec<u8>,
}

impl PhysicalMemory for Image {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        page.fill(0);
        let start = usize::try_from(pfn.0).ok().and_then(|n| n.checked_mul(PAGE));
        let Some(rest) = start.and_then(|start| self.bytes.get(start..)).filter(|rest| !rest.is_empty())
        else {
            return Ok(PageState::Absent);
        };
        let len = rest.len().min(PAGE);
        page[..len].copy_from_slice(&rest[..len]);
        Ok(PageState::Present)
    }
}

/// The keys of a kernel whose `struct page`s lie in one array.
fn text() -> String {
    let mut text = String::from("OSRELEASE=6.1.0\nBUILD-ID=00\nPAGESIZE=4096\n");
    for (name, at) in [
        ("init_uts_ns", 0x5000),
        ("init_top_pgt", 0x1000),
        ("_stext", 0),
        ("log_buf", 0x7000),
        ("log_buf_len", 0x7010),
        ("log_end", 0x7018),
        ("mem_map", 0x7020),
    ] {
        text += &format!("SYMBOL({name})={:x}\n", IMAGE + at);
    }
    text + "OFFSET(uts_namespace.name)=0\nNUMBER(phys_base)=0\nNUMBER(pgtable_l5_enabled)=0\nKERNELOFFSET=0\n\
            SIZE(page)=64\nOFFSET(page.flags)=0\nOFFSET(page.lru)=8\nOFFSET(page.mapping)=24\nOFFSET(page.private)=40\n\
            OFFSET(page._mapcount)=48\nOFFSET(page._refcount)=52\nOFFSET(page.compound_head)=8\n\
            OFFSET(page.compound_order)=81\nOFFSET(page.compound_dtor)=80\nNUMBER(PG_lru)=4\nNUMBER(PG_private)=13\n\
            NUMBER(PG_swapcache)=10\nNUMBER(PG_swapbacked)=19\nNUMBER(PG_slab)=7\nNUMBER(PG_head_mask)=65536\n\
            NUMBER(PG_hwpoison)=22\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\nNUMBER(HUGETLB_PAGE_DTOR)=2\n\
            NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257\nNUMBER(NR_FREE_PAGES)=0\n"
}

fn seed(in_note: bool) -> Seed {
    let mut bytes = vec![0; FRAMES * PAGE];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    // Tables: the image by a page of 2 MiB, all memory by one of 1 GiB.
    for (at, entry) in [
        (0x1000 + 511 * 8, 0x2003),
        (0x2000 + 510 * 8, 0x3003),
        (0x3000, 0x83),
        (0x1000 + 273 * 8, 0x4003),
        (0x4000, 0x83),
    ] {
        put(at, &u64::to_le_bytes(entry));
    }
    for (i, part) in ["Linux", "host", "6.1.0", "#1 SMP", "x86_64", "(none)"].into_iter().enumerate() {
        put(0x5000 + i * 65, part.as_bytes());
    }
    let text = text().into_bytes();
    let (start, len) = (0x6000, text.len() + 40);
    if in_note {
        let mut notes = Notes::default();
        let order = Machine::from_name("x86_64").expect("a machine that hadump knows").order;
        notes.push(Note { name: b"VMCOREINFO".into(), kind: 0, desc: text }, order);
        put(start, notes.raw());
    } else {
        put(start, &text);
    }
    put(0x7000, &(IMAGE + 0x8000).to_le_bytes());
    put(0x7010, &64u32.to_le_bytes());
    put(0x7018, &20u32.to_le_bytes());
    put(0x7020, &(DIRECT + 0x9000).to_le_bytes());
    put(0x8000, b"<6>one\n<6>two\n<6>...");
    for frame in 0..FRAMES {
        let at = 0x9000 + frame * 64;
        let (flags, mapping, mapcount): (u64, u64, i32) = match frame % 4 {
            // In use by the kernel, of a file, of a process, free.
            0 => (0, 0, -1),
            1 => (1 << 4, DIRECT + 0x100, -1),
            2 => (1 << 4 | 1 << 19, DIRECT + 0x101, 0),
            _ => (0, 0, -129),
        };
        put(at, &flags.to_le_bytes());
        put(at + 24, &mapping.to_le_bytes());
        put(at + 48, &mapcount.to_le_bytes());
        put(at + 52, &i32::from(frame % 4 != 3).to_le_bytes());
    }
    let tables = [0x1000 + 511 * 8, 0x2000 + 510 * 8, 0x3000, 0x1000 + 273 * 8, 0x4000];
    let mut hot: Vec<_> = tables.into_iter().map(|at| at..at + 8).collect();
    hot.extend([
        0x5000..0x5000 + 6 * 65,
        start..start + len,
        start..start + len,
        0x7000..0x7028,
        0x8000..0x8020,
    ]);
    hot.extend([0x9000..0x9000 + FRAMES * 64, 0x9000..0x9000 + FRAMES * 64]);
    Seed { bytes, hot }
}

fn seeds() -> Vec<Seed> {
    [false, true].map(seed).into()
}

fn run(bytes: Vec<u8>) -> bool {
    let ram = Range::new(PhysAddr(0), PhysAddr(bytes.len().next_multiple_of(PAGE) as u64));
    let map = MemoryMap::new(PageSize::K4, [ram].into_iter().collect());
    let mut dump = Dump {
        machine: Machine::from_name("x86_64").expect("a machine that hadump knows"),
        memory: Box::new(Image { map, bytes }),
        vmcoreinfo: None,
        notes: Notes::default(),
        virt: Vec::new(),
        elf_flags: 0,
        source: Source::default(),
    };
    let done = complete(&mut dump, &Given::default());
    black_box(done.map(|remarks| remarks.len()).unwrap_or_default());
    let Ok(kernel) = Kernel::open(&dump) else { return false };
    black_box((kernel.phys_base(), kernel.virt_segments(), kernel.utsname().release.len()));
    black_box(read_log(&kernel, &mut Vec::new()).is_ok());
    black_box(Known::of_dump(&kernel).is_ok());
    if let Some(level) = DumpLevel::new(31) {
        black_box(kernel.select(level, None).is_ok());
        black_box(kernel.select_unchecked(level, None).is_ok());
    }
    true
}
