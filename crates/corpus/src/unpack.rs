//! Decompression that leaves holes where blocks of zeros would be.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Decompresses `packed`, which may be made with `zstd --long=27`, into the new file `file`.
///
/// # Errors
///
/// `packed` is not whole, or there is no room for its content.
pub fn unpack(packed: impl BufRead, mut file: File) -> io::Result<()> {
    let mut decoder = zstd::Decoder::with_buffer(packed)?;
    // Matches reach 128 MiB back.
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

/// Decompresses the file `packed` into a new file `to`.
pub(crate) fn file(packed: &Path, to: &Path) {
    let input = File::open(packed).unwrap_or_else(|e| panic!("{}: {e}", packed.display()));
    let output = File::create(to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
    unpack(io::BufReader::new(input), output).unwrap_or_else(|e| panic!("{}: {e}", packed.display()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn content_comes_back_and_zeros_become_holes() {
        let mut content = vec![0; (4 << 20) + 100];
        content[(1 << 20)..][..3].copy_from_slice(b"abc");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("unpacked");
        unpack(&zstd::encode_all(&content[..], 1).unwrap()[..], File::create(&path).unwrap()).unwrap();
        assert!(std::fs::read(&path).unwrap() == content);
        assert!(path.metadata().unwrap().blocks() * 512 <= 1 << 20);
    }
}
