//! Resuming a save that was interrupted.

use super::end::{Plan, SaveResult, absolute};
use super::release::Levels;
use super::target::{self, InterruptedSave, TargetKind};
use super::{Opened, Saving, StartOver};
use crate::beside::Beside;
use crate::outcome::Outcome;
use crate::show::progress;
use ::save::engine::Limits;
use ::save::journal::{Begin, History, Journal, Record};
use ::save::session::{self, Earlier, SaveJob};
use ::save::state::{Saved, boot_id};
use ::save::target::Target;
use ::save::{Error, Guarded, identity};
use anyhow::{Context, Result, bail};
use dumpfile::kdump::{self, Unfinished};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An interrupted save of which something is durable.
struct Begun<'a> {
    target: Box<dyn Target>,
    journal: Journal,
    history: &'a History,
    /// The dump's final name.
    name: &'a Path,
}

impl Saving<'_> {
    /// Continues what an earlier run left.
    pub(super) fn resume(mut self, kind: &TargetKind, interrupted: InterruptedSave) -> Result<Outcome> {
        let InterruptedSave { target, found, name } = interrupted;
        let (journal, history) = match found {
            Earlier::Nothing(None) => return self.begin(kind, None),
            Earlier::Nothing(Some(journal)) => {
                return self.begin(kind, Some(StartOver { target, journal, name }));
            }
            Earlier::Done(journal, history) if history.is_of(&boot_id(&self.args.root)) => {
                return self.release_rest(&*target, journal, &history, &name);
            }
            Earlier::Done(journal, history) => {
                // A journal of an earlier boot says nothing about the dump of this one, unless it is the same. Closed,
                // as no process may have it open when it is released.
                drop(self.open_same(&journal, &history)?);
                return self.release_rest(&*target, journal, &history, &name);
            }
            Earlier::Unproven(journal, _) => bail!(
                "{}: says that the save is finished, but {} is not the dump that it is about, or is not whole; to save \
                 again, use --force instead of --resume",
                journal.path().display(),
                name.display()
            ),
            Earlier::Begun(journal, history) => (journal, history),
        };
        let mut opened = self.open_same(&journal, &history)?;
        if history.checkpoint.is_none() {
            // Without a checkpoint nothing was released either.
            self.say("resume", "nothing was durable yet: the save starts over");
            self.opened = Some(opened);
            return self.begin(kind, Some(StartOver { target, journal, name }));
        }
        self.found(&opened.dump);
        opened.dump.memory = Box::new(Guarded::new(opened.dump.memory, &history.gone));
        let begun = Begun { target, journal, history: &history, name: &name };
        let result = self.resume_at(kind, begun, opened)?;
        self.end(result)
    }

    /// Opens the dump that waits, which must be the one that the journal is about.
    fn open_same(&mut self, journal: &Journal, history: &History) -> Result<Opened> {
        let opened = self.open()?;
        let expected = identity(&opened.dump);
        if expected != history.begin.dump {
            let path = journal.path().to_owned();
            bail!(Error::OtherDump { path, found: history.begin.dump, expected });
        }
        Ok(opened)
    }

    fn resume_at(&mut self, kind: &TargetKind, begun: Begun<'_>, opened: Opened) -> Result<SaveResult> {
        let Begun { target, journal, history, name } = begun;
        let dump = &opened.dump;
        let unfinished = target.outline(false)?;
        if let Some(found) = unfinished.identity.filter(|found| *found != history.begin.dump) {
            bail!(Error::OtherDump { path: target.unfinished()?, found, expected: history.begin.dump });
        }
        let work_files = self.work_files(kind, name);
        let checkpoint = history.checkpoint.context("there is no checkpoint")?;
        let unfinished = Unfinished::open(&target.unfinished()?, &checkpoint, || work_files().map(Some))?;
        let (left, all) = (unfinished.remaining().kept(), unfinished.whole().kept());
        self.say("resume", &format!("{}: {} of {all} pages are durable", name.display(), all - left));
        let levels = Levels { asked: history.begin.asked, saved: unfinished.whole().level() };
        let method = self.release_method(dump.page_size(), levels)?;
        let boot = boot_id(&self.args.root);
        let mut releaser =
            method.releaser(&self.args.root, self.reading.as_ref(), &history.released_in(&boot));
        let room = self.room(kind, name)?;
        let options = kdump::Options {
            method: history.begin.method,
            level: history.begin.level,
            ..kdump::Options::default()
        };
        let given_away = || self.custody.given_away();
        let started = Instant::now();
        let saved = progress::watch(left, dump.page_size().bytes(), self.quiet, |progress| {
            let job = SaveJob {
                dump,
                pages: session::Pages::Rest(&unfinished),
                options,
                limits: Limits { segment: self.args.segment, room: &room, given_away: &given_away },
                release: releaser.as_mut(),
                release_late: method.is_late(),
                boot: &boot,
            };
            session::save(&*target, Some(journal), job, progress)
        });
        let saved = saved.map_err(|error| self.explain(error))?;
        let plan = Plan {
            dump,
            selection: unfinished.whole(),
            asked: history.begin.asked,
            mini: None,
            more_kept: history.begin.more_kept,
            gate: None,
            expected: None,
            beside: Beside::of(name, self.args.write.is_encrypted()),
            opened: opened.took,
            classified: Duration::ZERO,
            resumed: true,
        };
        let released = method.released(releaser.as_ref());
        let wrote = self.wrote(saved, target, options.method, started, released);
        Ok(self.result(plan, wrote, method))
    }

    /// Finishes a save whose dump is complete but whose memory was not all released. The dump in memory may no longer be
    /// readable.
    fn release_rest(
        mut self,
        target: &dyn Target,
        mut journal: Journal,
        history: &History,
        name: &Path,
    ) -> Result<Outcome> {
        self.say("resume", &format!("{}: the dump is saved", name.display()));
        let from_vmcore = self.shows_vmcore();
        // The page size is taken from the saved file: the dump in memory may be gone.
        let outline = target.outline(history.finished == Some(true))?;
        let levels = Levels { asked: history.begin.asked, saved: outline.level };
        let method = self.release_method(outline.page_size, levels)?;
        let boot = boot_id(&self.args.root);
        let Begin { dump, asked, .. } = history.begin;
        let files = target::files(absolute(name)).into_iter().map(PathBuf::from).collect();
        let (complete, level) = (history.finished == Some(true), outline.level);
        self.note_saved(&Saved { dump, files, complete, from_vmcore, asked, level, given_back: None });
        if !history.is_of(&boot) {
            journal.append(&Record::Boot(boot.clone()))?;
        }
        let mut releaser =
            method.releaser(&self.args.root, self.reading.as_ref(), &history.released_in(&boot));
        if let Some(releaser) = &mut releaser {
            releaser.rest(&mut journal)?;
        }
        let mut released = method.released(releaser.as_ref());
        if let Err(error) = method.release_all(&self.args.root, self.reading.as_ref(), &mut released) {
            released.refused = Some(format!("{error:#}"));
        }
        self.note_given_back(&released);
        if let Some(text) = released.text() {
            self.say("released", &text);
        }
        match released.refused {
            // The journal stays: the same command tries again.
            Some(why) => self.remark(format!("the dump is saved as {}, but {why}", name.display())),
            None => target.forget(journal)?,
        }
        Ok(Outcome::of(history.finished == Some(true), history.begin.more_kept))
    }
}
