//! The headers and notes of a core, as bytes.

use super::layout::{Load, Places, Stretch};
use super::reader::{ERASE_INFO, FLAG_INCOMPLETE, has_free_flags};
use crate::{Error, Facts};
use object::write::elf::{Encoder, FileHeader, FileHeaderLayout, ProgramHeader};
use object::{Endianness, elf};
use vmcore::{ByteOrder, Dump, Note, Notes};

/// Headers are handed over in pieces of this size.
const PIECE: usize = 64 << 10;

/// All notes of the core, the last one hadump's own.
pub(super) fn notes(dump: &Dump, facts: &Facts, own: Note) -> Notes {
    let order = dump.machine.order;
    let mut notes = dump.notes.clone();
    facts.notes.iter().for_each(|note| notes.push(note.clone(), order));
    let erase_info = &dump.source.erase_info;
    if !erase_info.is_empty() && notes.find(ERASE_INFO).is_none() {
        notes.push(Note { name: ERASE_INFO.into(), kind: 0, desc: erase_info.clone() }, order);
    }
    notes.push(own, order);
    notes
}

/// Hands the ELF header and the table after it, of a PT_NOTE and `loads` PT_LOADs of `stretches`, to `each`, piece by piece, with
/// the place of each.
///
/// # Errors
///
/// Those of `each`.
pub(super) fn encode(
    dump: &Dump,
    places: &Places,
    stretches: &[Stretch],
    count: u32,
    incomplete: bool,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let endian = match dump.machine.order {
        ByteOrder::Little => Endianness::Little,
        ByteOrder::Big => Endianness::Big,
    };
    let e_machine = elf::Machine(dump.machine.arch.e_machine());
    let encoder = Encoder::new(endian, places.is_64, e_machine);
    // On POWER the flags are the number of the ABI, and only hadump's note says that the dump is incomplete.
    let free = has_free_flags(dump.machine.arch);
    let flag = if incomplete && free { FLAG_INCOMPLETE } else { 0 };
    let e_phoff = encoder.file_header_size();
    let many = count >= elf::PN_XNUM.into();
    let layout = FileHeaderLayout {
        e_phoff,
        segment_num: count,
        e_shoff: if many { e_phoff + u64::from(count) * encoder.program_header_size() } else { 0 },
        section_num: many.into(),
        shstrtab_index: 0,
    };
    let header = FileHeader {
        e_type: elf::ET_CORE,
        e_machine,
        e_flags: elf::FileFlags(dump.elf_flags | flag),
        ..FileHeader::default()
    };
    let mut bytes = Vec::with_capacity(2 * PIECE);
    encoder.file_header(&mut bytes, &header, &layout).expect("section header 0 is there when it is needed");
    let (offset, len) = (places.notes_at, places.notes_len);
    let note = Load { paddr: 0, vaddr: 0, offset, filesz: len, memsz: len };
    encoder.program_header(&mut bytes, &program_header(elf::PT_NOTE, note));
    let mut at = 0;
    let mut result = Ok(());
    places.loads(stretches, |load| {
        encoder.program_header(&mut bytes, &program_header(elf::PT_LOAD, load));
        if bytes.len() >= PIECE && result.is_ok() {
            result = each(at, &bytes);
            at += bytes.len() as u64;
            bytes.clear();
        }
    });
    result?;
    if many {
        encoder.null_section_header(&mut bytes, &layout);
    }
    each(at, &bytes)
}

fn program_header(p_type: elf::ProgramType, load: Load) -> ProgramHeader {
    let is_load = p_type == elf::PT_LOAD;
    ProgramHeader {
        p_type,
        p_flags: if is_load { elf::PF_R | elf::PF_W | elf::PF_X } else { elf::ProgramFlags(0) },
        p_offset: load.offset,
        p_vaddr: load.vaddr,
        p_paddr: load.paddr,
        p_filesz: load.filesz,
        p_memsz: load.memsz,
        // As in /proc/vmcore: crash takes aligned segments with another value for a netdump.
        p_align: if is_load { 0 } else { 4 },
    }
}
