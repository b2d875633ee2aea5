//! Opening an ELF core.

use super::header::{Header, Segment};
use super::limits::{MAX_ADDRESS, MAX_MEMORY};
use super::note::OwnNote;
use crate::input::Input;
use crate::notes::NoteReader;
use crate::segments::{Content, Piece, SegmentMemory, Table};
use crate::{Assume, Error};
use vmcore::{
    Arch, Dump, DumpLevel, MemoryMap, NotePlace, Notes, PageSize, PageSizeBy, PhysAddr, Range, Source,
    Utsname, VirtAddr, VirtSegment, VmcoreInfo,
};

/// `e_flags` of a core that its writer could not finish (makedumpfile's `DUMP_ELF_INCOMPLETE`). On POWER the field
/// names the ABI instead.
pub(super) const FLAG_INCOMPLETE: u32 = 1;

/// The note in which makedumpfile says what it erased inside of pages.
pub(super) const ERASE_INFO: &str = "ERASEINFO";

/// Reports whether `e_flags` mean nothing on `arch`, so that [`FLAG_INCOMPLETE`] can be told from them: POWER, RISC-V,
/// LoongArch and 32-bit Arm keep their ABI there.
pub(super) fn has_free_flags(arch: Arch) -> bool {
    matches!(arch, Arch::X86_64 | Arch::I386 | Arch::Aarch64 | Arch::S390x)
}

/// Opens an ELF core of either class and byte order.
///
/// # Errors
///
/// When the headers are damaged, or it is not the core of a kernel of a machine known here.
pub(crate) fn open(input: Input, assume: &Assume) -> Result<Dump, Error> {
    let header = Header::read(&input)?;
    let mut remarks = Vec::new();
    let mut outline = Outline::read(&input, &header, &mut remarks)?;
    let order = header.machine.order;
    let vmcoreinfo = Dump::find_vmcoreinfo(&outline.notes);
    let stated = page_size(header.machine.arch, vmcoreinfo.as_ref(), assume.page_size, &mut remarks);
    let page_size = stated.unwrap_or(PageSize::K4);
    let own = OwnNote::find(&outline.notes, order, &mut remarks);
    // Tails mean zeros only in the very file that the note was made for.
    let ours = own.as_ref().filter(|n| n.tails == outline.tails);
    let tails = if ours.is_some() { Content::Zero } else { Content::Excluded };
    if outline.notes.iter().next_back().is_some_and(OwnNote::is) {
        // It speaks of this file, not of the dump: another file made of it has its own, or none.
        outline.notes.pop();
    }
    let (mut table, virt) = segments(&input, &header, tails)?;
    let lost = table.total(Content::Lost);
    if input.cannot_lack(lost) {
        return Err(input
            .damaged(
                "p_offset and p_filesz of all PT_LOADs",
                0,
                format!("{lost:#x} bytes past the end of the file"),
                "a length that belongs to a file of this size",
            )
            .into());
    }
    if lost > 0 {
        remarks.push(format!(
            "the file ends at {:#x}, before all of its segments do: {lost:#x} bytes of memory are lost",
            input.len()
        ));
    }
    if let Some(note) = ours {
        let unsaid: Vec<Piece> = unsaid(note, &input, &mut remarks).collect();
        if note.lost_in_place {
            table = table.without(unsaid.iter().filter(|piece| piece.content == Content::Lost));
        }
        table = table.with(unsaid.into_iter());
    }
    let map = MemoryMap::new(page_size, table.memory());
    let total = map.bytes().total();
    if total > MAX_MEMORY {
        return Err(input
            .damaged("the memory of all PT_LOADs", 0, format!("{total:#x} bytes"), "at most 256 TiB")
            .into());
    }
    let known = |uts: &Utsname| *uts != Utsname::default();
    let free = has_free_flags(header.machine.arch);
    let erase_info = outline.notes.find(ERASE_INFO).map_or_else(Vec::new, |note| note.desc.clone());
    let flagged = free && header.flags & FLAG_INCOMPLETE != 0;
    Ok(Dump {
        machine: header.machine,
        notes: outline.notes,
        vmcoreinfo,
        virt,
        elf_flags: if free { header.flags & !FLAG_INCOMPLETE } else { header.flags },
        source: Source {
            format: if header.is_64 { "ELF64 core" } else { "ELF32 core" }.into(),
            dump_level: own.as_ref().and_then(|n| DumpLevel::new(n.dump_level)),
            incomplete: flagged
                || outline.notes_left_out
                || lost > 0
                || input.is_cut()
                || own.as_ref().is_some_and(|n| n.incomplete),
            utsname: own.as_ref().map(|n| n.utsname.clone()).filter(known),
            phys_base: own.as_ref().map(|n| n.phys_base).filter(|base| *base != 0),
            erase_info,
            page_size_by: if stated.is_none() { PageSizeBy::Nobody } else { PageSizeBy::Input },
            remarks,
            ..Source::default()
        },
        memory: Box::new(SegmentMemory::new(input, table, map)),
    })
}

