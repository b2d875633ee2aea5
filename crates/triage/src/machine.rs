//! The machine, its kernel, and how they stood.

use std::time::Duration;

/// Something that the kernel counted or that taints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// The letter in the kernel's messages.
    pub letter: char,
    /// What it means, in a few words.
    pub meaning: &'static str,
}

/// Hardware errors that the kernel survived (`hwerr_data`, since 6.18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardwareErrors {
    /// Of which source: `CPU`, `memory`, `PCI`, `CXL`, `others`.
    pub source: String,
    /// How many.
    pub count: u64,
    /// When the last was, in seconds since 1970.
    pub last: Option<i64>,
}

/// Memory that the dump lacks by design: lent to the capture kernel (`crashkernel=…,cma`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lent {
    /// The first physical address.
    pub start: u64,
    /// The one after the last.
    pub end: u64,
}

/// The machine and its kernel. What is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The architecture: `x86_64`, `ppc64le`.
    pub arch: String,
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// The host's name.
    pub host: String,
    /// The build ID of the kernel, in hexadecimal.
    pub build_id: Option<String>,
    /// The kernel's command line.
    pub command_line: Option<String>,
    /// The hardware by name: vendor, product and board, or the device tree's model.
    pub hardware: Option<String>,
    /// The firmware's name and version.
    pub firmware: Option<String>,
    /// Bytes of memory that the dump's machine has.
    pub memory: u64,
    /// Bytes of memory that the kernel managed (`totalram`).
    pub managed: Option<u64>,
    /// CPUs that were online.
    pub cpus_online: Option<u32>,
    /// CPUs that there are.
    pub cpus_present: Option<u32>,
    /// How long the kernel ran.
    pub uptime: Option<Duration>,
    /// When it crashed, in seconds since 1970.
    pub crashed_at: Option<i64>,
    /// What taints the kernel; `None` where it cannot be told.
    pub taints: Option<Vec<Taint>>,
    /// Hardware errors before the crash.
    pub hardware_errors: Vec<HardwareErrors>,
    /// Memory that the dump lacks by design.
    pub lent: Vec<Lent>,
}

/// The bits of the kernel's taint mask: the letter in messages, and what it means (kernel: `kernel/panic.c`).
const TAINTS: [(char, &str); 20] = [
    ('P', "a proprietary module was loaded"),
    ('F', "a module was loaded by force"),
    ('S', "the hardware is out of its specification"),
    ('R', "a module was unloaded by force"),
    ('M', "a machine check occurred"),
    ('B', "a page was in a bad state"),
    ('U', "a program asked for the taint"),
    ('D', "the kernel died before: an oops or BUG"),
    ('A', "an ACPI table was overridden"),
    ('W', "the kernel warned before"),
    ('C', "a staging driver was loaded"),
    ('I', "a bug of the firmware was worked around"),
    ('O', "a module from outside of the kernel's tree was loaded"),
    ('E', "an unsigned module was loaded"),
    ('L', "a CPU was locked up before"),
    ('K', "the kernel was patched while it ran"),
    ('X', "the distribution's own taint"),
    ('T', "the kernel was built with randomised structures"),
    ('N', "a test was run in the kernel"),
    ('J', "a device's firmware was debugged (fwctl)"),
];

/// The taints of a mask, in the order of their bits.
pub(crate) fn taints(mask: u64) -> impl Iterator<Item = Taint> {
    let bits = TAINTS.iter().enumerate().filter(move |(bit, _)| mask >> bit & 1 == 1);
    bits.map(|(_, &(letter, meaning))| Taint { letter, meaning })
}

/// Their letters.
pub(crate) fn taint_letters(mask: u64) -> String {
    taints(mask).map(|taint| taint.letter).collect()
}
