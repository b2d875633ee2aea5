//! `-x`, `-i`, `-g` and `--config`: what files say about the kernel, and what is erased because of it.

use super::args::Options;
use super::messages::Messages;
use super::out;
use crate::outcome::Outcome;
use anyhow::{Context, Result, anyhow};
use dumpfile::output::Sink;
use kernel::dwarf::Dwarf;
use kernel::erase::{self, Rules};
use kernel::knowledge::{self, Given, Known};
use kernel::vmlinux::Vmlinux;
use std::path::{Path, PathBuf};
use std::{fmt, fs};
use vmcore::{Dump, Note, VmcoreInfo};

/// A file of another kernel than the one that crashed, for which makedumpfile has a separate exit code.
#[derive(Debug)]
pub(super) struct OtherKernel {
    path: PathBuf,
    theirs: String,
    ours: String,
}

impl fmt::Display for OtherKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, theirs, ours } = self;
        write!(f, "{}: it is of kernel {theirs}, and the dump of {ours}", path.display())
    }
}

impl std::error::Error for OtherKernel {}

/// Adds to a dump what the user's files, or else its own memory, say about its kernel, and erases what is to be erased.
/// Returns the dump and hadump's own notes.
pub(super) fn apply(options: &Options, mut dump: Dump, say: Messages) -> Result<(Dump, Vec<Note>)> {
    let Options { vmlinux, vmcoreinfo, config, .. } = options;
    if let Some(path) = vmlinux {
        let theirs = knowledge::vmlinux_of(&mut dump, path)?.known_release()?;
        refuse_another(&dump, path, theirs)?;
    }
    if let Some(path) = vmcoreinfo {
        let text = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        refuse_another(&dump, path, VmcoreInfo::parse(&text).release().map(str::to_owned))?;
    }
    let given = Given { vmcoreinfo: vmcoreinfo.as_deref(), vmlinux: vmlinux.as_deref(), ..Given::default() };
    for remark in knowledge::complete(&mut dump, &given)? {
        // What the user gave is no news to them; what was found without that is.
        if vmcoreinfo.is_some() || vmlinux.is_some() { say.debug(&remark) } else { say.error(&remark) }
    }
    match (config, vmlinux) {
        (Some(config), Some(vmlinux)) => erase_by(config, vmlinux, dump, say),
        _ => Ok((dump, Vec::new())),
    }
}

fn refuse_another(dump: &Dump, path: &Path, theirs: Option<String>) -> Result<()> {
    let ours = dump.vmcoreinfo.as_ref().and_then(VmcoreInfo::release);
    match (theirs, ours) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            Err(OtherKernel { path: path.to_owned(), theirs, ours: ours.to_owned() }.into())
        }
        _ => Ok(()),
    }
}

fn erase_by(config: &Path, vmlinux: &Path, mut dump: Dump, say: Messages) -> Result<(Dump, Vec<Note>)> {
    let name = config.display();
    let text = fs::read_to_string(config).with_context(|| format!("{name}: cannot be read"))?;
    let rules = Rules::parse(&text).with_context(|| format!("{name}: not a filter configuration"))?;
    let vmlinux = knowledge::vmlinux_of(&mut dump, vmlinux)?;
    let kernel =
        kernel::Kernel::open(&dump).with_context(|| format!("{name}: cannot understand the kernel"))?;
    let known = Known::of_vmlinux(&kernel, &vmlinux)?;
    let erasures = rules.resolve(&known).with_context(|| format!("{name}: nothing is erased"))?;
    drop(known);
    drop(kernel);
    let (dump, remarks) = erasures.apply(dump)?;
    for remark in remarks {
        say.error(&format!("{name}: {remark}"));
    }
    let notes = Some(&dump.source.erase_info).filter(|record| !record.is_empty()).map(|r| erase::note(r));
    let notes = notes.into_iter().collect();
    Ok((dump, notes))
}

/// Writes the VMCOREINFO made from a vmlinux.
pub(super) fn generate(options: &Options, output: &Path, vmlinux: &Path, say: Messages) -> Result<Outcome> {
    let vmlinux = Vmlinux::open(vmlinux)?;
    let name = vmlinux.path().display().to_string();
    let dwarf = Dwarf::open(&vmlinux)?.ok_or_else(|| anyhow!("{name}: it has no debug information"))?;
    let text = kernel::knowledge::vmcoreinfo::of_vmlinux(&vmlinux, &dwarf)?;
    let file = out::begin(options, None, output)?;
    file.write_at(0, text.as_bytes())?;
    let saved = file.commit()?;
    say.common(&format!("\nThe vmcoreinfo is saved to {}.", saved.display()));
    Ok(Outcome::Complete)
}
