//! One compression at one level, by all contenders in turn.

use super::{Peer, Work, convert, limits, median};
use crate::task::measure::{Taken, measure};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// All runs of one program.
#[derive(Serialize)]
pub(super) struct Side {
    command: Vec<String>,
    runs: Vec<Taken>,
    /// The output's size, in bytes.
    pub(super) size: u64,
}

impl Side {
    /// The median of a figure over all runs.
    pub(super) fn median(&self, figure: impl Fn(&Taken) -> f64) -> f64 {
        median(self.runs.iter().map(figure))
    }

    pub(super) fn wall(&self) -> f64 {
        self.median(|run| run.wall)
    }
}

/// One compression at one level.
#[derive(Serialize)]
pub(super) struct Job {
    pub(super) level: u32,
    pub(super) method: String,
    /// hadump on all processors, and on one thread.
    pub(super) all: Side,
    pub(super) one: Side,
    /// makedumpfile, serial and with threads; without one where it cannot do this.
    pub(super) serial: Option<Side>,
    pub(super) threads: Option<Side>,
    /// The codec alone over the pages with content, on all processors, in seconds; for `elf` a sparse copy of the
    /// output by `cp`.
    pub(super) limit: Option<f64>,
}

impl Job {
    pub(super) fn run(
        hadump: &Path,
        peer: Option<&Peer>,
        peer_threads: Option<u32>,
        work: &Work,
        level: u32,
        method: &str,
        runs: usize,
    ) -> Result<Self> {
        let output = |name: &str| work.directory.join(name);
        let ours = |name: &str, threads| {
            let output = output(name);
            Contender::new(convert(hadump, &work.input, &output, method, level, threads), output)
        };
        let theirs = |name: &str, threads| {
            let output = output(name);
            let mut command = peer?.command(level, method, threads)?;
            command.extend([work.as_peer_sees(&work.input), work.as_peer_sees(&output)]);
            Some(Contender::new(command, output))
        };
        let mut all = ours("all", None);
        let mut one = ours("one", NonZeroUsize::new(1));
        let mut serial = theirs("serial", None);
        let mut threads = peer_threads.and_then(|threads| theirs("threads", Some(threads)));
        for _ in 0..runs {
            let contenders = [Some(&mut all), serial.as_mut(), Some(&mut one), threads.as_mut()];
            contenders.into_iter().flatten().try_for_each(Contender::race)?;
        }
        let limit = limits::of_job(hadump, work, level, method, runs)?;
        let side = |contender: Contender| contender.side;
        Ok(Self {
            level,
            method: method.into(),
            all: all.side,
            one: one.side,
            serial: serial.map(side),
            threads: threads.map(side),
            limit,
        })
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
        let (taken, said) = measure(&self.side.command, &self.output)?;
        ensure!(taken.code == 0, "{}: exit code {}\n{said}", self.side.command.join(" "), taken.code);
        self.side.size = fs::metadata(&self.output).context("the output")?.len();
        self.side.runs.push(taken);
        fs::remove_file(&self.output)?;
        Ok(())
    }
}
