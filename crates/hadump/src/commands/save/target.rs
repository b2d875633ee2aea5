//! Where a dump goes: from the target that the user named to a file, and to what an earlier run left there.

use crate::cli::Save;
use crate::output::{self, FORCE};
use ::save::journal::{History, Journal};
use ::save::session::{Earlier, find, is_done};
use ::save::target::{DeviceTarget, FileTarget, Target, journal_beside, journal_of};
use ::save::{Error, SealedTarget};
use anyhow::{Context, Result, bail};
use dumpfile::kdump::Outline;
use dumpfile::output::{RawDevice, directory_of, sync_directory};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::fs::{Access, OFlags};
use sealed::Part;
use std::fs::DirBuilder;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use vmcore::Dump;

/// The name of a dump in a directory of its own.
pub(super) const NAME: &str = "vmcore";

/// What kind of target the user named.
pub(super) enum TargetKind {
    /// A directory, to create `HOST-DATE` in.
    Directory(PathBuf),
    /// A file.
    File(PathBuf),
    /// A block device.
    Device(PathBuf),
    /// Standard output.
    Stream,
}

impl TargetKind {
    /// Looks at the first target.
    pub(super) fn of(args: &Save) -> Result<Self> {
        let to = args.to.first().context("no target is given")?;
        if args.is_stream() {
            return Ok(Self::Stream);
        }
        let metadata = match std::fs::metadata(to) {
            // As in an initramfs that has nothing there yet.
            Err(e) if e.kind() == ErrorKind::NotFound && ends_with_slash(to) => {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(to);
                made.with_context(|| format!("{}: cannot create this directory", to.display()))?;
                return Ok(Self::Directory(to.clone()));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::File(to.clone())),
            other => other.with_context(|| format!("{}: cannot look at it", to.display()))?,
        };
        let kind = metadata.file_type();
        if !kind.is_dir() && ends_with_slash(to) {
            bail!("{}: not a directory", to.display());
        }
        if kind.is_dir() {
            Ok(Self::Directory(to.clone()))
        } else if kind.is_block_device() {
            Ok(Self::Device(to.clone()))
        } else if kind.is_file() {
            Ok(Self::File(to.clone()))
        } else {
            bail!(
                "{}: neither a directory nor a file nor a block device; for a pipe use --to -",
                to.display()
            )
        }
    }
}

/// What is there of a name that a dump would have.
enum Leftover {
    /// A file of the very name, or the first of an encrypted dump.
    Dump(PathBuf),
    /// One that a save would write before it is whole.
    Unfinished(PathBuf),
}

impl Leftover {
    fn of(name: &Path, args: &Save) -> Option<Self> {
        let there = |path: PathBuf| path.symlink_metadata().is_ok().then_some(path);
        let encrypted = args.write.is_encrypted();
        let first_part = || there(Part { dump: name.to_owned(), number: 0 }.path()).filter(|_| encrypted);
        if let Some(dump) = there(name.to_owned()).or_else(first_part) {
            return Some(Self::Dump(dump));
        }
        let mut written = name.to_owned().into_os_string();
        if encrypted {
            written.push(".skeleton");
        }
        let unfinished = dumpfile::output::OutputFile::incomplete_name(Path::new(&written)).ok()?;
        there(unfinished).map(Self::Unfinished)
    }
}

impl TargetKind {
    /// Takes the first free name beside the one that was given where something has that, and returns why: what waits now is
    /// lost if it is not saved, whatever is there. An interrupted save keeps its name.
    pub(super) fn move_aside(&mut self, args: &Save) -> Option<String> {
        let Self::File(name) = self else { return None };
        if args.force || args.cut().is_some() {
            return None;
        }
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        // Beside another user's journal the save has one of another name.
        let journal = args.journal.clone().unwrap_or_else(|| journal_of(name));
        let has_journal = is_there(&journal);
        if has_journal && (args.journal.is_some() || !Journal::is_foreign(&journal)) {
            return None;
        }
        let why = match Leftover::of(name, args) {
            Some(Leftover::Dump(dump)) => format!("{}: an earlier dump has this name", dump.display()),
            Some(Leftover::Unfinished(file)) => {
                format!("{}: no interrupted save of this dump, as it has no journal", file.display())
            }
            None if has_journal => format!("{}: no journal of a save", journal.display()),
            None => return None,
        };
        let numbered = |n: u32| {
            let mut numbered = name.clone().into_os_string();
            numbered.push(format!(".{n}"));
            PathBuf::from(numbered)
        };
        let is_free = |name: &PathBuf| {
            let journal = args.journal.clone().unwrap_or_else(|| journal_beside(name));
            !is_there(&journal) && Leftover::of(name, args).is_none()
        };
        let free = (2..=u32::MAX).map(numbered).find(is_free)?;
        *name = free;
        Some(format!("{why}; this dump is saved as {}", name.display()))
    }

