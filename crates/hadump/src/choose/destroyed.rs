//! Pages that this boot has written over, and that nobody misses.
//!
//! A lost page makes a dump incomplete; but not one of these that was free, cache or a program's: nobody looks for it in
//! a dump of the kernel, and no other way of saving would have brought it.

use anyhow::Result;
use kernel::Kernel;
use std::fs::File;
use vmcore::{Dump, DumpLevel, Reason, Selection};

/// Leaves the destroyed pages out of `selection` that level 31 would leave out: they are none of the kernel's own.
/// Returns a remark when there were any.
pub(crate) fn leave_out(
    dump: &Dump,
    kernel: &Kernel<'_>,
    selection: &mut Selection,
    gated: bool,
    spill: impl FnOnce() -> Result<File>,
) -> Result<Option<String>> {
    let destroyed = selection.kept_of(&dump.source.destroyed)?;
    let others = DumpLevel::ALL.bits() & !DumpLevel::ZERO & !selection.level().bits() != 0;
    if destroyed.is_empty() || !others {
        return Ok(None);
    }
    let spill = Some(spill()?);
    let all = if gated {
        kernel.select(DumpLevel::ALL, spill)
    } else {
        kernel.select_unchecked(DumpLevel::ALL, spill)
    };
    let own = all?.selection.kept_of(&destroyed)?;
    let left_out = selection.leave_out(&destroyed.subtract(&own), Reason::Destroyed)?;
    Ok((left_out > 0).then(|| {
        format!(
            "{left_out} pages that this boot has written over are left out: none of them was the kernel's own"
        )
    }))
}
