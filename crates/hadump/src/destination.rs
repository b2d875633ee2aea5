//! Where a conversion writes: a file, a flattened stream, a split set.

use crate::cli::{Format, WriteArgs};
use ::save::Paced;
use anyhow::{Context, Result, anyhow};
use dumpfile::flattened::FlattenedSink;
use dumpfile::kdump::{Options, Writer};
use dumpfile::output::{OutputFile, Sink};
use dumpfile::split::{self, Parts};
use dumpfile::{Facts, Progress, Written, elf};
use sealed::Sealer;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::num::{NonZeroU16, NonZeroU64};
use std::path::{Path, PathBuf};
use vmcore::{Dump, Pfn, Range, Selection};

/// What the output is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Into so many files.
    Count(NonZeroU16),
    /// Into files with at most so many bytes of pages, before compression.
    Size(u64),
}

/// One part of a split set, to be made alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Which one, from 0 on.
    pub(crate) number: u16,
    /// Of how many.
    pub(crate) of: NonZeroU16,
}

/// Where the bytes go.
pub(crate) enum Destination {
    /// One file of a format with positions.
    File(OutputFile),
    /// One file that holds the stream a pipe would take.
    Flattened(OutputFile),
    /// Standard output.
    Stream,
    /// Several files, named when it is known how many there are.
    Set { names: Vec<PathBuf>, cut: Cut, force: bool, spill: PathBuf },
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) written: Written,
    /// The files, or a word for what is none.
    pub(crate) names: Vec<String>,
}

/// How writing ended.
pub(crate) enum Ended {
    /// To the last page.
    Whole(Made),
    /// The output took no more; what it took is kept under these names.
    CutShort { error: dumpfile::Error, written: Written, names: Vec<String> },
}

/// What is written and how.
pub(crate) struct Work<'a> {
    pub(crate) dump: &'a Dump,
    pub(crate) selection: &'a Selection,
    pub(crate) facts: &'a Facts,
    pub(crate) args: &'a WriteArgs,
    /// Only this part of a split set.
    pub(crate) shard: Option<Shard>,
    /// Write so many bytes a second at most, to each file.
    pub(crate) rate: Option<NonZeroU64>,
}

impl Destination {
    /// Makes the files that can be made before anything is read.
    ///
    /// # Errors
    ///
    /// When a name is taken and `force` is not given, or a directory cannot be written to.
    pub(crate) fn create(
        outputs: &[PathBuf],
        flattened: bool,
        cut: Option<Cut>,
        force: bool,
    ) -> Result<Self> {
        let first = outputs.first().context("no output is given")?;
        if let Some(cut) = cut {
            let names = outputs.to_vec();
            let spill =
                first.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
            return Ok(Self::Set { names, cut, force, spill });
        }
        if is_stream(first) {
            return Ok(Self::Stream);
        }
        let file = create(first, force)?;
        Ok(if flattened { Self::Flattened(file) } else { Self::File(file) })
    }

    /// An empty file without a name, for what outgrows memory: beside the output, never where memory is the disk.
    pub(crate) fn spill_file(&self) -> io::Result<File> {
        match self {
            Self::File(file) | Self::Flattened(file) => file.spill_file(),
            Self::Stream => tempfile::tempfile(),
            Self::Set { spill, .. } => tempfile::tempfile_in(spill),
        }
    }

    /// Writes the dump and gives it its name.
    pub(crate) fn write(self, work: &Work<'_>, progress: &Progress) -> Result<Ended> {
        match self {
            Self::File(file) => {
                let (written, result) = work.write(&file, progress);
                finish(file, written, result, work)
            }
            Self::Flattened(file) => {
                let stream = BufWriter::with_capacity(1 << 20, Appender { file: &file, at: 0 });
                let (written, result) = work.write_stream(stream, file.path(), progress)?;
                finish(file, written, result, work)
            }
            Self::Stream => {
                let (written, result) =
                    work.write_stream(io::stdout(), Path::new("standard output"), progress)?;
                result?;
                let names = vec!["standard output".into()];
                Ok(Ended::Whole(Made { written, names }))
            }
            Self::Set { names, cut, force, .. } => write_set(names, cut, force, work, progress),
        }
    }
}

