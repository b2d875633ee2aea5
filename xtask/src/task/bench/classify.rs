//! The decision alone: how long it takes to know which pages go at level 31.

use super::{Peer, Work, convert, limits, median};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::fs;
use std::num::NonZeroUsize;
use std::process::{Command, Output};

/// Bytes of a `struct page`, as in all kernels that the bench works on.
const PAGE_STRUCT: u64 = 64;

/// Medians, in seconds.
#[derive(Serialize)]
pub(super) struct Classification {
    pages: u64,
    /// hadump on all processors and on one thread, as its `--json` says (`seconds.classify`).
    all: f64,
    one: f64,
    /// makedumpfile: what it reports for both of its steps "Excluding unnecessary pages".
    peer: Option<f64>,
    /// Reading as many bytes as the `struct page`s take, on all processors and on one thread.
    read_all: f64,
    read_one: f64,
}

impl Classification {
    pub(super) fn measure(
        hadump: &std::path::Path,
        peer: Option<&Peer>,
        work: &Work,
        runs: usize,
    ) -> Result<Self> {
        let output = work.directory.join("classified");
        let ours = |threads| -> Result<(f64, u64)> {
            let mut command = convert(hadump, &work.input, &output, "none", 31, threads);
            command.push("--json".into());
            let made = finished(&command)?;
            fs::remove_file(&output)?;
            let report: serde_json::Value = serde_json::from_slice(&made.stdout)?;
            let seconds = report["seconds"]["classify"].as_f64().context("seconds.classify")?;
            Ok((seconds, report["pages"]["total"].as_u64().context("pages.total")?))
        };
        let theirs = || -> Result<Option<f64>> {
            let Some(mut command) = peer.and_then(|peer| peer.command(31, "none", None)) else {
                return Ok(None);
            };
            let level = command.last_mut().context("a message level")?;
            *level = "31".into();
            command.extend([work.as_peer_sees(&work.input), work.as_peer_sees(&output)]);
            let made = finished(&command)?;
            fs::remove_file(&output)?;
            let said =
                String::from_utf8_lossy(&made.stdout).into_owned() + &String::from_utf8_lossy(&made.stderr);
            let steps = said.lines().filter(|line| line.contains("Excluding unnecessary pages"));
            let seconds = steps
                .filter_map(|line| line.split(':').nth(1)?.split_whitespace().next()?.parse::<f64>().ok());
            Ok(Some(seconds.sum()))
        };
        let processors = std::thread::available_parallelism()?.get();
        let (mut all, mut one, mut other) = (vec![], vec![], vec![]);
        let (mut read_all, mut read_one) = (vec![], vec![]);
        let mut pages = 0;
        for _ in 0..runs {
            let (seconds, total) = ours(None)?;
            (pages, _) = (total, all.push(seconds));
            other.extend(theirs()?);
            one.push(ours(NonZeroUsize::new(1))?.0);
            let bytes = Some(total * PAGE_STRUCT);
            read_all.push(limits::read(&work.input, processors, bytes)?);
            read_one.push(limits::read(&work.input, 1, bytes)?);
        }
        Ok(Self {
            pages,
            all: median(all),
            one: median(one),
            peer: (!other.is_empty()).then(|| median(other)),
            read_all: median(read_all),
            read_one: median(read_one),
        })
    }

    pub(super) fn print(&self) {
        let Self { pages, all, one, peer, read_all, read_one } = self;
        println!(
            "\nclassification of {pages} pages at level 31: {all:.4} s, {one:.4} s with -j 1; reading their struct pages \
             {read_all:.4} s, {read_one:.4} s on one thread ({:.2} and {:.2} times that)",
            all / read_all,
            one / read_one,
        );
        if let Some(peer) = peer {
            println!("makedumpfile {peer:.4} s: {:.1} and {:.1} times hadump's", peer / all, peer / one);
        }
    }
}

/// The output of a command that succeeded.
fn finished(command: &[String]) -> Result<Output> {
    let output = Command::new(&command[0]).args(&command[1..]).output()?;
    ensure!(output.status.success(), "{}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(output)
}
