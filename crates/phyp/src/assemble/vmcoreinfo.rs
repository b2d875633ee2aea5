//! Finds the VMCOREINFO note in the crashed kernel's memory.
//!
//! Kernels since 6.10 say in the crash-info header where its copy lies; older fadump kernels say it in the ELF core
//! header after that; the 2008 kernel says nothing, and the note is looked for in the copies of boot memory, where a
//! kernel keeps it (`vmcoreinfo_note`, `kernel/vmcore_info.c`).

use crate::assemble::image::Image;
use crate::assemble::plan::Plan;
use crate::crashinfo::CrashInfo;
use crate::{Error, Findings};
use vmcore::{ByteOrder, Note, PhysAddr, Range};

/// The name as it is in the note, filled up to a multiple of four.
const NAME: [u8; 12] = *b"VMCOREINFO\0\0";
const HEADER: usize = 12;
/// The longest text that is believed, in bytes; kernels keep it in one page.
const MAX_TEXT: usize = 1 << 20;
/// How much memory is searched at a time, in bytes.
const CHUNK: usize = 1 << 20;
/// How many notes are looked at before the search is content with what it has; a kernel has one, and a few copies of it
/// may lie in pages of files.
const MAX_NOTES: usize = 64;

/// The note and the byte order that its header is written in.
pub(crate) struct Found {
    pub(crate) note: Note,
    pub(crate) order: ByteOrder,
}

/// Reads the note at the start of `bytes`, when there is one with a text in it.
fn parse(bytes: &[u8]) -> Option<Found> {
    let header = bytes.first_chunk::<{ HEADER + NAME.len() }>()?;
    if header[HEADER..] != NAME {
        return None;
    }
    let order = [ByteOrder::Little, ByteOrder::Big].into_iter().find(|o| o.u32(header) == 11)?;
    let len = order.u32(&header[4..]) as usize;
    let kind = order.u32(&header[8..]);
    let desc = bytes[header.len()..].get(..len.min(MAX_TEXT)).filter(|d| !d.is_empty() && len <= MAX_TEXT)?;
    let text = desc.starts_with(b"OSRELEASE=") || desc.starts_with(b"CRASHTIME=");
    (kind == 0 && text)
        .then(|| Found { note: Note { name: b"VMCOREINFO".into(), kind, desc: desc.into() }, order })
}

/// Finds the note: where the crash-info header says, else by searching.
pub(crate) fn find(
    image: &Image,
    plan: &Plan,
    crash: Option<&CrashInfo>,
    findings: &mut Findings,
) -> Result<Option<Found>, Error> {
    if let Some(range) = crash.and_then(|c| pointer(c, image)) {
        match at(image, plan, range, findings)? {
            Some(found) => return Ok(Some(found)),
            None => findings.warning(format!(
                "the crash-info header says that VMCOREINFO lies at {}, where there is none; boot memory was searched",
                range.start
            )),
        }
    }
    let found = search(image, &plan.boot_copies(), findings)?;
    if found.is_none() {
        // Nothing of memory is missing because of that.
        findings.warning("no VMCOREINFO was found in the copy of boot memory: pages cannot be classified");
    }
    Ok(found)
}

/// Where the kernel says that the note lies.
fn pointer(crash: &CrashInfo, image: &Image) -> Option<Range<PhysAddr>> {
    crash.vmcoreinfo.or_else(|| from_elf_header(image, crash))
}

/// The second PT_NOTE of the ELF core header that kernels up to 6.9 prepared when they registered
/// (`fadump_create_elfcore_headers`); its offset is where the note's copy will lie.
fn from_elf_header(image: &Image, crash: &CrashInfo) -> Option<Range<PhysAddr>> {
    let elf = crash.elf_header?;
    let range = |at: u64, len: u64| Range::new(PhysAddr(at), PhysAddr(at.saturating_add(len)));
    let header = image.copy("the ELF core header", range(elf.0, 64 + 2 * 56)).ok()?;
    let order = crash.order;
    let program_headers =
        header[..4] == *b"\x7fELF" && order.u64(&header[32..]) == 64 && order.u16(&header[56..]) >= 2;
    let note = &header[64 + 56..];
    let is_note = program_headers && order.u32(note) == 4;
    is_note.then(|| range(order.u64(&note[8..]), order.u64(&note[32..])))
}

