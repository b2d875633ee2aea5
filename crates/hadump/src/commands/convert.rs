//! `hadump convert`: from any dump to a new file.

use crate::choose::choose;
use crate::choose::mini::{self, Wanted};
use crate::cli::{self, Format, is_stream};
use crate::input::crash_notes;
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use crate::output::destination::{Destination, WriteJob, WriteOutcome};
use crate::show::progress;
use crate::show::report::{Gate, Input, Output, Pages, Report, Seconds};
use crate::{output, threads};
use anyhow::Result;
use kernel::knowledge::vmlinux_of;
use std::time::{Duration, Instant};

/// Converts and reports.
pub(crate) fn run(args: &cli::Convert, quiet: bool) -> Result<Outcome> {
    let (report, outcome) = threads::on(args.write.threads, || convert(args, quiet))?;
    // The dump is written: a failure to print the report does not change the outcome.
    if let Err(error) = report.print(args.json, quiet) {
        tracing::error!("standard output: cannot print the report: {error:#}");
    }
    Ok(outcome)
}

fn convert(args: &cli::Convert, quiet: bool) -> Result<(Report, Outcome)> {
    // Before anything is read: a release that comes while pages are chosen is seen as well.
    let watch = input::watch(&args.input);
    let (opened, (dump, filled, vmlinux)) = timed(|| {
        let mut dump = input::open_for_kernel(&args.input, Prefer::Vmcore)?;
        input::find_contradictions(&mut dump, &args.input)?;
        let path = args.input.vmlinux.as_deref().filter(|_| args.write.level.mini().is_some());
        let vmlinux = path.map(|path| vmlinux_of(&mut dump, path)).transpose()?;
        let (dump, filled) = if args.write.fill_crash_notes {
            crash_notes::fill(dump, &args.input)?
        } else {
            (dump, Vec::new())
        };
        Ok((dump, filled, vmlinux))
    })?;
    tracing::info!("{}: {} of {}", args.input.name(), dump.source.format, dump.machine.name());
    let destination = if args.dry_run {
        Destination::Nowhere
    } else {
        output::refuse_input(&args.input, &args.output)?;
        let flattened = args.flattened || args.write.is_encrypted();
        Destination::create(&args.output, flattened, args.cut(), args.force)?
    };
    // What a mini dump takes depends on where the kernel is mapped.
    let dump = match args.write.format {
        Format::Elf => input::with_virtual_addresses(dump),
        Format::Kdump => dump,
    };
    let spill = destination.work_files(args.work_dir.as_deref());
    let level = &args.write.level;
    let (classified, (chosen, mini)) = timed(|| match level.mini() {
        Some(budget) => {
            let wanted = Wanted {
                budget,
                format: args.write.format,
                options: args.write.kdump_options(args.write.choice()),
                framed: args.flattened
                    || args.write.is_encrypted()
                    || args.output.iter().any(|to| is_stream(to)),
                segment: None,
                vmlinux: vmlinux.as_ref(),
            };
            mini::choose(&args.input, &dump, &wanted, filled, &spill)
                .map(|(chosen, mini)| (chosen, Some(mini)))
        }
        None => choose(&args.input, &dump, level.level(), level.gated(), filled, &spill)
            .map(|chosen| (chosen, None)),
    })?;
    for remark in &chosen.remarks {
        tracing::warn!("{remark}");
    }
    let pages = chosen.selection.kept();
    tracing::info!("{pages} pages are kept at dump level {}", chosen.selection.level());
    for check in &chosen.gate.checks {
        tracing::info!("check {}: {}: {}", check.name, check.outcome.name(), check.text);
    }
    let (selection, facts) = (&chosen.selection, &chosen.facts);
    let job = WriteJob {
        dump: &dump,
        selection,
        facts,
        args: &args.write,
        method: args.write.choice(),
        shard: args.shard,
        rate: args.limit_rate,
        watch: watch.as_ref(),
    };
    let (wrote, WriteOutcome { written, names, error }) = timed(|| {
        progress::watch(pages, dump.page_size().bytes(), quiet, |progress| destination.write(&job, progress))
    })?;
    let error = error.map(|error| format!("{:#}", anyhow::Error::from(error)));
    if let Some(error) = &error {
        tracing::error!("{error}");
        let done = written.seen();
        tracing::error!("{done} of {pages} pages were written; they are kept in {}", names.join(" "));
    }
    let complete = error.is_none() && output::is_complete(&written, &dump);
    let outcome = Outcome::of(complete, chosen.more_kept());
    let damage = dump.memory.damage();
    for found in &damage.first {
        tracing::warn!("{found}");
    }
    let remarks = dump.source.remarks.iter().chain(&chosen.remarks).chain(&damage.first).cloned();
    let report = Report {
        input: Input::of(&dump, args.input.name()),
        output: Output {
            path: names.first().cloned().unwrap_or_default(),
            bytes: output::length_of(&names).filter(|_| !names.is_empty()).unwrap_or(written.bytes),
            disk_bytes: output::room_of(&names),
            paths: names,
            format: match args.write.format {
                Format::Kdump if args.write.is_encrypted() => "kdump-compressed v6, encrypted",
                Format::Kdump => "kdump-compressed v6",
                Format::Elf => "ELF core",
            },
            compression: job.method.name(),
            dump_level: selection.level().bits(),
            mini,
            complete,
            error,
        },
        pages: Pages::of(selection, &written, job.method),
        gate: Gate::of(&chosen.gate),
        seconds: Seconds {
            open: opened.as_secs_f64(),
            classify: classified.as_secs_f64(),
            write: wrote.as_secs_f64(),
        },
        remarks: remarks.collect(),
        exit_code: outcome.code(),
    };
    Ok((report, outcome))
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let start = Instant::now();
    let value = work()?;
    Ok((start.elapsed(), value))
}
