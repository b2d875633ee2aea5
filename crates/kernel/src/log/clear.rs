//! Where the log was last cleared, as `dmesg --clear` does, for those who want only what came after.

use super::{offset, size};
use crate::{Error, KernelMemory};
use vmcore::VirtAddr;

/// The sequence number of the first record after the last clearing, for a log as a ring of descriptors; `None` where
/// VMCOREINFO does not say where it is.
///
/// Since 5.12 it is a pair of numbers of which the lowest bit of a counter names the valid one (kernel: `struct
/// latched_seq`), before it is a number.
pub(super) fn sequence(memory: &dyn KernelMemory) -> Result<Option<u64>, Error> {
    let Some(at) = memory.info().symbol("clear_seq") else { return Ok(None) };
    let number = |at: VirtAddr| -> Result<u64, Error> {
        let mut bytes = [0; 8];
        memory.read(at, &mut bytes)?;
        Ok(memory.machine().u64(&bytes))
    };
    if memory.info().size("latched_seq").is_none() {
        return number(at).map(Some);
    }
    let size = size(memory, "latched_seq", 4096)?;
    let values = offset(memory, "latched_seq.val", 16, size)? as u64;
    let which = u64::from(memory.read_u32(at)? & 1);
    number(VirtAddr(at.0.wrapping_add(values + 8 * which))).map(Some)
}

/// The index of the first record after the last clearing, for a log as a ring of records. 0 may also mean that the log never
/// was cleared, and tells nothing.
pub(super) fn index(memory: &dyn KernelMemory) -> Result<Option<u32>, Error> {
    let at = memory.info().symbol("clear_idx");
    Ok(at.map(|at| memory.read_u32(at)).transpose()?.filter(|&index| index > 0))
}
