//! Releasing the dumped memory, that is, giving it back to the running system: range by range through phyp-dump's
//! `release_region`, or all at once through fadump's `release_mem`.

use super::report::{Interface, Released};
use crate::cli::{self, Save};
use ::save::release::{Ground, ReleaseFile, Releaser};
use anyhow::{Context, Result};
use phyp::custody::RELEASE_MEM;
use phyp::region::Reading;
use phyp::system::{RELEASED, System, meminfo_field};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use vmcore::{PhysAddr, RangeSet};

/// How memory is released on this machine.
pub(super) enum ReleaseMethod {
    /// It is not: that was not asked for, or there is nothing to release.
    None,
    /// Range by range; all of it at the end if `late`.
    Ranges { ground: Ground, late: bool },
    /// All at once, through this file.
    AtOnce(PathBuf),
}

/// Decides by what was asked for and what the kernel offers. The dump is saved in any case, so an obstacle is a remark and
/// not an error. `page` is the dump's page size in bytes.
pub(super) fn method(args: &Save, system: &System, page: u64) -> (ReleaseMethod, Option<String>) {
    if args.release == cli::Release::Never {
        return (ReleaseMethod::None, None);
    }
    // phyp-dump frees in pages of the running kernel, which is not the one that made a directory elsewhere.
    let page = if args.root == Path::new("/") { rustix::param::page_size() as u64 } else { page };
    if system.leavings.release_region.is_some() {
        return match Ground::of(system, Reading::AddressLength, page) {
            Ok(ground) => (ReleaseMethod::Ranges { ground, late: args.release == cli::Release::After }, None),
            Err(error) => (ReleaseMethod::None, Some(error.to_string())),
        };
    }
    match RELEASE_MEM.iter().map(|file| args.root.join(file)).find(|file| file.exists()) {
        Some(file) => (ReleaseMethod::AtOnce(file), None),
        None => {
            let none =
                "there is no memory to release: neither sys/kernel/release_region nor fadump's release_mem";
            (ReleaseMethod::None, Some(none.into()))
        }
    }
}

impl ReleaseMethod {
    /// What releases memory range by range, except what is `released` already.
    pub(super) fn releaser(&self, root: &Path, released: &RangeSet<PhysAddr>) -> Option<Releaser> {
        let Self::Ranges { ground, .. } = self else { return None };
        let file = Files { root: root.to_owned(), page: ground.page };
        Some(Releaser::new(ground.clone(), Box::new(file), released.clone()))
    }

    /// Whether ranges are released only when the dump is whole.
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Self::Ranges { late: true, .. })
    }

    /// What was released so far.
    pub(super) fn released(&self, releaser: Option<&Releaser>) -> Released {
        let interface = match self {
            Self::None => Interface::None,
            Self::Ranges { .. } => Interface::ReleaseRegion,
            Self::AtOnce(_) => Interface::ReleaseMem,
        };
        let Some(releaser) = releaser else { return Released { interface, ..Released::default() } };
        Released {
            interface,
            bytes: releaser.released().total(),
            all: releaser.ground().all().subtract(releaser.released()).is_empty(),
            refused: releaser.refused().map(str::to_owned),
        }
    }

    /// Releases everything at once, if that is the method, and reports whether it is. No process may have `/proc/vmcore`
    /// open.
    pub(super) fn release_all(&self, root: &Path) -> Result<bool> {
        let Self::AtOnce(file) = self else { return Ok(false) };
        let failed = || format!("{}: cannot write 1 to it, so memory is not released", file.display());
        let mut open = OpenOptions::new().write(true).open(file).with_context(failed)?;
        note_released(root, &format!("{}-{:#x}", PhysAddr(0), u64::MAX)).with_context(failed)?;
        if let Err(error) = open.write_all(b"1") {
            // The kernel releases all or nothing.
            let _ = std::fs::remove_file(root.join(RELEASED));
            return Err(error).with_context(failed);
        }
        Ok(true)
    }
}

/// Notes what is about to be released: whatever is in this memory afterwards, no command may read it as part of the dump
/// in this boot.
fn note_released(root: &Path, range: &str) -> io::Result<()> {
    let note = root.join(RELEASED);
    if let Some(parent) = note.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut file = OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(flags).open(note)?;
    file.write_all(format!("{range}\n").as_bytes())
}

/// The files of a 2008 kernel.
struct Files {
    root: PathBuf,
    page: u64,
}

impl ReleaseFile for Files {
    fn release(&mut self, start: PhysAddr, len: u64) -> io::Result<()> {
        let end = start.0.saturating_add(len).saturating_add(self.page);
        note_released(&self.root, &format!("{start}-{end:#x}"))?;
        let mut region = OpenOptions::new().write(true).open(self.root.join("sys/kernel/release_region"))?;
        // In one write: the kernel parses each on its own.
        let text = format!("{start} {len:#x}\n");
        match region.write(text.as_bytes())? {
            written if written == text.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn memory_total(&mut self) -> Option<u64> {
        let text = std::fs::read_to_string(self.root.join("proc/meminfo")).ok()?;
        meminfo_field(&text, "MemTotal")
    }
}