/// What hadump's note says of memory that is in no PT_LOAD.
fn unsaid<'n>(
    note: &'n OwnNote,
    input: &Input,
    remarks: &mut Vec<String>,
) -> impl Iterator<Item = Piece> + use<'n> {
    if note.more_memory {
        remarks.push(
            "hadump's note had no room for all of the memory map: of what was left out the uppermost pages are missing"
                .into(),
        );
    }
    if note.more_lost {
        remarks.push(format!(
            "{} pages are lost, in more places than hadump's note has room for: the uppermost of them are taken for left \
             out",
            note.lost_pages
        ));
    }
    let mut lost = &note.lost[..];
    let bytes: u64 = lost.iter().map(Range::len).sum();
    if input.cannot_lack(bytes) {
        remarks.push(format!(
            "hadump's note says that {bytes:#x} bytes are lost, too many for this file; ignored"
        ));
        lost = &[];
    }
    let piece = |content| {
        move |r: &Range<PhysAddr>| Piece {
            start: r.start.0,
            end: r.end.0,
            offset: 0,
            content,
            rank: u32::MAX,
        }
    };
    note.memory.iter().map(piece(Content::Excluded)).chain(lost.iter().map(piece(Content::Lost)))
}

/// What a first pass over the program headers finds.
#[derive(Default)]
struct Outline {
    notes: Notes,
    /// Whether there was no room for all of them.
    notes_left_out: bool,
    /// The sum of `p_memsz - p_filesz` over all PT_LOADs.
    tails: u64,
    /// PT_LOADs that have a physical address, and those among them whose address is 0.
    loads: u64,
    at_zero: u64,
}

impl Outline {
    fn read(input: &Input, header: &Header, remarks: &mut Vec<String>) -> Result<Self, Error> {
        let mut outline = Self::default();
        let mut broken = None;
        let mut reader = NoteReader::new(input, header.machine.order);
        header.segments(input, |_, segment| {
            match segment.kind {
                Segment::NOTE => {
                    let there = segment.filesz.min(input.len().saturating_sub(segment.offset));
                    if there < segment.filesz {
                        remarks.push(format!(
                            "the notes at {:#x} are {:#x} bytes long, of which {there:#x} could be read",
                            segment.offset, segment.filesz
                        ));
                    }
                    let place = NotePlace { offset: segment.offset, len: there, align: segment.align };
                    let (notes, error) = reader.read(place)?;
                    outline.notes.append(notes);
                    if let Some(error) = error {
                        broken.get_or_insert((segment.offset, error));
                    }
                }
                Segment::LOAD if segment.paddr != Segment::NO_ADDRESS => {
                    outline.loads += 1;
                    outline.at_zero += u64::from(segment.paddr == 0);
                    outline.tails =
                        outline.tails.saturating_add(segment.memsz.saturating_sub(segment.filesz));
                }
                _ => {}
            }
            Ok(())
        })?;
        outline.notes_left_out = reader.incomplete;
        remarks.append(&mut reader.remarks);
        if let Some((offset, error)) = broken
            && outline.notes.total() == 0
        {
            return Err(input
                .damaged("PT_NOTE", offset, error.to_string(), "at least one whole note")
                .into());
        }
        let unsupported =
            |what: &str| Err(Error::Unsupported { path: input.path().to_owned(), what: what.into() });
        if outline.loads == 0 && header.has_xen_sections(input) {
            return unsupported(
                "a dump of a Xen guest by xl dump-core, which hadump does not read; crash does (crash VMLINUX FILE), or let \
                 kdump in the guest make one",
            );
        }
        if outline.loads == 0 {
            return unsupported("an ELF core without any physical memory: no PT_LOAD has a physical address");
        }
        if outline.loads > 1 && outline.at_zero == outline.loads {
            return unsupported(if outline.notes.find("VMCOREINFO").is_some() {
                "all its PT_LOADs have the physical address 0: the file does not say where in memory its bytes were"
            } else {
                "the core of a process, not of a kernel: its PT_LOADs have no physical addresses"
            });
        }
        Ok(outline)
    }
}

