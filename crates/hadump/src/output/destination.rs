//! Where a conversion writes: a file, a flattened stream, a split set.

use crate::cli::{Cut, Format, Shard, WriteArgs, is_stream};
use crate::custody::{self, Watch};
use crate::output::set::{self, Set};
use crate::output::work;
use crate::output::{self, FORCE, SinkWriter};
use ::save::Paced;
use anyhow::{Context, Result, bail};
use dumpfile::codec::Choice;
use dumpfile::flattened::FlattenedSink;
use dumpfile::kdump::{Options, Writer};
use dumpfile::output::{OutputFile, RawDevice, Sink};
use dumpfile::split::{self, Parts};
use dumpfile::{Facts, Progress, Written, elf};
use sealed::Sealer;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use vmcore::{Dump, Pfn, Range, Selection};

/// Where the bytes go.
pub(crate) enum Destination {
    /// One file, each byte at its offset.
    File(OutputFile),
    /// One file that holds a flattened stream.
    Flattened(OutputFile),
    /// Standard output.
    Stream,
    /// A block device, from its first byte on.
    Device(RawDevice),
    /// A dry run.
    Nowhere,
    /// Several files, created when their number is known.
    Set { names: Vec<PathBuf>, cut: Cut, force: bool },
}

/// What was written, and where it is now.
pub(crate) struct WriteOutcome {
    pub(crate) written: Written,
    /// The files, or `standard output`.
    pub(crate) names: Vec<String>,
    /// What ended it early, if anything did. What was written is kept under these names.
    pub(crate) error: Option<dumpfile::Error>,
}

/// What is written and how.
pub(crate) struct WriteJob<'a> {
    pub(crate) dump: &'a Dump,
    pub(crate) selection: &'a Selection,
    pub(crate) facts: &'a Facts,
    pub(crate) args: &'a WriteArgs,
    /// How its pages are compressed.
    pub(crate) method: Choice,
    /// Only this part of a split set.
    pub(crate) shard: Option<Shard>,
    /// The most bytes per second, for all files together.
    pub(crate) rate: Option<NonZeroU64>,
    /// The machine whose memory is read, if it is one that runs.
    pub(crate) watch: Option<&'a Watch>,
}

impl Destination {
    /// Creates the files that can be created before anything is read.
    ///
    /// # Errors
    ///
    /// When a file exists and `force` is not given, or a directory cannot be written to.
    pub(crate) fn create(
        outputs: &[PathBuf],
        flattened: bool,
        cut: Option<Cut>,
        force: bool,
    ) -> Result<Self> {
        let first = outputs.first().context("no output is given")?;
        if let Some(cut) = cut {
            return Ok(Self::Set { names: outputs.to_vec(), cut, force });
        }
        if is_stream(first) {
            output::check_standard_output()?;
            return Ok(Self::Stream);
        }
        let kind = first.metadata().map(|meta| meta.file_type());
        if force && kind.as_ref().is_ok_and(|kind| kind.is_block_device()) {
            if flattened {
                bail!("{}: a flattened stream cannot be written to a device", first.display());
            }
            return Ok(Self::Device(RawDevice::open(first)?));
        }
        let file = match kind {
            Ok(kind) if kind.is_block_device() => {
                bail!("{}: a device; {FORCE} writes there, over what it holds", first.display())
            }
            Ok(kind) if kind.is_char_device() && (force || output::is_null_device(first)) => {
                OutputFile::in_place(first)?
            }
            _ => output::create(first, force, FORCE)?,
        };
        Ok(if flattened { Self::Flattened(file) } else { Self::File(file) })
    }

    /// Makes work files in the directory `given`, else beside the output if it is a file.
    pub(crate) fn work_files(&self, given: Option<&Path>) -> impl Fn() -> io::Result<File> + use<> {
        let output = match self {
            Self::File(file) | Self::Flattened(file) => Some(file.path()),
            Self::Stream | Self::Device(_) | Self::Nowhere => None,
            Self::Set { names, .. } => names.first().map(PathBuf::as_path),
        };
        work::files(given, output)
    }

