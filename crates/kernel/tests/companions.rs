//! A kernel's executable and debug information in every shape in which distributions ship them.

mod support;

use corpus::{POWER, X86_64};
use kernel::dwarf::Dwarf;
use kernel::knowledge::vmcoreinfo::of_vmlinux;
use kernel::knowledge::vmlinux_of;
use kernel::vmlinux::Vmlinux;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::with_vmlinux;

struct Shapes {
    objcopy: PathBuf,
    folder: tempfile::TempDir,
    whole: PathBuf,
}

impl Shapes {
    fn new(whole: &Path) -> Option<Self> {
        let objcopy = corpus::program("objcopy")?;
        Some(Self {
            objcopy,
            folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            whole: whole.to_owned(),
        })
    }

    /// A file in the folder, made by objcopy from the whole vmlinux; `None` for what this objcopy cannot do.
    fn make(&self, name: &str, options: &[&str]) -> Option<PathBuf> {
        let to = self.folder.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let run = Command::new(&self.objcopy).args(options).arg(&self.whole).arg(&to).output().unwrap();
        run.status.success().then_some(to)
    }
}

/// What a vmlinux says of its kernel.
fn text(path: &Path) -> String {
    let vmlinux = Vmlinux::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let dwarf = Dwarf::open(&vmlinux).unwrap().unwrap_or_else(|| panic!("{}: no types", path.display()));
    of_vmlinux(&vmlinux, &dwarf).unwrap()
}

#[test]
fn the_same_is_read_however_sections_are_packed_and_whichever_file_has_them() {
    for name in [X86_64, POWER] {
        with_vmlinux(name, |_, path, _| {
            let Some(shapes) = Shapes::new(path) else { return };
            let whole = text(path);
            for packing in ["zlib-gnu", "zlib-gabi", "zstd"] {
                let option = format!("--compress-debug-sections={packing}");
                // A vmlinux of another architecture needs an objcopy for it.
                let Some(packed) = shapes.make(packing, &[&option]) else { continue };
                assert!(text(&packed) == whole, "{name}, {packing}");
                std::fs::remove_file(packed).unwrap();
            }
            if shapes.make("vmlinux", &["--strip-all"]).is_none() {
                return;
            }
            let stripped = shapes.folder.path().join("vmlinux");
            let id = Vmlinux::open(path).unwrap().build_id().map(str::to_owned);
            let mut places = vec!["vmlinux.debug".to_owned(), ".debug/vmlinux.debug".to_owned()];
            places.extend(id.map(|id| format!("usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..])));
            for place in places {
                let debug = shapes.make(&place, &["--only-keep-debug"]).unwrap();
                assert!(text(&stripped) == whole, "{name}: stripped, and {place}");
                if place == "vmlinux.debug" {
                    assert!(text(&debug) == whole, "{name}: {place}, and the stripped file");
                }
                std::fs::remove_file(debug).unwrap();
            }
        });
    }
}

#[test]
fn a_directory_stands_for_the_vmlinux_of_the_dumps_kernel_in_it() {
    with_vmlinux(X86_64, |_, path, dump| {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let release = Vmlinux::open(path).unwrap().release().unwrap();
        let error = vmlinux_of(dump, folder.path()).err().unwrap().to_string();
        assert!(error.contains(&format!("this directory has no vmlinux of {release}")), "{error}");
        std::fs::write(folder.path().join("vmlinux-1.0"), "no ELF file").unwrap();
        for place in [
            format!("usr/lib/debug/lib/modules/{release}/vmlinux"),
            format!("usr/lib/debug/boot/vmlinux-{release}"),
            format!("vmlinux-{release}.debug"),
            "some/vmlinux".to_owned(),
        ] {
            let file = folder.path().join(&place);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(path, &file).unwrap();
            assert_eq!(vmlinux_of(dump, folder.path()).unwrap().path(), file);
            // Also when nothing but the dump's memory says which kernel it is.
            let own = dump.vmcoreinfo.take();
            assert_eq!(vmlinux_of(dump, folder.path()).unwrap().path(), file);
            dump.vmcoreinfo = own;
            std::fs::remove_file(file).unwrap();
        }
    });
    with_vmlinux(POWER, |_, path, _| {
        let Some(x86) = corpus::dump(X86_64) else { return };
        let mut dump = dumpfile::open(&x86.elf).unwrap();
        let error = vmlinux_of(&mut dump, path.parent().unwrap()).err();
        let found = error.map_or(String::new(), |error| error.to_string());
        assert!(found.is_empty() || found.contains("this directory has no vmlinux of"), "{found}");
    });
}

#[test]
fn what_is_no_vmlinux_is_named_with_a_way_out() {
    let at = |place: usize, magic: &[u8]| {
        let mut bytes = vec![0; 0x400];
        bytes[place..place + magic.len()].copy_from_slice(magic);
        bytes
    };
    for (bytes, word) in [
        (at(0x202, b"HdrS"), "bzImage"),
        (at(0x38, b"ARM\x64"), "arm64 Image"),
        (at(0x38, b"RSC\x05"), "RISC-V Image"),
        (at(0, b"MZ"), "EFI"),
        (at(0, b"\x27\x05\x19\x56"), "uImage"),
        (at(0, b"\x1f\x8b"), "gunzip -k"),
        (at(0, b"\xfd7zXZ\0"), "xz -dk"),
        (at(0, b"\x28\xb5\x2f\xfd"), "zstd -d"),
        (b"text".to_vec(), "not a vmlinux"),
        (Vec::new(), "not a vmlinux"),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let error = Vmlinux::open(file.path()).err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
    }
    let error = Vmlinux::open(Path::new("/")).err().unwrap().to_string();
    assert!(error.contains("a directory"), "{error}");
}
