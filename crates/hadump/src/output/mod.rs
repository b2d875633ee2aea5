//! Output files: beginning one, writing to one from front to back, and whether what was written lacks anything.

pub(crate) mod destination;
pub(crate) mod received;
pub(crate) mod set;
pub(crate) mod work;

use crate::cli::InputArgs;
use anyhow::{Context, Result, anyhow, bail};
use dumpfile::output::{OutputFile, RawDevice, Sink, directory_of};
use dumpfile::{Error, Written};
use rustix::fs::OFlags;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use vmcore::Dump;

/// The option that replaces existing files.
pub(crate) const FORCE: &str = "--force";

/// Refuses to replace the input, which may be the only copy of the dump, also with `--force`.
pub(crate) fn refuse_input(input: &InputArgs, outputs: &[PathBuf]) -> Result<()> {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let inputs: Vec<_> = input.files().filter_map(identity).collect();
    let input = outputs.iter().find(|output| identity(output).is_some_and(|it| inputs.contains(&it)));
    match input {
        Some(output) => bail!("{}: this is the input; give the output another name", output.display()),
        None => Ok(()),
    }
}

/// As [`OutputFile::create`]; `option` is the one that lets it replace an existing file.
pub(crate) fn create(path: &Path, force: bool, option: &str) -> Result<OutputFile> {
    OutputFile::create(path, force).map_err(|error| explain(path, error, option))
}

/// As [`OutputFile::create_resumable`]; `option` is the one that lets it replace an existing file.
pub(crate) fn create_resumable(path: &Path, force: bool, option: &str) -> Result<OutputFile> {
    OutputFile::create_resumable(path, force).map_err(|error| explain(path, error, option))
}

/// Says what to do where the output `path` cannot be made.
pub(crate) fn explain(path: &Path, error: Error, option: &str) -> anyhow::Error {
    if path.is_dir() {
        let inside = path.join("vmcore");
        return anyhow!("{}: a directory; name a file in it, such as {}", path.display(), inside.display());
    }
    let directory = directory_of(path);
    if !directory.exists() {
        return no_directory(&directory);
    }
    explain_existing(error, option)
}

/// The error for an output in a directory that is not there.
pub(crate) fn no_directory(directory: &Path) -> anyhow::Error {
    let directory = directory.display();
    anyhow!("{directory}: there is no such directory; make it first: mkdir -p {directory}")
}

/// Says what to do where the name of an output is taken by a file that `option` would replace.
pub(crate) fn explain_existing(error: Error, option: &str) -> anyhow::Error {
    match error {
        Error::Write { path, source, .. }
            if source.kind() == ErrorKind::AlreadyExists && is_replaceable(&path) =>
        {
            exists(&path, option)
        }
        error => error.into(),
    }
}

/// The error for an output whose name is taken by a file that `option` would replace.
pub(crate) fn exists(path: &Path, option: &str) -> anyhow::Error {
    anyhow!("{}: already exists; use {option} to replace it", path.display())
}

/// Takes everything and keeps nothing: for dry runs, and for `/dev/null`, which has no room for a file beside it.
pub(crate) struct Nowhere(pub(crate) PathBuf);

impl Sink for Nowhere {
    fn path(&self) -> &Path {
        &self.0
    }

    fn write_at(&self, _: u64, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// The bytes of the files of these names together, holes included; `None` where one is no file, as standard output.
pub(crate) fn length_of(names: &[String]) -> Option<u64> {
    let lengths =
        names.iter().map(|name| Path::new(name).metadata().ok().filter(|m| m.is_file()).map(|m| m.len()));
    lengths.sum()
}

/// What they take on the disk.
pub(crate) fn room_of(names: &[String]) -> Option<u64> {
    let rooms = names
        .iter()
        .map(|name| Path::new(name).metadata().ok().filter(|m| m.is_file()).map(|m| m.blocks() * 512));
    rooms.sum::<Option<u64>>().filter(|_| !names.is_empty())
}

/// Whether `path` is the device that takes everything and keeps nothing.
pub(crate) fn is_null_device(path: &Path) -> bool {
    let null = rustix::fs::makedev(1, 3);
    path.metadata().is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == null)
}

/// Refuses a standard output that takes a dump and keeps nothing of it, and a terminal.
///
/// One that was closed is the null device by now: the standard library opens that in its place.
pub(crate) fn check_standard_output() -> Result<()> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        bail!("standard output is a terminal, which a dump is not for: send it into a pipe or a file");
    }
    if null_output()?.is_some() {
        bail!("standard output is closed or the null device, which keeps nothing of a dump");
    }
    Ok(())
}