    /// Writes the dump and gives it its name.
    pub(crate) fn write(self, job: &WriteJob<'_>, progress: &Progress) -> Result<WriteOutcome> {
        match self {
            Self::File(file) => {
                let (written, result) = job.write(&file, progress);
                custody::check(job.watch)?;
                finish(file, written, result, job)
            }
            Self::Flattened(file) => {
                let stream = BufWriter::with_capacity(1 << 20, SinkWriter::new(&file));
                let (written, result) = job.write_stream(stream, file.path(), progress)?;
                custody::check(job.watch)?;
                finish(file, written, result, job)
            }
            Self::Stream => {
                let name = "standard output";
                let (written, result) = job.write_stream(io::stdout(), Path::new(name), progress)?;
                custody::check(job.watch)?;
                result?;
                Ok(WriteOutcome { written, names: vec![name.into()], error: None })
            }
            Self::Device(device) => {
                let (written, result) = job.write(&device, progress);
                if let Err(given_away) = custody::check(job.watch) {
                    output::forget(&device)?;
                    return Err(given_away);
                }
                let error = match result.and_then(|()| device.sync()) {
                    Err(error) if written.seen() == 0 => return Err(error.into()),
                    result => result.err(),
                };
                Ok(WriteOutcome { written, names: vec![device.path().display().to_string()], error })
            }
            Self::Nowhere => {
                let (written, result) = job.write(&output::Nowhere("a dry run".into()), progress);
                result?;
                Ok(WriteOutcome { written, names: Vec::new(), error: None })
            }
            Self::Set { names, cut, force } => write_set(names, cut, force, job, progress),
        }
    }
}

fn finish(
    file: OutputFile,
    written: Written,
    result: Result<(), dumpfile::Error>,
    job: &WriteJob<'_>,
) -> Result<WriteOutcome> {
    let (path, error) = match result {
        Ok(()) => {
            let complete = output::is_complete(&written, job.dump);
            match if complete { file.commit() } else { file.keep_incomplete() } {
                Ok(path) => (path, None),
                Err(error) => match error.kept().map(Path::to_owned) {
                    Some(path) => (path, Some(error)),
                    None => return Err(error.into()),
                },
            }
        }
        // Both formats can be read up to where they were cut, and there may be no second copy.
        Err(error) if written.seen() > 0 => (output::keep(file)?, Some(error)),
        Err(error) => return Err(error.into()),
    };
    Ok(WriteOutcome { written, names: vec![path.display().to_string()], error })
}

/// Writes the files of a set: at the same time when the user named each, as for several disks, else one after another.
fn write_set(
    names: Vec<PathBuf>,
    cut: Cut,
    force: bool,
    job: &WriteJob<'_>,
    progress: &Progress,
) -> Result<WriteOutcome> {
    let ranges = match cut {
        Cut::Count(count) => Parts::Count(count.get()),
        Cut::Size(bytes) => Parts::Size(bytes),
    };
    let ranges = split::plan(job.selection, ranges)?;
    let (names, lanes) = match &names[..] {
        [name] => (numbered(name, ranges.len()), 1),
        _ => (names, rayon::current_num_threads()),
    };
    let files: Vec<OutputFile> =
        names.iter().map(|name| output::create(name, force, FORCE)).collect::<Result<_>>()?;
    let paced: Vec<Paced<&OutputFile>>;
    let sinks: Vec<&dyn Sink> = match job.rate {
        Some(rate) => {
            let rate = u64::from(rate) / lanes.min(files.len()).max(1) as u64;
            paced = files.iter().map(|file| Paced::new(file, rate)).collect();
            paced.iter().map(|file| file as &dyn Sink).collect()
        }
        None => files.iter().map(|file| file as &dyn Sink).collect(),
    };
    let WriteJob { dump, selection, facts, .. } = *job;
    let set = Set { dump, selection, facts, options: job.options(None) };
    let mut parts = set.write(&sinks, &ranges, lanes, progress);
    custody::check(job.watch)?;

    let mut errors: Vec<dumpfile::Error> = parts.iter_mut().filter_map(|part| part.error.take()).collect();
    // One that is not the output's fault, such as the user's wish to stop, comes first.
    errors.sort_by_key(|error| matches!(error, dumpfile::Error::Write { .. }));
    let mut error = errors.into_iter().next();
    let begun: Vec<bool> = parts.iter().map(|part| part.writer.is_some()).collect();
    let seen = parts.iter().filter_map(|part| part.writer.as_ref()).map(|writer| writer.written().seen());
    let seen: u64 = seen.sum();
    if let Some(error) = error.take_if(|_| seen == 0) {
        return Err(error.into());
    }
    let (written, complete, unended) = set.finish(parts, error.is_some());
    let files = files.into_iter().zip(begun).filter(|(_, begun)| *begun).map(|(file, _)| file);
    let (names, unended) = set::name(files, complete, unended);
    let names = names.iter().map(|name| name.display().to_string()).collect();
    Ok(WriteOutcome { written, names, error: error.or(unended) })
}

/// The names of `count` files: numbered from 0, with as many digits as sort them.
fn numbered(name: &Path, count: usize) -> Vec<PathBuf> {
    let digits = count.saturating_sub(1).to_string().len();
    let numbered = |n| {
        let mut path = name.as_os_str().to_owned();
        path.push(format!(".{n:0digits$}"));
        PathBuf::from(path)
    };
    (0..count).map(numbered).collect()
}

