use super::*;
use object::write::{Object, StandardSegment, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionFlags, SectionKind, SymbolKind, SymbolScope, elf,
};
use proptest::prelude::*;
use std::io::Write;

/// Abbreviations by number: tag, children, then attribute and form.
const ABBREVIATIONS: &[&[u8]] = &[
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

/// One unit: `char`; `struct node { char name[2][3]; struct node *next; }`; an enumeration; `struct node *first`; and a
/// function whose own struct is nobody's business.
fn info(version: u8) -> Vec<u8> {
    let header = if version == 5 { 12 } else { 11 };
    let mut entries: Vec<u8> = Vec::new();
    let at = |entries: &Vec<u8>| (entries.len() + header) as u32;
    let reference = |to: u32| to.to_le_bytes();
    entries.push(1);
    let char_at = at(&entries);
    entries.extend(b"\x02char\0\x01");
    let array_at = at(&entries);
    entries.push(8);
    entries.extend(reference(char_at));
    entries.extend([9, 1, 9, 2, 0]);
    let pointer_at = at(&entries);
    let node_at = pointer_at + 5;
    entries.push(10);
    entries.extend(reference(node_at));
    entries.extend(b"\x03node\0\x10");
    entries.extend(b"\x04name\0");
    entries.extend(reference(array_at));
    entries.extend(b"\0\x04next\0");
    entries.extend(reference(pointer_at));
    entries.extend([8, 0]);
    entries.extend(b"\x05\x04\x06PGTY_buddy\0\xf0\x06SMALL\0\x01\0");
    entries.extend(b"\x0bfunction\0\x03hidden\0\x04\0\0");
    entries.extend(b"\x07first\0");
    entries.extend(reference(pointer_at));
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Zlib,
    Zstd,
}

/// The bytes behind a `Elf64_Chdr`.
fn packed(bytes: &[u8], packing: Packing) -> Vec<u8> {
    let (kind, content) = match packing {
        Packing::None => return bytes.to_vec(),
        Packing::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            (1u32, encoder.finish().unwrap())
        }
        Packing::Zstd => (2, zstd::encode_all(bytes, 1).unwrap()),
    };
    let mut section = [kind.to_le_bytes(), [0; 4]].concat();
    section.extend((bytes.len() as u64).to_le_bytes());
    section.extend(1u64.to_le_bytes());
    section.extend(content);
    section
}

fn file(info: &[u8], abbreviations: &[u8], packing: Packing) -> tempfile::NamedTempFile {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    for (name, content) in [(".debug_info", info), (".debug_abbrev", abbreviations)] {
        let segment = object.segment_name(StandardSegment::Debug).to_vec();
        let section = object.add_section(segment, name.into(), SectionKind::Debug);
        object.append_section_data(section, &packed(content, packing), 1);
        if packing != Packing::None {
            object.section_mut(section).flags =
                SectionFlags::Elf { sh_type: elf::SHT_PROGBITS, sh_flags: elf::SHF_COMPRESSED };
        }
    }
    object.add_symbol(Symbol {
        name: b"first".to_vec(),
        value: 0x1000,
        size: 8,
        kind: SymbolKind::Data,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Absolute,
        flags: object::SymbolFlags::None,
    });
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&object.write().unwrap()).unwrap();
    file
}

fn abbreviations() -> Vec<u8> {
    ABBREVIATIONS.concat()
}

#[test]
fn types_of_both_versions_are_read_packed_or_not() {
    for version in [4, 5] {
        for packing in [Packing::None, Packing::Zlib, Packing::Zstd] {
            let file = file(&info(version), &abbreviations(), packing);
            let vmlinux = Vmlinux::open(file.path()).unwrap();
            assert_eq!(vmlinux.symbol("first").unwrap().addr, 0x1000);
            let dwarf = Dwarf::open(&vmlinux).unwrap().unwrap();
            assert_eq!(dwarf.size_of("node", 8).unwrap(), Some(16), "{version} {packing:?}");
            assert_eq!(dwarf.offset_of("node.next").unwrap(), Some(8));
            assert_eq!(dwarf.enumerator("PGTY_buddy").unwrap(), Some(0xf0));
            assert_eq!(dwarf.size_of("hidden", 8).unwrap(), None);
            let first = dwarf.find(Named::Variable, "first").unwrap().unwrap();
            let Type::Pointer(node) = dwarf.get(first).unwrap() else { panic!("no pointer") };
            let name = dwarf.member(node, "name").unwrap().unwrap().kind;
            assert_eq!(dwarf.size(name, 8).unwrap(), Some(6));
            let Type::Array { element, count: Some(2) } = dwarf.get(name).unwrap() else { panic!("not [2]") };
            let Type::Array { element, count: Some(3) } = dwarf.get(element).unwrap() else {
                panic!("not [3]")
            };
            assert_eq!(dwarf.get(element).unwrap(), Type::Base { name: "char".into(), size: 1 });
        }
    }
}

#[test]
fn a_file_without_debug_information_says_so() {
    let object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&object.write().unwrap()).unwrap();
    let vmlinux = Vmlinux::open(file.path()).unwrap();
    assert!(Dwarf::open(&vmlinux).unwrap().is_none());
    let error = vmlinux.release().unwrap_err().to_string();
    assert!(error.contains("no symbol linux_banner"), "{error}");
    let text = tempfile::NamedTempFile::new().unwrap();
    let error = Vmlinux::open(text.path()).err().unwrap().to_string();
    assert!(error.contains("this is no vmlinux"), "{error}");
}

#[test]
fn a_unit_that_claims_more_than_there_is_is_named_with_its_place() {
    let mut bytes = info(5);
    bytes[0] = 0xff;
    let file = file(&bytes, &abbreviations(), Packing::None);
    let vmlinux = Vmlinux::open(file.path()).unwrap();
    let error = Dwarf::open(&vmlinux).unwrap().unwrap().size_of("node", 8).unwrap_err().to_string();
    assert!(error.contains(".debug_info at offset 0x0 is damaged: a unit of 259 bytes"), "{error}");
}

/// Asks everything of whatever was read.
fn exercise(path: &std::path::Path) {
    let Ok(vmlinux) = Vmlinux::open(path) else { return };
    let _ = (vmlinux.release(), vmlinux.mentions("x"));
    let Ok(Some(dwarf)) = Dwarf::open(&vmlinux) else { return };
    for name in ["node", "first", "char"] {
        let _ = (dwarf.size_of(name, 8), dwarf.field(&format!("{name}.next")), dwarf.enumerator(name));
        if let Ok(Some(id)) = dwarf.find(Named::Variable, name) {
            let _ = (dwarf.get(id), dwarf.size(id, 8), dwarf.members(id));
        }
    }
    for id in 0..80 {
        let _ = (dwarf.get(TypeId(id)), dwarf.members(TypeId(id)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn changed_debug_information_never_panics(
        changes in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
        version in prop::sample::select(vec![4u8, 5]),
        packing in prop::sample::select(vec![Packing::None, Packing::Zlib, Packing::Zstd]),
    ) {
        let (mut info, mut abbreviations) = (info(version), abbreviations());
        for (which, at, value) in changes {
            let bytes = if which { &mut info } else { &mut abbreviations };
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        exercise(file(&info, &abbreviations, packing).path());
    }

    #[test]
    fn a_changed_or_cut_file_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = std::fs::read(file(&info(5), &abbreviations(), Packing::Zlib).path()).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let whole = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(whole.path(), &bytes).unwrap();
        exercise(whole.path());
        std::fs::write(whole.path(), &bytes[..cut.index(bytes.len())]).unwrap();
        exercise(whole.path());
    }
}
