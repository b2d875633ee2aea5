//! hadump alone against the size of the dump and against threads.

mod chart;

use super::{convert, median, mib, work};
use crate::task::amplify::amplify;
use crate::task::measure::{Taken, measure};
use anyhow::{Context, Result, ensure};
use chart::Point;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

/// Level and method of all runs.
const JOBS: [(u32, &str); 2] = [(31, "zstd"), (1, "zlib")];

/// Converts sparse dumps of the given sizes, and the first size with every number of threads up to that of processors.
pub(super) fn run(
    hadump: &Path,
    original: &Path,
    sizes: &[u64],
    runs: usize,
    svg: Option<&Path>,
) -> Result<()> {
    let mut points: Vec<Point> = Vec::new();
    let original = work::unpacked(original)?;
    let directory = tempfile::tempdir_in(work::directory()?)?;
    let processors = std::thread::available_parallelism()?.get();
    println!("median of {runs} runs each, {processors} processors\n");
    println!("|size GiB|threads|level|method|wall s|CPU s|peak MiB|\n|--:|--:|--:|--:|--:|--:|--:|");
    for (nth, size) in sizes.iter().enumerate() {
        let input = directory.path().join("input");
        amplify(&original, &input, *size, true)?;
        // hadump starts no more threads than there are processors.
        let threads: Vec<usize> = if nth == 0 { (1..=processors).collect() } else { vec![processors] };
        for (level, method) in JOBS {
            for threads in &threads {
                let output = directory.path().join("output");
                let command = convert(hadump, &input, &output, method, level, NonZeroUsize::new(*threads));
                let mut taken: Vec<Taken> = Vec::new();
                for _ in 0..runs {
                    let (run, said) = measure(&command, &output)?;
                    ensure!(run.code == 0, "{}: exit code {}\n{said}", command.join(" "), run.code);
                    fs::remove_file(&output)?;
                    taken.push(run);
                }
                let figure = |figure: fn(&Taken) -> f64| median(taken.iter().map(figure));
                let point = Point {
                    gib: *size as f64 / f64::from(1 << 30),
                    threads: *threads,
                    job: format!("-d {level} -c {method}"),
                    wall: figure(|run| run.wall),
                    peak: figure(|run| mib(run.peak)),
                };
                println!(
                    "|{:.1}|{threads}|{level}|{method}|{:.3}|{:.3}|{:.1}|",
                    point.gib,
                    point.wall,
                    figure(|run| run.cpu()),
                    point.peak,
                );
                points.push(point);
            }
        }
        fs::remove_file(&input)?;
    }
    if let Some(svg) = svg {
        fs::write(svg, chart::draw(&points, processors)).context(svg.display().to_string())?;
    }
    Ok(())
}
