//! What is done to every page and to every bitmap, on one thread.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use vmcore::{CHUNK_FRAMES, Chunk, is_zero};

/// Fits the second-level cache, where a page lies when it was just read.
const BYTES: usize = 256 << 10;

#[divan::bench(args = [4096, 65536])]
fn zero_test(bencher: Bencher<'_, '_>, page: usize) {
    let zeros = vec![0u8; BYTES];
    bencher
        .counter(BytesCount::new(BYTES))
        .bench_local(|| zeros.chunks_exact(page).filter(|page| is_zero(black_box(page))).count());
}

/// Every other run of `len` frames is kept.
fn striped(len: u64) -> Chunk {
    let mut chunk = Chunk::empty();
    for start in (0..CHUNK_FRAMES).step_by(2 * len as usize) {
        chunk.set(start, start + len, true);
    }
    chunk
}

#[divan::bench(args = [1, 8, 512])]
fn walk_runs(bencher: Bencher<'_, '_>, len: u64) {
    let chunk = striped(len);
    bencher
        .counter(ItemsCount::new(CHUNK_FRAMES))
        .bench_local(|| black_box(&chunk).runs().map(|run| run.end - run.start).sum::<u64>());
}

#[divan::bench(args = [1, 8, 512])]
fn remove_runs(bencher: Bencher<'_, '_>, len: u64) {
    let mut all = Chunk::empty();
    all.set(0, CHUNK_FRAMES, true);
    bencher.counter(ItemsCount::new(CHUNK_FRAMES)).with_inputs(|| all.clone()).bench_local_refs(|chunk| {
        (0..CHUNK_FRAMES).step_by(2 * len as usize).map(|at| chunk.remove(at, at + len)).sum::<u64>()
    });
}

fn main() {
    divan::main();
}
