//! `hadump receive`: a dump as it comes through a pipe, into a file.

use crate::cli;
use crate::outcome::Outcome;
use crate::output::{self, received};
use crate::show::progress::Waiting;
use crate::show::{report, units};
use anyhow::{Context, Result, bail};
use dumpfile::flattened::{Covered, StreamEnd, Unflattened, unflatten};
use dumpfile::kdump::mark_incomplete;
use dumpfile::output::{Gathered, OutputFile, Sink};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sealed::{Identities, Unsealer};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, IoSlice, IsTerminal, Read, Stdin, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How long a stream may pause before what has arrived is made durable, and how often signals are looked at.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Bytes that are read at once: records may be single bytes.
const BUFFER: usize = 1 << 17;

/// What arrived. `docs/json.md` describes the fields.
#[derive(Debug, Serialize)]
struct Report {
    path: PathBuf,
    /// Bytes of the stream.
    received: u64,
    complete: bool,
    /// Pages that should have arrived and did not, where the stream ended too early.
    lost: Option<Lost>,
    /// What ended the stream before its end.
    error: Option<String>,
    exit_code: u8,
}

#[derive(Debug, Serialize)]
struct Lost {
    pages: u64,
    of: u64,
}

/// Receives and reports.
pub(crate) fn run(args: &cli::Receive, quiet: bool) -> Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        // The second one ends the program: what arrived is in the file either way.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))
            .context("cannot catch signals")?;
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot catch signals")?;
    }
    if io::stdin().is_terminal() {
        bail!(
            "standard input is a terminal, and a dump comes through a pipe: hadump convert DUMP -o - | hadump receive {}",
            args.file.display()
        );
    }
    let identities = Identities::read(&args.identity)?;
    let output = output::create_resumable(&args.file, args.force, output::FORCE)?;
    let gathered = Gathered::new(&output);
    let sink = Counted { out: &gathered, bytes: AtomicU64::new(0) };
    let pausing = || if args.ack { acknowledge(&sink) } else { Ok(()) };
    let waiting = Waiting::new(quiet);
    let mut input = Patient {
        input: io::stdin(),
        buffer: Vec::new(),
        at: 0,
        stop: &stop,
        pausing: &pausing,
        waiting: Some(waiting),
    };
    let arrived = read(&mut input, &identities, &sink);
    let arrived = match arrived.and_then(|arrived| Ok(gathered.flush().map(|()| arrived)?)) {
        Ok(arrived) => arrived,
        Err(error) => return stopped_writing(args, output, &error, quiet),
    };
    if let Some(bytes) = arrived.foreign {
        output.discard();
        let shown: Vec<String> = bytes.iter().take(16).map(|b| format!("{b:02x}")).collect();
        let found = if bytes.is_empty() {
            "it is empty".into()
        } else {
            format!("it begins with {}", shown.join(" "))
        };
        bail!("standard input is not a flattened dump: {found}; send one with: hadump convert DUMP -o -");
    }
    let (received, bytes) = (arrived.received, sink.bytes.load(Ordering::Relaxed));
    let error = match arrived.end {
        StreamEnd::Whole => return whole(args, output, bytes, received, &arrived.covered, quiet),
        _ if stop.load(Ordering::Relaxed) => "stopped on request".to_owned(),
        StreamEnd::Cut(None) => "the stream ended without its end record".to_owned(),
        StreamEnd::Cut(Some(error)) => format!("the stream broke: {error}"),
        StreamEnd::Damaged(what) => format!("the stream is damaged: {what}"),
    };
    cut_short(args, output, received, error, quiet)
}

/// Writes the stream's bytes to their offsets in `sink`, decrypted if they are encrypted.
fn read(input: &mut dyn Read, identities: &Identities, sink: &dyn Sink) -> Result<Unflattened> {
    let mut prefix = Vec::new();
    (&mut *input).take(32).read_to_end(&mut prefix).context("standard input cannot be read")?;
    let encrypted = sealed::is_sealed(&prefix);
    let mut input = prefix.chain(input);
    if encrypted {
        let inputs = std::iter::once(Ok((PathBuf::from("standard input"), input)));
        return Ok(unflatten(&mut Unsealer::new(identities, inputs), sink)?);
    }
    Ok(unflatten(&mut input, sink)?)
}

/// Names the file of a stream that arrived to its end, if it is a dump, and, as it is on the disk, one that fits its own
/// checksums or, without these, together.
fn whole(
    args: &cli::Receive,
    output: OutputFile,
    bytes: u64,
    received: u64,
    covered: &Covered,
    quiet: bool,
) -> Result<Outcome> {
    let name = OutputFile::incomplete_name(&args.file)?;
    if let Err(error) = output.sync() {
        return stopped_writing(args, output, &error.into(), quiet);
    }
    let (complete, problems) = received::look_at(&name, covered).with_context(|| {
        format!("the stream is complete but does not contain a dump; it is kept in {}", name.display())
    })?;
    if !problems.is_empty() {
        return not_as_sent(args, output, &name, received, problems, quiet);
    }
    let path = match if complete { output.commit() } else { output.keep_incomplete() } {
        Err(error @ dumpfile::Error::NotDurable { .. }) => {
            let (lost, path) = (None, error.kept().unwrap_or(&name).to_owned());
            return incomplete(
                args,
                path,
                received,
                lost,
                format!("{:#}", anyhow::Error::from(error)),
                quiet,
            );
        }
        path => path?,
    };
    if args.ack {
        print(&format!("complete {bytes}\n"))?;
    }
    let outcome = if complete { Outcome::Complete } else { Outcome::Incomplete };
    Report { path, received, complete, lost: None, error: None, exit_code: outcome.code() }
        .print(args, quiet)?;
    Ok(outcome)
}

