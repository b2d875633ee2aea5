//! `hadump convert`: from any dump to a new file.

use crate::choose::{Chosen, choose};
use crate::cli::{self, Format};
use crate::input::{self, Prefer};
use crate::report::{Input, Output, Pages, Report, Seconds};
use crate::{Outcome, crash_notes, progress};
use anyhow::{Result, anyhow, bail};
use dumpfile::output::OutputFile;
use dumpfile::{Progress, Written};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};
use vmcore::Dump;

/// Converts and reports.
pub(crate) fn run(args: &cli::Convert, quiet: bool) -> Result<Outcome> {
    match args.write.on_threads(|| convert(args, quiet))? {
        Ended::Whole(report, outcome) => {
            // The dump is made; whether somebody could be told of it changes nothing.
            if let Err(error) = report.print(args.json, quiet) {
                tracing::error!("cannot print the report: {error:#}");
            }
            Ok(outcome)
        }
        Ended::CutShort => Ok(Outcome::Incomplete),
    }
}

/// How a conversion ended, short of leaving nothing.
enum Ended {
    /// To the last page.
    Whole(Box<Report>, Outcome),
    /// The output took no more; what it took is kept.
    CutShort,
}

fn convert(args: &cli::Convert, quiet: bool) -> Result<Ended> {
    let (opened, (dump, filled)) = timed(|| {
        let dump = input::open(&args.input, Prefer::Vmcore)?;
        if args.write.fill_crash_notes {
            crash_notes::fill(dump, &args.input, args.write.vmlinux.as_deref())
        } else {
            Ok((dump, Vec::new()))
        }
    })?;
    refuse_input_as_output(args)?;
    let output = OutputFile::create(&args.output, args.force).map_err(|error| match error {
        dumpfile::Error::Write { path, source, .. }
            if source.kind() == ErrorKind::AlreadyExists && !args.force =>
        {
            anyhow!("{}: there is such a file already; --force replaces it", path.display())
        }
        error => error.into(),
    })?;
    let level = args.write.level.level();
    let spill = || output.spill_file();
    let (classified, chosen) = timed(|| choose(&args.input, &dump, level, filled, &spill))?;
    for remark in &chosen.remarks {
        tracing::warn!("{remark}");
    }
    let pages = chosen.selection.kept();
    let (wrote, (done, written)) = timed(|| {
        Ok(progress::watch(pages, dump.page_size().bytes(), quiet, |progress| {
            let written = write(args, &dump, &chosen, &output, progress);
            (progress.pages(), written)
        }))
    })?;
    let written = match written {
        Ok(written) => written,
        // A kdump file can be read up to where it was cut; an ELF file gets its headers last.
        Err(error @ dumpfile::Error::Write { .. }) if done > 0 && args.write.format == Format::Kdump => {
            let error = anyhow::Error::from(error);
            tracing::error!("{error:#}");
            let path = output.keep_incomplete()?;
            tracing::error!("{done} of {pages} pages were written; they are kept in {}", path.display());
            return Ok(Ended::CutShort);
        }
        Err(error) => return Err(error.into()),
    };
    let complete = written.lost_pages == 0 && written.missing_pages == 0 && !dump.source.incomplete;
    let (flushed, path) = timed(|| Ok(if complete { output.commit() } else { output.keep_incomplete() }?))?;
    let outcome = match (complete, chosen.undecided) {
        (false, _) => Outcome::Incomplete,
        (true, 0) => Outcome::Complete,
        (true, _) => Outcome::MoreKept,
    };
    let report = Report {
        input: Input::of(&dump, args.input.name()),
        output: Output {
            path: path.display().to_string(),
            format: match args.write.format {
                Format::Kdump => "kdump-compressed v6",
                Format::Elf => "ELF core",
            },
            compression: args.write.compression().method().map(|m| m.name()),
            dump_level: chosen.selection.level().bits(),
            bytes: written.bytes,
            complete,
        },
        pages: Pages::of(&chosen.selection, &written),
        seconds: Seconds {
            open: opened.as_secs_f64(),
            classify: classified.as_secs_f64(),
            write: (wrote + flushed).as_secs_f64(),
        },
        remarks: dump.source.remarks.iter().chain(&chosen.remarks).cloned().collect(),
        exit_code: outcome.code(),
    };
    Ok(Ended::Whole(Box::new(report), outcome))
}

/// `--force` replaces files, but never the only copy of the dump that is being read.
fn refuse_input_as_output(args: &cli::Convert) -> Result<()> {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let Some(output) = identity(&args.output) else { return Ok(()) };
    if args.input.files().any(|input| identity(input) == Some(output)) {
        bail!("{}: this is the input; give the output another name", args.output.display());
    }
    Ok(())
}

fn write(
    args: &cli::Convert,
    dump: &Dump,
    chosen: &Chosen,
    output: &OutputFile,
    progress: &Progress,
) -> Result<Written, dumpfile::Error> {
    let Chosen { selection, facts, .. } = chosen;
    match args.write.format {
        Format::Kdump => {
            let options = dumpfile::kdump::Options {
                method: args.write.compression().method(),
                level: args.write.compression_level,
                ..Default::default()
            };
            dumpfile::kdump::write(dump, selection, facts, &options, output, progress)
        }
        Format::Elf => dumpfile::elf::write(dump, selection, facts, output, progress),
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let start = Instant::now();
    let value = work()?;
    Ok((start.elapsed(), value))
}
