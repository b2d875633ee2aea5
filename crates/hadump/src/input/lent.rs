//! What a dump lacks because the crashed kernel had lent it to its capture kernel.

use crate::show::units;
use kernel::Kernel;
use kernel::kallsyms::Kallsyms;
use vmcore::Dump;

/// What a kernel's log says where it lends memory (kernel: `reserve_crashkernel_cma`).
pub(crate) const IN_LOG: &[u8] = b"crashkernel CMA reserved: ";

/// Says what is missing, if anything is. The kernel's whole table of symbols is read for it.
pub(crate) fn remark(dump: &Dump, kernel: &Kernel<'_>) -> Option<String> {
    let symbols = Kallsyms::open(kernel).ok()?;
    let lent = kernel::lent(kernel, &symbols).ok()?;
    let missing = lent.subtract(dump.memory.map().bytes()).total();
    (missing > 0).then(|| {
        format!(
            "{} are not in the dump because the capture kernel runs in them (crashkernel=SIZE,cma): user memory, page cache and free pages",
            units::bytes(missing)
        )
    })
}
