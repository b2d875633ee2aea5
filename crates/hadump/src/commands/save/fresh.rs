//! A save from its beginning.

use super::end::{Plan, SaveResult};
use super::prepare::Prepared;
use super::release::{Levels, ReleaseMethod};
use super::target::{self, TargetKind};
use super::{Opened, Saving, StartOver};
use crate::beside::Beside;
use crate::outcome::Outcome;
use crate::show::progress;
use crate::show::report::Gate;
use ::save::engine::Limits;
use ::save::session::{self, SaveJob};
use ::save::state::boot_id;
use anyhow::Result;
use std::path::Path;
use std::time::{Duration, Instant};
use vmcore::{Dump, RangeSet};

/// A new save, decided and not begun.
pub(super) struct Fresh {
    pub(super) dump: Dump,
    pub(super) prepared: Prepared,
    pub(super) beside: Beside,
    pub(super) opened: Duration,
}

impl Fresh {
    /// What is known before the first page is written.
    pub(super) fn plan(&self) -> Plan<'_> {
        let chosen = &self.prepared.chosen;
        Plan {
            dump: &self.dump,
            selection: &chosen.selection,
            asked: self.prepared.asked,
            mini: self.prepared.mini.clone(),
            more_kept: chosen.more_kept(),
            gate: Some(Gate::of(&chosen.gate)),
            expected: Some(self.prepared.expected),
            beside: self.beside.clone(),
            opened: self.opened,
            classified: self.prepared.classified,
            resumed: false,
        }
    }
}

impl Saving<'_> {
    /// Saves all of the dump: in the place of an earlier save that is started over, if there is one.
    pub(super) fn begin(mut self, kind: &TargetKind, over: Option<StartOver>) -> Result<Outcome> {
        if over.is_none() {
            kind.check(self.args)?;
        }
        let opened = self.open()?;
        self.found(&opened.dump);
        let (name, made) = match (kind, &over) {
            (_, Some(over)) => (over.name.clone(), None),
            (TargetKind::Directory(parent), None) => {
                let kernel = kernel::Kernel::open(&opened.dump).ok();
                let host = kernel.map(|kernel| kernel.utsname().nodename.clone());
                let here = self.args.root.join("proc/sys/kernel/hostname");
                let here = std::fs::read_to_string(here).unwrap_or_default();
                let directory = target::make_directory(parent, host.as_deref().unwrap_or_default(), &here)?;
                (directory.join(target::NAME), Some(directory))
            }
            (TargetKind::File(name) | TargetKind::Device(name), None) => (name.clone(), None),
            (TargetKind::Stream, None) => ("-".into(), None),
        };
        let result = self.begin_at(kind, &name, over, opened);
        if result.is_err()
            && let Some(directory) = made
        {
            // Succeeds only if the directory is empty.
            let _ = std::fs::remove_dir(directory);
        }
        self.end(result?)
    }

    fn begin_at(
        &mut self,
        kind: &TargetKind,
        name: &Path,
        over: Option<StartOver>,
        Opened { dump, notes, vmlinux, took }: Opened,
    ) -> Result<SaveResult> {
        let beside =
            if kind.is_file() { self.save_beside(&dump, name, over.is_some()) } else { Beside::default() };
        if let TargetKind::Device(device) = kind
            && over.is_none()
        {
            target::check_device(device, &dump, self.args)?;
        }
        let room = self.room(kind, name)?;
        let prepared = self.prepare(&dump, notes, vmlinux.as_ref(), room(0), &self.work_files(kind, name))?;
        let levels = Levels { asked: prepared.asked, saved: prepared.chosen.selection.level() };
        let mut method = self.release_method(dump.page_size(), levels)?;
        if matches!((kind, &method), (TargetKind::Device(_), ReleaseMethod::Ranges { .. }))
            && self.args.journal.is_none()
        {
            let why = "memory is not released: a block device needs --journal for that".to_owned();
            self.remark(why.clone());
            method = ReleaseMethod::None(Some(why));
        }
        let fresh = Fresh { dump, prepared, beside, opened: took };
        if self.args.is_plain() {
            return self.save_plainly(kind, name, fresh, method);
        }
        let (target, journal) = match over {
            Some(StartOver { target, journal, .. }) => (target, Some(journal)),
            None => (target::of(kind, name, self.args, self.args.force)?, None),
        };
        let started = Instant::now();
        let Fresh { dump, prepared, .. } = &fresh;
        let mut releaser = method.releaser(&self.args.root, self.reading.as_ref(), &RangeSet::default());
        let (chosen, options) = (&prepared.chosen, self.options());
        let given_away = || self.custody.given_away();
        // A mini dump was packed to fit, as its pages are compressed; the engine would reckon without compression.
        let room = |len: u64| if prepared.mini.is_some() { None } else { room(len) };
        let saved =
            progress::watch(chosen.selection.kept(), dump.page_size().bytes(), self.quiet, |progress| {
                let job = SaveJob {
                    dump,
                    pages: session::Pages::All {
                        whole: &chosen.selection,
                        parts: prepared.order(),
                        facts: &chosen.facts,
                        asked: prepared.asked,
                        more_kept: chosen.more_kept(),
                    },
                    options,
                    limits: Limits { segment: self.args.segment, room: &room, given_away: &given_away },
                    release: releaser.as_mut(),
                    release_late: method.is_late(),
                    boot: &boot_id(&self.args.root),
                };
                session::save(&*target, journal, job, progress)
            });
        let saved = saved.map_err(|error| self.explain(error))?;
        let released = method.released(releaser.as_ref());
        let wrote = self.wrote(saved, target, options.method, started, released);
        Ok(self.result(fresh.plan(), wrote, method))
    }
}
