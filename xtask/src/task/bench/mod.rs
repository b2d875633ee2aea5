//! `cargo xtask bench`: hadump and makedumpfile in turn on one dump.
//!
//! Runs alternate, so that a busy neighbour slows both; the medians are compared. Both read the same file, in the page
//! cache before the first run, and write into the same directory. hadump's times include its fsync; makedumpfile has none.

mod peer;
mod table;

use super::measure::{Taken, measure};
use crate::cargo::build_hadump;
use crate::unpack::unpack;
use anyhow::{Context, Result, ensure};
use peer::Peer;
use serde::Serialize;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Bench {
    /// The dump to convert, unpacked or .zst; without it, the x86_64 dump of testdata/
    #[arg(long)]
    input: Option<PathBuf>,
    /// The peer: a program, or several words that start one. For `chroot TREE makedumpfile` the input is linked (or
    /// copied) into TREE/tmp and both programs work there, makedumpfile by the names that it sees
    #[arg(long, value_name = "COMMAND", default_value = "makedumpfile")]
    makedumpfile: String,
    /// Give makedumpfile --num-threads N; without it, it runs serially
    #[arg(long, value_name = "N")]
    peer_threads: Option<u32>,
    /// Give hadump -j N; without it, hadump takes all processors
    #[arg(short = 'j', long, value_name = "N")]
    threads: Option<u32>,
    /// hadump's executable; without it, the release build of this checkout
    #[arg(long)]
    hadump: Option<PathBuf>,
    /// Dump levels
    #[arg(long, value_delimiter = ',', default_values_t = [31, 1])]
    levels: Vec<u32>,
    /// Compressions; without it, all that the peer was built with
    #[arg(long, value_delimiter = ',')]
    methods: Option<Vec<String>>,
    /// Runs of each program for each compression and level
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Write every run to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// All runs of one program on one job.
#[derive(Serialize)]
struct Side {
    command: Vec<String>,
    runs: Vec<Taken>,
    /// The output's size, in bytes.
    size: u64,
}

/// One compression at one level.
#[derive(Serialize)]
struct Job {
    level: u32,
    method: String,
    hadump: Side,
    /// Without one where the peer cannot write this compression.
    peer: Option<Side>,
}

/// What `--json` writes.
#[derive(Serialize)]
struct Report {
    input: PathBuf,
    input_bytes: u64,
    processors: usize,
    hadump: String,
    peer: Option<String>,
    jobs: Vec<Job>,
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        ensure!(self.runs > 0, "--runs 0: nothing to measure");
        let hadump = match &self.hadump {
            Some(path) => path.clone(),
            None => build_hadump()?,
        };
        let peer = Peer::find(&self.makedumpfile)?;
        if peer.is_none() {
            println!("{}: not found; hadump alone is timed", self.makedumpfile);
        }
        let work = Work::new(peer.as_ref(), self.input()?)?;
        let mut report = Report {
            input: work.input.clone(),
            input_bytes: fs::metadata(&work.input)?.len(),
            processors: std::thread::available_parallelism()?.get(),
            hadump: version(&hadump)?,
            peer: peer.as_ref().map(|peer| peer.describe(self.peer_threads)),
            jobs: Vec::new(),
        };
        // The first reader would pay for all.
        std::io::copy(&mut File::open(&work.input)?, &mut std::io::sink())?;
        let methods = match (&self.methods, &peer) {
            (Some(methods), _) => methods.clone(),
            (None, Some(peer)) => peer.methods(),
            (None, None) => peer::METHODS.map(|(name, ..)| name.to_owned()).into(),
        };
        table::heading(&report, self.runs);
        for level in &self.levels {
            for method in &methods {
                let job = self.job(&hadump, peer.as_ref(), &work, *level, method)?;
                table::row(&job);
                report.jobs.push(job);
            }
        }
        table::legend();
        if let Some(json) = &self.json {
            fs::write(json, serde_json::to_vec_pretty(&report)?).context(json.display().to_string())?;
        }
        Ok(())
    }

    /// The dump to convert, unpacked.
    fn input(&self) -> Result<PathBuf> {
        let packed = self
            .input
            .clone()
            .unwrap_or_else(|| crate::root().join("testdata/x86_64-kdump-6.1/vmcore.elf.zst"));
        if packed.extension().is_none_or(|extension| extension != "zst") {
            return fs::canonicalize(&packed).with_context(|| packed.display().to_string());
        }
        let folder = packed.parent().and_then(Path::file_name).unwrap_or_default();
        let whole = directory()?.join(format!("{}.elf", folder.display()));
        if !whole.exists() {
            let partial = whole.with_extension("partial");
            let content = BufReader::new(File::open(&packed).with_context(|| packed.display().to_string())?);
            unpack(content, File::create(&partial)?).with_context(|| packed.display().to_string())?;
            fs::rename(&partial, &whole)?;
        }
        Ok(whole)
    }

    fn job(&self, hadump: &Path, peer: Option<&Peer>, work: &Work, level: u32, method: &str) -> Result<Job> {
        let (ours, theirs) = (work.directory.join("hadump.out"), work.directory.join("peer.out"));
        let mut command = vec![hadump.display().to_string(), "convert".into()];
        command.extend([work.input.display().to_string(), "-o".into(), ours.display().to_string()]);
        command.extend(["-d".into(), level.to_string(), "-c".into(), method.into()]);
        command.extend(self.threads.iter().flat_map(|threads| ["-j".into(), threads.to_string()]));
        let mut ours = Contender::new(command, ours);
        let mut theirs = match peer.and_then(|peer| peer.command(level, method, self.peer_threads)) {
            Some(mut command) => {
                command.extend([work.as_peer_sees(&work.input), work.as_peer_sees(&theirs)]);
                Some(Contender::new(command, theirs))
            }
            None => None,
        };
        for _ in 0..self.runs {
            ours.race()?;
            theirs.as_mut().map(Contender::race).transpose()?;
        }
        Ok(Job { level, method: method.into(), hadump: ours.side, peer: theirs.map(|theirs| theirs.side) })
    }
}

