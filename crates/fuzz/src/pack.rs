//! Several files as one input: their number, their lengths (32 bits each, little endian), and their bytes.

use crate::target::Seed;

/// The most files of an input.
const MAX_FILES: usize = 24;

/// Files as one input.
pub(crate) fn pack(files: &[Seed]) -> Seed {
    let mut bytes = (files.len() as u32).to_le_bytes().to_vec();
    files.iter().for_each(|file| bytes.extend((file.bytes.len() as u32).to_le_bytes()));
    let mut hot = vec![0..4, 4..bytes.len()];
    for file in files {
        let at = bytes.len();
        bytes.extend(&file.bytes);
        hot.extend(file.hot.iter().map(|r| at + r.start..at + r.end));
    }
    Seed { bytes, hot }
}

/// The files of an input; `None` when their lengths are not there.
pub(crate) fn unpack(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let word = |n: usize| Some(u32::from_le_bytes(*bytes.get(n * 4..)?.first_chunk()?) as usize);
    let count = word(0)?.min(MAX_FILES);
    let mut rest = bytes.get(4 + count * 4..)?;
    let mut files = Vec::new();
    for n in 0..count {
        let (file, later) = rest.split_at(word(1 + n)?.min(rest.len()));
        files.push(file.to_vec());
        rest = later;
    }
    Some(files)
}
