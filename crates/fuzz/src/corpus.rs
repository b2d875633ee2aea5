//! The beginnings of the real dumps in `testdata/`: headers, program headers and notes of real kernels, the rest cut off.

use std::io::Read;
use std::path::Path;

/// Enough for the headers and notes of a machine with a few CPUs, whose pages may have 64 KiB.
const BEGINNING: u64 = 256 << 10;

/// The first bytes of each ELF core.
pub(crate) fn beginnings() -> Vec<Vec<u8>> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let Ok(entries) = std::fs::read_dir(testdata) else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path().join("vmcore.elf.zst"))
        .filter(|path| path.is_file())
        .collect();
    // Runs follow from their numbers, so the order must not be the directory's.
    paths.sort();
    let beginning = |path: &std::path::PathBuf| {
        let file = std::fs::File::open(path).ok()?;
        let mut bytes = Vec::new();
        zstd::Decoder::new(file).ok()?.take(BEGINNING).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    paths.iter().filter_map(beginning).collect()
}
