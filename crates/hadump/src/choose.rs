//! Choosing the pages to write: what the kernel says of them, and what to do where it cannot be asked.

use crate::cli::InputArgs;
use anyhow::{Context, Result, bail};
use dumpfile::Facts;
use kernel::Kernel;
use std::fs::File;
use std::io;
use vmcore::{Dump, DumpLevel, Note, Selection};

/// The pages to write, and what to say of the kernel.
pub(crate) struct Chosen {
    pub(crate) selection: Selection,
    pub(crate) facts: Facts,
    /// Pages that are kept because nothing says what they are.
    pub(crate) undecided: u64,
    pub(crate) remarks: Vec<String>,
}

/// Chooses pages by what the kernel says of them.
///
/// Where the kernel cannot be understood, a dump that lost something is kept whole: what is there must not be lost as
/// well. So is any dump as long as no class of pages has to be told from another.
///
/// `spill` makes an empty file for bitmaps that outgrow memory, `notes` are those of hadump's own.
pub(crate) fn choose(
    input: &InputArgs,
    dump: &Dump,
    level: DumpLevel,
    notes: Vec<Note>,
    spill: &dyn Fn() -> io::Result<File>,
) -> Result<Chosen> {
    let spill = || spill().context("cannot make a work file beside the output");
    let mut chosen = match classified(input, dump, level, notes.clone(), spill()?) {
        Err(error) if level.bits() & !DumpLevel::ZERO == 0 || dump.source.incomplete => {
            let zeros = DumpLevel::new((level.bits() & DumpLevel::ZERO).into()).unwrap_or(level);
            let selection = Selection::everything(&*dump.memory, zeros, Some(spill()?))?;
            let utsname = dump.source.utsname.clone().unwrap_or_default();
            let facts = Facts { utsname, phys_base: 0, notes };
            // Nothing was asked of the kernel, or nothing of it could be had.
            let undecided = if zeros == level { 0 } else { selection.kept() };
            let besides = if zeros.bits() == 0 { "" } else { " but those of zeros" };
            let remarks = vec![format!("{error:#}: all pages are kept{besides}")];
            Ok(Chosen { selection, facts, undecided, remarks })
        }
        chosen => chosen,
    }?;
    if let Some(earlier) = dump.source.dump_level {
        chosen.selection.add_level(earlier);
    }
    Ok(chosen)
}

/// Tells the classes of pages apart.
fn classified(
    input: &InputArgs,
    dump: &Dump,
    level: DumpLevel,
    notes: Vec<Note>,
    spill: File,
) -> Result<Chosen> {
    if dump.vmcoreinfo.is_none() {
        bail!(
            "{}: no VMCOREINFO note, so the kernel's pages cannot be told apart; dump level {level} needs it, \
             -d 1 and -d 0 do not",
            input.name()
        );
    }
    let kernel = crate::input::kernel(dump, input)?;
    let facts = Facts { utsname: utsname(dump, &kernel)?, phys_base: kernel.phys_base(), notes };
    let chosen = kernel
        .select(level, Some(spill))
        .with_context(|| format!("{}: cannot classify pages for dump level {level}", input.name()))?;
    Ok(Chosen { selection: chosen.selection, facts, undecided: chosen.undecided, remarks: chosen.remarks })
}

/// The kernel's own names for itself, or those that the input's header gives.
fn utsname(dump: &Dump, kernel: &Kernel<'_>) -> Result<vmcore::Utsname> {
    match (kernel.utsname(), &dump.source.utsname) {
        (Ok(names), _) => Ok(names),
        (Err(_), Some(names)) => Ok(names.clone()),
        (Err(error), None) => Err(error).context("cannot read the kernel's utsname"),
    }
}
