//! Where a dump goes.

use super::args::{Options, Target};
use crate::cli::InputArgs;
use crate::output::{self, Nowhere, work};
use anyhow::{Context, Result, bail};
use dumpfile::Error;
use dumpfile::flattened::FlattenedSink;
use dumpfile::output::{OutputFile, RawDevice, Sink};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// What makedumpfile calls its standard output in messages.
pub(super) const STDOUT: &str = "STDOUT";

/// Where a dump goes.
pub(super) enum Out {
    File(OutputFile),
    Device(RawDevice),
    Stream(FlattenedSink<File>),
    Nowhere(Nowhere),
}

impl Out {
    pub(super) fn open(options: &Options, input: &InputArgs, target: &Target) -> Result<Self> {
        Ok(match target {
            Target::Stdout if options.dry_run => Self::Nowhere(Nowhere(STDOUT.into())),
            Target::Stdout => Self::Stream(stream()?),
            Target::File(path) if options.dry_run || output::is_null_device(path) => {
                Self::Nowhere(Nowhere(path.clone()))
            }
            Target::File(path) if options.force && is_disk(path) => {
                output::refuse_input(input, std::slice::from_ref(path))?;
                Self::Device(RawDevice::open(path)?)
            }
            Target::File(path) => Self::File(begin(options, Some(input), path)?),
        })
    }

    pub(super) fn sink(&self) -> &dyn Sink {
        match self {
            Self::File(file) => file,
            Self::Device(device) => device,
            Self::Stream(stream) => stream,
            Self::Nowhere(nowhere) => nowhere,
        }
    }

    /// Makes work files: where the user wants them, else beside the output if it is a file.
    pub(super) fn work_files(&self, options: &Options) -> impl Fn() -> io::Result<File> + use<> {
        let output = match self {
            Self::File(file) => Some(file.path()),
            Self::Device(_) | Self::Stream(_) | Self::Nowhere(_) => None,
        };
        work::files(options.work_dir.as_deref(), output)
    }

    /// Leaves nothing that is taken for a dump: a stream without its end is none.
    pub(super) fn discard(self) -> Result<(), Error> {
        match self {
            Self::File(file) => file.discard(),
            Self::Device(device) => output::forget(&device)?,
            Self::Stream(_) | Self::Nowhere(_) => {}
        }
        Ok(())
    }

    /// Ends the output, and returns the name that it has now.
    pub(super) fn finish(self, whole: bool) -> Result<PathBuf, Error> {
        match self {
            Self::File(file) if whole => file.commit(),
            Self::File(file) => output::keep(file),
            Self::Device(device) => {
                device.sync()?;
                Ok(device.path().to_owned())
            }
            Self::Stream(stream) => {
                stream.finish()?;
                Ok(STDOUT.into())
            }
            Self::Nowhere(Nowhere(path)) => Ok(path),
        }
    }
}

/// Begins a flattened stream on standard output.
fn stream() -> Result<FlattenedSink<File>> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        bail!("refusing to write a dump to a terminal; redirect standard output");
    }
    output::check_not_closed()?;
    // Not through the buffer of `Stdout`, which looks for line ends.
    let file = stdout.as_fd().try_clone_to_owned().context("standard output cannot be written to")?;
    Ok(FlattenedSink::new(File::from(file), STDOUT)?)
}

/// Begins a file of this name, which must not be one of the input's. With `-f` what the name stands for is written.
pub(super) fn begin(options: &Options, input: Option<&InputArgs>, path: &Path) -> Result<OutputFile> {
    if let Some(input) = input {
        output::refuse_input(input, &[path.to_owned()])?;
    }
    if output::is_null_device(path) {
        return Ok(OutputFile::in_place(path)?);
    }
    if options.force {
        return OutputFile::create_over(path).map_err(|error| output::explain(path, error, "-f"));
    }
    output::create(path, false, "-f")
}

fn is_disk(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.file_type().is_block_device())
}
