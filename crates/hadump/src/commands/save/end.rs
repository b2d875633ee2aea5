//! The end of a save: what remains to be released, the report, and the exit code.

use super::Saving;
use super::release::ReleaseMethod;
use super::report::{Expected, Interface, Released, Report};
use super::target;
use crate::beside::Beside;
use crate::input::mini::Mini;
use crate::outcome::Outcome;
use crate::show::report::{Gate, Input, Output, Pages, Seconds, words};
use ::save::engine::End;
use ::save::identity;
use ::save::journal::Journal;
use ::save::session;
use ::save::state::{self, GivenBack, Saved, State};
use ::save::target::Target;
use anyhow::{Result, anyhow};
use dumpfile::Written;
use dumpfile::codec::Choice;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vmcore::{Dump, DumpLevel, Selection};

/// What is known of a save before its first page is written.
pub(super) struct Plan<'a> {
    pub(super) dump: &'a Dump,
    /// All pages of the dump that are to be saved.
    pub(super) selection: &'a Selection,
    pub(super) asked: DumpLevel,
    /// What the mini dump is, if it is one.
    pub(super) mini: Option<Mini>,
    /// Pages are kept that the level would have left out.
    pub(super) more_kept: bool,
    /// The checks of the kernel's structures; `None` for a resumed save.
    pub(super) gate: Option<Gate>,
    pub(super) expected: Option<Expected>,
    pub(super) beside: Beside,
    pub(super) opened: Duration,
    pub(super) classified: Duration,
    pub(super) resumed: bool,
}

/// What was written, and how that ended.
pub(super) struct Wrote {
    pub(super) end: End,
    pub(super) written: Written,
    pub(super) complete: bool,
    /// The files, or `standard output`.
    pub(super) paths: Vec<String>,
    pub(super) format: &'static str,
    pub(super) compression: Choice,
    pub(super) took: Duration,
    pub(super) released: Released,
    /// The dump is where it was to go, or its receiver said so.
    pub(super) arrived: bool,
    pub(super) resumable: Option<Resumable>,
}

/// A save that can be resumed until its journal is removed.
pub(super) struct Resumable {
    target: Box<dyn Target>,
    journal: Journal,
}

/// A save that ended, in whichever way. The dump is closed.
pub(super) struct SaveResult {
    /// Identifies the dump.
    dump: u64,
    input: Input,
    pages: Pages,
    level: DumpLevel,
    asked: DumpLevel,
    mini: Option<Mini>,
    more_kept: bool,
    gate: Option<Gate>,
    expected: Option<Expected>,
    beside: Beside,
    seconds: Seconds,
    resumed: bool,
    /// Those of the dump.
    remarks: Vec<String>,
    wrote: Wrote,
    method: ReleaseMethod,
}