/// Whether an output is standard output, as `-` names it.
pub(crate) fn is_stream(output: &Path) -> bool {
    output.as_os_str() == "-"
}

fn create(target: &Path, force: bool) -> Result<OutputFile> {
    OutputFile::create(target, force).map_err(|error| match error {
        dumpfile::Error::Write { path, source, .. }
            if source.kind() == ErrorKind::AlreadyExists && !force =>
        {
            anyhow!("{}: there is such a file already; --force replaces it", path.display())
        }
        error => error.into(),
    })
}

fn finish(
    file: OutputFile,
    written: Written,
    result: Result<(), dumpfile::Error>,
    work: &Work<'_>,
) -> Result<Ended> {
    match result {
        Ok(()) => {
            let path = if work.is_whole(&written) { file.commit() } else { file.keep_incomplete() }?;
            Ok(Ended::Whole(Made { written, names: vec![path.display().to_string()] }))
        }
        // Both formats can be read up to where they were cut.
        Err(error @ dumpfile::Error::Write { .. }) if written.seen() > 0 => {
            let path = file.keep_incomplete()?;
            Ok(Ended::CutShort { error, written, names: vec![path.display().to_string()] })
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes the files of a set one after the other.
fn write_set(
    names: Vec<PathBuf>,
    cut: Cut,
    force: bool,
    work: &Work<'_>,
    progress: &Progress,
) -> Result<Ended> {
    let parts = match cut {
        Cut::Count(count) => Parts::Count(count.get()),
        Cut::Size(bytes) => Parts::Size(bytes),
    };
    let parts = split::plan(work.selection, parts)?;
    let names = match &names[..] {
        [name] => numbered(name, parts.len()),
        _ => names,
    };
    let files: Vec<OutputFile> = names.iter().map(|name| create(name, force)).collect::<Result<_>>()?;
    let mut writers = Vec::with_capacity(files.len());
    let mut failure = None;
    for (file, part) in files.iter().zip(&parts) {
        let mut writer =
            match Writer::begin(work.dump, work.selection, work.facts, &work.options(Some(*part)), file) {
                Ok(writer) => writer,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            };
        let done = writer.write(work.selection, progress);
        writers.push(writer);
        if let Err(error) = done {
            failure = Some(error);
            break;
        }
    }
    let mut sum = Written::default();
    let seen = writers.iter().map(|writer| writer.written().seen()).sum::<u64>();
    match failure {
        Some(error @ dumpfile::Error::Write { .. }) if seen > 0 => {
            for written in writers.iter().map(Writer::written) {
                sum.add(&written);
                sum.bytes += written.bytes;
            }
            let begun = writers.len();
            drop(writers);
            // A part that was not begun is an empty file, which is of no use.
            let mut kept = Vec::new();
            for file in files.into_iter().take(begun) {
                kept.push(file.keep_incomplete()?.display().to_string());
            }
            return Ok(Ended::CutShort { error, written: sum, names: kept });
        }
        Some(error) => return Err(error.into()),
        None => {}
    }
    let whole = writers.iter().all(|writer| work.is_whole(&writer.written()));
    for writer in writers {
        let written = writer.finish_in_set(whole)?;
        sum.add(&written);
        sum.bytes += written.bytes;
    }
    let mut made = Vec::with_capacity(files.len());
    for file in files {
        let path = if whole { file.commit() } else { file.keep_incomplete() }?;
        made.push(path.display().to_string());
    }
    Ok(Ended::Whole(Made { written: sum, names: made }))
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

impl Work<'_> {
    /// Reports whether nothing is missing that should be there.
    fn is_whole(&self, written: &Written) -> bool {
        written.is_whole() && !self.dump.source.incomplete
    }

    fn options(&self, part: Option<Range<Pfn>>) -> Options {
        Options {
            method: self.args.compression().method(),
            level: self.args.compression_level,
            dedup: self.args.dedup,
            part,
        }
    }

    /// Writes a flattened stream into `out`, which messages call `name`, encrypted if that was asked for. An error before the
    /// first byte is one by itself.
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

    /// Writes into a flattened stream, ends it, and hands what was behind it to `end`.
    fn write_into<W: Write + Send>(
        &self,
        sink: FlattenedSink<W>,
        progress: &Progress,
        end: impl FnOnce(W) -> Result<(), dumpfile::Error>,
    ) -> (Written, Result<(), dumpfile::Error>) {
        let (written, result) = self.write(&sink, progress);
        match result.and_then(|()| sink.finish()) {
            Ok((out, bytes)) => (Written { bytes, ..written }, end(out)),
            Err(error) => (written, Err(error)),
        }
    }

    /// Writes one file, and answers what stands in it, whether or not it was written to its end.
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
            Format::Elf => self.write_elf(out, progress),
        }
    }

    fn write_elf(&self, out: &dyn Sink, progress: &Progress) -> (Written, Result<(), dumpfile::Error>) {
        let mut writer = match elf::Writer::begin(self.dump, self.selection, self.facts, out) {
            Ok(writer) => writer,
            Err(error) => return (Written::default(), Err(error)),
        };
        let result = writer.write(progress);
        // Only the headers make a dump of what was written, also when that is not all.
        match (writer.finish(), result) {
            (Ok(written), result) => (written, result),
            (Err(_), Err(error)) | (Err(error), Ok(())) => (Written::default(), Err(error)),
        }
    }

    fn write_kdump(&self, out: &dyn Sink, progress: &Progress) -> (Written, Result<(), dumpfile::Error>) {
        let begin = || {
            let part = match self.shard {
                Some(Shard { number, of }) => {
                    let parts = split::plan(self.selection, Parts::Count(of.get()))?;
                    parts.get(usize::from(number)).copied()
                }
                None => None,
            };
            Writer::begin(self.dump, self.selection, self.facts, &self.options(part), out)
        };
        let mut writer = match begin() {
            Ok(writer) => writer,
            Err(error) => return (Written::default(), Err(error)),
        };
        let result = writer.write(self.selection, progress);
        let written = writer.written();
        match result.and_then(|()| writer.finish()) {
            Ok(written) => (written, Ok(())),
            Err(error) => (written, Err(error)),
        }
    }
}

/// Bytes one behind the other, into a file that takes them at positions.
struct Appender<'a> {
    file: &'a OutputFile,
    at: u64,
}

impl Write for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.at, bytes).map_err(|error| match error {
            dumpfile::Error::Write { source, .. } => source,
            other => io::Error::other(other),
        })?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `N`, a number of files, or `SIZE` with a unit: how to cut the output.
pub(crate) fn parse_cut(text: &str) -> Result<Cut, String> {
    if let Ok(count) = text.parse() {
        return Ok(Cut::Count(count));
    }
    crate::units::parse_size(text)
        .ok()
        .filter(|bytes| *bytes > 0)
        .map(Cut::Size)
        .ok_or_else(|| "a number of files from 1 to 65535, or the size of each with a unit, as 4G".into())
}

/// `I/N`: part I, counted from 0, of N.
pub(crate) fn parse_shard(text: &str) -> Result<Shard, String> {
    let parse = || {
        let (number, of) = text.split_once('/')?;
        let shard = Shard { number: number.parse().ok()?, of: of.parse().ok()? };
        (shard.number < shard.of.get()).then_some(shard)
    };
    parse().ok_or_else(|| "a shard is I/N, with I from 0 to N-1, as 0/4".into())
}
