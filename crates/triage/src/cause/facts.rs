//! What the dump knows of its crash without the log.

use kernel::KernelMemory;
use vmcore::{Dump, VirtAddr};

/// What the dump knows of its crash without the log. It comes before what the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// VMCOREINFO has the time of a crash, which the kernel writes on its way into the dump.
    pub crash_time: bool,
    /// `panic_cpu`: the CPU, or within that `None` for `PANIC_CPU_INVALID`, which no CPU that panicked leaves. The outer
    /// `None` is a kernel before 4.5, or one whose variable cannot be found.
    pub panic_cpu: Option<Option<u32>>,
    /// The task that ran on the CPU that crashed: its number and name.
    pub task: Option<(u32, String)>,
}

/// CPUs have numbers below this; `CONFIG_NR_CPUS` ends at 8192.
const MAX_CPU: u32 = 1 << 16;

impl Facts {
    /// What a dump says whose kernel cannot be read.
    pub fn of(dump: &Dump) -> Self {
        let crash_time = dump.vmcoreinfo.as_ref().is_some_and(|info| info.crash_time().is_some());
        Self { crash_time, ..Self::default() }
    }

    /// The kernel crashed, whatever its log says.
    pub(super) fn crashed(&self) -> bool {
        self.crash_time || matches!(self.panic_cpu, Some(Some(_)))
    }

    /// Reads all but the task; `panic_cpu` is the address of the variable of that name. What cannot be read is not known.
    pub fn read(memory: &dyn KernelMemory, panic_cpu: Option<VirtAddr>) -> Self {
        let number = panic_cpu.and_then(|addr| memory.read_u32(addr).ok());
        Self {
            crash_time: memory.info().crash_time().is_some(),
            panic_cpu: match number {
                Some(u32::MAX) => Some(None),
                Some(cpu) if cpu < MAX_CPU => Some(Some(cpu)),
                _ => None,
            },
            task: None,
        }
    }
}
