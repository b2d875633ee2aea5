//! `--split`: one dump in several files, as a rule on several disks.

use super::args::Options;
use super::create::{self, Source};
use super::messages::Messages;
use super::stats;
use crate::{Outcome, progress};
use anyhow::{Context, Result, bail};
use dumpfile::kdump::Writer;
use dumpfile::output::OutputFile;
use dumpfile::split::Parts;
use dumpfile::{Error, Progress, Written, kdump};
use std::io;
use std::path::{Path, PathBuf};

/// Writes the parts at the same time, each with its share of the threads.
pub(super) fn run(options: &Options, input: &Path, outputs: &[PathBuf], say: Messages) -> Result<Outcome> {
    let source = create::open(options, input, say)?;
    let Some(level) = options.levels.first() else { bail!("no dump level") };
    if options.levels.len() > 1 || options.limit.is_some() {
        bail!("--split takes one dump level and no -L: parts of one size cannot be promised");
    }
    if options.dry_run {
        bail!("--split cannot be tried with --dry-run: leave out --split, the sizes are the same together");
    }
    let files = outputs
        .iter()
        .map(|path| create::begin(options, Some(&source.args), path))
        .collect::<Result<Vec<OutputFile>>>()?;
    let Some(first) = files.first() else { bail!("no output") };
    let spill = || match &options.work_dir {
        Some(directory) => tempfile::tempfile_in(directory),
        None => first.spill_file(),
    };
    let chosen = create::choose_pages(&source, *level, say, &spill)?;
    let count = u16::try_from(files.len()).context("there are too many output files")?;
    let ranges = dumpfile::split::plan(&chosen.selection, Parts::Count(count))?;
    let Source { dump, .. } = &source;

    let threads = rayon::current_num_threads().div_ceil(files.len());
    let part = |file, range, progress: &Progress| -> Result<(Writer<'_>, Result<(), Error>), Error> {
        let options =
            kdump::Options { method: options.codec, part: Some(range), ..kdump::Options::default() };
        let mut writer = Writer::begin(dump, &chosen.selection, &chosen.facts, &options, file)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| Error::Write {
            path: file.path().to_owned(),
            action: "start the threads that write it".into(),
            source: io::Error::other(e),
        })?;
        let done = pool.install(|| writer.write(&chosen.selection, progress));
        Ok((writer, done))
    };
    let parts = progress::watch_as(say.progress(chosen.selection.kept()), |progress| {
        std::thread::scope(|scope| {
            let part = &part;
            let running: Vec<_> = files
                .iter()
                .zip(ranges)
                .map(|(file, range)| scope.spawn(move || part(file, range, progress)))
                .collect();
            let done = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(part) => part,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            running.into_iter().map(done).collect::<Result<Vec<_>, Error>>()
        })
    })?;

    // The headers of all parts say the same, or no reader takes them for parts of one dump.
    let whole = parts.iter().all(|(writer, done)| done.is_ok() && writer.written().is_whole())
        && !dump.source.incomplete;
    let mut total = Written::default();
    for (writer, done) in parts {
        if let Err(error) = done {
            say.common(&format!("\nCan't write the dump file: {:#}", anyhow::Error::from(error)));
        }
        let written = writer.finish_in_set(whole)?;
        total.add(&written);
        total.bytes += written.bytes;
    }
    let mut names = Vec::new();
    for file in files {
        names.push(create::keep(file, whole)?.display().to_string());
    }
    say.report(&stats::report(&chosen.selection, &total));
    create::say_more_kept(say, chosen.more_kept());
    let last = names.pop().unwrap_or_default();
    say.common(&format!("\nThe dumpfiles are saved to {}, and {last}.", names.join(", ")));
    Ok(create::outcome(whole, chosen.more_kept()))
}
