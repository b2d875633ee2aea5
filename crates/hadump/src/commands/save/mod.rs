//! `hadump save`: saves the dump waiting on this machine and, if asked, releases its memory.
//!
//! `docs/save.md` says what is done in which order, and what is left when a save ends early.

mod earlier;
mod end;
mod fresh;
mod plain;
mod prepare;
mod release;
mod report;
mod resume;
mod target;

use crate::cli::{self, Format};
use crate::custody::{Standing, Watch};
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use crate::output::{self, work};
use crate::threads;
use ::save::journal::Journal;
use ::save::session::Earlier;
use ::save::state::{self, Hold, Saved};
use ::save::target::{Target, free_space, journal_beside, journal_of};
use ::save::{Error, identity};
use anyhow::{Result, anyhow, bail};
use dumpfile::codec::Choice;
use dumpfile::kdump;
use dumpfile::output::{RawDevice, directory_of};
use kernel::knowledge::vmlinux_of;
use kernel::vmlinux::Vmlinux;
use release::{Levels, ReleaseMethod};
use report::say;
use rustix::fs::OFlags;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use target::{InterruptedSave, TargetKind};
use vmcore::{Dump, Note, PageSize};

/// Saves and reports.
pub(crate) fn run(args: &cli::Save, quiet: bool) -> Result<Outcome> {
    let threads = args.write.threads.unwrap_or_else(threads::that_fit);
    let mut saving = Saving {
        args,
        quiet,
        method: args.write.choice(),
        remarks: Vec::new(),
        opened: None,
        reading: None,
        custody: Watch::of(&args.root),
    };
    saving.hold();
    threads::on(Some(threads), || saving.run())
}

/// One run of the command.
struct Saving<'a> {
    args: &'a cli::Save,
    quiet: bool,
    /// How pages are compressed.
    method: Choice,
    /// Anomalies and what was done about them, one sentence each.
    remarks: Vec<String>,
    /// The dump, if it was looked at before it is saved.
    opened: Option<Opened>,
    /// Keeps the dump's memory from being released by others.
    reading: Option<Hold>,
    /// Tells whether they did all the same.
    custody: Watch,
}

/// A file or device of an earlier run to start over in, with its journal.
struct StartOver {
    target: Box<dyn Target>,
    journal: Journal,
    /// The dump's final name.
    name: PathBuf,
}

/// The dump waiting on this machine.
struct Opened {
    dump: Dump,
    /// Notes of hadump's own about what was done to it.
    notes: Vec<Note>,
    /// What knows the kernel's types, for a mini dump.
    vmlinux: Option<Vmlinux>,
    took: Duration,
}

