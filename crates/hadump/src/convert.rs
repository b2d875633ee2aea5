//! `hadump convert`: from any dump to a new file.

use crate::cli::{self, Compression, Format};
use crate::input::{self, Prefer};
use crate::report::{Input, Output, Pages, Report, Seconds};
use crate::{Outcome, crash_notes, progress};
use anyhow::{Context, Result, anyhow, bail};
use dumpfile::output::OutputFile;
use dumpfile::{Facts, Progress, Written};
use kernel::Kernel;
use std::fs::File;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};
use vmcore::{Dump, DumpLevel, Note, Reason, Selection};

/// Converts and reports.
pub(crate) fn run(args: &cli::Convert, quiet: bool) -> Result<Outcome> {
    // More threads than processors only wait for each other.
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = args.threads.map_or(processors, |wanted| wanted.min(processors));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.get());
    let pool = pool.build().context("cannot start the worker threads")?;
    match pool.install(|| convert(args, quiet))? {
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
        if args.fill_crash_notes { crash_notes::fill(dump, args) } else { Ok((dump, Vec::new())) }
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
    let (classified, mut chosen) = timed(|| choose(args, &dump, filled, &output))?;
    if let Some(earlier) = dump.source.dump_level {
        chosen.selection.add_level(earlier);
    }
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
        Err(error @ dumpfile::Error::Write { .. }) if done > 0 && args.format == Format::Kdump => {
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
    let (memory, selection) = (dump.memory.map(), &chosen.selection);
    let outcome = match (complete, chosen.undecided) {
        (false, _) => Outcome::Incomplete,
        (true, 0) => Outcome::Complete,
        (true, _) => Outcome::MoreKept,
    };
    let report = Report {
        input: Input {
            path: args.input.name(),
            format: dump.source.format.clone(),
            machine: dump.machine.name(),
            page_size: dump.page_size().bytes(),
            release: dump.vmcoreinfo.as_ref().and_then(|v| v.release().map(str::to_owned)),
            cpus: dump.cpus(),
            memory_bytes: memory.bytes().total(),
        },
        output: Output {
            path: path.display().to_string(),
            format: match args.format {
                Format::Kdump => "kdump-compressed v6",
                Format::Elf => "ELF core",
            },
            compression: compression(args).method().map(|m| m.name()),
            dump_level: selection.level().bits(),
            bytes: written.bytes,
            complete,
        },
        pages: Pages {
            total: memory.frames().total(),
            partial: memory.partial_frames(),
            kept: selection.kept(),
            data: written.data_pages,
            raw: written.raw_pages,
            zero: written.zero_pages,
            lost: written.lost_pages + written.missing_pages,
            excluded: Reason::ALL.map(|r| (r.name(), selection.reasons().get(r))).into_iter().collect(),
        },
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
    let inputs = [&args.input.input, &args.input.memory, &args.input.kernel_dump, &args.input.release_region];
    if inputs.into_iter().flatten().any(|input| identity(input) == Some(output)) {
        bail!("{}: this is the input; give the output another name", args.output.display());
    }
    Ok(())
}

/// An ELF file holds pages as they are, whatever the default for kdump files is.
fn compression(args: &cli::Convert) -> Compression {
    match args.format {
        Format::Kdump => args.compression.unwrap_or(Compression::Zstd),
        Format::Elf => Compression::None,
    }
}

/// The pages to write, and what to say of the kernel.
struct Chosen {
    selection: Selection,
    facts: Facts,
    /// Pages that are kept because nothing says what they are.
    undecided: u64,
    remarks: Vec<String>,
}

/// Chooses pages by what the kernel says of them.
///
/// Where the kernel cannot be understood, a dump that lost something is kept whole: what is there must not be lost as
/// well. So is any dump as long as no class of pages has to be told from another.
fn choose(args: &cli::Convert, dump: &Dump, notes: Vec<Note>, output: &OutputFile) -> Result<Chosen> {
    let level = args.level.level();
    let spill = || output.spill_file().context("cannot make a work file beside the output");
    match classified(args, dump, notes.clone(), spill()?) {
        Err(error) if level.bits() & !DumpLevel::ZERO == 0 || dump.source.incomplete => {
            let zeros = DumpLevel::new((level.bits() & DumpLevel::ZERO).into()).unwrap_or(level);
            let selection = Selection::everything(&*dump.memory, zeros, Some(spill()?))?;
            let utsname = dump.source.utsname.clone().unwrap_or_default();
            let facts = Facts { utsname, phys_base: 0, notes };
            // Nothing was asked of the kernel, or nothing of it could be had.
            let undecided = if zeros == level { 0 } else { selection.kept() };
            let besides = if zeros.bits() == 0 { "" } else { " but those of zeros" };
            let remarks = vec![format!("{error:#}: all pages are kept{besides}")];
            Ok(Chosen { selection, facts, undecided, remarks })
        }
        chosen => chosen,
    }
}

/// Tells the classes of pages apart.
fn classified(args: &cli::Convert, dump: &Dump, notes: Vec<Note>, spill: File) -> Result<Chosen> {
    let level = args.level.level();
    if dump.vmcoreinfo.is_none() {
        bail!(
            "{}: no VMCOREINFO note, so the kernel's pages cannot be told apart; dump level {level} needs it, \
             -d 1 and -d 0 do not",
            args.input.name()
        );
    }
    let kernel = input::kernel(dump, &args.input)?;
    let facts = Facts { utsname: utsname(dump, &kernel)?, phys_base: kernel.phys_base(), notes };
    let chosen = kernel
        .select(level, Some(spill))
        .with_context(|| format!("{}: cannot classify pages for dump level {level}", args.input.name()))?;
    Ok(Chosen { selection: chosen.selection, facts, undecided: chosen.undecided, remarks: chosen.remarks })
}

/// The kernel's own names for itself, or those that the input's header gives.
fn utsname(dump: &Dump, kernel: &Kernel<'_>) -> Result<vmcore::Utsname> {
    match (kernel.utsname(), &dump.source.utsname) {
        (Ok(names), _) => Ok(names),
        (Err(_), Some(names)) => Ok(names.clone()),
        (Err(error), None) => Err(error).context("cannot read the kernel's utsname"),
    }
}

fn write(
    args: &cli::Convert,
    dump: &Dump,
    chosen: &Chosen,
    output: &OutputFile,
    progress: &Progress,
) -> Result<Written, dumpfile::Error> {
    let Chosen { selection, facts, .. } = chosen;
    match args.format {
        Format::Kdump => {
            let options = dumpfile::kdump::Options {
                method: compression(args).method(),
                level: args.compression_level,
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
