//! Sets of files: parts that belong together, and parts that do not.
//!
//! An input holds several files: their number, their lengths (32 bits each, little endian), and their bytes.

use super::flattened::flatten;
use super::kdump::{SAMPLES, seed};
use super::{Seed, Target, open_and_walk};
use crate::sample;
use vmcore::{Pfn, Range};

pub(super) const TARGET: Target = Target { name: "split", seeds, run };

/// The most files of an input.
const MAX_FILES: usize = 8;

/// Files as one input.
fn pack(files: &[Seed]) -> Seed {
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

fn unpack(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
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

fn seeds() -> Vec<Seed> {
    SAMPLES
        .into_iter()
        .filter(|(_, size, _)| size.bytes() == 4096)
        .map(|(name, size, method)| {
            let dump = sample::dump(name, size);
            let hot = seed(name, size, method).hot;
            let part = |start, end| {
                let bytes = sample::kdump(&dump, method, Some(Range::new(Pfn(start), Pfn(end))));
                Seed { bytes, hot: hot.clone() }
            };
            let mut flat = flatten(&part(80, 90).bytes, 4096);
            flat.hot.extend(hot.iter().map(|r| r.start + 4112..r.end + 4112));
            pack(&[part(70, 80), part(0, 64), part(64, 70), flat])
        })
        .collect()
}

fn run(bytes: Vec<u8>) -> bool {
    unpack(&bytes).is_some_and(open_and_walk)
}
