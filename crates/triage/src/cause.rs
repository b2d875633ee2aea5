//! Why the machine crashed, by the last words of its kernel.

/// What kind of end it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Nothing in the dump says that the kernel crashed: the dump was made of a running machine.
    NoCrash,
    /// The kernel crashed, and nothing that is known says why.
    #[default]
    Unknown,
    /// A pointer that was null, or a little more than null, was followed.
    NullPointer,
    /// An address was used that is not mapped or not allowed.
    BadAccess,
    /// `BUG()`, `BUG_ON()` or another instruction that is not one.
    Bug,
    /// A general protection fault: an address or segment that no page fault describes.
    GeneralProtection,
    /// Another trap of the processor: division, alignment, debug, double fault.
    Trap,
    /// A machine check, or another report of broken hardware.
    MachineCheck,
    /// `panic()` by somebody who is none of the others.
    Panic,
    /// A CPU did not answer interrupts.
    HardLockup,
    /// A CPU did not schedule.
    SoftLockup,
    /// A task did not run for minutes, and the kernel was told to panic then.
    HungTask,
    /// RCU's grace period did not end.
    RcuStall,
    /// Memory ran out, and the kernel was told to panic then or had nobody to kill.
    OutOfMemory,
    /// A watchdog or a non-maskable interrupt.
    Watchdog,
    /// Somebody asked for it: SysRq-c or a write to `/proc/sysrq-trigger`.
    SysRq,
    /// Init ended.
    InitDied,
    /// No root file system, no init.
    Boot,
    /// The firmware or an adapter of POWER: EEH, checkstop, HMI.
    Firmware,
    /// A stack was overrun, or its guard was overwritten.
    StackCorruption,
    /// The kernel's own checks (KASAN, UBSAN, list and slab debugging, hardened usercopy, reference counts).
    Corruption,
}

impl Kind {
    /// The name in JSON and in signatures, which does not change.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCrash => "no_crash",
            Self::Unknown => "unknown",
            Self::NullPointer => "null_pointer",
            Self::BadAccess => "bad_access",
            Self::Bug => "bug",
            Self::GeneralProtection => "general_protection",
            Self::Trap => "trap",
            Self::MachineCheck => "machine_check",
            Self::Panic => "panic",
            Self::HardLockup => "hard_lockup",
            Self::SoftLockup => "soft_lockup",
            Self::HungTask => "hung_task",
            Self::RcuStall => "rcu_stall",
            Self::OutOfMemory => "out_of_memory",
            Self::Watchdog => "watchdog",
            Self::SysRq => "sysrq",
            Self::InitDied => "init_died",
            Self::Boot => "boot",
            Self::Firmware => "firmware",
            Self::StackCorruption => "stack_corruption",
            Self::Corruption => "corruption",
        }
    }
}

/// Why the machine crashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// The kind.
    pub kind: Kind,
    /// One sentence in plain English: what happened, where and to whom.
    pub summary: String,
    /// The words of `panic()`, without `Kernel panic - not syncing: `.
    pub panic: Option<String>,
    /// The lines of the log that say so, as the log has them, in its order.
    pub lines: Vec<String>,
    /// Where the kernel was: `sysrq_handle_crash+0x16/0x20`, with ` [module]` behind.
    pub at: Option<String>,
    /// The address that was used, where one was.
    pub address: Option<u64>,
    /// The CPU that crashed.
    pub cpu: Option<u32>,
    /// Its task.
    pub pid: Option<u32>,
    /// The task's name.
    pub comm: Option<String>,
    /// The kernel's own `Call Trace` of the crash, innermost first, as the log has it: `name+0x1f/0x40 [module]`; a frame
    /// that the kernel found by scanning begins with `? `.
    pub call_trace: Vec<String>,
}
