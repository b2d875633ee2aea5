//! `--fill-crash-notes`: the registers of a firmware-assisted dump, copied to where drgn looks for them.
//!
//! drgn takes the registers of running tasks from the `crash_notes` in the dumped memory when VMCOREINFO has a
//! CRASHTIME. A kernel that crashes into fadump leaves these buffers empty, since the firmware saves the registers.

use crate::cli::InputArgs;
use anyhow::{Context, Result, bail};
use kernel::KernelMemory;
use kernel::kallsyms::Kallsyms;
use kernel::knowledge::vmlinux_of;
use kernel::overlay::{Content, Overlay};
use kernel::symbols::{Relocated, Symbols};
use kernel::vmlinux::Vmlinux;
use vmcore::{Dump, Note, PhysAddr, VirtAddr};

/// The owner and type of the note that records what was filled: a line of text for each CPU, `CPU ADDRESS LENGTH`,
/// the address physical and in hexadecimal.
const OWNER: &str = "HADUMP";
const FILLED: u32 = 0x110;

/// Returns the dump with its empty crash notes filled, and a note that records that.
pub(crate) fn fill(mut dump: Dump, input: &InputArgs) -> Result<(Dump, Vec<Note>)> {
    let vmlinux = input.vmlinux.as_deref().map(|path| vmlinux_of(&mut dump, path)).transpose()?;
    let patches = plan(&dump, input, vmlinux.as_ref()).context("cannot fill the kernel's crash_notes")?;
    let record: String =
        patches.iter().map(|p| format!("{} {:#x} {}\n", p.cpu, p.at.0, p.bytes.len())).collect();
    tracing::info!("filled the crash_notes of {} CPUs", patches.len());
    let mut memory = Overlay::new(dump.memory);
    patches.into_iter().for_each(|p| memory.put(p.at, &Content::Bytes(p.bytes)));
    dump.memory = Box::new(memory);
    Ok((dump, vec![Note { name: OWNER.into(), kind: FILLED, desc: record.into_bytes() }]))
}

/// Bytes that replace those of physical memory.
struct Patch {
    cpu: u32,
    at: PhysAddr,
    bytes: Vec<u8>,
}

fn plan(dump: &Dump, input: &InputArgs, vmlinux: Option<&Vmlinux>) -> Result<Vec<Patch>> {
    let kernel = crate::input::kernel(dump, input)?;
    let buffers = match vmlinux {
        Some(vmlinux) => {
            let symbols = Relocated::by_info(vmlinux, kernel.info());
            kernel::crash_notes(&kernel, |name| symbols.symbol(name))?
        }
        None => {
            let table = Kallsyms::open(&kernel).context("the dump has no symbols; give --vmlinux FILE")?;
            kernel::crash_notes(&kernel, |name| table.find(name))?
        }
    };
    // In order, as readers pair notes and online CPUs.
    let online = buffers.iter().filter(|b| b.online);
    let mut patches = Vec::new();
    for (buffer, note) in online.zip(dump.notes.prstatus()) {
        if buffer.filled {
            continue;
        }
        let Some(bytes) = buffer.content(dump.machine, &note.desc) else {
            bail!(
                "the NT_PRSTATUS note of CPU {} has {} bytes, which do not fit",
                buffer.cpu,
                note.desc.len()
            );
        };
        // The buffer is virtually contiguous and may cross pages that are not neighbours.
        let mut done = 0;
        while done < bytes.len() {
            let virt = VirtAddr(buffer.addr.0.wrapping_add(done as u64));
            let at = kernel.translate(virt)?;
            let page = dump.page_size();
            let len = (page.len() - page.offset(at.0)).min(bytes.len() - done);
            patches.push(Patch { cpu: buffer.cpu, at, bytes: bytes[done..done + len].to_vec() });
            done += len;
        }
    }
    if patches.is_empty() {
        bail!("they hold registers already; leave out --fill-crash-notes");
    }
    Ok(patches)
}
