//! What there is to see: threads, registers, memory, and where the kernel lies.

use crate::host::Host;
use crate::machine::Registers;
use crate::threads::Threads;
use kernel::KernelMemory;
use std::sync::OnceLock;
use vmcore::{PhysicalMemory, VirtAddr};

/// The parts in which memory is read where not all of it can be: no page is smaller.
const PART: u64 = 4096;

/// A crashed kernel as gdb sees it. Several sessions may look at one at once.
pub struct Target<'d> {
    pub(crate) memory: &'d dyn KernelMemory,
    pub(crate) physical: &'d dyn PhysicalMemory,
    pub(crate) threads: Threads,
    /// `None` for machines of which gdb is told nothing: it then takes its own guess.
    pub(crate) registers: Option<Registers>,
    /// Where the kernel's image begins in memory.
    text: Option<u64>,
    list: OnceLock<String>,
}

impl<'d> Target<'d> {
    /// A kernel's virtual memory, the physical memory behind it, and the threads that were found in it.
    pub fn new(
        memory: &'d dyn KernelMemory,
        physical: &'d dyn PhysicalMemory,
        found: triage::threads::Threads,
    ) -> Self {
        Self {
            memory,
            physical,
            threads: Threads::new(found.threads),
            registers: Registers::of(memory.machine()),
            text: found.text,
            list: OnceLock::new(),
        }
    }

    /// The list of threads in XML.
    pub(crate) fn list(&self, host: &dyn Host) -> &str {
        self.list.get_or_init(|| self.threads.xml(host))
    }

    /// As much of `len` bytes from `addr` on as can be read; `None` where that is nothing.
    pub(crate) fn read(&self, addr: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        if self.memory.read(VirtAddr(addr), &mut bytes).is_ok() {
            return Some(bytes);
        }
        let mut done = 0;
        while done < len {
            let at = addr.wrapping_add(done as u64);
            let end = (len - done).min((PART - at % PART) as usize) + done;
            if self.memory.read(VirtAddr(at), &mut bytes[done..end]).is_err() {
                break;
            }
            done = end;
        }
        bytes.truncate(done);
        (done > 0).then_some(bytes)
    }

    /// The answer to `qOffsets`: how far the kernel lies from where its vmlinux says. Empty where that is not known.
    ///
    /// `Text=…;Data=…;Bss=…` moves the three sections of these names and leaves all others, `.rodata` and `.init.text`
    /// among them, where they are, as a vmlinux has more segments than gdb expects. `TextSeg=ADDRESS` moves every section
    /// that is in a segment, by the distance of the first segment from the address. So where the kernel was moved, it is the
    /// latter.
    pub(crate) fn offsets(&self) -> String {
        let moved = self.memory.info().get("KERNELOFFSET");
        let moved = moved.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        match (moved, self.text) {
            (Some(0), _) => "Text=0;Data=0;Bss=0".into(),
            (_, Some(text)) => format!("TextSeg={text:x}"),
            (Some(moved), None) => format!("Text={moved:x};Data={moved:x};Bss={moved:x}"),
            (None, None) => String::new(),
        }
    }
}
