//! The making of a dump from another, makedumpfile's main work.

use super::args::{Options, Target};
use super::messages::Messages;
use super::out::{Out, STDOUT};
use super::sink::Limited;
use super::source::{self, Source};
use super::stats;
use crate::choose::{Chosen, choose};
use crate::input;
use crate::outcome::Outcome;
use crate::output::{self, Nowhere, destination};
use crate::show::progress;
use anyhow::{Context, Result};
use dumpfile::Error;
use dumpfile::codec::Choice;
use dumpfile::output::Sink;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Instant;
use vmcore::DumpLevel;

/// Makes a dump, of the first dump level that fits.
pub(super) fn run(options: &Options, input: &Path, target: &Target, say: Messages) -> Result<Outcome> {
    let mut source = source::open(options, input, say)?;
    if options.elf {
        source.dump = input::with_virtual_addresses(source.dump);
    }
    if let Some(earlier) = source.dump.source.dump_level {
        let together = |level: &DumpLevel| level.bits() | earlier.bits();
        if let Some(level) = options.levels.first().filter(|level| together(level) != level.bits()) {
            say.common(&format!(
                "dump_level is changed to {}, because {} was created by dump_level({earlier}).",
                together(level),
                input.display()
            ));
        }
    }
    if let Target::File(name) = target {
        source.report_beside(options, name, say);
    }
    make(options, &source, target, say)
}

/// As [`run`] for a dump that is open.
pub(super) fn make(options: &Options, source: &Source, target: &Target, say: Messages) -> Result<Outcome> {
    if let Some(addr) = options.vtop {
        let physical = source.kernel()?.translate(addr).context("--vtop: cannot translate the address")?;
        let (virt, physical) = (format!("{:x}", addr.0), physical.0);
        say.common(&format!(
            "\nTranslating virtual address {virt} to physical address.\nVIRTUAL           PHYSICAL\n{virt:<16}  \
             {physical:x}\n"
        ));
    }
    let mut levels = options.levels.iter().copied().peekable();
    while let Some(level) = levels.next() {
        let attempt = Attempt { options, source, level, say };
        let out = Out::open(options, &source.args, target)?;
        let written = attempt.write(&out)?;
        if let Err(given_away) = source.check_memory() {
            out.discard()?;
            return Err(given_away);
        }
        let (path, limit) = (out.sink().path().display().to_string(), options.limit);
        match written {
            Attempted::Whole { complete, more_kept } => {
                let name = match out.finish(complete) {
                    Err(Error::NotDurable { path, source }) => {
                        say.common(&format!("\nCan't write the dump file({}). {source}", path.display()));
                        say_kept(say, &path);
                        return Ok(Outcome::Incomplete);
                    }
                    name => name?,
                };
                say_more_kept(say, more_kept);
                say.common(&format!("\nThe dumpfile is saved to {}.", name.display()));
                return Ok(Outcome::of(complete, more_kept));
            }
            Attempted::CutShort { error, readable } => {
                let why = match (&error, limit) {
                    (Error::Write { source, .. }, Some(limit)) if is_limit(source) => {
                        format!("Size limit({limit}) reached.")
                    }
                    (Error::Write { source, .. }, _) => source.to_string(),
                    (error, _) => error.to_string(),
                };
                // Another level is of no help against anything else.
                let is_full = matches!(error, Error::Write { .. });
                say.common(&format!("\nCan't write the dump file({path}). {why}"));
                if let Some(next) = levels.peek().filter(|_| is_full)
                    && !out.sink().is_stream()
                {
                    say.common(&format!("Retry to create a dumpfile by dump_level({next})."));
                    progress::let_signals_end();
                    continue;
                }
                if !readable {
                    let name = source.args.name();
                    return Err(error).with_context(|| format!("{name}: no dump was written"));
                }
                // A stream without its end is one that was cut off, which is what it is.
                let kept = if out.sink().is_stream() { STDOUT.into() } else { out.finish(false)? };
                say_kept(say, &kept);
                return Ok(Outcome::Incomplete);
            }
        }
    }
    unreachable!("there is a dump level, and the last one returns")
}

fn is_limit(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::FBIG)
}

