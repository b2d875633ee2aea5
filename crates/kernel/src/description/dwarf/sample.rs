//! A small vmlinux, for the tests of this crate and for `fuzz`, which includes this file.

use object::write::{Object, StandardSegment, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionFlags, SectionKind, SymbolKind, SymbolScope, elf,
};
use std::io::Write;

/// Abbreviations by number: tag, children, then attribute and form (DWARF 5, section 7.5.3).
pub(crate) const ABBREVIATIONS: &[&[u8]] = &[
    &[1, 0x11, 1, 0, 0],
    &[2, 0x24, 0, 0x03, 0x08, 0x0b, 0x0b, 0, 0],
    &[3, 0x13, 1, 0x03, 0x08, 0x0b, 0x0b, 0, 0],
    &[4, 0x0d, 0, 0x03, 0x08, 0x49, 0x13, 0x38, 0x0b, 0, 0],
    &[5, 0x04, 1, 0x0b, 0x0b, 0, 0],
    &[6, 0x28, 0, 0x03, 0x08, 0x1c, 0x0b, 0, 0],
    &[7, 0x34, 0, 0x03, 0x08, 0x49, 0x13, 0, 0],
    &[8, 0x01, 1, 0x49, 0x13, 0, 0],
    &[9, 0x21, 0, 0x2f, 0x0b, 0, 0],
    &[10, 0x0f, 0, 0x49, 0x13, 0, 0],
    &[11, 0x2e, 1, 0x03, 0x08, 0, 0],
    &[0],
];

/// One unit: `char`; `struct node { char name[2][3]; struct node *next; }`; an enumeration; `struct node *first`; a
/// function with a struct inside.
pub(crate) fn info(version: u8) -> Vec<u8> {
    let header = if version == 5 { 12 } else { 11 };
    let mut entries: Vec<u8> = vec![1];
    let at = |entries: &[u8]| (entries.len() + header) as u32;
    let char_at = at(&entries);
    entries.extend(b"\x02char\0\x01");
    let array_at = at(&entries);
    entries.push(8);
    entries.extend(char_at.to_le_bytes());
    entries.extend([9, 1, 9, 2, 0]);
    let pointer_at = at(&entries);
    entries.push(10);
    entries.extend((pointer_at + 5).to_le_bytes());
    entries.extend(b"\x03node\0\x10\x04name\0");
    entries.extend(array_at.to_le_bytes());
    entries.extend(b"\0\x04next\0");
    entries.extend(pointer_at.to_le_bytes());
    entries.extend([8, 0]);
    entries.extend(b"\x05\x04\x06PGTY_buddy\0\xf0\x06SMALL\0\x01\0");
    entries.extend(b"\x0bfunction\0\x03hidden\0\x04\0\0\x07first\0");
    entries.extend(pointer_at.to_le_bytes());
    entries.push(0);
    let mut unit = ((entries.len() + header - 4) as u32).to_le_bytes().to_vec();
    unit.extend([version, 0]);
    match version {
        5 => unit.extend([1, 8, 0, 0, 0, 0]),
        _ => unit.extend([0, 0, 0, 0, 8]),
    }
    unit.extend(entries);
    unit
}

/// How sections are stored; the numbers are `ELFCOMPRESS_ZLIB` and `ELFCOMPRESS_ZSTD`. `Gnu` is the older way, in which the
/// section's name says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Zlib = 1,
    Zstd = 2,
    Gnu = 3,
}

fn packed(bytes: &[u8], packing: Packing) -> Vec<u8> {
    let content = match packing {
        Packing::Plain => return bytes.to_vec(),
        Packing::Zlib | Packing::Gnu => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes everything")
        }
        Packing::Zstd => zstd::encode_all(bytes, 1).expect("memory takes everything"),
    };
    if packing == Packing::Gnu {
        return [b"ZLIB".to_vec(), (bytes.len() as u64).to_be_bytes().to_vec(), content].concat();
    }
    // Elf64_Chdr.
    let mut section = [(packing as u32).to_le_bytes(), [0; 4]].concat();
    section.extend([bytes.len() as u64, 1].map(u64::to_le_bytes).concat());
    section.extend(content);
    section
}

/// A file with these sections, the symbol `first` at the address `first`, and the text of a release.
pub(crate) fn vmlinux(info: &[u8], abbreviations: &[u8], first: u64, packing: Packing) -> Vec<u8> {
    vmlinux_with(info, abbreviations, first, packing, &[])
}

/// The same with more sections, which are not packed.
pub(crate) fn vmlinux_with(
    info: &[u8],
    abbreviations: &[u8],
    first: u64,
    packing: Packing,
    more: &[(&str, &[u8])],
) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    for (name, content) in [(".debug_info", info), (".debug_abbrev", abbreviations)] {
        let segment = object.segment_name(StandardSegment::Debug).to_vec();
        let name = if packing == Packing::Gnu { name.replace(".debug", ".zdebug") } else { name.into() };
        let section = object.add_section(segment, name.into(), SectionKind::Debug);
        object.append_section_data(section, &packed(content, packing), 1);
        if matches!(packing, Packing::Zlib | Packing::Zstd) {
            object.section_mut(section).flags =
                SectionFlags::Elf { sh_type: elf::SHT_PROGBITS, sh_flags: elf::SHF_COMPRESSED };
        }
    }
    for (name, content) in more {
        let section = object.add_section(Vec::new(), name.as_bytes().to_vec(), SectionKind::Debug);
        object.append_section_data(section, content, 1);
    }
    let rodata = object.add_section(Vec::new(), b".rodata".to_vec(), SectionKind::ReadOnlyData);
    object.append_section_data(rodata, b"Linux version 6.1.0 (gcc)\0", 8);
    object.add_symbol(Symbol {
        name: b"first".to_vec(),
        value: first,
        size: 8,
        kind: SymbolKind::Data,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Absolute,
        flags: object::SymbolFlags::None,
    });
    object.write().expect("the sample can be written")
}
