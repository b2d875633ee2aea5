//! What the model is fed with: measured on this machine, on one thread, where nobody waits for anybody.

use super::model::{Cost, Disk};
use anyhow::{Context, Result, ensure};
use dumpfile::codec::{Encoder, Method};
use nix::libc::O_DIRECT;
use nix::sys::resource::{UsageWho, getrusage};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;
use vmcore::{PageState, Pfn, PhysicalMemory, is_zero};

/// The bytes of pages in a batch, as in hadump.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// What is written to learn about the disk, in pieces of `PIECE`.
const WRITTEN: u64 = 256 << 20;
const PIECE: usize = 1 << 20;
/// As many writes in flight as find out what the disk takes at most.
const DEPTH: u64 = 4;
/// What O_DIRECT asks of memory.
const ALIGNMENT: usize = 4096;

/// What each batch of a dump's pages with content costs: reading them, looking for zeros, and compressing them if there is a
/// method. Pages of zeros, which a dump of level 31 hardly has, would cost next to nothing.
pub(super) fn batches(input: &Path, method: Option<Method>) -> Result<Vec<Cost>> {
    let dump = dumpfile::open(input)?;
    let size = dump.memory.map().page_size();
    let page = size.len();
    let mut encoder = method.map(|method| Encoder::new(method, None, size)).transpose()?;
    let mut out = vec![0; encoder.as_ref().map_or(0, Encoder::out_len)];
    let mut pages = vec![0; BATCH_BYTES];
    let mut states = vec![PageState::Absent; BATCH_BYTES / page];
    let mut costs = Vec::new();
    for batch in with_content(&*dump.memory)?.chunks(states.len()) {
        let begun = thread_seconds()?;
        let mut bytes = 0;
        for run in batch.chunk_by(|a, b| a + 1 == *b) {
            let (pages, states) = (&mut pages[..run.len() * page], &mut states[..run.len()]);
            dump.memory.read_run(Pfn(run[0]), pages, states)?;
            for page in pages.chunks_exact(page).filter(|page| !is_zero(page)) {
                let packed = encoder.as_mut().and_then(|encoder| encoder.encode(page, &mut out));
                bytes += packed.unwrap_or(page.len());
            }
        }
        let full = states.len() as f64 / batch.len() as f64;
        let seconds = thread_seconds()? - begun;
        costs.push(Cost { seconds: seconds * full, bytes: bytes as f64 * full });
    }
    ensure!(!costs.is_empty(), "{} has no pages with content", input.display());
    Ok(costs)
}

/// The frames that are not all zeros, which are then in the page cache as well.
fn with_content(memory: &dyn PhysicalMemory) -> Result<Vec<u64>> {
    let mut page = vec![0; memory.map().page_size().len()];
    let mut frames = Vec::new();
    for range in memory.map().frames().iter() {
        for frame in range.start.0..range.end.0 {
            if memory.read_page(Pfn(frame), &mut page)? == PageState::Present && !is_zero(&page) {
                frames.push(frame);
            }
        }
    }
    Ok(frames)
}

/// User and system time of this thread: one batch that the host interrupts would hold up all others of the model.
fn thread_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let times = [usage.user_time(), usage.system_time()];
    Ok(times.iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum())
}

/// What the disk below `directory` takes past the page cache.
pub(super) fn disk(directory: &Path) -> Result<Disk> {
    let path = directory.join("written");
    let file = OpenOptions::new().create(true).write(true).truncate(true).custom_flags(O_DIRECT).open(&path);
    let file = file.with_context(|| format!("{}: this file system takes no O_DIRECT", path.display()))?;
    // Room is given out once, before anything is measured.
    write_all(&file, 1)?;
    let one = write_all(&file, 1)?;
    let several = write_all(&file, DEPTH)?;
    fs::remove_file(&path)?;
    let bandwidth = WRITTEN as f64 / several.min(one);
    let pieces = (WRITTEN / PIECE as u64) as f64;
    let latency = (one / pieces - PIECE as f64 / bandwidth).max(0.0);
    Ok(Disk { thread: copy_cost()?, latency, bandwidth })
}

/// The seconds that it takes to write [`WRITTEN`] bytes with so many writes in flight.
fn write_all(file: &File, depth: u64) -> Result<f64> {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..depth)
            .map(|thread| {
                scope.spawn(move || -> std::io::Result<()> {
                    let buffer = vec![1; PIECE + ALIGNMENT];
                    let aligned = buffer.as_ptr().align_offset(ALIGNMENT);
                    let piece = &buffer[aligned..aligned + PIECE];
                    let mine = (0..WRITTEN).step_by(PIECE).skip(thread as usize).step_by(depth as usize);
                    mine.into_iter().try_for_each(|offset| file.write_all_at(piece, offset))
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic in a writer"))
    })?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Seconds for each byte that a writing thread copies into its aligned buffer.
fn copy_cost() -> Result<f64> {
    let source = vec![1u8; 256 << 20];
    let mut target = vec![0u8; PIECE];
    let begun = thread_seconds()?;
    for piece in source.chunks_exact(PIECE) {
        target.copy_from_slice(std::hint::black_box(piece));
        std::hint::black_box(&target);
    }
    Ok((thread_seconds()? - begun) / source.len() as f64)
}
