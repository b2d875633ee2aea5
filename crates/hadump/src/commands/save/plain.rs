//! Saving what cannot be resumed: to a pipe, as a split set, as an ELF file.

use super::Saving;
use super::end::{SaveResult, Wrote};
use super::fresh::Fresh;
use super::release::ReleaseMethod;
use super::target::TargetKind;
use crate::cli::Format;
use crate::input::with_virtual_addresses;
use crate::output;
use crate::output::destination::{Destination, WriteJob, WriteOutcome};
use crate::show::progress;
use ::save::engine::End;
use ::save::journal::Journal;
use anyhow::{Context, Result};
use dumpfile::output::{directory_of, sync_directory};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Instant;

impl Saving<'_> {
    /// Saves the dump as `convert` would write it.
    pub(super) fn save_plainly(
        &mut self,
        kind: &TargetKind,
        name: &Path,
        mut fresh: Fresh,
        mut method: ReleaseMethod,
    ) -> Result<SaveResult> {
        let started = Instant::now();
        let elf = self.args.write.format == Format::Elf;
        if elf {
            fresh.dump = with_virtual_addresses(fresh.dump);
        }
        let (dump, chosen) = (&fresh.dump, &fresh.prepared.chosen);
        let names = if self.args.to.len() > 1 { self.args.to.clone() } else { vec![name.to_owned()] };
        // Opened before the first byte is written: with a FIFO, sender and receiver wait for each other here.
        let acks = match &self.args.acks {
            Some(path) => {
                let what = || format!("waiting for a receiver that opens {}", path.display());
                let opened = progress::patiently(what, self.quiet, || File::open(path));
                Some(opened.with_context(|| format!("{}: cannot be read", path.display()))?)
            }
            None => None,
        };
        let destination = Destination::create(&names, false, self.args.cut(), self.args.force)?;
        let job = WriteJob {
            dump,
            selection: &chosen.selection,
            facts: &chosen.facts,
            args: &self.args.write,
            method: self.method,
            shard: None,
            rate: self.args.limit_rate,
            watch: Some(&self.custody),
        };
        let WriteOutcome { written, names, error } =
            progress::watch(chosen.selection.kept(), dump.page_size().bytes(), self.quiet, |progress| {
                destination.write(&job, progress)
            })?;
        let end = error.map_or(End::Whole, |error| End::of(error.into()));
        let whole = matches!(end, End::Whole);
        let complete = whole && output::is_complete(&written, dump);
        if !matches!(kind, TargetKind::Stream)
            && let Some(name) = names.first()
        {
            let parent = directory_of(Path::new(name));
            match sync_directory(&parent) {
                // An incomplete dump releases nothing, and is worth no less for that.
                Err(error) if !whole => {
                    self.remark(format!("{}: cannot make the name durable: {error}", parent.display()));
                }
                synced => synced
                    .with_context(|| format!("{}: cannot make the dump's name durable", parent.display()))?,
            }
        }
        let confirmed = acks.map(|acks| whole && is_complete(acks, self.quiet));
        // What went into a pipe may be anywhere.
        let stream = matches!(kind, TargetKind::Stream);
        let arrived = confirmed.unwrap_or(!stream || self.args.trust_pipe);
        if !whole {
            method = ReleaseMethod::None(None);
        } else if confirmed == Some(false) {
            let why = "the receiver did not confirm the dump; memory is not released".to_owned();
            self.remark(why.clone());
            method = ReleaseMethod::None(Some(why));
        }
        let mut releaser = method.releaser(&self.args.root, self.reading.as_ref(), &Default::default());
        // Such a save is never resumed, so it needs no journal; other commands find the note in the root. The dump is worth no
        // less where the release fails.
        let rest = releaser.as_mut().map(|releaser| releaser.rest(&mut Journal::nowhere()));
        let mut released = method.released(releaser.as_ref());
        if let Some(Err(error)) = rest {
            released.refused = Some(format!("memory is not released: {:#}", anyhow::Error::from(error)));
        }
        let wrote = Wrote {
            end,
            written,
            complete,
            paths: names,
            format: if elf { "ELF core" } else { self.format() },
            compression: self.method,
            took: started.elapsed(),
            released,
            arrived,
            resumable: None,
        };
        Ok(self.result(fresh.plan(), wrote, method))
    }
}

/// Waits until the receiver says how it ended.
fn is_complete(acks: File, quiet: bool) -> bool {
    // All is written, and the receiver may take its time or never answer.
    progress::let_signals_end();
    let lines = BufReader::new(acks).lines().map_while(Result::ok);
    let mut complete = lines.filter_map(|line| line.strip_prefix("complete ").map(str::len));
    let what = || "waiting for the receiver to confirm the dump".to_owned();
    progress::patiently(what, quiet, || complete.next().is_some())
}
