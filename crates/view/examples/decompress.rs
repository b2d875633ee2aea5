//! Reads all pages of a dump on all processors and does nothing with them: `decompress DUMP`. Prints the pages with content, their
//! bytes, and the seconds that reading took: what a mounted dump is measured against.

use rayon::prelude::*;
use std::error::Error;
use std::time::Instant;
use vmcore::{DumpLevel, PageState, Pfn, Selection};

/// Bytes of pages that a thread reads at once.
const PIECE: usize = 512 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: decompress DUMP")?;
    let dump = dumpfile::open(path.as_ref())?;
    let size = dump.page_size();
    let all = Selection::everything(&*dump.memory, DumpLevel::default(), None)?;
    let most = (PIECE / size.len()) as u64;
    let mut pieces = Vec::new();
    for position in 0..all.chunk_count() {
        let (first, chunk) = all.chunk(position)?;
        for run in chunk.runs() {
            let starts = (run.start..run.end).step_by(most as usize);
            pieces.extend(starts.map(|at| (Pfn(first.0 + at), most.min(run.end - at) as usize)));
        }
    }
    let begun = Instant::now();
    let counts = pieces.par_iter().map_init(Vec::new, |bytes: &mut Vec<u8>, &(first, count)| {
        let mut states = vec![PageState::Absent; count];
        bytes.resize(count * size.len(), 0);
        dump.memory.read_run(first, bytes, &mut states)?;
        Ok(states.iter().filter(|state| **state == PageState::Present).count() as u64)
    });
    let pages = counts.try_reduce(|| 0, |a, b| Ok::<_, vmcore::ReadError>(a + b))?;
    println!("{pages} {} {}", pages * size.bytes(), begun.elapsed().as_secs_f64());
    Ok(())
}
