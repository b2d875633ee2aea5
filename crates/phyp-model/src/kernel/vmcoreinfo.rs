//! What is wrong with the VMCOREINFO note when a machine crashes.

use crate::error::Result;
use crate::extent::Extent;
use crate::faults::{Fault, VmcoreinfoFault};
use crate::machine::Machine;
use crate::notes;

/// Applies the faults to the note, and takes the crash time out of it where the kernel had no say in its end.
///
/// # Errors
///
/// The memory cannot be read or written.
pub(crate) fn spoil(machine: &mut Machine, faults: &[Fault], ended: bool) -> Result<()> {
    let wants = |fault| faults.contains(&Fault::Vmcoreinfo(fault));
    let Some(note) = machine.vmcoreinfo else { return Ok(()) };
    // Name and header: 24 bytes; the text follows.
    if ended || wants(VmcoreinfoFault::NoCrashTime) {
        let mut bytes = machine.memory.bytes(note.start, note.length)?;
        if let Some(at) = bytes.windows(10).position(|window| window == b"CRASHTIME=") {
            let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |n| at + n + 1);
            bytes.drain(at..end);
            let text = bytes.get(24..).unwrap_or_default().to_vec();
            let text = String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned();
            machine.memory.clear(note)?;
            machine.write_vmcoreinfo(note.start, &text)?;
        }
    }
    if wants(VmcoreinfoFault::Missing) {
        machine.memory.clear(note)?;
        machine.vmcoreinfo = None;
    }
    if wants(VmcoreinfoFault::Truncated) {
        let half = note.length / 2;
        machine.memory.clear(Extent::new(note.start + half, note.length - half))?;
    }
    if wants(VmcoreinfoFault::TwoNotes) {
        let text = "OSRELEASE=5.14.0-older\nPAGESIZE=4096\nCRASHTIME=1600000000\n";
        let older = notes::note(machine.options.order, "VMCOREINFO", 0, text.as_bytes());
        let below = note.start.saturating_sub(machine.options.page_size / 2).next_multiple_of(4);
        machine.memory.write(below, &older)?;
    }
    Ok(())
}