/// Keeps a dump that is not what the sender wrote, marked as incomplete where its format can be.
fn not_as_sent(
    args: &cli::Receive,
    output: OutputFile,
    name: &Path,
    received: u64,
    problems: Vec<String>,
    quiet: bool,
) -> Result<Outcome> {
    let file = OpenOptions::new().read(true).write(true).open(name);
    if let Err(error) = file.map_err(anyhow::Error::from).and_then(|file| Ok(mark_incomplete(&file, name)?)) {
        tracing::warn!("the dump is kept and may not be marked as incomplete: {error:#}");
    }
    let path = output::keep(output)?;
    let error = format!("the dump did not arrive as it was sent: {}", problems.join("; "));
    incomplete(args, path, received, None, error, quiet)
}

/// Keeps what the disk took before it failed, if it can be read.
fn stopped_writing(
    args: &cli::Receive,
    output: OutputFile,
    error: &anyhow::Error,
    quiet: bool,
) -> Result<Outcome> {
    let received = std::fs::metadata(OutputFile::incomplete_name(&args.file)?).map_or(0, |m| m.len());
    cut_short(args, output, received, format!("{error:#}"), quiet)
}

/// Keeps what arrived of a stream that ended too early, if it can be read.
fn cut_short(
    args: &cli::Receive,
    output: OutputFile,
    received: u64,
    error: String,
    quiet: bool,
) -> Result<Outcome> {
    let (path, marked) = match received::keep_cut(output, &OutputFile::incomplete_name(&args.file)?)? {
        Ok(kept) => kept,
        Err(unusable) => bail!("{error}; what arrived is unusable: {unusable}"),
    };
    let lost = marked.map(|marked| Lost { pages: marked.lost, of: marked.pages });
    incomplete(args, path, received, lost, error, quiet)
}

/// Reports what is not whole.
fn incomplete(
    args: &cli::Receive,
    path: PathBuf,
    received: u64,
    lost: Option<Lost>,
    error: String,
    quiet: bool,
) -> Result<Outcome> {
    tracing::error!("{error}");
    let outcome = Outcome::Incomplete;
    Report { path, received, complete: false, lost, error: Some(error), exit_code: outcome.code() }
        .print(args, quiet)?;
    Ok(outcome)
}

impl Report {
    fn print(&self, args: &cli::Receive, quiet: bool) -> Result<()> {
        if args.json {
            return report::print_json(self);
        }
        if quiet {
            return Ok(());
        }
        let mut text = format!("{:>10}  {}\n", "received", units::bytes(self.received));
        if let Some(lost) = &self.lost {
            text += &format!("{:>10}  {} of {} pages did not arrive\n", "lost", lost.pages, lost.of);
        }
        let state = if self.complete { "" } else { ", INCOMPLETE" };
        text += &format!("{:>10}  {}{state}\n", "output", self.path.display());
        crate::show::terminal::stderr().write_all(text.as_bytes())?;
        Ok(())
    }
}

/// Prints on standard output how many bytes of the dump's file are on the disk, for a sender that waits for that before it
/// releases memory.
fn acknowledge(sink: &Counted<'_>) -> io::Result<()> {
    let bytes = sink.bytes.load(Ordering::Relaxed);
    sink.sync().map_err(io::Error::other)?;
    print(&format!("durable {bytes}\n"))
}

fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}

/// A sink that counts the bytes written to it.
struct Counted<'a> {
    out: &'a Gathered<'a>,
    bytes: AtomicU64,
}

impl Sink for Counted<'_> {
    fn path(&self) -> &Path {
        self.out.path()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), dumpfile::Error> {
        self.out.write_at(offset, bytes)?;
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn write_parts_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), dumpfile::Error> {
        self.out.write_parts_at(offset, parts)?;
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&self) -> Result<(), dumpfile::Error> {
        self.out.sync()
    }
}

/// Standard input that a signal can stop and that calls back when it pauses.
struct Patient<'a> {
    input: Stdin,
    /// What was read and not asked for yet begins at `at`.
    buffer: Vec<u8>,
    at: usize,
    stop: &'a AtomicBool,
    /// Called once in each pause of [`PAUSE`] or longer.
    pausing: &'a dyn Fn() -> io::Result<()>,
    /// Says that nothing came yet, until something comes.
    waiting: Option<Waiting>,
}

impl Patient<'_> {
    /// Hands out of what was read.
    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let there = &self.buffer[self.at..];
        let count = there.len().min(bytes.len());
        bytes[..count].copy_from_slice(&there[..count]);
        self.at += count;
        count
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut said = false;
        if self.at < self.buffer.len() {
            return Ok(self.take(bytes));
        }
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            // Without the standard library's buffer, whose content `poll` does not see.
            let ready = poll(&mut [PollFd::new(&self.input, PollFlags::IN)], Some(&PAUSE));
            if let (Ok(0), Some(waiting)) = (&ready, &mut self.waiting) {
                waiting.say("waiting for a dump on standard input");
            }
            match ready {
                Ok(0) if said => {}
                Ok(0) => {
                    (self.pausing)()?;
                    said = true;
                }
                Ok(_) => {
                    self.waiting = None;
                    self.at = 0;
                    self.buffer.resize(BUFFER, 0);
                    let have = rustix::io::read(&self.input, &mut self.buffer[..]);
                    self.buffer.truncate(have.unwrap_or(0));
                    have?;
                    return Ok(self.take(bytes));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
