//! Where everything goes that is known before the first page is read, and what precedes the pages.

use super::{Options, PAGE_DESC_LEN, STATUS_INCOMPLETE};
use crate::kdump::layout::{Header, Layout, SubHeader, VERSION};
use crate::kdump::sums::{Places, SumsWriter};
use crate::notes::write_far;
use crate::output::Sink;
use crate::pipeline::Ranks;
use crate::{Error, Facts};
use std::path::Path;
use vmcore::{CHUNK_FRAMES, Chunk, Dump, Notes, PageSize, Pfn, Range, Selection, Utsname};

/// What the pages are placed by.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) layout: Layout,
    pub(super) page_size: PageSize,
    /// The main header, not marked incomplete.
    pub(super) header: Vec<u8>,
    pub(super) descriptors: u64,
    /// Where the shared page of zeros is: right after the descriptors, where `makedumpfile --reassemble` looks for it
    /// in files whose dump level has bit 0.
    pub(super) zero_page: u64,
    /// The frames whose pages are in this file.
    pub(super) frames: Range<Pfn>,
    /// The rank of the first of them, and their number.
    pub(super) first_rank: u64,
    pub(super) pages: u64,
    /// Where the checksums are, when the file has them.
    pub(super) sums: Option<Places>,
}

/// All frames: those of a file that is not part of a set.
pub(super) const ALL_FRAMES: Range<Pfn> = Range { start: Pfn(0), end: Pfn(u64::MAX) };

impl Plan {
    /// Works out which of the descriptors are in this file.
    pub(super) fn place_part(&mut self, ranks: &Ranks<'_>) -> Result<(), Error> {
        self.first_rank = ranks.rank(self.frames.start)?;
        self.pages = ranks.rank(self.frames.end)? - self.first_rank;
        Ok(())
    }

    /// Where the checksums of the file go, whose bitmaps begin at `bitmaps`.
    pub(super) fn place_sums(&self, bitmaps: u64) -> Option<Places> {
        let page = self.page_size.bytes();
        let places = [bitmaps, self.descriptors, self.zero_page.checked_add(page)?];
        Places::new(self.layout.order, places, self.pages.checked_mul(page)?)
    }

    /// The main header, marked incomplete or not.
    pub(super) fn header(&self, incomplete: bool) -> Vec<u8> {
        let mut header = self.header.clone();
        if incomplete {
            let at = self.layout.status_offset();
            let status = &mut header[at..at + 4];
            let bits = self.layout.order.u32(status) | STATUS_INCOMPLETE;
            status.copy_from_slice(&self.layout.order.put_u32(bits));
        }
        header
    }

    /// Where the bytes of pages start, after the page of zeros and the checksums.
    pub(super) fn data(&self) -> u64 {
        self.sums.map_or(self.zero_page + self.page_size.bytes(), |places| places.data())
    }
}

/// What is between the main header and the descriptors.
pub(super) struct Front {
    /// Where the sub header starts, and the sub header with the notes after it that are held.
    block: u64,
    sub_header: Vec<u8>,
    notes: Notes,
    notes_at: u64,
    /// The record of erased data, which follows the notes.
    erase_info: Vec<u8>,
    /// Where the first bitmap starts, and the length in bytes of each.
    bitmaps: u64,
    bitmap_len: u64,
}

/// Plans the file of `selection`, whose pages `ranks` counts.
pub(super) fn plan(
    dump: &Dump,
    selection: &Selection,
    ranks: &Ranks<'_>,
    facts: &Facts,
    options: &Options,
    path: &Path,
) -> Result<(Plan, Front), Error> {
    let layout = Layout::of(dump.machine);
    let page_size = dump.page_size();
    let block = page_size.bytes();
    let mut notes = dump.notes.clone();
    facts.notes.iter().for_each(|note| notes.push(note.clone(), dump.machine.order));
    if options.checksums {
        // As long as the real one, which says what the length of the notes decides.
        notes.push(Places::nowhere(layout.order).note(), dump.machine.order);
    }
    let notes_at = block + layout.sub_header_len() as u64;
    let vmcoreinfo = notes.desc_position("VMCOREINFO").unwrap_or(0..0);
    let erase_info = &dump.source.erase_info;
    let erase_at = if erase_info.is_empty() { 0 } else { notes_at + notes.total() };
    let max_mapnr = selection.map().max_pfn().0;
    // The fields of a `long` are for readers of old versions, which know no larger numbers.
    let narrow = |pfn: Pfn| pfn.0.min(u32::MAX.into());
    let part = options.part.unwrap_or(Range::new(Pfn(0), Pfn(0)));
    let sub_header = SubHeader {
        phys_base: facts.phys_base,
        dump_level: selection.level().bits().into(),
        split: options.part.is_some().into(),
        start_pfn: narrow(part.start),
        end_pfn: narrow(part.end),
        offset_vmcoreinfo: if vmcoreinfo.is_empty() { 0 } else { notes_at + vmcoreinfo.start as u64 },
        size_vmcoreinfo: vmcoreinfo.len() as u64,
        offset_note: if notes.total() == 0 { 0 } else { notes_at },
        size_note: notes.total(),
        offset_eraseinfo: erase_at,
        size_eraseinfo: erase_info.len() as u64,
        start_pfn_64: part.start.0,
        end_pfn_64: part.end.0,
        max_mapnr_64: max_mapnr,
    };
    let mut sub_header = sub_header.encode(layout);
    // makedumpfile puts the record of erased data after the last page, whose end is not known yet; readers go by the offset.
    let len = notes_at - block + notes.total() + erase_info.len() as u64;

    let too_large = || Error::Unsupported {
        path: path.to_owned(),
        what: format!("memory up to frame {max_mapnr:#x} does not fit the kdump format; write an ELF file"),
    };
    let sub_blocks = len.div_ceil(block);
    let bitmap_blocks = max_mapnr.div_ceil(8).div_ceil(block);
    let bitmaps = (1 + sub_blocks) * block;
    let header = Header {
        version: VERSION,
        utsname: complete_utsname(dump, &facts.utsname),
        tv_sec: dump.vmcoreinfo.as_ref().and_then(|v| v.crash_time()).unwrap_or(0),
        tv_usec: 0,
        status: options.method.flags(),
        block_size: block as u32,
        sub_hdr_size: u32::try_from(sub_blocks).map_err(|_| too_large())?,
        bitmap_blocks: u32::try_from(2 * bitmap_blocks).map_err(|_| too_large())?,
        max_mapnr: u32::try_from(max_mapnr).unwrap_or(u32::MAX),
        unused: [0; 4],
        nr_cpus: dump.cpus().max(1) as u32,
    };
    let descriptors = bitmaps + 2 * bitmap_blocks * block;
    let zero_page = (PAGE_DESC_LEN as u64)
        .checked_mul(selection.kept())
        .and_then(|len| len.checked_add(descriptors))
        .ok_or_else(too_large)?;
    let mut plan = Plan {
        layout,
        page_size,
        header: header.encode(layout),
        descriptors,
        zero_page,
        frames: options.part.unwrap_or(ALL_FRAMES),
        first_rank: 0,
        pages: 0,
        sums: None,
    };
    plan.place_part(ranks)?;
    if options.checksums {
        let places = plan.place_sums(bitmaps).ok_or_else(too_large)?;
        notes.pop();
        notes.push(places.note(), dump.machine.order);
        plan.sums = Some(places);
    }
    sub_header.extend(notes.raw());
    let front = Front {
        block,
        sub_header,
        notes,
        notes_at,
        erase_info: erase_info.clone(),
        bitmaps,
        bitmap_len: bitmap_blocks * block,
    };
    Ok((plan, front))
}

