//! Writing the files of a split set: each has the headers of the whole dump and the pages of its own frames.

use crate::{output, threads};
use dumpfile::kdump::{self, Options, Writer};
use dumpfile::output::{OutputFile, Sink};
use dumpfile::{Error, Facts, Progress, Written};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use vmcore::{Dump, Pfn, Range, Selection};

/// What a set is made of.
#[derive(Clone, Copy)]
pub(crate) struct Set<'a> {
    pub(crate) dump: &'a Dump,
    pub(crate) selection: &'a Selection,
    pub(crate) facts: &'a Facts,
    /// How pages are stored; each file gets its own frames.
    pub(crate) options: Options,
}

/// One file of a set, as far as it was written. The default is a file that was not begun.
#[derive(Default)]
pub(crate) struct Part<'a> {
    /// `None` unless the headers were written.
    pub(crate) writer: Option<Writer<'a>>,
    pub(crate) error: Option<Error>,
}

impl<'a> Set<'a> {
    /// Writes `files`, one for each of `ranges`, `lanes` of them at the same time.
    ///
    /// The threads are shared out among the lanes, each of which has at least one. Files that are written at the same
    /// time are on disks of their own, so a failure ends that of one file alone. With a single lane it ends them all.
    pub(crate) fn write(
        &self,
        files: &[&'a dyn Sink],
        ranges: &[Range<Pfn>],
        lanes: usize,
        progress: &Progress,
    ) -> Vec<Part<'a>> {
        let lanes = lanes.clamp(1, files.len().max(1));
        let threads = rayon::current_num_threads();
        let next = AtomicUsize::new(0);
        let lane = |number: usize| {
            let threads = (threads / lanes + usize::from(number < threads % lanes)).max(1);
            let mut written = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let (Some(file), Some(range)) = (files.get(index), ranges.get(index)) else {
                    return written;
                };
                let part = self.write_part(*file, *range, lanes, threads, progress);
                let stop = part.error.is_some() && lanes == 1;
                written.push((index, part));
                if stop {
                    return written;
                }
            }
        };
        let mut parts: Vec<Part<'a>> = Vec::new();
        parts.resize_with(files.len(), Part::default);
        std::thread::scope(|scope| {
            let lane = &lane;
            // Each takes the next file that is left, so fewer than were wanted write all of them; this thread is one of them.
            let start = |number| std::thread::Builder::new().spawn_scoped(scope, move || lane(number)).ok();
            let running: Vec<_> = (1..lanes).filter_map(start).collect();
            let mut written = lane(0);
            for thread in running {
                written.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            for (index, part) in written {
                parts[index] = part;
            }
        });
        parts
    }

    fn write_part(
        &self,
        file: &'a dyn Sink,
        range: Range<Pfn>,
        lanes: usize,
        threads: usize,
        progress: &Progress,
    ) -> Part<'a> {
        let options = Options { part: Some(range), beside: lanes - 1, ..self.options };
        let mut writer = match Writer::begin(self.dump, self.selection, self.facts, &options, file) {
            Ok(writer) => writer,
            Err(error) => return Part { writer: None, error: Some(error) },
        };
        let error = match threads::pool(threads) {
            Some(pool) => pool.install(|| writer.write(self.selection, progress)).err(),
            None => writer.write(self.selection, progress).err(),
        };
        Part { writer: Some(writer), error }
    }

    /// Ends the files, of which one `failed` or none, and returns what they hold together and whether that is everything.
    ///
    /// The headers of all parts have to be the same, or readers do not take them for parts of one dump: so all stay marked
    /// incomplete if one is. The error is that of a file that could not be ended.
    pub(crate) fn finish(&self, parts: Vec<Part<'a>>, failed: bool) -> (Written, bool, Option<Error>) {
        let complete = |part: &Part<'_>| {
            part.writer.as_ref().is_some_and(|writer| output::is_complete(&writer.written(), self.dump))
        };
        let complete = !failed && parts.iter().all(complete);
        let mut sum = Written::default();
        let mut error = None;
        for writer in parts.into_iter().filter_map(|part| part.writer) {
            let written = writer.written();
            sum.add(&written);
            sum.bytes += written.bytes;
            error = writer.finish_in_set(complete && error.is_none()).err().or(error);
        }
        (sum, complete, error)
    }
}

/// Names the files of a set, and returns their names and why the set is not on the disk, if it is not: `error` if that is known
/// already. Such a set is kept and marked incomplete, all files of it, as their headers have to be the same.
pub(crate) fn name(
    files: impl Iterator<Item = OutputFile>,
    complete: bool,
    mut error: Option<Error>,
) -> (Vec<PathBuf>, Option<Error>) {
    let mut names = Vec::new();
    for file in files {
        match if complete && error.is_none() { file.commit() } else { output::keep(file) } {
            Ok(name) => names.push(name),
            Err(failed) => {
                names.extend(failed.kept().map(Path::to_owned));
                error = Some(failed);
            }
        }
    }
    if complete && error.is_some() {
        for name in &names {
            let file = File::options().read(true).write(true).open(name);
            let marked = file.map(|file| kdump::mark_incomplete(&file, name));
            if !matches!(marked, Ok(Ok(_))) {
                tracing::warn!("{}: cannot be marked incomplete", name.display());
            }
        }
    }
    (names, error)
}