/// The page size that the user gives, the kernel states, or that is the only one of its architecture; `None` when none of
/// them does: memory may say it.
fn page_size(
    arch: Arch,
    info: Option<&VmcoreInfo>,
    given: Option<PageSize>,
    remarks: &mut Vec<String>,
) -> Option<PageSize> {
    let only = Dump::only_page_size(arch);
    let known = given.or(only);
    let Some((info, stated)) = info.and_then(|info| Some((info, info.get("PAGESIZE")?))) else {
        return known;
    };
    let machines = only.filter(|_| !matches!(arch, Arch::Other(_)));
    let size = info.page_size().filter(|&size| machines.is_none_or(|machines| machines == size));
    if size.is_none() {
        // The note does not suffice; what comes after it may.
        remarks.push(format!("VMCOREINFO says PAGESIZE={stated}, which is no page size of this machine"));
    }
    given.or(size).or(only)
}

/// Makes a table of the PT_LOADs, whose tails without bytes in the file are `tails`.
fn segments(input: &Input, header: &Header, tails: Content) -> Result<(Table, Vec<VirtSegment>), Error> {
    let mut claims = Vec::new();
    let mut virt = Vec::new();
    let mut rank = 0;
    header.segments(input, |at, segment| {
        if segment.kind != Segment::LOAD || segment.paddr == Segment::NO_ADDRESS {
            return Ok(());
        }
        // A segment cannot have fewer bytes in memory than in the file, but p_memsz has been left 0 before.
        let memsz = segment.memsz.max(segment.filesz);
        let Some(end) = segment.paddr.checked_add(memsz).filter(|&end| end <= MAX_ADDRESS) else {
            let found = format!("{:#x} bytes at {:#x}", memsz, segment.paddr);
            return Err(input
                .damaged("p_paddr and p_memsz of the PT_LOAD", at, found, "an end below 2^56")
                .into());
        };
        let in_file = segment.filesz.min(input.len().saturating_sub(segment.offset));
        let (data, promised) = (segment.paddr + in_file, segment.paddr + segment.filesz);
        for (start, end, offset, content) in [
            (segment.paddr, data, segment.offset, Content::Data),
            (data, promised, 0, Content::Lost),
            (promised, end, 0, tails),
        ] {
            if start < end {
                claims.push(Piece { start, end, offset, content, rank });
            }
        }
        rank += 1;
        // Memory above what a 32-bit kernel maps has no address. Hypervisors that do not know the guest's page tables
        // write 0; only s390x really maps memory there.
        let unknown = segment.vaddr == 0 && header.machine.arch != Arch::S390x;
        if !unknown && segment.vaddr != Segment::NO_ADDRESS {
            let phys = Range::new(PhysAddr(segment.paddr), PhysAddr(end));
            virt.push(VirtSegment { virt: VirtAddr(segment.vaddr), phys });
        }
        Ok(())
    })?;
    Ok((Table::resolve(claims), virt))
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
