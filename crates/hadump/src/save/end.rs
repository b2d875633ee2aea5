//! The end of a save: what it is called, how it is reported, and with which exit code.

use super::give_back::Way;
use super::report::{Expected, Released, Report};
use super::{Saving, boot_id};
use crate::Outcome;
use crate::report::{Gate, Input, Output, Pages, Seconds};
use ::save::engine::End;
use ::save::journal::{History, Journal};
use ::save::skeleton_beside;
use ::save::target::Target;
use anyhow::{Context, Result, anyhow, bail};
use dumpfile::Written;
use dumpfile::codec::Method;
use phyp::system::System;
use std::path::{Path, PathBuf};
use vmcore::DumpLevel;

/// What can be gone on with, or is to be cleared away.
pub(super) struct Left {
    pub(super) target: Box<dyn Target>,
    pub(super) journal: Journal,
}

/// A save that ended, however that was.
pub(super) struct Ended {
    pub(super) input: Input,
    pub(super) pages: Pages,
    pub(super) level: DumpLevel,
    pub(super) asked: DumpLevel,
    /// Pages are kept that the level would have left out.
    pub(super) more_kept: bool,
    /// What was checked of the kernel; none where a save went on.
    pub(super) gate: Option<Gate>,
    pub(super) format: &'static str,
    pub(super) method: Option<Method>,
    pub(super) expected: Option<Expected>,
    pub(super) log: Option<PathBuf>,
    pub(super) seconds: Seconds,
    pub(super) way: Way,
    pub(super) given: Released,
    pub(super) resumed: bool,
    pub(super) remarks: Vec<String>,
    pub(super) end: End,
    pub(super) written: Written,
    pub(super) complete: bool,
    /// The files, or a word for what is none.
    pub(super) paths: Vec<String>,
    pub(super) left: Option<Left>,
}

impl Saving<'_> {
    /// Gives back what is left to be given back, reports, and clears away what is no longer needed. The dump is closed.
    pub(super) fn end(mut self, ended: Ended) -> Result<Outcome> {
        let Ended { end, written, complete, mut given, .. } = ended;
        let whole = matches!(end, End::Whole);
        if whole {
            match ended.way.all_at_once(&self.args.root) {
                Ok(all) => given.all |= all,
                Err(error) => given.refused = Some(format!("{error:#}")),
            }
        }
        if let Some(why) = &given.refused {
            self.remark(why.clone());
        }
        let mut journal = None;
        if let Some(Left { target, journal: kept }) = ended.left {
            if whole && given.refused.is_none() {
                let forgotten = target.forget(kept);
                forgotten.unwrap_or_else(|error| self.remark(format!("{:#}", anyhow::Error::from(error))));
            } else {
                journal = Some(kept.path().display().to_string());
            }
        }
        let (how, error) = match end {
            End::Whole => ("whole", None),
            End::NoRoom(error) => ("no room", error.map(anyhow::Error::from)),
            End::Stopped => ("stopped", None),
            End::Failed(error) => ("failed", Some(anyhow::Error::from(error))),
        };
        if let Some(error) = &error {
            tracing::error!("{error:#}");
        }
        let outcome = match (complete, ended.more_kept) {
            (true, false) => Some(Outcome::Complete),
            (true, true) => Some(Outcome::MoreKept),
            (false, _) if written.data_pages + written.zero_pages > 0 => Some(Outcome::Incomplete),
            (false, _) => None,
        };
        let report = Report {
            input: ended.input,
            output: Output {
                path: ended.paths.first().cloned().unwrap_or_default(),
                paths: ended.paths,
                format: ended.format,
                compression: ended.method.map(Method::name),
                dump_level: ended.level.bits(),
                bytes: written.bytes,
                complete,
                error: error.as_ref().map(|error| format!("{error:#}")),
            },
            pages: ended.pages,
            gate: ended.gate,
            seconds: ended.seconds,
            ended: how,
            asked_level: ended.asked.bits(),
            estimate: ended.expected,
            unwritten: written.unwritten_pages,
            log: ended.log.map(|path| path.display().to_string()),
            journal,
            released: given,
            resumed: ended.resumed,
            remarks: ended.remarks.into_iter().chain(std::mem::take(&mut self.remarks)).collect(),
            exit_code: outcome.map_or(crate::FAILED, Outcome::code),
        };
        // The dump is made; whether somebody could be told of it changes nothing.
        if let Err(error) = report.print(self.args.json, self.quiet) {
            tracing::error!("cannot print the report: {error:#}");
        }
        outcome.ok_or_else(|| error.unwrap_or_else(|| anyhow!("no page was saved: {how}")))
    }

    /// What is left to do of a save that was done but for its memory: that. Its dump may not be readable any more.
    pub(super) fn give_back_rest(
        mut self,
        target: &dyn Target,
        mut journal: Journal,
        history: &History,
        name: &Path,
    ) -> Result<Outcome> {
        self.say("resume", &format!("{}: the dump is saved", name.display()));
        let system = System::look(&self.args.root)?;
        // The dump's page size is in the dump, which may be gone; its file has it as well.
        let mut path = if history.finished == Some(true) { name.to_owned() } else { target.unfinished()? };
        if !path.exists() && self.args.write.is_sealed() {
            path = skeleton_beside(name);
        }
        let page_size = dumpfile::kdump::page_size(&path)
            .with_context(|| format!("{}: cannot be read back", path.display()))?;
        let (way, remark) = super::give_back::way(self.args, &system, page_size.bytes());
        if let Some(remark) = remark {
            self.remark(remark);
        }
        let mut releaser = way.releaser(&self.args.root, &history.released_in(&boot_id(&self.args.root)));
        if let Some(releaser) = &mut releaser {
            releaser.rest(&mut journal)?;
        }
        let at_once = way.all_at_once(&self.args.root)?;
        let given = way.given(releaser.as_ref());
        if let Some(why) = given.refused {
            bail!("the dump is saved as {}, but {why}", name.display());
        }
        target.forget(journal)?;
        if at_once || given.all {
            self.say("released", "all memory of the dump");
        }
        Ok(match (history.finished, history.begin.more_kept) {
            (Some(true), false) => Outcome::Complete,
            (Some(true), true) => Outcome::MoreKept,
            _ => Outcome::Incomplete,
        })
    }
}