impl Saving<'_> {
    fn run(mut self) -> Result<Outcome> {
        let mut kind = TargetKind::of(self.args)?;
        let finished = if self.args.resume { self.already_saved(&kind)? } else { None };
        if finished.is_none()
            && let Some(why) = kind.move_aside(self.args)
        {
            self.remark(why);
        }
        let earlier = match &kind {
            // A new save gets a directory of its own, and leaves others in the same place alone.
            TargetKind::Directory(parent) if self.args.journal.is_none() => self.earlier_in(&kind, parent)?,
            TargetKind::Directory(_) if !self.args.resume => None,
            _ => {
                if let TargetKind::File(name) = &kind
                    && self.args.journal.is_none()
                    && let (usual, used) = (journal_beside(name), journal_of(name))
                    && usual != used
                {
                    let (usual, used) = (usual.display(), used.display());
                    self.remark(format!(
                        "{usual}: may be another user's, so it is left alone; the journal is {used}"
                    ));
                }
                target::earlier(&kind, self.args)?
            }
        };
        match earlier {
            Some(earlier) if self.args.resume => self.resume(&kind, earlier),
            Some(earlier) => {
                self.clear_away(earlier)?;
                self.begin(&kind, None)
            }
            None => {
                if let Some(saved) = finished {
                    self.say(
                        "resume",
                        &format!("{}: the dump was saved in this boot", saved.files[0].display()),
                    );
                    let outcome = Outcome::of(saved.complete, false);
                    if self.args.json {
                        report::saved_before(&saved, outcome)?;
                    }
                    return Ok(outcome);
                }
                if self.args.resume {
                    self.say("resume", "no interrupted save of this dump found; starting a new one");
                }
                self.begin(&kind, None)
            }
        }
    }

    /// What was saved of this dump in this boot at this target, if that is still there and nothing is left to be released
    /// for it: a boot unit that always passes `--resume` then has nothing to do.
    fn already_saved(&self, kind: &TargetKind) -> Result<Option<Saved>> {
        let (TargetKind::Directory(target) | TargetKind::File(target)) = kind else { return Ok(None) };
        let target = end::absolute(target);
        let standing = Standing::of(&self.args.root)?;
        let done = self.args.release == cli::Release::Never || !standing.waits();
        // A file that another user may have put there since proves nothing.
        let ours = |file: &PathBuf| {
            file.starts_with(&target) && matches!(::save::trust::open(file, OFlags::RDONLY), Ok(Some(_)))
        };
        let there = |saved: &Saved| !saved.files.is_empty() && saved.files.iter().all(ours);
        Ok(standing.saved.filter(|saved| done && saved.complete && there(saved)))
    }

    /// Keeps others from releasing the dump's memory while it is saved. It is saved also where that cannot be done.
    fn hold(&mut self) {
        let held = state::creatable(&self.args.root).and_then(|state| state.map(|s| s.hold()).transpose());
        match held {
            Ok(reading) => self.reading = reading,
            Err(error) => self.remark(format!(
                "nothing keeps others from releasing the dump's memory meanwhile: {:#}",
                anyhow::Error::from(error)
            )),
        }
    }

    fn say(&self, label: &str, text: &str) {
        say(self.quiet, label, text);
    }

    fn remark(&mut self, remark: String) {
        tracing::warn!("{remark}");
        self.remarks.push(remark);
    }

    /// Makes room for a new save where an earlier one was interrupted, if that was asked for.
    fn clear_away(&mut self, interrupted: InterruptedSave) -> Result<()> {
        let name = interrupted.name.display();
        let (journal, history) = match interrupted.found {
            Earlier::Nothing(None) => return Ok(()),
            Earlier::Nothing(Some(journal)) => (journal, None),
            Earlier::Begun(journal, history)
            | Earlier::Done(journal, history)
            | Earlier::Unproven(journal, history) => (journal, Some(history)),
        };
        if !self.args.force {
            bail!(
                "{name}: an interrupted save is here; use --resume to continue it or --force to start over"
            );
        }
        if let Some(history) = history.filter(|history| !history.gone.is_empty()) {
            let opened = self.open()?;
            // The memory of an earlier crash is no concern of this dump.
            if identity(&opened.dump) == history.begin.dump {
                bail!(
                    "{name}: an interrupted save has already released memory, so it cannot be restarted; use --resume"
                );
            }
            self.opened = Some(opened);
        }
        Ok(interrupted.target.forget(journal)?)
    }

    fn open(&mut self) -> Result<Opened> {
        if let Some(opened) = self.opened.take() {
            return Ok(opened);
        }
        let started = Instant::now();
        let input = self.args.input();
        let mut dump = input::open_held(&input, Prefer::Vmcore, self.reading.as_ref())?;
        let mut notes = Vec::new();
        let mini = self.args.write.level.mini().is_some();
        let vmlinux = input.vmlinux.as_deref().filter(|_| mini);
        let vmlinux = vmlinux.map(|path| vmlinux_of(&mut dump, path)).transpose()?;
        if mini && self.args.write.format == Format::Elf {
            // What it takes depends on where the kernel is mapped.
            dump = input::with_virtual_addresses(dump);
        }
        if self.args.write.fill_crash_notes {
            (dump, notes) = crate::input::crash_notes::fill(dump, &input)?;
        }
        Ok(Opened { dump, notes, vmlinux, took: started.elapsed() })
    }

    /// The name of the format that can be resumed.
    fn format(&self) -> &'static str {
        if self.args.write.is_encrypted() { "kdump-compressed v6, encrypted" } else { "kdump-compressed v6" }
    }

    /// How pages are stored by a new save.
    fn options(&self) -> kdump::Options {
        self.args.write.kdump_options(self.method)
    }

    /// Makes work files for the dump `name`: beside it if it is a file, or where the user said.
    fn work_files(&self, kind: &TargetKind, name: &Path) -> impl Fn() -> io::Result<File> + use<> {
        work::files(self.args.work_dir.as_deref(), kind.is_file().then_some(name))
    }

    /// How much more the target takes, by the length that the output has; `None` where that is not known.
    fn room(&self, kind: &TargetKind, name: &Path) -> Result<impl Fn(u64) -> Option<u64> + Sync + use<>> {
        let reserve = self.args.reserve_space;
        let encrypted = self.args.write.is_encrypted();
        let directory = directory_of(name);
        let capacity = match kind {
            TargetKind::Device(device) => Some(RawDevice::open(device)?.capacity()),
            TargetKind::Stream => Some(u64::MAX),
            TargetKind::Directory(_) | TargetKind::File(_) => None,
        };
        Ok(move |len: u64| match capacity {
            Some(u64::MAX) => None,
            Some(capacity) => Some(capacity.saturating_sub(len).saturating_sub(reserve)),
            // Encrypted, each page has a descriptor in the skeleton as well, and each 64 KiB an authentication tag.
            None if encrypted => free_space(&directory, reserve).ok().flatten().map(|room| room - room / 64),
            None => free_space(&directory, reserve).ok().flatten(),
        })
    }

    /// Decides how memory is released.
    fn release_method(&mut self, page: PageSize, levels: Levels) -> Result<ReleaseMethod> {
        let standing = Standing::of(&self.args.root)?;
        let method = release::method(self.args, &standing, page.bytes(), levels);
        if let Some(why) = method.kept() {
            self.remark(why.to_owned());
        }
        Ok(method)
    }

    /// Says what to do about a file that is in the way.
    fn explain(&self, error: Error) -> anyhow::Error {
        match error {
            // --force cannot be combined with --resume.
            Error::Output(dumpfile::Error::Write { path, source, .. })
                if self.args.resume && source.kind() == io::ErrorKind::AlreadyExists =>
            {
                anyhow!("{}: already exists; move it away, as --resume replaces no file", path.display())
            }
            Error::Output(error) => output::explain_existing(error, output::FORCE),
            error => error.into(),
        }
    }
}
