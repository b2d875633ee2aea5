//! Real dumps for tests: `HADUMP_CORPUS` names the directory that holds them, compressed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use vmcore::Dump;

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
