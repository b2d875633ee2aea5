//! Real dumps, opened.

#![allow(dead_code, reason = "no test needs all helpers")]

use std::path::Path;
use vmcore::{CHUNK_FRAMES, Dump, Selection};

/// Runs `test` with the dump called `name`, if it is there.
pub(crate) fn with_dump(name: &'static str, test: impl FnOnce(&corpus::Dump, &mut Dump)) {
    let Some(real) = corpus::dump(name) else { return };
    test(&real, &mut dumpfile::open(&real.elf).unwrap());
}

/// As [`with_dump`], with its kernel's vmlinux, which `testdata/` has no room for.
pub(crate) fn with_vmlinux(name: &'static str, test: impl FnOnce(&corpus::Dump, &Path, &mut Dump)) {
    let Some(real) = corpus::dump(name) else { return };
    let Some(vmlinux) = real.vmlinux() else { return };
    test(&real, &vmlinux, &mut dumpfile::open(&real.elf).unwrap());
}

/// The kept pages as the corpus has them: bit `pfn & 7` of byte `pfn >> 3`.
pub(crate) fn bitmap(selection: &Selection, bytes: usize) -> Vec<u8> {
    let mut bitmap = vec![0; bytes];
    for position in 0..selection.chunk_count() {
        let (first, chunk) = selection.chunk(position).unwrap();
        let kept = (0..CHUNK_FRAMES).filter(|&i| chunk.contains(i)).map(|i| first.0 + i);
        for pfn in kept {
            bitmap[(pfn >> 3) as usize] |= 1 << (pfn & 7);
        }
    }
    bitmap
}