/// How many program headers the ELF core header at `elf` has, when there is one.
pub(crate) fn program_headers(image: &Image, elf: PhysAddr, order: ByteOrder) -> Option<u16> {
    let range = Range::new(elf, PhysAddr(elf.0.saturating_add(64)));
    let header = image.copy("the ELF core header", range).ok()?;
    (header[..4] == *b"\x7fELF").then(|| order.u16(&header[56..]))
}

/// The note at an address that the kernel wrote down.
///
/// The kernel writes the address of the copy. If it is one of boot memory, it was not relocated: what is there now
/// is the second kernel's own note, so only the copy of that address is looked at.
fn at(
    image: &Image,
    plan: &Plan,
    range: Range<PhysAddr>,
    findings: &mut Findings,
) -> Result<Option<Found>, Error> {
    let len = range.len().min((HEADER + NAME.len() + MAX_TEXT) as u64);
    let range = Range::new(range.start, PhysAddr(range.start.0.saturating_add(len)));
    let place = if range.start < plan.boot_end {
        findings.warning(format!(
            "the address of VMCOREINFO, {}, is one of boot memory and was not relocated; its copy was read",
            range.start
        ));
        plan.locate(range)
    } else {
        Some(image.prefix(range.start, range.len()))
    };
    let Some(place) = place.filter(|p| !p.is_empty()) else { return Ok(None) };
    let mut bytes = vec![0; place.len() as usize];
    let state = image.read(place.start, &mut bytes)?;
    Ok(if state.is_known() { parse(&bytes) } else { None })
}

/// Looks for the note in the copies of boot memory, at every address that is a multiple of four.
///
/// The kernel's own note begins a page or lies in its data; the text may also be in a page of a file or of a
/// crash tool. So one at the start of a page goes before others, and the longest before shorter ones.
fn search(
    image: &Image,
    copies: &[Range<PhysAddr>],
    findings: &mut Findings,
) -> Result<Option<Found>, Error> {
    let mut best: Option<(bool, Found, PhysAddr)> = None;
    let mut count = 0;
    let mut chunk = vec![0; CHUNK + HEADER + NAME.len()];
    for copy in copies {
        let mut start = copy.start.0;
        while start < copy.end.0 {
            let len = (copy.end.0 - start).min(chunk.len() as u64) as usize;
            let bytes = &mut chunk[..len];
            if image.read(PhysAddr(start), bytes)?.is_known() {
                for (offset, len) in positions(bytes) {
                    let at = PhysAddr(start + offset as u64);
                    if count >= MAX_NOTES || len as u64 > copy.end.0 - at.0 {
                        continue;
                    }
                    let mut whole = vec![0; len];
                    if !image.read(at, &mut whole)?.is_known() {
                        continue;
                    }
                    let Some(found) = parse(&whole) else { continue };
                    count += 1;
                    // Copies begin anywhere, so what began a page is known by the distance to the copy's start.
                    let aligned = (at.0 - copy.start.0).is_multiple_of(0x1000);
                    let key = |aligned: bool, found: &Found| (aligned, found.note.desc.len());
                    if best.as_ref().is_none_or(|(a, f, _)| key(aligned, &found) > key(*a, f)) {
                        best = Some((aligned, found, at));
                    }
                }
            }
            start += CHUNK as u64;
        }
    }
    Ok(best.map(|(_, found, at)| {
        if count > 1 {
            findings.warning(format!(
                "{count} VMCOREINFO notes lie in the copy of boot memory; the one at {at} was taken"
            ));
        }
        found
    }))
}