/// How far an attempt got.
enum Attempted {
    /// To the end; complete unless pages were lost.
    Whole { complete: bool, more_kept: bool },
    /// Something ended it early. It is readable if any page was written.
    CutShort { error: Error, readable: bool },
}

/// One dump level tried.
struct Attempt<'a> {
    options: &'a Options,
    source: &'a Source,
    level: DumpLevel,
    say: Messages,
}

impl Attempt<'_> {
    fn write(&self, out: &Out) -> Result<Attempted> {
        let Self { options, source: Source { args, dump, .. }, say, .. } = self;
        let chosen = self.choose(out)?;
        let limited = options.limit.map(|limit| Limited { sink: out.sink(), limit });
        let sink = limited.as_ref().map_or(out.sink(), |limited| limited as &dyn Sink);
        let started = Instant::now();
        let (written, result) = progress::watch_as(say.progress(chosen.selection.kept()), |progress| {
            let Chosen { selection, facts, .. } = &chosen;
            if options.elf {
                destination::write_elf(dump, selection, facts, sink, progress)
            } else {
                let options =
                    dumpfile::kdump::Options { method: Choice::One(options.codec), ..Default::default() };
                destination::write_kdump(dump, selection, facts, &options, sink, progress)
            }
        });
        say.step("Copying data", started.elapsed());
        if let Err(error) = result {
            return Ok(Attempted::CutShort { error, readable: written.seen() > 0 });
        }
        say.report(&stats::report(&chosen.selection, &written));
        let complete = output::is_complete(&written, dump);
        for found in dump.memory.damage().first {
            say.error(&found);
        }
        if !complete {
            let lost = written.lost_pages + written.missing_pages;
            say.error(&format!("{}: {lost} pages could not be read; the dump is incomplete", args.name()));
        }
        Ok(Attempted::Whole { complete, more_kept: chosen.more_kept() })
    }

    fn choose(&self, out: &Out) -> Result<Chosen> {
        choose_pages(self.source, self.level, self.say, &out.work_files(self.options))
    }
}

/// Chooses the pages to write, and prints remarks about that.
pub(super) fn choose_pages(
    Source { args, dump, notes, xen, .. }: &Source,
    level: DumpLevel,
    say: Messages,
    spill: &dyn Fn() -> io::Result<File>,
) -> Result<Chosen> {
    let started = Instant::now();
    let zeros = u32::from(level.bits() & DumpLevel::ZERO);
    let level = if *xen { DumpLevel::new(zeros).unwrap_or_default() } else { level };
    let chosen = choose(args, dump, level, true, notes.clone(), spill)?;
    say.step("Excluding unnecessary pages", started.elapsed());
    for remark in &chosen.remarks {
        say.error(remark);
    }
    Ok(chosen)
}

/// Says that the dump is not whole, in makedumpfile's words.
fn say_kept(say: Messages, kept: &Path) {
    say.common(&format!(
        "This is an incomplete dumpfile, but might analyzable.\nIt is kept in {}.",
        kept.display()
    ));
}

/// Says that pages were kept in doubt, in makedumpfile's words for a kernel that it does not know. Which pages and why has
/// been printed before.
pub(super) fn say_more_kept(say: Messages, more_kept: bool) {
    if more_kept {
        say.common("The kernel version is not supported.\nThe makedumpfile operation may be incomplete.");
    }
}

/// Counts the pages of each kind, those of zeros among them, and writes nothing.
pub(super) fn mem_usage(options: &Options, input: &Path, say: Messages) -> Result<Outcome> {
    let source = source::open(options, input, say)?;
    let attempt = Attempt { options, source: &source, level: DumpLevel::ALL, say };
    let nowhere = Nowhere("/dev/null".into());
    let chosen = attempt.choose(&Out::Nowhere(Nowhere("/dev/null".into())))?;
    let plain = dumpfile::kdump::Options::default();
    let written = progress::watch_as(say.progress(chosen.selection.kept()), |progress| {
        dumpfile::kdump::write(&source.dump, &chosen.selection, &chosen.facts, &plain, &nowhere, progress)
    })?;
    say.common(&stats::mem_usage(&chosen.selection, &written));
    Ok(Outcome::Complete)
}