/// Refuses a standard output that was closed when the program began; the null device may be meant.
///
/// The standard library opens the null device in the place of what is closed, for reading and writing; who sends something
/// there opens it for writing.
pub(crate) fn check_not_closed() -> Result<()> {
    if null_output()?.is_some_and(|mode| mode == OFlags::RDWR) {
        bail!("standard output is closed, so nothing can be written to it");
    }
    Ok(())
}

/// How the null device was opened, if that is what standard output is.
fn null_output() -> Result<Option<OFlags>> {
    let stdout = io::stdout();
    let stat = rustix::fs::fstat(&stdout).context("standard output cannot be looked at")?;
    let null = rustix::fs::makedev(1, 3);
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_char_device() || stat.st_rdev != null {
        return Ok(None);
    }
    let flags = rustix::fs::fcntl_getfl(&stdout).context("standard output cannot be looked at")?;
    Ok(Some(flags & OFlags::ACCMODE))
}

/// Whether a file may take the place of what `path` names: directories, devices, pipes and sockets stay.
fn is_replaceable(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_file() || meta.is_symlink())
}

/// Keeps a dump that is cut short, also when the system cannot say what of it is on the disk: more than nothing.
///
/// # Errors
///
/// When the file cannot be named.
pub(crate) fn keep(file: OutputFile) -> Result<PathBuf, Error> {
    match file.keep_incomplete() {
        Err(Error::NotDurable { path, source }) => {
            tracing::warn!("{}: cannot be written out to the disk: {source}", path.display());
            Ok(path)
        }
        kept => kept,
    }
}

/// Clears the first block of a device: without it nothing takes what is there for a dump.
pub(crate) fn forget(device: &RawDevice) -> Result<(), Error> {
    device.blank(0, device.capacity().min(4096))?;
    device.sync()
}

/// Reports whether the output has every page that it should have.
pub(crate) fn is_complete(written: &Written, dump: &Dump) -> bool {
    written.is_whole() && !dump.source.incomplete
}

/// Writes bytes one after another into a sink, which takes them at offsets.
pub(crate) struct SinkWriter<'s> {
    sink: &'s dyn Sink,
    offset: u64,
}

impl<'s> SinkWriter<'s> {
    /// A writer that begins at the sink's first byte.
    pub(crate) fn new(sink: &'s dyn Sink) -> Self {
        Self { sink, offset: 0 }
    }
}

impl Write for SinkWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write_at(self.offset, bytes).map_err(|error| match error {
            Error::Write { source, .. } => source,
            other => io::Error::other(other),
        })?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_force_would_replace_is_answered_by_naming_the_option() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let error = create(&file, false, "--force").unwrap_err();
        assert!(error.to_string().ends_with("already exists; use --force to replace it"), "{error}");
        let error = create_resumable(directory.path(), false, "--force").unwrap_err();
        assert!(!format!("{error:#}").contains("--force"), "{error:#}");
    }

    #[test]
    fn bytes_written_in_pieces_lie_one_after_another() {
        let directory = tempfile::tempdir().unwrap();
        let output = create(&directory.path().join("out"), false, "--force").unwrap();
        let mut writer = SinkWriter::new(&output);
        writer.write_all(b"one ").unwrap();
        writer.write_all(b"two").unwrap();
        assert_eq!(std::fs::read(output.commit().unwrap()).unwrap(), b"one two");
    }
}
