//! What the machine can do at best.

use super::{Work, convert, median};
use crate::reader::kdump::Kdump;
use crate::task::measure::measure;
use anyhow::{Result, ensure};
use dumpfile::codec::{Encoder, Method};
use serde::Serialize;
use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;
use vmcore::PageSize;

/// Bytes read or copied at once: what a core's own cache holds.
const PIECE: usize = 256 << 10;
/// Bytes that `memcpy` is measured over, more than any cache holds.
const COPIED: usize = 256 << 20;

/// Medians, in seconds.
#[derive(Serialize)]
pub(super) struct Limits {
    /// Reading the whole input on one thread, and on all processors.
    pub(super) read_one: f64,
    pub(super) read_all: f64,
    /// Copying as many bytes as the input has from memory to memory on one thread.
    pub(super) memcpy: f64,
    /// `cp --sparse=always` of the input, without and with a sync.
    pub(super) cp: f64,
    pub(super) cp_synced: f64,
}

impl Limits {
    pub(super) fn measure(work: &Work, runs: usize) -> Result<Self> {
        let processors = std::thread::available_parallelism()?.get();
        let len = fs::metadata(&work.input)?.len();
        let (mut one, mut all, mut copied, mut cp, mut synced) = (vec![], vec![], vec![], vec![], vec![]);
        let source = vec![1u8; COPIED];
        let mut target = vec![0u8; COPIED];
        for _ in 0..runs {
            one.push(read(&work.input, 1, None)?);
            all.push(read(&work.input, processors, None)?);
            let begun = Instant::now();
            target.copy_from_slice(black_box(&source));
            black_box(&target);
            copied.push(begun.elapsed().as_secs_f64() * len as f64 / COPIED as f64);
            let (plain, durable) = copy(&work.input, work)?;
            cp.push(plain);
            synced.push(durable);
        }
        Ok(Self {
            read_one: median(one),
            read_all: median(all),
            memcpy: median(copied),
            cp: median(cp),
            cp_synced: median(synced),
        })
    }
}

/// The time to read `path`, or the first `bytes` of it, with some threads.
pub(super) fn read(path: &Path, threads: usize, bytes: Option<u64>) -> Result<f64> {
    let file = File::open(path)?;
    let len = bytes.unwrap_or(file.metadata()?.len());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let file = &file;
            scope.spawn(move || {
                let mut piece = vec![0; PIECE];
                let offsets = (0..len).step_by(PIECE).skip(thread).step_by(threads);
                offsets.for_each(|offset| {
                    file.read_at(&mut piece, offset).expect("the input can be read");
                });
            });
        }
    });
    Ok(begun.elapsed().as_secs_f64())
}

/// The time of a sparse copy of `path`, without and with a sync.
fn copy(path: &Path, work: &Work) -> Result<(f64, f64)> {
    let output = work.directory.join("copy");
    let words = ["cp", "--sparse=always", "--reflink=never"].map(str::to_owned);
    let files = [path, &output].map(|path| path.display().to_string());
    let (taken, said) = measure(&[&words[..], &files[..]].concat(), &output)?;
    ensure!(taken.code == 0, "cp: exit code {}\n{said}", taken.code);
    fs::remove_file(&output)?;
    Ok((taken.wall, taken.wall + taken.sync))
}

/// The limit of one job: the codec alone on all processors over the pages that have content; for plain output a sparse
/// copy of it.
pub(super) fn of_job(
    hadump: &Path,
    work: &Work,
    level: u32,
    method: &str,
    runs: usize,
) -> Result<Option<f64>> {
    let output = work.directory.join("pages");
    let format = if method == "elf" { "elf" } else { "none" };
    let (taken, said) = measure(&convert(hadump, &work.input, &output, format, level, None), &output)?;
    ensure!(taken.code == 0, "hadump: exit code {}\n{said}", taken.code);
    let limit = match method {
        "zlib" => codec(&output, Method::Zlib, runs)?,
        "lzo" => codec(&output, Method::Lzo, runs)?,
        "snappy" => codec(&output, Method::Snappy, runs)?,
        "zstd" => codec(&output, Method::Zstd, runs)?,
        _ => {
            let times: Vec<f64> = (0..runs).map(|_| Ok(copy(&output, work)?.1)).collect::<Result<_>>()?;
            median(times)
        }
    };
    fs::remove_file(&output)?;
    Ok(Some(limit))
}

/// The time to compress the pages of an uncompressed kdump file.
fn codec(path: &Path, method: Method, runs: usize) -> Result<f64> {
    let kdump = Kdump::open(path);
    let page = kdump.block_size as usize;
    let mut pages = Vec::new();
    for index in 0..kdump.kept().count() as u64 {
        let stored = kdump.stored(index);
        if stored.bytes.iter().any(|byte| *byte != 0) {
            pages.extend_from_slice(&stored.bytes);
        }
    }
    let size = PageSize::new(kdump.block_size).expect("hadump wrote pages of a size that it knows");
    let threads = std::thread::available_parallelism()?.get();
    let share = (pages.len() / page).div_ceil(threads).max(1) * page;
    let times = (0..runs).map(|_| {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for part in pages.chunks(share) {
                scope.spawn(move || {
                    let mut encoder = Encoder::new(method, None, size).expect("a method that is built in");
                    let mut out = vec![0; encoder.out_len()];
                    part.chunks_exact(page).for_each(|page| {
                        black_box(encoder.encode(page, &mut out));
                    });
                });
            }
        });
        begun.elapsed().as_secs_f64()
    });
    Ok(median(times))
}
