//! A vmlinux: its symbols, and types from its DWARF.

/// The sample of the kernel crate's tests.
#[path = "../../../kernel/src/description/dwarf/sample.rs"]
mod sample;

use super::{Seed, Target, btf};
use kernel::dwarf::Dwarf;
use kernel::vmlinux::Vmlinux;
use sample::ABBREVIATIONS;
pub(super) use sample::Packing;
use std::hint::black_box;
use std::io::Write;
use std::path::PathBuf;

pub(super) const TARGET: Target = Target { name: "dwarf", seeds, run };

/// A file with one unit and the symbol `first`.
pub(super) fn vmlinux(version: u8, packing: Packing) -> Vec<u8> {
    sample::vmlinux(&sample::info(version), &ABBREVIATIONS.concat(), super::erase::FIRST, packing)
}

fn seeds() -> Vec<Seed> {
    let of = |(version, packing)| {
        let bytes = vmlinux(version, packing);
        let find = |needle: &[u8]| bytes.windows(needle.len()).position(|w| w == needle);
        let mut hot = vec![0..64, bytes.len() - 8 * 64..bytes.len()];
        match find(b"\x02char\0") {
            // The unit's header, its entries, and the abbreviations.
            Some(at) => {
                let abbreviations = find(ABBREVIATIONS[0]).unwrap_or(at);
                let abbreviations = abbreviations..abbreviations + 80;
                hot.extend([at - 13..at, at..at + 130, at..at + 130, abbreviations.clone(), abbreviations]);
            }
            None => hot.extend([64..bytes.len(), 64..bytes.len()]),
        }
        Seed { bytes, hot }
    };
    let packings =
        [Packing::Plain, Packing::Plain, Packing::Plain, Packing::Zlib, Packing::Zstd, Packing::Gnu];
    packings.into_iter().flat_map(|packing| [(4, packing), (5, packing)]).map(of).collect()
}

/// Opens bytes as a vmlinux. It reads from a file, so there is one for as long as it is being looked at.
pub(super) fn with_vmlinux<T>(bytes: &[u8], look: impl FnOnce(&Vmlinux) -> T) -> Option<T> {
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let mut file = tempfile::NamedTempFile::new_in(directory).expect("a temporary file");
    file.write_all(bytes).expect("a temporary file takes some bytes");
    Vmlinux::open(file.path()).ok().map(|vmlinux| look(&vmlinux))
}

fn run(bytes: Vec<u8>) -> bool {
    let look = |vmlinux: &Vmlinux| {
        let _ = black_box((vmlinux.release(), vmlinux.mentions("Linux"), vmlinux.symbol("first")));
        let Ok(Some(dwarf)) = Dwarf::open(vmlinux) else { return false };
        let _ = black_box(kernel::knowledge::vmcoreinfo::of_vmlinux(vmlinux, &dwarf));
        btf::ask(&dwarf, &["node", "first", "char", "PGTY_buddy"]);
        kernel::types::Types::size_of(&dwarf, "node", 8).is_ok_and(|size| size.is_some())
    };
    with_vmlinux(&bytes, look).unwrap_or(false)
}