impl WriteJob<'_> {
    fn options(&self, part: Option<Range<Pfn>>) -> Options {
        Options { part, ..self.args.kdump_options(self.method) }
    }

    /// Writes a flattened stream into `out`, which messages call `name`, encrypted if that was asked for. The outer error
    /// is for a stream that could not be begun.
    fn write_stream(
        &self,
        out: impl Write + Send,
        name: &Path,
        progress: &Progress,
    ) -> Result<(Written, Result<(), dumpfile::Error>)> {
        let Some(recipients) = self.args.recipients()? else {
            let sink = FlattenedSink::new(out, name)?;
            return Ok(self.write_into(sink, progress, |_| Ok(())));
        };
        let failed = |error: sealed::Error| {
            let source = match error {
                sealed::Error::Write(source) => source,
                other => io::Error::other(other),
            };
            dumpfile::Error::Write { path: name.to_owned(), action: "encrypt it".into(), source }
        };
        let sink = FlattenedSink::new(Sealer::new(&recipients, out).map_err(failed)?, name)?;
        let end = |sealer: Sealer<_>| {
            let flush = |mut out| Write::flush(&mut out).map_err(sealed::Error::Write);
            sealer.finish().and_then(flush).map_err(failed)
        };
        Ok(self.write_into(sink, progress, end))
    }

    /// Writes into a flattened stream, ends it, and passes what it wrote to to `end`.
    fn write_into<W: Write + Send>(
        &self,
        sink: FlattenedSink<W>,
        progress: &Progress,
        end: impl FnOnce(W) -> Result<(), dumpfile::Error>,
    ) -> (Written, Result<(), dumpfile::Error>) {
        let (written, result) = self.write(&sink, progress);
        if self.watch.and_then(Watch::given_away).is_some() {
            // Without its end a stream is worth nothing, and the caller says why.
            return (written, result);
        }
        match result.and_then(|()| sink.finish()) {
            Ok((out, bytes)) => (Written { bytes, ..written }, end(out)),
            Err(error) => (written, Err(error)),
        }
    }

    /// Writes one file, and returns what it contains, also when it was not written to its end.
    fn write(&self, out: &dyn Sink, progress: &Progress) -> (Written, Result<(), dumpfile::Error>) {
        let paced;
        let out: &dyn Sink = match self.rate {
            Some(rate) => {
                paced = Paced::new(out, rate.into());
                &paced
            }
            None => out,
        };
        match self.args.format {
            Format::Kdump => self.write_kdump(out, progress),
            Format::Elf => write_elf(self.dump, self.selection, self.facts, out, progress),
        }
    }

    fn write_kdump(&self, out: &dyn Sink, progress: &Progress) -> (Written, Result<(), dumpfile::Error>) {
        let part = match self.shard {
            Some(Shard { number, of }) => match split::plan(self.selection, Parts::Count(of.get())) {
                Ok(parts) => parts.get(usize::from(number)).copied(),
                Err(error) => return (Written::default(), Err(error)),
            },
            None => None,
        };
        write_kdump(self.dump, self.selection, self.facts, &self.options(part), out, progress)
    }
}

/// Writes an ELF core, and returns what it contains, also when it was not written to its end.
pub(crate) fn write_elf(
    dump: &Dump,
    selection: &Selection,
    facts: &Facts,
    out: &dyn Sink,
    progress: &Progress,
) -> (Written, Result<(), dumpfile::Error>) {
    let mut writer = match elf::Writer::begin(dump, selection, facts, out) {
        Ok(writer) => writer,
        Err(error) => return (Written::default(), Err(error)),
    };
    let result = writer.write(progress);
    // Without its headers nothing of an ELF file can be read, so they are written also when pages are missing.
    match (writer.finish(), result) {
        (Ok(written), result) => (written, result),
        (Err(_), Err(error)) | (Err(error), Ok(())) => (Written::default(), Err(error)),
    }
}

/// Writes a kdump-compressed file, and returns what it contains, also when it was not written to its end.
pub(crate) fn write_kdump(
    dump: &Dump,
    selection: &Selection,
    facts: &Facts,
    options: &Options,
    out: &dyn Sink,
    progress: &Progress,
) -> (Written, Result<(), dumpfile::Error>) {
    let mut writer = match Writer::begin(dump, selection, facts, options, out) {
        Ok(writer) => writer,
        Err(error) => return (Written::default(), Err(error)),
    };
    let result = writer.write(selection, progress);
    let written = writer.written();
    match result.and_then(|()| writer.finish()) {
        Ok(written) => (written, Ok(())),
        Err(error) => (written, Err(error)),
    }
}
