//! Dumps that are large in addresses, headers or holes: what they cost follows from the memory that is there.

use dumpfile::output::OutputFile;
use dumpfile::{Facts, Progress, kdump};
use fuzz::{Cost, measured};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use vmcore::{Dump, DumpLevel, PageState, Pfn, Selection};

/// Memory is counted for the whole program, so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where memory lies on machines whose nodes have address ranges of their own.
const FAR: u64 = 0x6000_0000_0000;

/// The headers of an x86_64 core with a PT_LOAD for each physical address, offset in the file and length.
fn headers(loads: &[(u64, u64, u64)]) -> Vec<u8> {
    let many = loads.len() >= 0xffff;
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    let shoff = if many { 64u64 } else { 0 };
    bytes.extend([4u16, 62, 1, 0].map(u16::to_le_bytes).concat());
    bytes.extend([0u64, 128, shoff].map(u64::to_le_bytes).concat());
    let phnum = loads.len().min(0xffff) as u16;
    bytes.extend([0u16, 0, 64, 56, phnum, 64, many.into(), 0].map(u16::to_le_bytes).concat());
    // Section header 0: sh_info.
    bytes.resize(64 + 44, 0);
    bytes.extend((loads.len() as u32).to_le_bytes());
    bytes.resize(128, 0);
    for &(paddr, offset, len) in loads {
        bytes.extend([1u32, 7].map(u32::to_le_bytes).concat());
        let vaddr = 0xffff_8880_0000_0000u64.wrapping_add(paddr);
        bytes.extend([offset, vaddr, paddr, len, len, 0].map(u64::to_le_bytes).concat());
    }
    bytes
}

/// A file of `len` bytes with these stretches, holes elsewhere.
fn sparse(path: &Path, len: u64, stretches: &[(u64, &[u8])]) {
    let file = File::create(path).unwrap();
    file.set_len(len).unwrap();
    stretches.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
}

/// Opens a dump, looks at all frames and reads one page.
fn open(path: &Path, pfn: u64, first_byte: u8) -> ((Dump, Selection), Cost) {
    measured(|| {
        let dump = dumpfile::open(path).unwrap();
        let all = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
        let mut page = vec![0xee; 4096];
        assert!(dump.memory.read_page(Pfn(pfn), &mut page).unwrap().is_known());
        assert_eq!(page[0], first_byte);
        (dump, all)
    })
}

#[track_caller]
fn cheap(cost: Cost, mib: usize) {
    assert!(cost.memory < mib << 20, "{cost:?}");
    assert!(cost.time < Duration::from_secs(2), "{cost:?}");
}

/// Writes a dump as a kdump file.
fn rewrite(dump: &Dump, selection: &Selection, path: &Path) -> Cost {
    let (_, cost) = measured(|| {
        let out = OutputFile::create(path, false).unwrap();
        let (facts, options) = (Facts::default(), kdump::Options::default());
        kdump::write(dump, selection, &facts, &options, &out, &Progress::default()).unwrap();
        out.commit().unwrap();
    });
    cost
}

#[test]
fn seventy_thousand_segments_up_to_a_far_node_cost_what_their_headers_do() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("core");
    let data = 128 + 56 * 70_000;
    let paddr = |i: u64| if i < 35_000 { i * 0x3000 } else { FAR + i * 0x3000 };
    let loads: Vec<_> = (0..70_000).map(|i| (paddr(i), data + i % 4 * 4096, 4096)).collect();
    let pages: Vec<u8> = (0..4 * 4096).map(|i| (i / 4096) as u8 + 1).collect();
    sparse(&path, data + 4 * 4096, &[(0, &headers(&loads)), (data, &pages)]);
    let ((dump, all), cost) = open(&path, paddr(69_999) >> 12, 4);
    assert_eq!(all.kept(), 70_000);
    assert_eq!(dump.virt.len(), 70_000);
    cheap(cost, 32);
    let kdump = dir.path().join("kdump");
    // 70,000 pages of 4 KiB, and batches for each thread.
    assert!(rewrite(&dump, &all, &kdump).memory < 96 << 20);
    let meta = std::fs::metadata(&kdump).unwrap();
    assert!(meta.len() > FAR >> 14, "two bitmaps up to the far node");
    assert!(meta.blocks() * 512 < 300 << 20, "{} blocks", meta.blocks());
    let ((_, again), cost) = open(&kdump, paddr(35_001) >> 12, 2);
    assert_eq!(again.kept(), 70_000);
    cheap(cost, 16);
}

#[test]
fn memory_at_both_ends_of_the_address_space_costs_what_it_is() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("core");
    let loads = [(0, 0x1000, 0x4000), (FAR, 0x5000, 0x4000)];
    let pages: Vec<u8> = (0..8 * 4096).map(|i| (i / 4096) as u8 + 1).collect();
    sparse(&path, 0x9000, &[(0, &headers(&loads)), (0x1000, &pages)]);
    let ((dump, all), cost) = open(&path, FAR >> 12, 5);
    cheap(cost, 2);
    let kdump = dir.path().join("kdump");
    cheap(rewrite(&dump, &all, &kdump), 48);
    assert!(std::fs::metadata(&kdump).unwrap().blocks() * 512 < 1 << 20);
    let (_, cost) = open(&kdump, (FAR >> 12) + 3, 8);
    cheap(cost, 2);
}

#[test]
fn a_dump_of_four_tebibytes_that_is_mostly_holes_opens_at_once() {
    const TIB: u64 = 1 << 40;
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("core");
    let far = 3 * TIB + 0x5000;
    sparse(&path, 4 * TIB + 0x1000, &[(0, &headers(&[(0, 0x1000, 4 * TIB)])), (far + 0x1000, &[7; 4096])]);
    let ((dump, all), cost) = open(&path, far >> 12, 7);
    assert_eq!(all.kept(), (4 * TIB) >> 12);
    cheap(cost, 4);
    let mut page = vec![1; 4096];
    assert_eq!(dump.memory.read_page(Pfn(12345), &mut page).unwrap(), PageState::Zero);
}

#[test]
fn a_flattened_file_of_a_million_pieces_costs_a_part_of_its_length() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flattened");
    let page = |n: u64| vec![n as u8; 4096];
    let data = 0x1000;
    let file: Vec<u8> = [headers(&[(0, data, 1 << 20)])]
        .into_iter()
        .chain((0..256).map(page))
        .reduce(|mut all, more| {
            all.resize(all.len().next_multiple_of(4096), 0);
            all.extend(more);
            all
        })
        .unwrap();
    let mut flat = b"makedumpfile\0\0\0\0".to_vec();
    flat.extend([1u64, 1].map(u64::to_be_bytes).concat());
    flat.resize(4096, 0);
    for (at, bytes) in file.chunks(1).enumerate() {
        flat.extend([at as u64, 1].map(u64::to_be_bytes).concat());
        flat.extend(bytes);
    }
    flat.extend([0xff; 16]);
    std::fs::write(&path, &flat).unwrap();
    let ((dump, _), cost) = open(&path, 200, 200);
    assert!(cost.memory < 64 << 20, "{cost:?}");
    assert!(cost.time < Duration::from_secs(5), "{cost:?}");
    assert!(!dump.source.incomplete);
}
