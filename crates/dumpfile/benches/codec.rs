//! How fast pages are compressed and decompressed on one thread.
//!
//! `HADUMP_BENCH_PAGES` names a raw file of pages, one after another, best those that a dump level keeps of
//! a real dump; `HADUMP_BENCH_PAGE_SIZE` gives their size in bytes (4096). Without a file a synthetic mix
//! stands in, whose figures compare two builds and nothing else.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use dumpfile::codec::{Decoder, Encoder, Method};
use std::sync::OnceLock;
use vmcore::PageSize;

/// Bytes measured: a few milliseconds for the fastest method, more than the second-level cache holds.
const SAMPLE: usize = 4 << 20;

struct Pages {
    size: PageSize,
    bytes: Vec<u8>,
}

fn pages() -> &'static Pages {
    static PAGES: OnceLock<Pages> = OnceLock::new();
    PAGES.get_or_init(|| {
        let size = match std::env::var("HADUMP_BENCH_PAGE_SIZE") {
            Ok(size) => {
                size.parse().ok().and_then(PageSize::new).expect("HADUMP_BENCH_PAGE_SIZE is a page size")
            }
            Err(_) => PageSize::K4,
        };
        let bytes = match std::env::var_os("HADUMP_BENCH_PAGES") {
            Some(path) => {
                let all = std::fs::read(&path).expect("HADUMP_BENCH_PAGES can be read");
                let bytes = sample(&all, size);
                eprintln!("{} pages of {size} out of {}", bytes.len() / size.len(), path.display());
                bytes
            }
            None => {
                eprintln!("synthetic pages of {size}: name real ones with HADUMP_BENCH_PAGES");
                synthetic()
            }
        };
        assert!(bytes.len() >= size.len(), "no page to compress");
        Pages { size, bytes }
    })
}

/// Pages from all over the file.
fn sample(all: &[u8], size: PageSize) -> Vec<u8> {
    let step = all.len().div_ceil(SAMPLE).max(1);
    all.chunks_exact(size.len()).step_by(step).flatten().copied().collect()
}

/// A quarter each of pointers, text, counters among zeros, and noise.
fn synthetic() -> Vec<u8> {
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        seed >> 33
    };
    let words = ["kernel ", "page ", "slab", "_alloc", "(struct ", "*)", "\n", "task", "0x", "inode "];
    let mut bytes = Vec::with_capacity(SAMPLE + 4096);
    while bytes.len() < SAMPLE {
        let end = bytes.len() + 4096;
        let kind = random() % 4;
        while bytes.len() < end {
            match kind {
                0 => bytes.extend((0xffff_8880_0000_0000 + (random() % 4096) * 64).to_le_bytes()),
                1 => bytes.extend(words[random() as usize % words.len()].bytes()),
                2 => bytes.extend(((random() % 5 / 4) * (random() % 1000)).to_le_bytes()),
                _ => bytes.extend(random().to_le_bytes()),
            }
        }
        bytes.truncate(end);
    }
    bytes
}

/// A method and the level it is asked for.
const CASES: [(&str, Method, Option<i32>); 8] = [
    ("zlib 1", Method::Zlib, Some(1)),
    ("zlib 2", Method::Zlib, Some(2)),
    ("zlib 6", Method::Zlib, Some(6)),
    ("lzo", Method::Lzo, None),
    ("snappy", Method::Snappy, None),
    ("zstd -1", Method::Zstd, Some(-1)),
    ("zstd 1", Method::Zstd, Some(1)),
    ("zstd 3", Method::Zstd, Some(3)),
];

fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.0)
}

fn encoder(name: &str) -> (Method, Encoder) {
    let (_, method, level) = CASES.iter().find(|case| case.0 == name).expect("a known case");
    (*method, Encoder::new(*method, *level, pages().size).expect("a level of the method"))
}

#[divan::bench(args = names())]
fn compress(bencher: Bencher<'_, '_>, name: &str) {
    let pages = pages();
    let (_, mut encoder) = encoder(name);
    let mut out = vec![0; encoder.out_len()];
    bencher.counter(BytesCount::new(pages.bytes.len())).bench_local(|| {
        for page in pages.bytes.chunks_exact(pages.size.len()) {
            black_box(encoder.encode(page, &mut out));
        }
    });
}

#[divan::bench(args = names())]
fn decompress(bencher: Bencher<'_, '_>, name: &str) {
    let pages = pages();
    let (method, mut encoder) = encoder(name);
    let mut decoder = Decoder::new();
    let mut out = vec![0; encoder.out_len()];
    let stored: Vec<Vec<u8>> = pages
        .bytes
        .chunks_exact(pages.size.len())
        .filter_map(|page| encoder.encode(page, &mut out).map(|len| out[..len].to_vec()))
        .collect();
    let mut page = vec![0; pages.size.len()];
    if stored.first().is_some_and(|first| decoder.decode(method, first, &mut page).is_err()) {
        eprintln!("{name}: this build cannot decompress it");
        return;
    }
    bencher.counter(BytesCount::new(stored.len() * page.len())).bench_local(|| {
        for stored in &stored {
            decoder.decode(method, stored, &mut page).expect("a stream of our own");
            black_box(&page);
        }
    });
}

/// What share of the pages' bytes is stored, raw pages included.
fn ratios() {
    let pages = pages();
    for name in names() {
        let (_, mut encoder) = encoder(name);
        let mut out = vec![0; encoder.out_len()];
        let len = pages.size.len();
        let stored: usize =
            pages.bytes.chunks_exact(len).map(|page| encoder.encode(page, &mut out).unwrap_or(len)).sum();
        eprintln!("{name:8} stores {:.4}", stored as f64 / pages.bytes.len() as f64);
    }
}

fn main() {
    // Cargo runs benches as tests too; then nothing is to be measured.
    if std::env::args().any(|arg| arg == "--bench") {
        ratios();
    }
    divan::main();
}