/// The places in `bytes`, which begin at a multiple of four, where a note may begin, each with the note's length; one
/// that reaches into the overlap with the next chunk is reported once, by the chunk it begins in.
fn positions(bytes: &[u8]) -> Vec<(usize, usize)> {
    let end = bytes.len().min(CHUNK);
    let at = |at: usize| {
        let header = bytes.get(at..at + HEADER + NAME.len()).filter(|h| h[HEADER..] == NAME)?;
        let order = [ByteOrder::Little, ByteOrder::Big].into_iter().find(|o| o.u32(header) == 11)?;
        let len = order.u32(&header[4..]) as usize;
        (len <= MAX_TEXT).then_some((at, header.len() + len))
    };
    (0..end).step_by(4).filter_map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kdms::{Section, SectionKind};
    use crate::testimage::TestImage;
    use vmcore::PageSize;

    fn note(order: ByteOrder, text: &str) -> Vec<u8> {
        let mut out: Vec<u8> = [11, text.len() as u32, 0].iter().flat_map(|&w| order.put_u32(w)).collect();
        out.extend(b"VMCOREINFO\0\0");
        out.extend(text.as_bytes());
        out
    }

    fn setup(notes: &[(usize, Vec<u8>)]) -> (Image, Plan) {
        let mut bytes = vec![0; 0x30_0000];
        for (at, note) in notes {
            bytes[*at..at + note.len()].copy_from_slice(note);
        }
        let all = [Range::new(PhysAddr(0), PhysAddr(0x30_0000))].into_iter().collect();
        let section = Section {
            request: 1,
            kind: SectionKind::RealMode,
            errors: 0,
            source: PhysAddr(0),
            requested: 0x18_0000,
            copied: 0x18_0000,
            destination: PhysAddr(0x18_0000),
        };
        let plan = Plan {
            sections: vec![section],
            boot_end: PhysAddr(0x18_0000),
            memory: RangeSet::clone(&all),
            image: all,
            after: vec![],
        };
        (Image::new(Box::new(TestImage::new(PageSize::K4, bytes))), plan)
    }

    use vmcore::RangeSet;

    fn crash(start: u64, len: u64) -> CrashInfo {
        let mut bytes = vec![0; 0x400];
        bytes[..8].copy_from_slice(b"FADMPSIG");
        bytes[0x10..0x18].copy_from_slice(&start.to_be_bytes());
        bytes[0x18..0x20].copy_from_slice(&len.to_be_bytes());
        CrashInfo::parse(&bytes, PhysAddr(0), &[]).unwrap()
    }

    fn text(found: Option<Found>) -> Option<String> {
        found.map(|f| String::from_utf8(f.note.desc).unwrap())
    }

    #[test]
    fn the_pointer_of_the_crash_info_header_is_followed() {
        let order = ByteOrder::Big;
        let (image, plan) =
            setup(&[(0x20_0000, note(order, "OSRELEASE=a\n")), (0x1f_0000, note(order, "OSRELEASE=b\n"))]);
        let mut findings = Findings::default();
        let found = find(&image, &plan, Some(&crash(0x20_0000, 0x1000)), &mut findings).unwrap();
        assert_eq!(found.as_ref().map(|f| f.order), Some(order));
        assert_eq!(text(found).as_deref(), Some("OSRELEASE=a\n"));
        assert!(findings.is_empty());
    }

    #[test]
    fn a_pointer_into_boot_memory_means_the_copy_and_not_the_second_kernels_note() {
        let order = ByteOrder::Little;
        let (image, plan) = setup(&[
            (0x8_0000, note(order, "OSRELEASE=second\n")),
            (0x20_0000, note(order, "OSRELEASE=crashed\n")),
        ]);
        let mut findings = Findings::default();
        let found = find(&image, &plan, Some(&crash(0x8_0000, 0x1000)), &mut findings).unwrap();
        assert_eq!(text(found).as_deref(), Some("OSRELEASE=crashed\n"));
        assert!(findings.mentions("was not relocated"));
    }

    #[test]
    fn the_search_finds_a_note_anywhere_and_prefers_one_that_begins_a_page() {
        let order = ByteOrder::Little;
        // Across the border of two chunks, and inside a page.
        let border = 0x18_0000 + CHUNK - 8;
        let (image, plan) = setup(&[(border, note(order, "OSRELEASE=border\n"))]);
        let mut findings = Findings::default();
        assert_eq!(
            text(find(&image, &plan, None, &mut findings).unwrap()).as_deref(),
            Some("OSRELEASE=border\n")
        );
        assert!(findings.is_empty());

        let (image, plan) = setup(&[
            (0x19_0004, note(order, "OSRELEASE=a copy that is longer\n")),
            (0x19_4000, note(order, "OSRELEASE=real\n")),
            (0x19_8000, note(order, "not a text")),
            (0x4000, note(order, "OSRELEASE=second kernel, much longer than all\n")),
        ]);
        assert_eq!(
            text(find(&image, &plan, None, &mut findings).unwrap()).as_deref(),
            Some("OSRELEASE=real\n")
        );
        assert!(findings.mentions("2 VMCOREINFO notes"));
    }

    #[test]
    fn a_note_that_is_cut_or_missing_is_named_and_costs_no_page() {
        let mut long = note(ByteOrder::Big, "OSRELEASE=x\n");
        long[4..8].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
        let (image, plan) = setup(&[(0x19_0000, long)]);
        let mut findings = Findings::default();
        assert!(find(&image, &plan, Some(&crash(0x19_0000, 0x1000)), &mut findings).unwrap().is_none());
        assert!(!findings.has_damage() && findings.mentions("boot memory was searched"));
    }
}
