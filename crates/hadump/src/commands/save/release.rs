//! Releasing the dumped memory, that is, giving it back to the running system: range by range through phyp-dump's
//! `release_region`, or all at once through fadump's `release_mem`.

use super::report::{Interface, Released};
use crate::cli::{self, Save};
use crate::custody::Standing;
use ::save::Error;
use ::save::release::{Ground, ReleaseFile, Releaser};
use ::save::state::{Alone, Hold, State, names};
use anyhow::{Context, Result};
use phyp::giveback;
use phyp::meminfo;
use phyp::region::Reading;
use phyp::system::RELEASE_MEM;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vmcore::{DumpLevel, PhysAddr, Range, RangeSet};

/// How memory is released on this machine.
pub(super) enum ReleaseMethod {
    /// It is not: because that was not asked for, or for this reason.
    None(Option<String>),
    /// Range by range; all of it at the end if `late`.
    Ranges { ground: Ground, late: bool },
    /// All at once, through this file.
    AtOnce(PathBuf),
}

/// The levels of a saved dump.
#[derive(Clone, Copy)]
pub(super) struct Levels {
    pub(super) asked: DumpLevel,
    pub(super) saved: DumpLevel,
}

/// Decides by what was asked for, what the kernel offers and what the machine survives. The dump is saved in any case, so an
/// obstacle is no error. `page` is the dump's page size in bytes.
pub(super) fn method(args: &Save, standing: &Standing, page: u64, levels: Levels) -> ReleaseMethod {
    if args.release == cli::Release::Never || standing.custody.is_given_away() {
        return ReleaseMethod::None(None);
    }
    allowed(args, standing, page, levels).unwrap_or_else(|why| ReleaseMethod::None(Some(why)))
}

/// The method, or why memory is kept.
fn allowed(args: &Save, standing: &Standing, page: u64, levels: Levels) -> Result<ReleaseMethod, String> {
    let system = &standing.system;
    // At a lower level nothing was left out that was asked for.
    if levels.saved.bits() & !levels.asked.bits() != 0 && !args.release_raised {
        return Err(format!(
            "memory is kept, because the dump was saved at level {} and not at {}: what was left out is nowhere else \
             (--release-raised releases it all the same)",
            levels.saved, levels.asked
        ));
    }
    // phyp-dump frees in pages of the running kernel, which is not the one that made a directory elsewhere.
    let page = if args.root == Path::new("/") { rustix::param::page_size() as u64 } else { page };
    if system.leavings.release_region.is_some() {
        let ground = Ground::of(system, Reading::AddressLength, page).map_err(|error| error.to_string())?;
        return Ok(ReleaseMethod::Ranges { ground, late: args.release == cli::Release::After });
    }
    let Some(file) = RELEASE_MEM.iter().map(|file| args.root.join(file)).find(|file| file.exists()) else {
        return Err(
            "there is no memory to release: neither sys/kernel/release_region nor fadump's release_mem"
                .into(),
        );
    };
    // The kernel asks nobody who needs what it frees, and RTAS, freed, kills the machine when memory fills.
    match giveback::release(system) {
        Ok(release) => match release.objection() {
            Some(why) => Err(format!("memory is kept: {why}; a reboot gives it back")),
            None => Ok(ReleaseMethod::AtOnce(file)),
        },
        Err(unknown) => {
            Err(format!("memory is kept, as it is not known whom a release would hit: {unknown}"))
        }
    }
}

impl ReleaseMethod {
    /// Why memory is kept that was to be released.
    pub(super) fn kept(&self) -> Option<&str> {
        match self {
            Self::None(why) => why.as_deref(),
            Self::Ranges { .. } | Self::AtOnce(_) => None,
        }
    }

    /// What releases memory range by range, except what is `released` already, when nobody but `reading` reads the dump.
    pub(super) fn releaser(
        &self,
        root: &Path,
        reading: Option<&Hold>,
        released: &RangeSet<PhysAddr>,
    ) -> Option<Releaser> {
        let Self::Ranges { ground, .. } = self else { return None };
        let (root, reading) = (root.to_owned(), reading.cloned());
        let known = listed(&root).unwrap_or_default();
        let file = Files { root, reading, page: ground.page, alone: None, known };
        Some(Releaser::new(ground.clone(), Box::new(file), released.clone()))
    }

