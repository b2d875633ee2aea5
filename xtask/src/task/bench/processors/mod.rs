//! `cargo xtask bench --processors`: where the pipeline would stop scaling on a machine that nobody here has.
//!
//! What a batch costs a worker and what a write costs are measured here; a simulation of the pipeline then has as many
//! workers and writing threads as are asked for. It knows nothing of what processors take from each other: memory bandwidth,
//! caches, locks of the kernel. So it says where the pipeline itself is the limit, and no more.

mod model;
mod rates;

use super::mib;
use anyhow::Result;
use dumpfile::codec::Method;
use model::{Cost, Disk, simulate};
use std::path::Path;

/// How often the dump is repeated, so that beginning and end do not count.
const BATCHES: usize = 20_000;
/// Threads that write.
const WRITERS: [usize; 4] = [1, 2, 4, 8];
/// A larger machine that is this much faster, for each processor it has more, still scales.
const SCALES: f64 = 0.8;

const METHODS: [(&str, Option<Method>); 4] =
    [("none", None), ("lzo", Some(Method::Lzo)), ("zstd", Some(Method::Zstd)), ("zlib", Some(Method::Zlib))];

/// Measures `input`, simulates each number of processors and prints where more of them, or of writing threads, stop helping.
pub(super) fn run(input: &Path, directory: &Path, processors: &[usize], disk: Option<u64>) -> Result<()> {
    let measured = rates::disk(directory)?;
    let disk = disk.map_or(measured, |bytes| Disk { bandwidth: bytes as f64, ..measured });
    println!(
        "disk: {:.0} MB/s, {:.2} ms until a write is done; a writing thread copies {:.1} GB/s\n",
        disk.bandwidth / 1e6,
        disk.latency * 1e3,
        1e-9 / disk.thread
    );
    println!(
        "| method | MB/s of a worker | size | processors | GB/s with 1 writer | 2 | 4 | 8 | workers busy, best | limit |"
    );
    println!("|{}", "--:|".repeat(10));
    for (name, method) in METHODS {
        let costs = rates::batches(input, method)?;
        let one: f64 = costs.iter().map(|cost| cost.seconds).sum();
        let bytes: f64 = costs.iter().map(|cost| cost.bytes).sum();
        let read = (costs.len() * rates::BATCH_BYTES) as f64;
        let long: Vec<Cost> = costs.iter().copied().cycle().take(BATCHES).collect();
        let mut before: Option<(usize, f64)> = None;
        let mut stops = None;
        for &count in processors {
            let outcomes = WRITERS.map(|writers| simulate(&long, disk, count, writers));
            let rate = |seconds: f64| (BATCHES * rates::BATCH_BYTES) as f64 / seconds / 1e9;
            let best = outcomes.iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds)).expect("some writers");
            let limit = match () {
                () if best.workers > 0.9 => "workers",
                () if best.disk > 0.9 => "disk",
                () if best.writers > 0.9 => "writing threads",
                () => "waiting for each other",
            };
            println!(
                "| {name} | {:.0} | {:.2} | {count} | {} | {:.0} % | {limit} |",
                read / one / 1e6,
                bytes / read,
                outcomes.map(|outcome| format!("{:.1}", rate(outcome.seconds))).join(" | "),
                best.workers * 100.0,
            );
            if let Some((fewer, seconds)) = before {
                let wanted = count as f64 / fewer as f64 * SCALES;
                if seconds / best.seconds < wanted && stops.is_none() {
                    stops = Some((fewer, limit));
                }
            }
            before = Some((count, best.seconds));
        }
        match stops {
            Some((at, limit)) => println!("\n{name} stops scaling after {at} processors: {limit}\n"),
            None => println!("\n{name} scales to all of them\n"),
        }
    }
    println!("measured on {:.0} MiB of {}", mib(input.metadata()?.len()), input.display());
    Ok(())
}
