//! `--split`: one dump in several files, usually on several disks.

use super::args::Options;
use super::messages::Messages;
use super::stats;
use super::{create, out, source};
use crate::outcome::Outcome;
use crate::output::set::{self, Set};
use crate::output::work;
use crate::show::progress;
use anyhow::{Context, Result, bail};
use dumpfile::codec::Choice;
use dumpfile::kdump;
use dumpfile::output::{OutputFile, Sink};
use dumpfile::split::Parts;
use std::path::{Path, PathBuf};

/// Writes the parts at the same time, each with its share of the threads.
pub(super) fn run(options: &Options, input: &Path, outputs: &[PathBuf], say: Messages) -> Result<Outcome> {
    let source = source::open(options, input, say)?;
    let Some(level) = options.levels.first() else { bail!("no dump level") };
    if options.levels.len() > 1 || options.limit.is_some() {
        bail!("--split accepts one dump level and no -L: the size of a part cannot be promised");
    }
    if options.dry_run {
        bail!(
            "--split cannot be combined with --dry-run; leave out --split, the pages take as much in one file"
        );
    }
    if let Some(first) = outputs.first() {
        source.report_beside(options, first, say);
    }
    let files = outputs
        .iter()
        .map(|path| out::begin(options, Some(&source.args), path))
        .collect::<Result<Vec<OutputFile>>>()?;
    let spill = work::files(options.work_dir.as_deref(), outputs.first().map(PathBuf::as_path));
    let chosen = create::choose_pages(&source, *level, say, &spill)?;
    let count = u16::try_from(files.len()).context("there are too many output files")?;
    let ranges = dumpfile::split::plan(&chosen.selection, Parts::Count(count))?;

    let sinks: Vec<&dyn Sink> = files.iter().map(|file| file as &dyn Sink).collect();
    let set = Set {
        dump: &source.dump,
        selection: &chosen.selection,
        facts: &chosen.facts,
        options: kdump::Options { method: Choice::One(options.codec), ..kdump::Options::default() },
    };
    let mut parts = progress::watch_as(say.progress(chosen.selection.kept()), |progress| {
        set.write(&sinks, &ranges, sinks.len(), progress)
    });
    if let Err(given_away) = source.check_memory() {
        files.into_iter().for_each(OutputFile::discard);
        return Err(given_away);
    }
    let mut failed = false;
    for error in parts.iter_mut().filter_map(|part| part.error.take()) {
        say.common(&format!("\nCan't write the dump file: {:#}", anyhow::Error::from(error)));
        failed = true;
    }
    let begun: Vec<bool> = parts.iter().map(|part| part.writer.is_some()).collect();
    let (total, complete, error) = set.finish(parts, failed);
    let files = files.into_iter().zip(begun).filter(|(_, begun)| *begun).map(|(file, _)| file);
    let (names, error) = set::name(files, complete, error);
    let mut names: Vec<_> = names.iter().map(|name| name.display().to_string()).collect();
    let complete = complete && error.is_none();
    if let Some(error) = error {
        say.common(&format!("\nCan't write the dump file: {:#}", anyhow::Error::from(error)));
    }
    say.report(&stats::report(&chosen.selection, &total));
    create::say_more_kept(say, chosen.more_kept());
    let Some(last) = names.pop() else { bail!("none of the files could be written") };
    let others: String = names.iter().map(|name| format!("{name}, ")).collect();
    let and = if others.is_empty() { "" } else { "and " };
    say.common(&format!("\nThe dumpfiles are saved to {others}{and}{last}."));
    Ok(Outcome::of(complete, chosen.more_kept()))
}