    /// Whether ranges are released only when the dump is whole.
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Self::Ranges { late: true, .. })
    }

    /// What was released so far.
    pub(super) fn released(&self, releaser: Option<&Releaser>) -> Released {
        let interface = match self {
            Self::None(_) => Interface::None,
            Self::Ranges { .. } => Interface::ReleaseRegion,
            Self::AtOnce(_) => Interface::ReleaseMem,
        };
        let kept = self.kept().map(str::to_owned);
        let Some(releaser) = releaser else { return Released { interface, kept, ..Released::default() } };
        Released {
            interface,
            kept,
            bytes: releaser.released().total(),
            all: releaser.ground().all().subtract(releaser.released()).is_empty(),
            refused: releaser.refused().map(str::to_owned),
        }
    }

    /// Releases everything at once, if that is the method, when nobody but `reading` reads the dump, and notes in `released`
    /// what came back. No process may have `/proc/vmcore` open.
    pub(super) fn release_all(
        &self,
        root: &Path,
        reading: Option<&Hold>,
        released: &mut Released,
    ) -> Result<()> {
        let Self::AtOnce(file) = self else { return Ok(()) };
        let failed = || format!("{}: cannot write 1 to it, so memory is not released", file.display());
        let _alone = reading.map(alone_at_last).transpose().with_context(failed)?;
        let all = Range::new(PhysAddr(0), PhysAddr(u64::MAX));
        let state = State::create(root).with_context(failed)?;
        if state.released().with_context(failed)?.iter().eq([all]) {
            // By another hadump, that saved the same dump meanwhile.
            released.all = true;
            return Ok(());
        }
        let mut open = OpenOptions::new().write(true).open(file).with_context(failed)?;
        state.note_released(all).with_context(failed)?;
        let before = memory_total(root);
        if let Err(error) = open.write_all(b"1") {
            // The kernel releases all or nothing.
            state.forget_released();
            return Err(error).with_context(failed);
        }
        released.all = true;
        let grown = before.zip(memory_total(root)).and_then(|(before, after)| after.checked_sub(before));
        released.bytes = grown.unwrap_or_default();
        Ok(())
    }
}

/// Bytes of memory that the kernel uses.
fn memory_total(root: &Path) -> Option<u64> {
    meminfo::field(&std::fs::read_to_string(root.join("proc/meminfo")).ok()?, "MemTotal")
}

/// How long a release waits for those who read the dump. A conversion takes minutes; a boot must not wait for one that is stuck.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until nobody else reads the dump.
fn alone_at_last(reading: &Hold) -> Result<Alone, Error> {
    reading.alone_at_last(PATIENCE, |others| {
        tracing::warn!("memory is released when {} no longer reads the dump", names(others));
    })
}

/// The files of a 2008 kernel.
struct Files {
    root: PathBuf,
    reading: Option<Hold>,
    page: u64,
    /// Held while memory is released.
    alone: Option<Alone>,
    /// What this process or an earlier run of the same save noted as released; the last page of each range may not be.
    known: RangeSet<PhysAddr>,
}

/// What is noted as released.
fn listed(root: &Path) -> Result<RangeSet<PhysAddr>, Error> {
    State::find(root)?.map_or_else(|| Ok(RangeSet::default()), |state| state.released())
}

impl ReleaseFile for Files {
    fn release(&mut self, start: PhysAddr, len: u64) -> io::Result<()> {
        let end = start.0.saturating_add(len).saturating_add(self.page);
        let range = Range::new(start, PhysAddr(end));
        let noted = State::create(&self.root).and_then(|state| state.note_released(range));
        noted.map_err(io::Error::other)?;
        self.known.insert(range);
        let mut region = OpenOptions::new().write(true).open(self.root.join("sys/kernel/release_region"))?;
        // In one write: the kernel parses each on its own.
        let text = format!("{start} {len:#x}\n");
        match region.write(text.as_bytes())? {
            written if written == text.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn memory_total(&mut self) -> Option<u64> {
        memory_total(&self.root)
    }

    fn claim(&mut self, last: bool) -> Result<RangeSet<PhysAddr>, Error> {
        if let Some(reading) = &self.reading {
            self.alone = if last { Some(alone_at_last(reading)?) } else { reading.alone()? };
            if self.alone.is_none() {
                return Err(Error::Held { holders: reading.others() });
            }
        }
        Ok(listed(&self.root)?.subtract(&self.known))
    }

    fn let_go(&mut self) {
        self.alone = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use phyp::custody::{Custody, Owner};
    use phyp::system::System;

    fn kept(options: &[&str], [asked, saved]: [u32; 2], owner: Owner) -> Option<String> {
        let words = ["hadump", "save", "--to", "x", "--release", "after"].iter().chain(options);
        let Command::Save(args) = Cli::parse_from(words).command else { panic!("a save") };
        let standing = Standing {
            system: System::default(),
            custody: Custody { owner, evidence: Vec::new() },
            saved: None,
        };
        let level = |bits| DumpLevel::new(bits).unwrap();
        method(&args, &standing, 4096, Levels { asked: level(asked), saved: level(saved) })
            .kept()
            .map(str::to_owned)
    }

    #[test]
    fn memory_is_kept_after_a_save_at_a_raised_level_unless_that_was_asked_for() {
        let raised = kept(&[], [1, 31], Owner::Dump).unwrap();
        assert!(raised.contains("level 31 and not at 1") && raised.contains("--release-raised"), "{raised}");
        // What is in the way then is the next thing: this machine has no file to write to.
        let other = kept(&["--release-raised"], [1, 31], Owner::Dump).unwrap();
        assert!(other.contains("there is no memory to release"), "{other}");
        assert_eq!(kept(&[], [1, 1], Owner::Dump).unwrap(), other);
        // More was kept than asked for: nothing is missing.
        assert_eq!(kept(&[], [31, 1], Owner::Dump).unwrap(), other);
        // There is nothing to be kept of what is gone.
        assert_eq!(kept(&[], [1, 31], Owner::System), None);
    }
}
