//! Choosing the pages to write, by what the kernel says about them, and what to do if it cannot be understood.

pub(crate) mod destroyed;
pub(crate) mod mini;

use crate::cli::InputArgs;
use anyhow::{Context, Result, bail};
use dumpfile::Facts;
use kernel::{Gate, Selected};
use phyp::notes::{OWNER, PRIVATE};
use std::fs::File;
use std::io;
use vmcore::{Dump, DumpLevel, Note, Selection};

/// The pages to write, and what the file says about the kernel.
pub(crate) struct Chosen {
    pub(crate) selection: Selection,
    pub(crate) facts: Facts,
    /// Pages that are kept because it is not known what they are.
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

/// Chooses pages by what the kernel says about them.
///
/// If the kernel cannot be understood, all pages are kept: with a VMCOREINFO, or from a hypervisor's leavings, and `gated`; if the dump has lost something
/// already, as the rest must not be lost too; or if the level does not need the kernel. Otherwise that is an error.
///
/// `spill` makes a work file for bitmaps that outgrow memory, `notes` are hadump's own.
pub(crate) fn choose(
    input: &InputArgs,
    dump: &Dump,
    level: DumpLevel,
    gated: bool,
    notes: Vec<Note>,
    spill: &dyn Fn() -> io::Result<File>,
) -> Result<Chosen> {
    let spill = || spill().context("cannot create a work file");
    let mut chosen = match classified(input, dump, level, gated, notes.clone(), &spill) {
        Err(error)
            if level.bits() & !DumpLevel::ZERO == 0
                || dump.source.incomplete
                || gated && (dump.vmcoreinfo.is_some() || is_from_firmware(dump)) && !is_failure(&error) =>
        {
            let zeros = DumpLevel::new((level.bits() & DumpLevel::ZERO).into()).unwrap_or(level);
            let selection = Selection::everything(&*dump.memory, zeros, Some(spill()?))?;
            let facts = Facts { notes, ..told_by_input(dump) };
            // Level 0 and 1 do not need the kernel.
            let undecided = if zeros == level { 0 } else { selection.kept() };
            let except = if zeros.bits() == 0 { "" } else { " except zero pages" };
            let remarks = match zeros == level {
                // Nothing else was asked for.
                true => Vec::new(),
                false => vec![format!("{error:#}: all pages are kept{except}")],
            };
            if remarks.is_empty() {
                tracing::info!("{error:#}; dump level {level} does not need it");
            }
            Ok(Chosen { selection, facts, undecided, gate: Gate::default(), remarks })
        }
        chosen => chosen,
    }?;
    if let Some(earlier) = dump.source.dump_level {
        chosen.selection.add_level(earlier);
    }
    Ok(chosen)
}

/// All pages that the input has, without looking at what they are: for who looks into a dump and does not wait until all of the
/// kernel's lists of pages are read. `spill` is as in [`choose`].
pub(crate) fn everything(dump: &Dump, spill: &dyn Fn() -> io::Result<File>) -> Result<(Selection, Facts)> {
    let spill = spill().context("cannot create a work file")?;
    let mut selection = Selection::everything(&*dump.memory, DumpLevel::default(), Some(spill))?;
    if let Some(earlier) = dump.source.dump_level {
        selection.add_level(earlier);
    }
    let facts = match kernel::Kernel::open(dump) {
        Ok(kernel) => {
            let (utsname, phys_base) = (kernel.utsname().clone(), kernel.phys_base());
            Facts { utsname, phys_base, notes: Vec::new() }
        }
        Err(_) => told_by_input(dump),
    };
    Ok((selection, facts))
}

/// What the input itself says of its kernel.
fn told_by_input(dump: &Dump) -> Facts {
    let utsname = dump.source.utsname.clone().unwrap_or_default();
    Facts { utsname, phys_base: dump.source.phys_base.unwrap_or(0), notes: Vec::new() }
}

/// Chooses pages by their classes.
fn classified(
    input: &InputArgs,
    dump: &Dump,
    level: DumpLevel,
    gated: bool,
    notes: Vec<Note>,
    spill: &dyn Fn() -> Result<File>,
) -> Result<Chosen> {
    if dump.vmcoreinfo.is_none() {
        let help = if level.bits() > DumpLevel::ZERO { "; -d 1 and -d 0 do without it" } else { "" };
        bail!("{}: no VMCOREINFO note, so pages cannot be classified{help}", input.name());
    }
    let kernel = crate::input::kernel(dump, input)?;
    let facts = Facts { utsname: kernel.utsname().clone(), phys_base: kernel.phys_base(), notes };
    let file = Some(spill()?);
    let chosen = if gated { kernel.select(level, file) } else { kernel.select_unchecked(level, file) };
    let Selected { mut selection, mut remarks, undecided, gate } =
        chosen.with_context(|| format!("{}: cannot classify pages for dump level {level}", input.name()))?;
    remarks.extend(destroyed::leave_out(dump, &kernel, &mut selection, gated, spill)?);
    Ok(Chosen { selection, facts, undecided, gate, remarks })
}

/// Whether a dump comes from a hypervisor's leavings, of which there is no second copy.
fn is_from_firmware(dump: &Dump) -> bool {
    let is_firmwares = |kind| PRIVATE.iter().any(|(known, _)| *known == kind);
    dump.notes.iter().any(|note| note.name == OWNER.as_bytes() && is_firmwares(note.kind))
}

/// Whether an error is about a file that cannot be read or written, not about the kernel.
fn is_failure(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<io::Error>()
            || matches!(cause.downcast_ref(), Some(kernel::Error::Read(_) | kernel::Error::Selection(_)))
    })
}
