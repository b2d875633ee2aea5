//! Sets of files: parts that belong together, and parts that do not.

use super::flattened::flatten;
use super::kdump::{SAMPLES, seed};
use super::{Seed, Target, open_and_walk};
use crate::pack::{pack, unpack};
use crate::sample;
use vmcore::{Pfn, Range};

pub(super) const TARGET: Target = Target { name: "split", seeds, run };

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
