//! The making of a dump from another, makedumpfile's main work.

use super::args::{MessageLevel, Options, Target};
use super::messages::Messages;
use super::sink::Limited;
use super::stats;
use super::{given, headers};
use crate::choose::{Chosen, choose};
use crate::cli::InputArgs;
use crate::commands::convert;
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use crate::output::Nowhere;
use crate::output::{self, destination, work};
use crate::show::progress;
use anyhow::{Context, Result, bail};
use dumpfile::Error;
use dumpfile::codec::Method;
use dumpfile::flattened::FlattenedSink;
use dumpfile::output::{OutputFile, RawDevice, Sink};
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use vmcore::{Dump, DumpLevel, Note};

/// What makedumpfile calls its standard output in messages.
const STDOUT: &str = "STDOUT";

/// The dump that is read, and its name for messages.
pub(super) struct Source {
    pub(super) args: InputArgs,
    pub(super) dump: Dump,
    /// Notes of hadump's own.
    notes: Vec<Note>,
    /// The dump is of a Xen host, and its frames are not those of any Linux in it.
    xen: bool,
}

/// The dump is not of a Xen host, as the user says. The text is makedumpfile's.
#[derive(Debug)]
pub(super) struct NotXen(String);

impl fmt::Display for NotXen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'-X' option is disable,because {} is not Xen's memory core image.", self.0)
    }
}

impl std::error::Error for NotXen {}

impl Source {
    pub(super) fn kernel(&self) -> Result<kernel::Kernel<'_>> {
        input::kernel(&self.dump, &self.args)
    }

    /// How the input's pages are compressed.
    pub(super) fn method(&self) -> Option<Method> {
        let (_, methods) = self.dump.source.format.split_once('(')?;
        let (first, _) = methods.split_once([',', ')'])?;
        Method::from_name(first)
    }
}

/// Opens VMCORE, and prints its headers and its VMCOREINFO with the debugging messages: openSUSE's kdump takes the release
/// and the time of the crash from them.
pub(super) fn open(options: &Options, path: &Path, say: Messages) -> Result<Source> {
    open_args(options, InputArgs::path(path), say)
}

pub(super) fn open_args(options: &Options, args: InputArgs, say: Messages) -> Result<Source> {
    let dump = input::open_as_it_is(&args, Prefer::Vmcore, None)?;
    let debugging = say.level().has(MessageLevel::DEBUG);
    if debugging {
        say.debug(headers::text(&args.input, &dump).trim_end());
    }
    let xen = dump.notes.iter().any(|note| note.name == b"Xen");
    if options.xen && !xen {
        return Err(NotXen(args.name()).into());
    }
    if options.xen {
        say.error(&format!("-X: {} is of a Xen host, of which all pages are kept", args.name()));
    }
    let (dump, notes) = given::apply(options, dump, say)?;
    if debugging && let Some(info) = &dump.vmcoreinfo {
        let lines =
            String::from_utf8_lossy(info.text()).lines().map(|l| format!("  {l}\n")).collect::<String>();
        say.debug(&format!("VMCOREINFO   :\n{lines}"));
    }
    if debugging {
        say.debug(&headers::facts(&dump));
    }
    Ok(Source { args, dump, notes, xen: options.xen })
}

/// Where a dump goes.
enum Out {
    File(OutputFile),
    Device(RawDevice),
    Stream(FlattenedSink<File>),
    Nowhere(Nowhere),
}

impl Out {
    fn open(options: &Options, source: &Source, target: &Target) -> Result<Self> {
        Ok(match target {
            Target::Stdout if options.dry_run => Self::Nowhere(Nowhere(STDOUT.into())),
            Target::Stdout => Self::Stream(stream()?),
            Target::File(path) if options.dry_run || output::is_null_device(path) => {
                Self::Nowhere(Nowhere(path.clone()))
            }
            Target::File(path) if options.force && is_disk(path) => {
                convert::refuse_input_as_output(&source.args, std::slice::from_ref(path))?;
                Self::Device(RawDevice::open(path)?)
            }
            Target::File(path) => Self::File(begin(options, Some(&source.args), path)?),
        })
    }

    fn sink(&self) -> &dyn Sink {
        match self {
            Self::File(file) => file,
            Self::Device(device) => device,
            Self::Stream(stream) => stream,
            Self::Nowhere(nowhere) => nowhere,
        }
    }

    /// Makes work files: where the user wants them, else beside the output if it is a file.
    fn work_files(&self, options: &Options) -> impl Fn() -> io::Result<File> + use<> {
        let output = match self {
            Self::File(file) => Some(file.path()),
            Self::Device(_) | Self::Stream(_) | Self::Nowhere(_) => None,
        };
        work::files(options.work_dir.as_deref(), output)
    }

    /// Ends the output, and returns the name that it has now.
    fn finish(self, whole: bool) -> Result<PathBuf, Error> {
        match self {
            Self::File(file) if whole => file.commit(),
            Self::File(file) => output::keep(file),
            Self::Device(device) => {
                device.sync()?;
                Ok(device.path().to_owned())
            }
            Self::Stream(stream) => {
                stream.finish()?;
                Ok(STDOUT.into())
            }
            Self::Nowhere(Nowhere(path)) => Ok(path),
        }
    }
}

/// Begins a flattened stream on standard output.
fn stream() -> Result<FlattenedSink<File>> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        bail!("refusing to write a dump to a terminal; redirect standard output");
    }
    // Not through the buffer of `Stdout`, which looks for line ends.
    let file = stdout.as_fd().try_clone_to_owned().context("standard output cannot be written to")?;
    Ok(FlattenedSink::new(File::from(file), STDOUT)?)
}

/// Begins a file of this name, which must not be one of the input's. With `-f` what the name stands for is written.
pub(super) fn begin(options: &Options, input: Option<&InputArgs>, path: &Path) -> Result<OutputFile> {
    if let Some(input) = input {
        convert::refuse_input_as_output(input, &[path.to_owned()])?;
    }
    if output::is_null_device(path) {
        return Ok(OutputFile::in_place(path)?);
    }
    if options.force {
        return Ok(OutputFile::create_over(path)?);
    }
    output::create(path, false, "-f")
}

fn is_disk(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.file_type().is_block_device())
}

/// Makes a dump, of the first dump level that fits.
pub(super) fn run(options: &Options, input: &Path, target: &Target, say: Messages) -> Result<Outcome> {
    let mut source = open(options, input, say)?;
    if options.elf {
        source.dump = convert::with_virtual_addresses(source.dump);
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
        let out = Out::open(options, source, target)?;
        let written = attempt.write(&out)?;
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
                let options = dumpfile::kdump::Options { method: options.codec, ..Default::default() };
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
    Source { args, dump, notes, xen }: &Source,
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
    let source = open(options, input, say)?;
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