impl Saving<'_> {
    /// What a save in segments wrote into `target`, beginning when `started`, and `released` on its way.
    pub(super) fn wrote(
        &self,
        saved: session::Saved,
        target: Box<dyn Target>,
        compression: Choice,
        started: Instant,
        released: Released,
    ) -> Wrote {
        Wrote {
            end: saved.end,
            written: saved.written,
            complete: saved.complete,
            paths: target::files(saved.path),
            format: self.format(),
            compression,
            took: started.elapsed(),
            released,
            arrived: true,
            resumable: Some(Resumable { target, journal: saved.journal }),
        }
    }

    /// The result of a save by `plan`; `method` releases the remaining memory.
    pub(super) fn result(&self, plan: Plan<'_>, wrote: Wrote, method: ReleaseMethod) -> SaveResult {
        SaveResult {
            dump: identity(plan.dump),
            input: Input::of(plan.dump, self.args.root.display().to_string()),
            pages: Pages::of(plan.selection, &wrote.written, wrote.compression),
            level: plan.selection.level(),
            asked: plan.asked,
            mini: plan.mini,
            more_kept: plan.more_kept,
            gate: plan.gate,
            expected: plan.expected,
            beside: plan.beside,
            seconds: Seconds {
                open: plan.opened.as_secs_f64(),
                classify: plan.classified.as_secs_f64(),
                write: wrote.took.as_secs_f64(),
            },
            resumed: plan.resumed,
            remarks: target::remarks(plan.dump),
            wrote,
            method,
        }
    }

    /// Whether the kernel shows the dump as `/proc/vmcore`, which goes when its memory is given back.
    pub(super) fn shows_vmcore(&self) -> bool {
        self.args.root.join("proc/vmcore").exists()
    }

    /// Tells those who come later in this boot that the dump is saved. The save is worth no less where that fails.
    pub(super) fn note_saved(&mut self, saved: &Saved) {
        let noted = state::creatable(&self.args.root)
            .and_then(|state| state.map_or(Ok(()), |state| state.note_saved(saved)));
        noted.unwrap_or_else(|error| {
            self.remark(format!("not recorded that the dump is saved: {:#}", anyhow::Error::from(error)));
        });
    }

    /// Tells them what of its memory was given back.
    pub(super) fn note_given_back(&mut self, released: &Released) {
        let interface = match released.interface {
            Interface::ReleaseRegion if released.bytes > 0 => state::Interface::ReleaseRegion,
            Interface::ReleaseMem if released.all => state::Interface::ReleaseMem,
            _ => return,
        };
        let given = GivenBack { interface, all: released.all };
        let noted = State::create(&self.args.root).and_then(|state| state.note_given_back(given));
        noted.unwrap_or_else(|error| {
            self.remark(format!("not recorded that memory is given back: {:#}", anyhow::Error::from(error)));
        });
    }

    /// Releases the remaining memory, prints the report and removes the journal.
    pub(super) fn end(mut self, result: SaveResult) -> Result<Outcome> {
        let Wrote {
            end,
            written,
            complete,
            paths,
            format,
            compression,
            mut released,
            arrived,
            resumable,
            ..
        } = result.wrote;
        let whole = matches!(end, End::Whole);
        let any_page = written.data_pages + written.zero_pages > 0;
        // One that ended early is not done: the next run in this boot goes on with it.
        if arrived && whole && (complete || any_page) {
            // What went into a pipe has no name here.
            let name =
                |path: &String| if self.args.is_stream() { path.into() } else { absolute(Path::new(path)) };
            let files = paths.iter().map(name).collect();
            let (dump, asked, level) = (result.dump, result.asked, result.level);
            let from_vmcore = self.shows_vmcore();
            self.note_saved(&Saved { dump, files, complete, from_vmcore, asked, level, given_back: None });
        }
        if whole
            && let Err(error) =
                result.method.release_all(&self.args.root, self.reading.as_ref(), &mut released)
        {
            released.refused = Some(format!("{error:#}"));
        }
        self.note_given_back(&released);
        if let Some(why) = &released.refused {
            self.remark(why.clone());
        }
        let mut kept_journal = None;
        if let Some(Resumable { target, journal }) = resumable {
            if whole && released.refused.is_none() {
                let forgotten = target.forget(journal);
                forgotten.unwrap_or_else(|error| self.remark(format!("{:#}", anyhow::Error::from(error))));
            } else {
                kept_journal = Some(journal.path().display().to_string());
            }
        }
        let (ended, error) = match end {
            End::Whole => ("whole", None),
            End::NoRoom(error) => ("no_room", error.map(anyhow::Error::from)),
            End::Stopped => ("stopped", None),
            End::Failed(error) => ("failed", Some(anyhow::Error::from(error))),
        };
        if let Some(error) = &error {
            tracing::error!("{error:#}");
        }
        let outcome = (complete || any_page).then(|| Outcome::of(complete, result.more_kept));
        let report = Report {
            input: result.input,
            output: Output {
                path: paths.first().cloned().unwrap_or_default(),
                bytes: crate::output::length_of(&paths).unwrap_or(written.bytes),
                disk_bytes: crate::output::room_of(&paths),
                paths,
                format,
                compression: compression.name(),
                dump_level: result.level.bits(),
                mini: result.mini,
                complete,
                error: error.as_ref().map(|error| format!("{error:#}")),
            },
            pages: result.pages,
            gate: result.gate,
            seconds: result.seconds,
            ended,
            asked_level: result.asked.bits(),
            estimate: result.expected,
            unwritten: written.unwritten_pages,
            log: result.beside.log.map(|path| path.display().to_string()),
            crash_report: result.beside.report.iter().map(|path| path.display().to_string()).collect(),
            journal: kept_journal,
            released,
            resumed: result.resumed,
            remarks: result.remarks.into_iter().chain(std::mem::take(&mut self.remarks)).collect(),
            exit_code: outcome.map_or(crate::outcome::FAILED, Outcome::code),
        };
        // The dump is saved: a failure to print the report does not change the outcome.
        if let Err(error) = report.print(self.args.json, self.quiet) {
            tracing::error!("standard output: cannot print the report: {error:#}");
        }
        outcome.ok_or_else(|| error.unwrap_or_else(|| anyhow!("no page was saved: {}", words(ended))))
    }
}

/// The path from the root directory, as a later run has another working directory.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
