//! Real dumps for tests: `HADUMP_CORPUS` names the directory that holds them, compressed.

#![allow(dead_code, reason = "no test needs all helpers")]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use vmcore::{CHUNK_FRAMES, Dump, Selection};

/// The directory of one dump, or `None` with a word on what is skipped.
fn corpus(name: &str) -> Option<PathBuf> {
    let corpus = std::env::var_os("HADUMP_CORPUS").map(|corpus| Path::new(&corpus).join(name));
    if corpus.is_none() {
        eprintln!("skipped the real dump {name}: HADUMP_CORPUS does not say where it is");
    }
    corpus
}

/// Unpacks `from` to the sparse file `to`.
pub(crate) fn unpack(from: &Path, to: &Path) {
    let mut reader = zstd::Decoder::new(File::open(from).unwrap()).unwrap();
    let mut file = File::create(to).unwrap();
    let mut block = vec![0; 1 << 16];
    let mut len = 0;
    loop {
        let filled = reader.by_ref().take(block.len() as u64).read(&mut block).unwrap();
        if filled == 0 {
            return file.set_len(len).unwrap();
        }
        len += filled as u64;
        if block[..filled].iter().all(|&b| b == 0) {
            file.seek(SeekFrom::Current(filled as i64)).unwrap();
        } else {
            file.write_all(&block[..filled]).unwrap();
        }
    }
}

/// Runs `test` with the unpacked file of a dump of the corpus and the directory it came from, if there is a corpus.
pub(crate) fn with_file(name: &str, test: impl FnOnce(&Path, &Path)) {
    let Some(dir) = corpus(name) else { return };
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("vmcore.elf");
    unpack(&dir.join("vmcore.elf.zst"), &path);
    test(&dir, &path);
}

/// The same with the file opened.
pub(crate) fn with_dump(name: &str, test: impl FnOnce(&Path, &Dump)) {
    with_file(name, |dir, path| test(dir, &dumpfile::open(path).unwrap()));
}

/// As [`with_dump`], with the kernel's vmlinux unpacked.
pub(crate) fn with_vmlinux(name: &str, test: impl FnOnce(&Path, &mut Dump)) {
    let Some(dir) = corpus(name) else { return };
    let temp = tempfile::tempdir().unwrap();
    let (dump, vmlinux) = (temp.path().join("vmcore.elf"), temp.path().join("vmlinux"));
    unpack(&dir.join("vmcore.elf.zst"), &dump);
    unpack(&dir.join("vmlinux.zst"), &vmlinux);
    test(&vmlinux, &mut dumpfile::open(&dump).unwrap());
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