/// A command that is run several times, and its output file.
struct Contender {
    side: Side,
    output: PathBuf,
}

impl Contender {
    fn new(command: Vec<String>, output: PathBuf) -> Self {
        Self { side: Side { command, runs: Vec::new(), size: 0 }, output }
    }

    fn race(&mut self) -> Result<()> {
        if self.output.exists() {
            fs::remove_file(&self.output)?;
        }
        let (taken, said) = measure(&self.side.command)?;
        ensure!(taken.code == 0, "{}: exit code {}\n{said}", self.side.command.join(" "), taken.code);
        self.side.size = fs::metadata(&self.output).context("the output")?.len();
        self.side.runs.push(taken);
        fs::remove_file(&self.output)?;
        Ok(())
    }
}

/// `target/bench`, wherever cargo puts its target directory.
fn directory() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let directory = executable.ancestors().nth(2).context("xtask lies in a target directory")?.join("bench");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Where both programs work; disappears with the value.
struct Work {
    input: PathBuf,
    directory: PathBuf,
    /// The root directory that the peer sees.
    tree: Option<PathBuf>,
    _removed: tempfile::TempDir,
}

impl Work {
    fn new(peer: Option<&Peer>, input: PathBuf) -> Result<Self> {
        let tree = peer.and_then(|peer| peer.tree.clone());
        let removed = match &tree {
            Some(tree) => tempfile::tempdir_in(tree.join("tmp"))?,
            None => tempfile::tempdir_in(directory()?)?,
        };
        let mut work = Self { input, directory: removed.path().into(), tree, _removed: removed };
        if work.tree.is_some() {
            let inside = work.directory.join("input");
            if fs::hard_link(&work.input, &inside).is_err() {
                let mut copy = Command::new("cp");
                crate::cargo::run(copy.arg("--sparse=always").args([&work.input, &inside]))?;
            }
            work.input = inside;
        }
        Ok(work)
    }

    fn as_peer_sees(&self, path: &Path) -> String {
        let inside = self.tree.as_ref().and_then(|tree| path.strip_prefix(tree).ok());
        inside.map_or_else(|| path.display().to_string(), |inside| format!("/{}", inside.display()))
    }
}

/// The first line of `hadump --version`.
fn version(hadump: &Path) -> Result<String> {
    let output =
        Command::new(hadump).arg("--version").output().with_context(|| hadump.display().to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}
