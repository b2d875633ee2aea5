//! `cargo xtask bench`: hadump, makedumpfile and the machine's own limits, in turn on one dump.
//!
//! Runs alternate, so that a busy neighbour slows all; the medians are compared. All read the same file, in the page
//! cache before the first run, and write into the same directory. hadump's times include its fsync. makedumpfile has
//! none: what a `sync` of its output takes afterwards is measured too and shown by itself.

mod auto;
mod capture;
mod chart;
mod classify;
mod job;
mod limits;
mod peer;
mod processors;
mod scaling;
mod table;
mod view;
mod work;

use super::amplify::{amplify, parse_size};
use crate::cargo::build_hadump;
use anyhow::{Context, Result, ensure};
pub(crate) use capture::Capture;
use classify::Classification;
use job::{Job, Side};
use limits::Limits;
use peer::Peer;
use serde::Serialize;
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use work::Work;

/// What --auto limits a disk to, in bytes a second.
const SLOW_DISK: u64 = 50_000_000;

#[derive(clap::Args)]
pub(crate) struct Bench {
    /// The dump to convert, unpacked or .zst; without it, the x86_64 dump of testdata/ amplified to --size
    #[arg(long)]
    input: Option<PathBuf>,
    /// The size of the amplified dump
    #[arg(long, default_value = "4G", value_parser = parse_size)]
    size: u64,
    /// Amplify the 64 KiB pages of the POWER dump instead; no peer on this machine reads it
    #[arg(long)]
    power: bool,
    /// Keep the amplified dump for the next time, in target/bench
    #[arg(long)]
    keep: bool,
    /// The peer: a program, or several words that start one. For `chroot TREE makedumpfile` all work is done in TREE/tmp,
    /// makedumpfile by the names that it sees
    #[arg(long, value_name = "COMMAND", default_value = "makedumpfile")]
    makedumpfile: String,
    /// Run makedumpfile with --num-threads N as well
    #[arg(long, value_name = "N")]
    peer_threads: Option<u32>,
    /// hadump's executable; without it, the release build of this checkout
    #[arg(long)]
    hadump: Option<PathBuf>,
    /// Dump levels
    #[arg(long, value_delimiter = ',', default_values_t = [31, 1, 0])]
    levels: Vec<u32>,
    /// Compressions, `none` and `elf`; without it all
    #[arg(long, visible_alias = "only", value_delimiter = ',')]
    methods: Option<Vec<String>>,
    /// Runs of each program for each compression and level
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// 1 GiB, 3 runs, levels 31 and 1
    #[arg(long)]
    quick: bool,
    /// Measure hadump alone against the size of the dump (these sizes) and against threads
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', value_parser = parse_size, num_args = 0..,
          default_missing_value = "1G,4G,16G")]
    scaling: Vec<u64>,
    /// Compare `-c auto` with each method that it chooses from, on a disk that is limited to --disk (50 MB/s) and in memory;
    /// as root, levels 31 and 1 unless --levels names others
    #[arg(long, conflicts_with_all = ["capture", "scaling", "processors"])]
    auto: bool,
    /// Simulate the pipeline with these numbers of processors, from rates that are measured here, and say where it stops
    /// scaling
    #[arg(long, value_name = "N,...", value_delimiter = ',', num_args = 0.., default_missing_value = "16,64,192",
          conflicts_with_all = ["capture", "scaling"])]
    processors: Vec<NonZeroUsize>,
    /// With --processors and --auto: a disk that takes so many bytes a second
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    disk: Option<u64>,
    /// Run both programs in the capture kernel of an x86_64 machine in QEMU, as root: there instructions are counted, and
    /// processors, time and memory are those of where dumps are taken. Levels 31 and 1 unless --levels names others
    #[arg(long, conflicts_with_all = ["input", "power", "makedumpfile", "peer_threads", "scaling", "json", "svg"])]
    capture: bool,
    /// Measure a mounted dump, as root: read in sequence beside decompressing alone, at random, and its memory
    #[arg(long, conflicts_with_all = ["auto", "capture", "scaling", "processors"])]
    view: bool,
    /// Measure searches with a pattern of each kind, beside reading and decompressing alone
    #[arg(long, conflicts_with_all = ["auto", "capture", "scaling", "processors", "view"])]
    search: bool,
    #[command(flatten)]
    guest: capture::Options,
    /// Write every run to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw a chart of the medians; with --scaling, of time and memory against size
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What `--json` writes.
#[derive(Serialize)]
struct Report {
    input: PathBuf,
    input_bytes: u64,
    processors: usize,
    hadump: String,
    peer: Option<String>,
    limits: Limits,
    classification: Classification,
    jobs: Vec<Job>,
}

