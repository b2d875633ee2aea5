use super::sample::{self, ABBREVIATIONS, Packing, info};
use super::*;
use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness};
use proptest::prelude::*;
use std::io::Write;

fn file(info: &[u8], abbreviations: &[u8], packing: Packing) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&sample::vmlinux(info, abbreviations, 0x1000, packing)).unwrap();
    file
}

fn abbreviations() -> Vec<u8> {
    ABBREVIATIONS.concat()
}

#[test]
fn types_of_both_versions_are_read_packed_or_not() {
    for version in [4, 5] {
        for packing in [Packing::Plain, Packing::Zlib, Packing::Zstd, Packing::Gnu] {
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
    assert!(error.contains("this is not a vmlinux"), "{error}");
}

#[test]
fn a_unit_that_claims_more_than_there_is_is_named_with_its_place() {
    let mut bytes = info(5);
    bytes[0] = 0xff;
    let file = file(&bytes, &abbreviations(), Packing::Plain);
    let vmlinux = Vmlinux::open(file.path()).unwrap();
    let error = Dwarf::open(&vmlinux).unwrap().unwrap().size_of("node", 8).unwrap_err().to_string();
    assert!(error.contains(".debug_info at offset 0x0 is damaged: a unit of 259 bytes"), "{error}");
}

#[test]
fn debug_information_that_is_in_part_in_another_file_names_that_file() {
    let sup = |name: &[u8]| [&[5, 0, u8::from(name == b"\0")], name, &[1, 7]].concat();
    for (section, content, shared) in [
        (".gnu_debugaltlink", b"../.dwz/kernel\0\x12\x34".to_vec(), Some("../.dwz/kernel")),
        (".gnu_debugaltlink", b"/usr/lib/debug/.dwz/kernel\0".to_vec(), Some("/usr/lib/debug/.dwz/kernel")),
        (".debug_sup", sup(b".dwz/kernel\0"), Some(".dwz/kernel")),
        (".debug_sup", sup(b"\0"), None),
        (".debug_sup", vec![5], None),
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let more = [(section, content.as_slice())];
        file.write_all(&sample::vmlinux_with(&info(5), &abbreviations(), 0x1000, Packing::Plain, &more))
            .unwrap();
        let vmlinux = Vmlinux::open(file.path()).unwrap();
        match shared {
            Some(name) => {
                // A relative path starts at the file that names it; an absolute one stays.
                let at = file.path().parent().unwrap().join(name);
                let error = Dwarf::open(&vmlinux).err().unwrap().to_string();
                assert!(error.contains(&format!("in {} (dwz)", at.display())), "{error}");
                assert!(error.contains("give the vmlinux as it was built"), "{error}");
            }
            None => assert_eq!(Dwarf::open(&vmlinux).unwrap().unwrap().size_of("node", 8).unwrap(), Some(16)),
        }
    }
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
        packing in prop::sample::select(vec![Packing::Plain, Packing::Zlib, Packing::Zstd]),
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
