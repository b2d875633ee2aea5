//! kdump-compressed files and diskdumps.

use super::{Seed, Target, open_and_walk};
use crate::{corpus, sample};
use dumpfile::codec::Method;
use vmcore::PageSize;

pub(super) const TARGET: Target = Target { name: "kdump", seeds, run };

/// Machines of every layout, with the compression of their sample.
pub(super) const SAMPLES: [(&str, PageSize, Option<Method>); 6] = [
    ("x86_64", PageSize::K4, Some(Method::Zlib)),
    ("ppc64", PageSize::K4, Some(Method::Zstd)),
    ("ppc64le", PageSize::K64, Some(Method::Snappy)),
    ("i686", PageSize::K4, Some(Method::Lzo)),
    ("armv7l", PageSize::K4, None),
    ("s390x", PageSize::K4, Some(Method::Zlib)),
];

/// A sample file with its headers, notes, bitmaps and descriptors as the places to change.
pub(super) fn seed(machine: &str, size: PageSize, method: Option<Method>) -> Seed {
    let bytes = sample::kdump(&sample::dump(machine, size), method, None);
    let block = size.len();
    let hot = vec![
        0..16,
        404..464,
        404..464,
        block..block + 104,
        block..block + 104,
        block + 80..block + 600,
        2 * block..2 * block + 16,
        3 * block..3 * block + 16,
        4 * block..4 * block + 40 * 24,
    ];
    Seed { bytes, hot }
}

/// A sample file with checksums, whose places to change are these and what leads to them.
fn with_checksums(machine: &str, size: PageSize, method: Option<Method>) -> Seed {
    let plain = seed(machine, size, method);
    let bytes = sample::kdump_with_checksums(&sample::dump(machine, size), method, None);
    let seal = bytes.windows(8).position(|at| at == b"HADUMPCK").unwrap_or(0);
    let mut hot = plain.hot;
    hot.extend([seal..seal + 128, seal..seal + 128, seal + 128..seal + 200]);
    Seed { bytes, hot }
}

fn seeds() -> Vec<Seed> {
    let mut seeds: Vec<Seed> =
        SAMPLES.into_iter().map(|(name, size, method)| seed(name, size, method)).collect();
    let mut diskdump = seed("i686", PageSize::K4, Some(Method::Zlib));
    diskdump.bytes[..12].copy_from_slice(b"DISKDUMP\0\0\0\0");
    seeds.push(diskdump);
    seeds.extend(SAMPLES.into_iter().map(|(name, size, method)| with_checksums(name, size, method)));
    seeds.extend(corpus::beginnings().into_iter().filter_map(real));
    seeds
}

/// What hadump makes of a real core that is cut off: its headers, notes and bitmaps, and nearly all pages lost.
fn real(beginning: Vec<u8>) -> Option<Seed> {
    let dump = dumpfile::open_bytes(vec![beginning]).ok()?;
    let bytes = sample::kdump(&dump, Some(Method::Zstd), None);
    let block = dump.page_size().len();
    let hot =
        vec![0..464, 404..464, block..block + 104, block..block + 104, block..4 * block, 0..bytes.len()];
    Some(Seed { bytes, hot })
}

fn run(bytes: Vec<u8>) -> bool {
    open_and_walk(vec![bytes])
}
