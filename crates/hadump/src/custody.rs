//! Whose the memory is that was kept for the last crash's dump: what the machine shows, and what hadump itself noted in
//! this boot.

use ::save::Guarded;
use ::save::state::{Saved, State};
use anyhow::{Result, bail};
use phyp::custody::{self, Custody, Known, Owner};
use phyp::giveback;
use phyp::system::System;
use std::path::{Path, PathBuf};
use vmcore::{Dump, Pfn, PhysAddr, Range, RangeSet};

/// A machine after its boot.
pub(crate) struct Standing {
    /// What it shows.
    pub(crate) system: System,
    /// Whose the memory is.
    pub(crate) custody: Custody,
    /// What hadump saved of the dump in this boot.
    pub(crate) saved: Option<Saved>,
}

impl Standing {
    /// Looks below `root`; where that is the running machine itself, the kernel is asked as well.
    ///
    /// # Errors
    ///
    /// When what hadump noted in this boot cannot be read or is not believed: then nothing of the dump may be read.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        let noted = Noted::read(root)?;
        Self::with(root, noted)
    }

    /// As [`Standing::of`], for a report: a note that cannot be read is a finding.
    pub(crate) fn as_far_as_known(root: &Path) -> Result<Self> {
        let (noted, error) = match Noted::read(root) {
            Ok(noted) => (noted, None),
            Err(error) => (Noted::default(), Some(anyhow::Error::from(error))),
        };
        let mut standing = Self::with(root, noted)?;
        if let Some(error) = error {
            standing.system.findings.warning(format!("{error:#}"));
        }
        Ok(standing)
    }

    fn with(root: &Path, Noted { released, saved }: Noted) -> Result<Self> {
        let mut system = System::look(root)?;
        system.released = released;
        let vmcore_seen = saved.as_ref().is_some_and(|saved| saved.from_vmcore);
        let custody = custody::custody(&system, Known { probe: custody::probe(root), vmcore_seen });
        Ok(Self { system, custody, saved })
    }

    /// Whether the memory is the dump's, as far as anybody can tell.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.custody.owner, Owner::Dump | Owner::Unknown)
    }

    /// Why nothing of the dump may be read but what the firmware copied; `None` where all of it may.
    pub(crate) fn given_away(&self) -> Option<String> {
        let whose = match self.custody.owner {
            Owner::System => "was given back to the running system",
            Owner::Refused => "was given to the running system by the kernel",
            Owner::NoDump | Owner::Dump | Owner::Unknown => return None,
        };
        let why = self.custody.evidence.join("; ");
        Some(format!("the memory of the dump {whose} ({why})"))
    }

    /// The dump without what this boot's firmware and loader have written over in the firmware's copy: no kernel knows of it,
    /// and every reader of `/proc/vmcore` takes it for memory of the crashed system. Those that are not the kernel's own
    /// are not missed ([`crate::choose::destroyed`]).
    pub(crate) fn without_overwritten(&self, mut dump: Dump) -> Dump {
        // Where it is not known who lies where, nothing is known to be lost.
        for overwritten in giveback::overwritten(&self.system).unwrap_or_default() {
            let remark = format!("{overwritten}: these pages are lost");
            tracing::warn!("{remark}");
            dump.source.remarks.push(remark);
            dump = without(dump, &overwritten.lost);
            let page = dump.page_size();
            let frames =
                overwritten.lost.iter().map(|r| Range::new(page.pfn(r.start), Pfn(page.frames(r.end.0))));
            frames.for_each(|range| dump.source.destroyed.insert(range));
        }
        dump
    }

    /// The dump without what hadump released of it range by range in this boot.
    pub(crate) fn without_released(&self, dump: Dump) -> Dump {
        let released = &self.system.released;
        if released.is_empty() {
            return dump;
        }
        tracing::warn!("{} bytes were released by an earlier save and are treated as lost", released.total());
        without(dump, released)
    }

    /// The dump with everything taken for lost but what the firmware copied aside, which the kernel keeps reserved.
    pub(crate) fn what_is_left(&self, dump: Dump) -> Dump {
        let gone = dump.memory.map().bytes().subtract(&self.system.boot_memory());
        let mut dump = without(dump, &gone);
        dump.source.incomplete = true;
        dump
    }
}

/// Watches whether the memory of a machine's dump is still the dump's while it is read.
pub(crate) struct Watch {
    root: PathBuf,
    /// `/proc/vmcore` was there when it began.
    vmcore_seen: bool,
    /// It was given away before that already, and whoever reads it knows.
    known: bool,
}

impl Watch {
    /// Begins to watch the machine with this root.
    pub(crate) fn of(root: &Path) -> Self {
        let vmcore_seen = root.join("proc/vmcore").exists();
        let watch = Self { root: root.to_owned(), vmcore_seen, known: false };
        Self { known: watch.look().is_ok_and(|custody| custody.is_given_away()), ..watch }
    }

    /// What shows that somebody gave the memory to the running system, if anything does; or why that cannot be known.
    ///
    /// The kernel is not asked through its release file: that is for whoever means to release memory.
    pub(crate) fn given_away(&self) -> Option<String> {
        match self.look() {
            Ok(custody) => (custody.is_given_away() && !self.known).then(|| custody.evidence.join("; ")),
            Err(error) => {
                let (root, error) = (self.root.display(), anyhow::Error::from(error));
                Some(format!("{root}: cannot be looked at: {error:#}"))
            }
        }
    }

    fn look(&self) -> Result<Custody, phyp::Error> {
        let system = System::look(&self.root)?;
        Ok(custody::custody(&system, Known { vmcore_seen: self.vmcore_seen, probe: None }))
    }
}

/// Refuses to keep what was read, if the memory of the machine that is watched turns out not to have been the dump's any more.
pub(crate) fn check(watch: Option<&Watch>) -> Result<()> {
    match watch.and_then(Watch::given_away) {
        Some(why) => bail!("{why}: what was read may not be the dump's, and is not kept"),
        None => Ok(()),
    }
}

/// What hadump noted in this boot.
#[derive(Default)]
struct Noted {
    released: RangeSet<PhysAddr>,
    saved: Option<Saved>,
}

impl Noted {
    fn read(root: &Path) -> Result<Self, ::save::Error> {
        let Some(state) = State::find(root)? else { return Ok(Self::default()) };
        Ok(Self { released: state.released()?, saved: state.saved()? })
    }
}

/// The dump without what of its memory is `gone`: that is lost, and never read.
fn without(mut dump: Dump, gone: &RangeSet<PhysAddr>) -> Dump {
    dump.memory = Box::new(Guarded::new(dump.memory, gone));
    dump
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_cannot_be_looked_at_any_more_is_not_trusted() {
        let root = tempfile::tempdir().unwrap();
        let watch = Watch::of(root.path());
        assert_eq!(watch.given_away(), None);
        root.close().unwrap();
        let why = watch.given_away().unwrap();
        assert!(why.contains("cannot be looked at: "), "{why}");
    }
}
