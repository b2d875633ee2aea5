//! Where a dump goes: from what the user named to a file, and to what an earlier run left there.

use crate::cli::Save;
use ::save::SealedTarget;
use ::save::journal::Journal;
use ::save::session::{Found, find};
use ::save::target::{DeviceTarget, FileTarget, Target, journal_beside};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::fs::Access;
use sealed::Part;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use vmcore::Dump;

/// The name of a dump in a directory of its own.
pub(super) const NAME: &str = "vmcore";

/// What the user named.
pub(super) enum Place {
    /// A directory, to make another one in.
    Directory(PathBuf),
    /// A file.
    File(PathBuf),
    /// A block device.
    Device(PathBuf),
    /// Standard output.
    Stream,
}

impl Place {
    /// Looks at what `to` is now.
    pub(super) fn of(args: &Save) -> Result<Self> {
        let to = args.to.first().context("no target is given")?;
        if args.is_stream() {
            return Ok(Self::Stream);
        }
        let metadata = match std::fs::metadata(to) {
            Err(e) if e.kind() == ErrorKind::NotFound && ends_with_slash(to) => {
                bail!("{}: there is no such directory", to.display())
            }
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::File(to.clone())),
            other => other.with_context(|| format!("{}: cannot look at it", to.display()))?,
        };
        let kind = metadata.file_type();
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

impl Place {
    /// Refuses what cannot come to anything, before all memory is looked at for it.
    pub(super) fn check(&self, args: &Save) -> Result<()> {
        if !matches!(self, Self::File(_)) {
            return Ok(());
        }
        for name in &args.to {
            let directory = directory_of(self, name);
            match std::fs::metadata(&directory) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => bail!("{}: not a directory", directory.display()),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    bail!("{}: there is no such directory", directory.display())
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("{}: cannot look at it", directory.display()));
                }
            }
            rustix::fs::access(&directory, Access::WRITE_OK | Access::EXEC_OK)
                .with_context(|| format!("{}: no file can be made in it", directory.display()))?;
            if args.cut().is_none() && !args.force && name.symlink_metadata().is_ok() {
                bail!("{}: there is such a file already; --force replaces it", name.display());
            }
        }
        Ok(())
    }
}

/// The directory that the dump `name` at `place` is in, which work files go to and which must have room.
pub(super) fn directory_of(place: &Place, name: &Path) -> PathBuf {
    let parent = match place {
        Place::Directory(_) | Place::File(_) => name.parent().filter(|p| !p.as_os_str().is_empty()),
        Place::Device(_) | Place::Stream => None,
    };
    parent.unwrap_or(Path::new(".")).to_owned()
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Makes the directory of a new dump, `HOST-DATE` as kdump calls it, for its owner alone.
pub(super) fn make_directory(parent: &Path, host: &str) -> Result<PathBuf> {
    let date = Timestamp::now().to_zoned(TimeZone::system()).strftime("%Y-%m-%d-%H:%M:%S");
    // A host's name is an input like any other.
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' };
    let host: String = host.chars().take(64).map(plain).collect();
    let host = host.trim_start_matches(['.', '-', '_']).trim_end_matches('_');
    let host = if host.is_empty() || host == "none" { "unknown" } else { host };
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
                other.with_context(|| format!("{}: cannot make this directory", directory.display()))?;
                break;
            }
        }
    }
    ::save::target::sync_directory(parent)
        .with_context(|| format!("{}: cannot make a directory in it durable", parent.display()))?;
    Ok(directory)
}

/// The target of the dump `name`.
pub(super) fn target(place: &Place, name: &Path, args: &Save) -> Result<Box<dyn Target>> {
    let (rate, force) = (args.limit_rate.map(Into::into), args.force);
    if let Place::Device(_) = place {
        let (device, journal) = (name.to_owned(), args.journal.clone());
        return Ok(Box::new(DeviceTarget { device, journal, rate }));
    }
    let journal = args.journal.clone().unwrap_or_else(|| journal_beside(name));
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

/// What was odd about a dump, and what of it turned out to be damaged.
pub(super) fn remarks(dump: &Dump) -> Vec<String> {
    dump.source.remarks.iter().chain(&dump.memory.damage().first).cloned().collect()
}

/// A target, and what an earlier run left there.
pub(super) struct Earlier {
    pub(super) target: Box<dyn Target>,
    pub(super) found: Found,
    /// The dump's last name.
    pub(super) name: PathBuf,
}

/// Looks for an interrupted save at `place`.
pub(super) fn earlier(place: &Place, args: &Save) -> Result<Option<Earlier>> {
    let name = match place {
        Place::Stream => return Ok(None),
        Place::Device(_) if args.journal.is_none() => return Ok(None),
        Place::Device(name) | Place::File(name) => name.clone(),
        Place::Directory(_) if args.journal.is_some() => match named_by(args.journal.as_deref())? {
            Some(name) => name,
            None => return Ok(None),
        },
        Place::Directory(parent) => match begun_in(parent)? {
            Some(directory) => directory.join(NAME),
            None => return Ok(None),
        },
    };
    let target = target(place, &name, args)?;
    let found = find(&*target)?;
    if let Found::Begun(_, history) | Found::Done(_, history) = &found {
        let (begun, here) = (&history.begin.output, target.unfinished()?);
        if begun.file_name() != here.file_name() {
            let (name, dump) = (name.display(), name.display());
            match args.write.is_sealed() {
                true => bail!(
                    "{name}: the save that was interrupted was not encrypted; leave out --encrypt-to, or remove what is \
                     there of it: {dump}.journal and {dump}-incomplete"
                ),
                false => bail!(
                    "{name}: the save that was interrupted was encrypted; give --encrypt-to as then, or remove what is \
                     there of it: {dump}.journal, {dump}.skeleton-incomplete and {dump}.*.age"
                ),
            }
        }
    }
    Ok(match found {
        Found::Nothing(None) => None,
        found => Some(Earlier { target, found, name }),
    })
}

/// The dump that a journal is about.
fn named_by(journal: Option<&Path>) -> Result<Option<PathBuf>> {
    let Some(journal) = journal.filter(|path| path.symlink_metadata().is_ok()) else { return Ok(None) };
    let (_, history) = Journal::resume(journal)?;
    let name = history.and_then(|history| {
        let name = history.begin.output.file_name()?.to_str()?.strip_suffix("-incomplete")?;
        let name = name.strip_suffix(".skeleton").unwrap_or(name).to_owned();
        Some(history.begin.output.with_file_name(name))
    });
    Ok(Some(name.with_context(|| format!("{}: it does not say which dump it is about", journal.display()))?))
}

/// The directory in `parent` with a dump that was begun and not ended.
fn begun_in(parent: &Path) -> Result<Option<PathBuf>> {
    let unreadable = || format!("{}: cannot be listed", parent.display());
    let mut begun = Vec::new();
    for entry in std::fs::read_dir(parent).with_context(unreadable)? {
        let directory = entry.with_context(unreadable)?.path();
        let journal = journal_beside(&directory.join(NAME));
        if journal.symlink_metadata().is_ok() {
            begun.push(directory);
        }
    }
    begun.sort();
    match &begun[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => {
            let names: Vec<String> = several.iter().map(|p| p.join(NAME).display().to_string()).collect();
            bail!(
                "several saves were interrupted here; name the one to go on with: --to {}",
                names.join(", or ")
            )
        }
    }
}
