//! Flattened files, at random and as streams.

use super::kdump::{SAMPLES, seed};
use super::{Seed, Target, open_and_walk};
use dumpfile::Error;
use dumpfile::flattened::unflatten;
use dumpfile::output::Sink;
use std::path::Path;

pub(super) const TARGET: Target = Target { name: "flattened", seeds, run };

/// `file` as pieces of `len` bytes, the header once more at the end.
pub(super) fn flatten(file: &[u8], len: usize) -> Seed {
    let mut bytes = b"makedumpfile\0\0\0\0".to_vec();
    bytes.extend([1u64.to_be_bytes(), 1u64.to_be_bytes()].concat());
    bytes.resize(4096, 0);
    let mut hot = vec![0..32, 0..32];
    let pieces = file.chunks(len).enumerate().map(|(i, data)| (i * len, data));
    for (offset, data) in pieces.chain([(0, &file[..464])]) {
        hot.push(bytes.len()..bytes.len() + 16);
        bytes.extend([(offset as u64).to_be_bytes(), (data.len() as u64).to_be_bytes()].concat());
        bytes.extend(data);
    }
    hot.push(bytes.len()..bytes.len() + 16);
    bytes.extend([0xff; 16]);
    Seed { bytes, hot }
}

fn seeds() -> Vec<Seed> {
    let lens = [300, 1440, 4096, 65536];
    let some = SAMPLES.into_iter().filter(|(_, size, _)| size.bytes() == 4096).zip(lens);
    some.map(|((name, size, method), len)| flatten(&seed(name, size, method).bytes, len)).collect()
}

/// A sink that looks at offsets only.
struct Checked;

impl Sink for Checked {
    fn path(&self) -> &Path {
        Path::new("checked")
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        assert!(offset.checked_add(bytes.len() as u64).is_some_and(|end| end <= i64::MAX as u64));
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn run(bytes: Vec<u8>) -> bool {
    let done = unflatten(&mut &bytes[..], &Checked).expect("the sink takes everything");
    assert!(done.received <= bytes.len() as u64);
    open_and_walk(vec![bytes])
}
