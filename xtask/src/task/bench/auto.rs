//! `cargo xtask bench --auto`: `-c auto` against each fixed method, on a disk that is slow and on one that is memory.

use super::{convert, median};
use crate::task::measure::{Taken, measure, measure_in};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The methods that `auto` chooses from.
const METHODS: [&str; 3] = ["none", "lzo", "zstd"];
/// How much longer than the best of them it may take.
const GOAL: f64 = 1.1;
/// Where memory is mounted as a disk on every Linux.
const MEMORY: &str = "/dev/shm";

/// A control group in which processes write to a disk no faster than it is told; it goes with the value.
struct Slow(PathBuf);

impl Slow {
    /// Limits the disk below `directory` to so many bytes a second.
    fn new(directory: &Path, bytes: u64) -> Result<Self> {
        let device = disk_of(directory)?;
        let old = Path::new("/sys/fs/cgroup/blkio");
        let (root, file, rule) = if old.exists() {
            (old, "blkio.throttle.write_bps_device", format!("{device} {bytes}"))
        } else {
            (Path::new("/sys/fs/cgroup"), "io.max", format!("{device} wbps={bytes}"))
        };
        let slow = Self(root.join(format!("hadump-bench-{}", std::process::id())));
        fs::create_dir(&slow.0)
            .with_context(|| format!("{}: limiting a disk needs root", slow.0.display()))?;
        let rules = slow.0.join(file);
        fs::write(&rules, &rule).with_context(|| format!("{}: {rule}", rules.display()))?;
        Ok(slow)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // It is empty by now: its processes have ended.
        let _ = fs::remove_dir(&self.0);
    }
}

/// The numbers of the whole disk below `directory`, as the kernel writes them: rules are for disks, not for partitions.
fn disk_of(directory: &Path) -> Result<String> {
    let device = fs::metadata(directory)?.dev();
    let numbers = format!("{}:{}", nix::libc::major(device), nix::libc::minor(device));
    let node = Path::new("/sys/dev/block").join(&numbers);
    let node = fs::canonicalize(&node).with_context(|| format!("{}: on no disk", directory.display()))?;
    let whole = if node.join("partition").exists() { node.parent().unwrap_or(&node) } else { &node };
    Ok(fs::read_to_string(whole.join("dev"))?.trim().to_owned())
}

/// Converts `input` by each method and by `auto`, in turn, onto both disks, and prints the medians.
pub(super) fn run(
    hadump: &Path,
    input: &Path,
    directory: &Path,
    levels: &[u32],
    runs: usize,
    bytes: u64,
) -> Result<()> {
    let slow = Slow::new(directory, bytes)?;
    let memory = tempfile::tempdir_in(MEMORY)?;
    let names = METHODS.join(" s | ");
    println!("\n| disk | level | {names} s | auto s | auto / best | at most {GOAL} |\n|{}", "--:|".repeat(7));
    let disk = format!("{:.0} MB/s", bytes as f64 / 1e6);
    for (name, place, group) in [(&disk[..], directory, Some(&slow.0)), ("memory", memory.path(), None)] {
        for level in levels {
            let mut taken = [const { Vec::new() }; METHODS.len() + 1];
            for _ in 0..runs {
                for (method, taken) in METHODS.iter().chain(&["auto"]).zip(&mut taken) {
                    taken.push(one(hadump, input, place, group, method, *level)?.wall);
                }
            }
            let medians = taken.map(median);
            let (auto, fixed) = medians.split_last().context("some methods")?;
            let ratio = auto / fixed.iter().copied().fold(f64::INFINITY, f64::min);
            let verdict = if ratio <= GOAL { "reached" } else { "**not reached**" };
            println!(
                "| {name} | {level} | {} | {ratio:.2} | {verdict} |",
                medians.map(|seconds| format!("{seconds:.2}")).join(" | ")
            );
        }
    }
    Ok(())
}

fn one(
    hadump: &Path,
    input: &Path,
    place: &Path,
    group: Option<&PathBuf>,
    method: &str,
    level: u32,
) -> Result<Taken> {
    let output = place.join("output");
    let command = convert(hadump, input, &output, method, level, None);
    let (taken, said) = match group {
        Some(group) => measure_in(group, &command, &output)?,
        None => measure(&command, &output)?,
    };
    ensure!(taken.code == 0, "{}: exit code {}\n{said}", command.join(" "), taken.code);
    fs::remove_file(&output)?;
    Ok(taken)
}