    /// Whether the dump becomes a file.
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::Directory(_) | Self::File(_))
    }

    /// Refuses a target that cannot be written to, before all memory is looked at.
    pub(super) fn check(&self, args: &Save) -> Result<()> {
        if matches!(self, Self::Stream) {
            output::check_standard_output()?;
        }
        let Self::File(name) = self else { return Ok(()) };
        let names = if args.to.len() > 1 { &args.to[..] } else { std::slice::from_ref(name) };
        for name in names {
            let directory = directory_of(name);
            match std::fs::metadata(&directory) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => bail!("{}: not a directory", directory.display()),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(output::no_directory(&directory));
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("{}: cannot look at it", directory.display()));
                }
            }
            rustix::fs::access(&directory, Access::WRITE_OK | Access::EXEC_OK)
                .with_context(|| format!("{}: no file can be created in it", directory.display()))?;
            if (args.cut().is_none() || args.to.len() > 1) && !args.force && name.symlink_metadata().is_ok() {
                return Err(output::exists(name, FORCE));
            }
        }
        Ok(())
    }
}

/// Refuses a device with something on it that is not known to be in nobody's way: an unfinished save of this `dump`. What the
/// machine's configuration names for the purpose is the dump's.
pub(super) fn check_device(device: &Path, dump: &Dump, args: &Save) -> Result<()> {
    let Some(found) = RawDevice::open(device)?.contents()? else { return Ok(()) };
    let outline = Outline::open(device).ok();
    let unfinished = |o: Outline| !o.complete && o.identity == Some(::save::identity(dump));
    if args.force || outline.is_some_and(unfinished) || names(&args.root.join(CONFIGURATION), device) {
        return Ok(());
    }
    bail!("{}: holds {found}, which a dump would overwrite; use {FORCE} for that", device.display())
}

/// What `hadump-boot` is configured by, relative to the root.
const CONFIGURATION: &str = "etc/hadump.conf";

/// Whether the file `configuration` says that dumps go to `device`.
fn names(configuration: &Path, device: &Path) -> bool {
    let Ok(Some(file)) = ::save::trust::open(configuration, OFlags::RDONLY) else { return false };
    let mut text = String::new();
    let read = file.take(1 << 20).read_to_string(&mut text);
    let number = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.rdev());
    // A piece of shell: it may be exported, quoted, and followed by a comment.
    let values = text.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("export ").unwrap_or(line).trim_start().strip_prefix("HADUMP_TO=")
    });
    let mut values = values.map(|value| match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().unwrap_or_default(),
        _ => value.split_whitespace().next().unwrap_or_default(),
    });
    read.is_ok()
        && values.any(|value| {
            Path::new(value) == device
                || number(Path::new(value)).is_some_and(|n| n != 0 && Some(n) == number(device))
        })
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// A host's name as part of a file's, if it is one. It comes from the dump, so it is not trusted.
fn host_name(host: &str) -> Option<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' };
    let host: String = host.trim().chars().take(64).map(plain).collect();
    let host = host.trim_start_matches(['.', '-', '_']).trim_end_matches('_');
    (!host.is_empty() && host != "none").then(|| host.to_owned())
}

/// Creates the directory of a new dump, `HOST-DATE` as kdump calls it, for its owner alone.
///
/// A kernel that crashed before user space named it calls its host `(none)`; then it is `here`, the one that saves.
pub(super) fn make_directory(parent: &Path, host: &str, here: &str) -> Result<PathBuf> {
    let date = Timestamp::now().to_zoned(TimeZone::system()).strftime("%Y-%m-%d-%H:%M:%S");
    let host = host_name(host).or_else(|| host_name(here)).unwrap_or_else(|| "localhost".into());
    let base = parent.join(format!("{host}-{date}"));
    let mut directory = base.clone();
    for n in 2.. {
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                let mut name = base.clone().into_os_string();
                name.push(format!(".{n}"));
                directory = name.into();
            }
            other => {
                other.with_context(|| format!("{}: cannot create this directory", directory.display()))?;
                break;
            }
        }
    }
    sync_directory(parent)
        .with_context(|| format!("{}: cannot make the new directory durable", parent.display()))?;
    Ok(directory)
}

/// The target of the dump `name`; with `force` it may replace another file.
pub(super) fn of(kind: &TargetKind, name: &Path, args: &Save, force: bool) -> Result<Box<dyn Target>> {
    let rate = args.limit_rate.map(Into::into);
    if let TargetKind::Device(_) = kind {
        let (device, journal) = (name.to_owned(), args.journal.clone());
        return Ok(Box::new(DeviceTarget { device, journal, rate }));
    }
    let journal = args.journal.clone().unwrap_or_else(|| journal_of(name));
    Ok(match args.write.recipients()? {
        Some(recipients) => Box::new(SealedTarget::new(name, journal, recipients, force, rate)),
        None => Box::new(FileTarget { name: name.to_owned(), journal, force, rate }),
    })
}