impl Bench {
    pub(crate) fn run(mut self) -> Result<()> {
        if self.quick {
            (self.size, self.runs) = (1 << 30, 3);
            self.levels.retain(|level| *level > 0);
        }
        ensure!(self.runs > 0, "--runs 0: nothing to measure");
        if !self.processors.is_empty() {
            let directory = tempfile::tempdir_in(work::directory()?)?;
            let processors: Vec<usize> = self.processors.iter().map(|count| count.get()).collect();
            let input = work::unpacked(self.input.as_ref().unwrap_or(&self.original()))?;
            return processors::run(&input, directory.path(), &processors, self.disk);
        }
        let hadump = match &self.hadump {
            Some(path) => fs::canonicalize(path).with_context(|| path.display().to_string())?,
            None => build_hadump()?,
        };
        if self.capture {
            self.levels.retain(|level| *level > 0);
            return capture::run(&hadump, &self.guest, &self.levels, self.methods.as_deref(), self.runs);
        }
        if self.auto {
            self.levels.retain(|level| *level > 0);
            let directory = tempfile::tempdir_in(work::directory()?)?;
            let disk = self.disk.unwrap_or(SLOW_DISK);
            return auto::run(&hadump, &self.input()?, directory.path(), &self.levels, self.runs, disk);
        }
        if self.view || self.search {
            let directory = tempfile::tempdir_in(work::directory()?)?;
            let methods = match &self.methods {
                Some(methods) => methods.clone(),
                None => peer::METHODS.map(|(name, ..)| name.to_owned()).into(),
            };
            let measure = if self.view { view::mounted::measure } else { view::search::compare };
            return measure(&hadump, &self.input()?, directory.path(), &methods, self.runs);
        }
        if !self.scaling.is_empty() {
            return scaling::run(&hadump, &self.original(), &self.scaling, self.runs, self.svg.as_deref());
        }
        let peer = if self.power { None } else { Peer::find(&self.makedumpfile)? };
        if peer.is_none() {
            println!("{}: not used; hadump alone is timed", self.makedumpfile);
        }
        let work = Work::new(peer.as_ref(), &self.input()?)?;
        // The first reader would pay for all.
        std::io::copy(&mut File::open(&work.input)?, &mut std::io::sink())?;
        let mut report = Report {
            input: work.input.clone(),
            input_bytes: fs::metadata(&work.input)?.len(),
            processors: std::thread::available_parallelism()?.get(),
            hadump: version(&hadump)?,
            peer: peer.as_ref().map(Peer::describe),
            limits: Limits::measure(&work, self.runs)?,
            classification: Classification::measure(&hadump, peer.as_ref(), &work, self.runs)?,
            jobs: Vec::new(),
        };
        let methods = match &self.methods {
            Some(methods) => methods.clone(),
            None => peer::METHODS.map(|(name, ..)| name.to_owned()).into(),
        };
        table::heading(&report, self.runs);
        for level in &self.levels {
            for method in &methods {
                let job =
                    Job::run(&hadump, peer.as_ref(), self.peer_threads, &work, *level, method, self.runs)?;
                table::row(&job);
                report.jobs.push(job);
            }
        }
        table::legend();
        report.classification.print();
        if let Some(json) = &self.json {
            fs::write(json, serde_json::to_vec_pretty(&report)?).context(json.display().to_string())?;
        }
        if let Some(svg) = &self.svg {
            fs::write(svg, chart::draw(&report)).context(svg.display().to_string())?;
        }
        if !self.keep && self.input.is_none() {
            fs::remove_file(self.amplified()?)?;
        }
        Ok(())
    }

    /// The dump of testdata/ that is amplified.
    fn original(&self) -> PathBuf {
        let name = if self.power { "power9-fadump-radix-64k" } else { "x86_64-kdump-6.1" };
        crate::root().join("testdata").join(name).join("vmcore.elf.zst")
    }

    fn amplified(&self) -> Result<PathBuf> {
        let pages = if self.power { "64k" } else { "4k" };
        Ok(work::directory()?.join(format!("amplified-{pages}-{}M.elf", self.size >> 20)))
    }

    /// The dump to convert, unpacked.
    fn input(&self) -> Result<PathBuf> {
        if let Some(input) = &self.input {
            return work::unpacked(input);
        }
        let amplified = self.amplified()?;
        if !amplified.exists() {
            amplify(&work::unpacked(&self.original())?, &amplified, self.size, false)?;
        }
        Ok(amplified)
    }
}

/// The first line of `hadump --version`.
fn version(hadump: &Path) -> Result<String> {
    let output =
        Command::new(hadump).arg("--version").output().with_context(|| hadump.display().to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// The command line of one conversion.
fn convert(
    hadump: &Path,
    input: &Path,
    output: &Path,
    method: &str,
    level: u32,
    threads: Option<NonZeroUsize>,
) -> Vec<String> {
    let mut command = vec![hadump.display().to_string(), "-q".into(), "convert".into()];
    command.extend([input.display().to_string(), "-o".into(), output.display().to_string()]);
    command.extend(["-d".into(), level.to_string()]);
    match method {
        "elf" => command.extend(["--format".into(), "elf".into()]),
        method => command.extend(["-c".into(), method.into()]),
    }
    command.extend(threads.iter().flat_map(|threads| ["-j".into(), threads.to_string()]));
    command
}

/// The middle of some figures.
fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        even if even.is_multiple_of(2) => (figures[middle - 1] + figures[middle]) / 2.0,
        _ => figures[middle],
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