/// The strings of the header, with what readers insist on filled in: libkdumpfile ignores all of them when one
/// of these four is empty, and then knows no architecture.
fn complete_utsname(dump: &Dump, given: &Utsname) -> Utsname {
    let or = |string: &str, other: &str| if string.is_empty() { other.to_owned() } else { string.to_owned() };
    let release = dump.vmcoreinfo.as_ref().and_then(|v| v.release()).unwrap_or("unknown");
    Utsname {
        sysname: or(&given.sysname, "Linux"),
        release: or(&given.release, release),
        version: or(&given.version, "unknown"),
        machine: or(&given.machine, dump.machine.name()),
        ..given.clone()
    }
}

/// The unit in which zeros of a bitmap are left out, so that they become holes of the file.
const HOLE: usize = 4096;

/// A sink for what is before the bitmaps, which has one checksum.
struct Summed<'a> {
    out: &'a dyn Sink,
    sums: Option<&'a SumsWriter>,
}

impl Sink for Summed<'_> {
    fn path(&self) -> &Path {
        self.out.path()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        if let Some(sums) = self.sums {
            sums.add_front(offset, bytes);
        }
        self.out.write_at(offset, bytes)
    }

    fn sync(&self) -> Result<(), Error> {
        self.out.sync()
    }
}

impl Front {
    /// Writes the sub header, the notes and both bitmaps, these chunk by chunk; parts without a bit are left as holes.
    pub(super) fn write(
        &self,
        selection: &Selection,
        out: &dyn Sink,
        sums: Option<&SumsWriter>,
    ) -> Result<(), Error> {
        let front = Summed { out, sums };
        front.write_at(self.block, &self.sub_header)?;
        write_far(&self.notes, self.notes_at, &front)?;
        if !self.erase_info.is_empty() {
            front.write_at(self.notes_at + self.notes.total(), &self.erase_info)?;
        }
        let mut bytes = Vec::with_capacity((CHUNK_FRAMES / 8) as usize);
        let mut put = |bitmap: u64, first: u64, chunk: &Chunk| {
            bytes.clear();
            // Bit `pfn & 7` of byte `pfn >> 3`, whatever the byte order of numbers.
            bytes.extend(chunk.words().iter().flat_map(|word| word.to_le_bytes()));
            let at = first / 8;
            bytes.truncate(usize::try_from(self.bitmap_len - at).unwrap_or(usize::MAX));
            if let Some(sums) = sums {
                sums.add_meta(bitmap + at, &bytes);
            }
            write_sparsely(out, bitmap + at, &bytes)
        };
        for index in selection.chunk_indices() {
            put(self.bitmaps, index * CHUNK_FRAMES, &Chunk::of_map(selection.map(), index))?;
        }
        for position in 0..selection.chunk_count() {
            let (first, chunk) = selection.chunk(position)?;
            put(self.bitmaps + self.bitmap_len, first.0, &chunk)?;
        }
        Ok(())
    }
}

/// Writes `bytes` but for those [`HOLE`]-sized pieces that are zero.
fn write_sparsely(out: &dyn Sink, offset: u64, bytes: &[u8]) -> Result<(), Error> {
    let mut at = 0;
    for same in bytes.chunks(HOLE).collect::<Vec<_>>().chunk_by(|a, b| is_hole(a) == is_hole(b)) {
        let len: usize = same.iter().map(|piece| piece.len()).sum();
        if !is_hole(same[0]) {
            out.write_at(offset + at as u64, &bytes[at..at + len])?;
        }
        at += len;
    }
    Ok(())
}

fn is_hole(piece: &[u8]) -> bool {
    piece.iter().all(|&b| b == 0)
}
