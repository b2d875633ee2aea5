//! Saving to what cannot be gone on with: a pipe, a split set, an ELF file.

use super::end::Ended;
use super::give_back::Way;
use super::place::{self, Place};
use super::prepare::Prepared;
use super::{Saving, progress};
use crate::cli::Format;
use crate::convert::with_virtual_addresses;
use crate::destination::{self, Destination, Made, Work};
use crate::report::{Gate, Input, Pages, Seconds};
use ::save::engine::End;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vmcore::Dump;

impl Saving<'_> {
    /// Saves the dump as `convert` would write it.
    #[expect(clippy::too_many_arguments, reason = "all that a save consists of")]
    pub(super) fn save_plainly(
        &mut self,
        place: &Place,
        name: &Path,
        dump: Dump,
        prepared: Prepared,
        log: Option<PathBuf>,
        opened: Duration,
        way: Way,
    ) -> Result<Ended> {
        let started = Instant::now();
        let (chosen, elf) = (&prepared.chosen, self.args.write.format == Format::Elf);
        let dump = if elf { with_virtual_addresses(dump) } else { dump };
        let names = if self.args.to.len() > 1 { self.args.to.clone() } else { vec![name.to_owned()] };
        // Before the first byte: with a FIFO, sender and receiver wait for each other here.
        let acks = match &self.args.acks {
            Some(path) => {
                Some(File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?)
            }
            None => None,
        };
        let destination = Destination::create(&names, false, self.args.cut(), self.args.force)?;
        let work = Work {
            dump: &dump,
            selection: &chosen.selection,
            facts: &chosen.facts,
            args: &self.args.write,
            shard: None,
            rate: self.args.limit_rate,
        };
        let ended =
            progress::watch(chosen.selection.kept(), dump.page_size().bytes(), self.quiet, |progress| {
                destination.write(&work, progress)
            })?;
        let (end, written, names) = match ended {
            destination::Ended::Whole(Made { written, names }) => (End::Whole, written, names),
            destination::Ended::CutShort { error, written, names } => (End::of(error.into()), written, names),
        };
        let complete = matches!(end, End::Whole) && written.is_whole() && !dump.source.incomplete;
        if !matches!(place, Place::Stream)
            && let Some(parent) = names.first().and_then(|name| Path::new(name).parent())
        {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            ::save::target::sync_directory(parent)
                .with_context(|| format!("{}: cannot make the dump's name durable", parent.display()))?;
        }
        let mut way = if matches!(end, End::Whole) { way } else { Way::None };
        if let (Some(acks), End::Whole) = (acks, &end)
            && !is_complete(acks)
        {
            self.remark("the receiver did not say that the dump is complete: nothing is given back".into());
            way = Way::None;
        }
        let mut releaser = way.releaser(&self.args.root, &Default::default());
        if let Some(releaser) = &mut releaser {
            // Nothing can be gone on with here, so nobody would read a journal; the note in the root is made all the same.
            releaser.rest(&mut ::save::journal::Journal::nowhere())?;
        }
        Ok(Ended {
            input: Input::of(&dump, self.args.root.display().to_string()),
            pages: Pages::of(&chosen.selection, &written),
            level: chosen.selection.level(),
            asked: self.args.write.level.level(),
            more_kept: chosen.more_kept(),
            gate: Some(Gate::of(&chosen.gate)),
            format: if elf { "ELF core" } else { self.format() },
            method: self.options().method,
            expected: Some(prepared.expected),
            log,
            seconds: Seconds {
                open: opened.as_secs_f64(),
                classify: prepared.classified.as_secs_f64(),
                write: started.elapsed().as_secs_f64(),
            },
            given: way.given(releaser.as_ref()),
            way,
            resumed: false,
            remarks: place::remarks(&dump),
            end,
            written,
            complete,
            paths: names,
            left: None,
        })
    }
}

/// Waits for the receiver's word on how it ended.
fn is_complete(acks: File) -> bool {
    let lines = BufReader::new(acks).lines().map_while(Result::ok);
    lines.filter_map(|line| line.strip_prefix("complete ").map(str::len)).next().is_some()
}