/// The files of a dump that was saved as `path`: all parts of an encrypted one.
pub(super) fn files(path: PathBuf) -> Vec<String> {
    let parts = Part::of(&path).and_then(|part| Part::all(&part.dump).ok()).unwrap_or_default();
    let files = if parts.is_empty() { vec![path] } else { parts.iter().map(Part::path).collect() };
    files.iter().map(|file| file.display().to_string()).collect()
}

/// The dump's anomalies, and the damage found while reading it.
pub(super) fn remarks(dump: &Dump) -> Vec<String> {
    dump.source.remarks.iter().chain(&dump.memory.damage().first).cloned().collect()
}

/// What a journal says, if its first record is whole.
pub(super) type Found = Result<Option<History>, Error>;

/// A target with something that an earlier run left.
pub(super) struct InterruptedSave {
    pub(super) target: Box<dyn Target>,
    pub(super) found: Earlier,
    /// The dump's final name.
    pub(super) name: PathBuf,
}

/// Looks for an interrupted save at a target of this kind.
pub(super) fn earlier(kind: &TargetKind, args: &Save) -> Result<Option<InterruptedSave>> {
    let name = match kind {
        TargetKind::Stream => return Ok(None),
        TargetKind::Device(_) if args.journal.is_none() => return Ok(None),
        TargetKind::Device(name) | TargetKind::File(name) => name.clone(),
        TargetKind::Directory(_) if args.journal.is_some() => match named_by(args.journal.as_deref())? {
            Some(name) => name,
            None => return Ok(None),
        },
        // Which one it is depends on the dump.
        TargetKind::Directory(_) => return Ok(None),
    };
    earlier_at(kind, name, args)
}

/// Looks for an interrupted save of the dump `name`.
pub(super) fn earlier_at(kind: &TargetKind, name: PathBuf, args: &Save) -> Result<Option<InterruptedSave>> {
    let journal = args.journal.clone().unwrap_or_else(|| journal_of(&name));
    // What was allowed when the save was begun is not asked again. What is wrong with the journal is said below.
    let replaces = matches!(Journal::read(&journal), Ok(Some(history)) if history.begin.replace);
    let target = of(kind, &name, args, args.force || replaces)?;
    let found = find(&*target)?;
    if let Earlier::Begun(_, history) | Earlier::Done(_, history) | Earlier::Unproven(_, history) = &found {
        let (begun, here) = (&history.begin.output, target.unfinished()?);
        if begun.file_name() != here.file_name() {
            let name = name.display();
            match args.write.is_encrypted() {
                true => bail!(
                    "{name}: the interrupted save was not encrypted; omit --encrypt-to, or remove {name}.journal and \
                     {name}-incomplete"
                ),
                false => bail!(
                    "{name}: the interrupted save was encrypted; give --encrypt-to as then, or remove {name}.journal, \
                     {name}.skeleton-incomplete and {name}.*.age"
                ),
            }
        }
    }
    Ok(match found {
        Earlier::Nothing(None) => None,
        found => Some(InterruptedSave { target, found, name }),
    })
}

/// Whether the dump `name` is what its journal says, where that says that it is finished.
pub(super) fn is_unproven(kind: &TargetKind, name: &Path, args: &Save, history: &History) -> Result<bool> {
    Ok(is_done(&*of(kind, name, args, false)?, history) == Some(false))
}

/// The dump that a journal belongs to.
fn named_by(journal: Option<&Path>) -> Result<Option<PathBuf>> {
    let Some(journal) = journal.filter(|path| path.symlink_metadata().is_ok()) else { return Ok(None) };
    let name = Journal::read(journal)?.and_then(|history| {
        let name = history.begin.output.file_name()?.to_str()?.strip_suffix("-incomplete")?;
        let name = name.strip_suffix(".skeleton").unwrap_or(name).to_owned();
        Some(history.begin.output.with_file_name(name))
    });
    Ok(Some(name.with_context(|| format!("{}: does not say which dump it belongs to", journal.display()))?))
}

/// The dumps in directories of `parent` that have a journal, and what each journal says.
pub(super) fn journals_in(parent: &Path) -> Result<Vec<(PathBuf, Found)>> {
    let unreadable = || format!("{}: cannot be listed", parent.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        // A link may lead to what was saved elsewhere.
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.path().join(NAME);
        let journal = journal_beside(&name);
        if journal.symlink_metadata().is_ok() {
            found.push((name, Journal::read(&journal)));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_name_is_called_as_the_one_that_saves() {
        let parent = tempfile::tempdir().unwrap();
        for (dump, here, name) in [
            ("db1", "rescue", "db1-"),
            ("(none)", "rescue\n", "rescue-"),
            ("", "(none)", "localhost-"),
            ("../../etc", "", "etc-"),
        ] {
            let made = make_directory(parent.path(), dump, here).unwrap();
            let found = made.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(found.starts_with(name), "{dump:?}: {found}");
            assert_eq!(made.parent(), Some(parent.path()));
        }
    }
}
