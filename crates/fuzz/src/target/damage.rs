//! Damage that no error of a reader shows: a single bit of a file, a record of a stream.
//!
//! Other targets ask that nothing hostile makes a reader fail. These ask that nothing damaged makes it lie: of a dump with
//! checksums each page that is given is the one that was written, or the dump is known to be damaged. An input is not the
//! file, whose many bits would hide the one, but the number that file and damage follow from.

use super::kdump::SAMPLES;
use super::{Seed, Target};
use crate::rng::Rng;
use crate::sample::{self, Pages};
use dumpfile::flattened::FlattenedSink;
use dumpfile::output::Sink;
use std::sync::OnceLock;
use vmcore::{Dump, PageState, Pfn};

pub(super) const BITS: Target = Target { name: "bits", seeds, run: bits };
pub(super) const RECORDS: Target = Target { name: "records", seeds, run: records };

/// Files with checksums, and the dumps that they were made of.
fn files() -> &'static [(Vec<u8>, &'static str)] {
    static FILES: OnceLock<Vec<(Vec<u8>, &str)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let file = |&(name, size, method): &(&'static str, _, _)| {
            let dump = sample::dump_with(name, size, Pages::All);
            (sample::kdump_with_checksums(&dump, method, None), name)
        };
        SAMPLES.iter().filter(|(_, size, _)| size.bytes() == 4096).map(file).collect()
    })
}

fn seeds() -> Vec<Seed> {
    (0..16).map(|n: u64| Seed { bytes: n.to_le_bytes().to_vec(), hot: Vec::new() }).collect()
}

/// The file and the damage that an input stands for.
fn chosen(input: &[u8]) -> (&'static (Vec<u8>, &'static str), Rng) {
    let number =
        u64::from(crc32fast::hash(input)) << 32 | u64::from(crc32fast::hash(&[input, b"more"].concat()));
    let mut rng = Rng::new(number);
    let file = rng.below(files().len());
    (&files()[file], rng)
}

/// Turns one bit over, of the file as it is or flattened.
fn bits(input: Vec<u8>) -> bool {
    let ((bytes, name), mut rng) = chosen(&input);
    let mut bytes = if rng.once_in(4) { stream(bytes, &mut rng) } else { bytes.clone() };
    let bit = rng.below(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    is_true(bytes, name, &format!("bit {bit}"));
    true
}

/// Drops, doubles or swaps a record of a stream.
fn records(input: Vec<u8>) -> bool {
    let ((bytes, name), mut rng) = chosen(&input);
    let whole = stream(bytes, &mut rng);
    let mut starts = vec![4096];
    loop {
        let at = starts[starts.len() - 1];
        let size = i64::from_be_bytes(whole[at + 8..at + 16].try_into().expect("eight bytes"));
        let Ok(size) = usize::try_from(size) else { break };
        starts.push(at + 16 + size);
    }
    let mut records: Vec<&[u8]> = starts.windows(2).map(|two| &whole[two[0]..two[1]]).collect();
    let n = rng.below(records.len());
    let what = match rng.below(3) {
        0 => {
            records.remove(n);
            "dropped"
        }
        1 => {
            records.insert(n, records[n]);
            "doubled"
        }
        _ => {
            let other = rng.below(records.len());
            records.swap(n, other);
            "swapped"
        }
    };
    let end = &whole[starts[starts.len() - 1]..];
    let bytes = [&whole[..4096], &records.concat(), end].concat();
    is_true(bytes, name, &format!("record {n} {what}"));
    true
}

/// A file as a stream whose pieces are of some length.
fn stream(file: &[u8], rng: &mut Rng) -> Vec<u8> {
    let sink = FlattenedSink::new(Vec::new(), "stream").expect("memory takes everything");
    let mut at = 0;
    while at < file.len() {
        let len = (1 + rng.below(20_000)).min(file.len() - at);
        let piece = &file[at..at + len];
        // Holes are not sent.
        if piece.iter().any(|&byte| byte != 0) {
            sink.write_at(at as u64, piece).expect("memory takes everything");
            sink.sync().expect("memory takes everything");
        }
        at += len;
    }
    sink.finish().expect("memory takes everything").0
}

/// Panics when a page is not what was written and nothing says so.
fn is_true(bytes: Vec<u8>, machine: &str, damage: &str) {
    let Ok(dump) = dumpfile::open_bytes(vec![bytes]) else { return };
    // What `hadump verify` goes by must hold for any damage.
    let _ = dump.memory.check();
    if dump.source.incomplete {
        return;
    }
    let truth = sample::dump_with(machine, vmcore::PageSize::K4, Pages::All);
    let read = |dump: &Dump, pfn: u64| {
        let mut page = vec![0; 4096];
        let state = dump.memory.read_page(Pfn(pfn), &mut page);
        (state.ok(), page)
    };
    for pfn in sample::frames() {
        let (state, page) = read(&dump, pfn);
        let is_lost = matches!(state, None | Some(PageState::Lost));
        assert!(is_lost || page == read(&truth, pfn).1, "{damage}: page {pfn} is {state:?}, and another one");
    }
}
