//! `/proc/vmcore` as the second kernel exports it, by the rules of `fs/proc/vmcore.c`.
//!
//! ELF headers padded to a page, all notes merged and padded to a page, then each PT_LOAD rounded out to pages in the
//! order of the table. The bytes of boot memory come from its copy, so a copy that does not start at a page
//! (before about 5.19) makes the offset end in the same odd bytes.

use std::fs::File;
use std::path::Path;

use crate::bytes::{ByteOrder, Bytes};
use crate::error::{ModelError, Result};
use crate::extent::{Extent, intersect, subtract};
use crate::faults::{Fault, VmcoreFault, pick};
use crate::scenario::Run;

const EHDR: usize = 64;
const PHDR: usize = 56;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// Where the linear map of ppc64 begins.
const LINEAR: u64 = 0xc000_0000_0000_0000;

/// One PT_LOAD: what it says, and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The physical range it stands for.
    pub paddr: Extent,
    /// Where the second kernel reads its bytes.
    pub source: u64,
}

/// The PT_LOADs of a run: boot memory regions from their copies, then the rest of memory in place.
pub fn loads(run: &Run) -> Vec<Load> {
    let mut out: Vec<Load> =
        run.layout.boot.iter().map(|(region, copy)| Load { paddr: *region, source: *copy }).collect();
    let above = Extent::between(run.options.boot_top, u64::MAX);
    // Before 6.10 the ranges are those known at registration; later ones see memory as it is now.
    let ram = if run.lists_ranges_at_registration() { &run.ram_at_registration } else { &run.ram_now };
    for range in subtract(&intersect(ram, &[above]), &[run.layout.reserved]) {
        out.push(Load { paddr: range, source: range.start });
    }
    out
}

/// Writes `/proc/vmcore` to a new file, sparse where memory is.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(run: &Run, path: &Path) -> Result<()> {
    let faults: Vec<VmcoreFault> = pick(&run.faults, |fault| match fault {
        Fault::Vmcore(fault) => Some(*fault),
        _ => None,
    })
    .collect();
    let page = run.options.page_size;
    let order = run.options.order;
    let notes = run.kernel_notes()?;
    let loads = loads(run);
    let null = usize::from(faults.contains(&VmcoreFault::NullEntry));
    let entries = 1 + loads.len() + null;
    let headers = ((EHDR + entries * PHDR) as u64).next_multiple_of(page);
    let notes_size = (notes.len() as u64).next_multiple_of(page);

    let mut out = ehdr(order, if faults.contains(&VmcoreFault::NoProgramHeaders) { 0 } else { entries });
    phdr(&mut out, PT_NOTE, 0, headers, Extent::new(0, notes.len() as u64), 0);
    let mut at = headers + notes_size;
    let mut placed = Vec::new();
    for (index, load) in loads.iter().enumerate() {
        if index == 1 && null == 1 {
            out.raw(&[0; PHDR]);
        }
        let offset = at + load.source % page;
        phdr(&mut out, PT_LOAD, 7, offset, load.paddr, LINEAR + load.paddr.start);
        placed.push((*load, offset));
        at = (offset + load.paddr.length).next_multiple_of(page);
    }
    if loads.len() == 1 && null == 1 {
        out.raw(&[0; PHDR]);
    }
    let file = File::create(path).map_err(ModelError::io(path, "create"))?;
    let put = |bytes: &[u8], offset: u64| {
        use std::os::unix::fs::FileExt;
        file.write_all_at(bytes, offset).map_err(ModelError::io(path, "write"))
    };
    let length = cut(&faults, headers, notes.len() as u64, &placed, at);
    put(&out.bytes, 0)?;
    put(&notes, headers)?;
    for (load, offset) in placed {
        let source = Extent::new(load.source, load.paddr.length);
        // Memory that was removed after registration is listed but cannot be read: it stays a hole here.
        for piece in intersect(&[source], &run.ram_now) {
            run.memory.write_extent(&file, path, offset + (piece.start - source.start), piece)?;
        }
    }
    file.set_len(length).map_err(ModelError::io(path, "set the size"))
}

fn cut(
    faults: &[VmcoreFault],
    headers: u64,
    notes: u64,
    loads: &[(crate::vmcore::Load, u64)],
    whole: u64,
) -> u64 {
    let mut length = whole;
    for fault in faults {
        length = match fault {
            VmcoreFault::CutAt(bytes) => *bytes,
            VmcoreFault::CutInProgramHeaders => (EHDR + PHDR / 2) as u64,
            VmcoreFault::CutInNotes => headers + notes / 2,
            VmcoreFault::CutInLoad => {
                loads.last().map_or(whole, |(load, offset)| offset + load.paddr.length / 2)
            }
            VmcoreFault::Empty => 0,
            VmcoreFault::NoProgramHeaders | VmcoreFault::NullEntry => continue,
        };
    }
    length
}

fn ehdr(order: ByteOrder, entries: usize) -> Bytes {
    let mut out = Bytes::new(order);
    let data = if order == ByteOrder::Big { 2 } else { 1 };
    out.raw(&[0x7f, b'E', b'L', b'F', 2, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // ET_CORE, EM_PPC64, version 1, no entry, headers at 64, no sections, ELFv2.
    out.u16(4).u16(21).u32(1).u64(0).u64(EHDR as u64).u64(0).u32(2);
    out.u16(EHDR as u16).u16(PHDR as u16).u16(entries as u16).u16(0).u16(0).u16(0);
    out
}

fn phdr(out: &mut Bytes, kind: u32, flags: u32, offset: u64, paddr: Extent, vaddr: u64) {
    let align = if kind == PT_NOTE { 4 } else { 0 };
    let start = if kind == PT_NOTE { 0 } else { paddr.start };
    out.u32(kind).u32(flags).u64(offset).u64(vaddr).u64(start).u64(paddr.length).u64(paddr.length).u64(align);
}
