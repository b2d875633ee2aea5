//! Decompression of the corpus; `cargo xtask` unpacks its dumps with it too.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};

/// Decompresses `packed` and leaves holes where blocks of zeros would be.
pub fn unpack(packed: impl BufRead, mut file: File) -> io::Result<()> {
    let mut decoder = zstd::Decoder::with_buffer(packed)?;
    // Corpus files are packed with `--long=27`: matches reach 128 MiB back.
    decoder.window_log_max(27)?;
    let mut block = vec![0; 1 << 16];
    let mut len = 0;
    loop {
        let mut filled = 0;
        while filled < block.len() {
            match decoder.read(&mut block[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        if filled == 0 {
            return file.set_len(len);
        }
        len += filled as u64;
        if block[..filled].iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Start(len))?;
        } else {
            file.write_all(&block[..filled])?;
        }
    }
}
