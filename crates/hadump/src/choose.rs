//! Choosing the pages to write: what the kernel says of them, and what to do where it cannot be asked.

use crate::cli::InputArgs;
use anyhow::{Context, Result, bail};
use dumpfile::Facts;
use kernel::{Gate, Kernel, Selected};
use std::fs::File;
use std::io;
use vmcore::{Dump, DumpLevel, Note, Selection};

/// The pages to write, and what to say of the kernel.
pub(crate) struct Chosen {
    pub(crate) selection: Selection,
    pub(crate) facts: Facts,
    /// Pages that are kept because nothing says what they are.
    pub(crate) undecided: u64,
    /// What was checked, and what was kept because of it.
    pub(crate) gate: Gate,
    pub(crate) remarks: Vec<String>,
}

impl Chosen {
    /// Reports whether pages are kept that the level would have left out.
    pub(crate) fn more_kept(&self) -> bool {
        self.undecided > 0 || self.gate.held_back()
    }
}

/// Chooses pages by what the kernel says of them.
///
/// Where the kernel cannot be understood, all pages are kept: if that is so with a VMCOREINFO and `gated`; if the dump
/// lost something already, as what is there must not be lost as well; or if no class of pages has to be told from
/// another.
///
/// `spill` makes an empty file for bitmaps that outgrow memory, `notes` are those of hadump's own.
pub(crate) fn choose(
    input: &InputArgs,
    dump: &Dump,
    level: DumpLevel,
    gated: bool,
    notes: Vec<Note>,
    spill: &dyn Fn() -> io::Result<File>,
) -> Result<Chosen> {
    let spill = || spill().context("cannot make a work file beside the output");
    let mut chosen = match classified(input, dump, level, gated, notes.clone(), spill()?) {
        Err(error)
            if level.bits() & !DumpLevel::ZERO == 0
                || dump.source.incomplete
                || gated && dump.vmcoreinfo.is_some() && !is_failure(&error) =>
        {
            let zeros = DumpLevel::new((level.bits() & DumpLevel::ZERO).into()).unwrap_or(level);
            let selection = Selection::everything(&*dump.memory, zeros, Some(spill()?))?;
            let utsname = dump.source.utsname.clone().unwrap_or_default();
            let facts = Facts { utsname, phys_base: dump.source.phys_base.unwrap_or(0), notes };
            // Nothing was asked of the kernel, or nothing of it could be had.
            let undecided = if zeros == level { 0 } else { selection.kept() };
            let besides = if zeros.bits() == 0 { "" } else { " but those of zeros" };
            let remarks = vec![format!("{error:#}: all pages are kept{besides}")];
            Ok(Chosen { selection, facts, undecided, gate: Gate::default(), remarks })
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
    gated: bool,
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
    let chosen =
        if gated { kernel.select(level, Some(spill)) } else { kernel.select_unchecked(level, Some(spill)) };
    let Selected { selection, remarks, undecided, gate } =
        chosen.with_context(|| format!("{}: cannot classify pages for dump level {level}", input.name()))?;
    Ok(Chosen { selection, facts, undecided, gate, remarks })
}

/// Tells a file that cannot be read or written from a kernel that is not understood.
fn is_failure(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<io::Error>()
            || matches!(cause.downcast_ref(), Some(kernel::Error::Read(_) | kernel::Error::Selection(_)))
    })
}

/// The kernel's own names for itself, or those that the input's header gives.
fn utsname(dump: &Dump, kernel: &Kernel<'_>) -> Result<vmcore::Utsname> {
    match (kernel.utsname(), &dump.source.utsname) {
        (Ok(names), _) => Ok(names),
        (Err(_), Some(names)) => Ok(names.clone()),
        (Err(error), None) => Err(error).context("cannot read the kernel's utsname"),
    }
}
