//! Which of the saves that were interrupted in a directory is the one of the dump that waits.

use super::Saving;
use super::target::{self, InterruptedSave, TargetKind};
use crate::show::units;
use ::save::journal::History;
use ::save::state::boot_id;
use ::save::target::journal_beside;
use ::save::{Error, Guarded, identity};
use anyhow::Result;
use std::path::Path;
use vmcore::{PhysAddr, RangeSet};

impl Saving<'_> {
    /// Looks for the interrupted save of the dump that waits among the directories in `parent`. Saves of other dumps, which
    /// earlier crashes left, are left alone. Without `--resume` there is only a look at what was released for this dump, which
    /// is not read again.
    pub(super) fn earlier_in(&mut self, kind: &TargetKind, parent: &Path) -> Result<Option<InterruptedSave>> {
        let journals = target::journals_in(parent)?;
        if journals.is_empty() {
            return Ok(None);
        }
        let boot = boot_id(&self.args.root);
        let mut unproven = Vec::new();
        for (name, found) in &journals {
            let Ok(Some(history)) = found else { continue };
            if target::is_unproven(kind, name, self.args, history)? {
                unproven.push(name.clone());
                if self.args.resume {
                    self.remark(format!(
                        "{}: says that the dump beside it is finished, which that does not prove; it is left alone",
                        journal_beside(name).display()
                    ));
                }
            } else if self.args.resume && history.finished.is_some() && history.is_of(&boot) {
                // The dump may be gone by now, and no other waits in the same boot.
                return target::earlier_at(kind, name.clone(), self.args);
            }
        }
        let mut opened = self.open()?;
        let dump = identity(&opened.dump);
        let mut own = Vec::new();
        for (name, found) in journals {
            let journal = journal_beside(&name);
            match found {
                Ok(Some(history)) if history.begin.dump == dump => own.push((name, history)),
                Ok(_) if !self.args.resume => {}
                Ok(_) => {
                    self.remark(format!("{}: not about this dump, so it is left alone", journal.display()));
                }
                Err(error @ Error::JournalDamaged { dump: Some(of), .. })
                    if self.args.resume && of == dump =>
                {
                    return Err(error.into());
                }
                Err(error) => self.remark(format!("{:#}; it is left alone", anyhow::Error::from(error))),
            }
        }
        // What was released in an earlier boot is overwritten.
        let gone: RangeSet<PhysAddr> = own.iter().flat_map(|(_, history)| history.gone.iter()).collect();
        if !gone.is_empty() {
            opened.dump.memory = Box::new(Guarded::new(opened.dump.memory, &gone));
        }
        self.opened = Some(opened);
        if !self.args.resume {
            for (name, history) in own.iter().filter(|(_, history)| !history.gone.is_empty()) {
                let (name, released) = (name.display(), units::bytes(history.gone.total()));
                self.remark(format!(
                    "{name}: an interrupted save of this dump released {released}, which a new save cannot read; --resume \
                     continues it"
                ));
            }
            return Ok(None);
        }
        // The one with the most that cannot be read again.
        let durable = |history: &History| history.checkpoint.map(|checkpoint| checkpoint.next_offset);
        own.retain(|(name, _)| !unproven.contains(name));
        let best = own.into_iter().max_by_key(|(_, h)| (h.finished, h.gone.total(), durable(h)));
        best.map_or(Ok(None), |(name, _)| target::earlier_at(kind, name, self.args))
    }
}
