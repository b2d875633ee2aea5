//! The machine, its kernel, and how they stood.

use crate::{Report, Subject};
use std::time::Duration;

/// The longest command line of any architecture.
const LONGEST: usize = 4096;
/// The most properties of a node of the device tree that are looked at.
const MOST_PROPERTIES: usize = 256;

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

/// Fills what is known of the machine.
pub(crate) fn find(subject: &Subject<'_>, report: &mut Report) {
    let dump = subject.dump;
    let name = subject.utsname.or(dump.source.utsname.as_ref());
    let info = subject.kernel.map(|kernel| kernel.info()).or(dump.vmcoreinfo.as_ref());
    let count = |mask: &str| subject.cpus(mask).map(|cpus| cpus.len() as u32).filter(|&count| count > 0);
    let managed = subject.symbol("_totalram_pages").or_else(|| subject.symbol("totalram_pages"));
    let managed = managed.and_then(|at| subject.pointer(at));
    let mask = subject.symbol("tainted_mask").and_then(|at| subject.pointer(at));
    let lent = subject.kernel.and_then(|kernel| kernel::lent(kernel, &subject.symbols).ok());
    let release = info.and_then(|info| info.release());
    let (hardware, firmware) = by_dmi(subject);
    report.machine = Machine {
        arch: dump.machine.name().to_owned(),
        release: name.map_or_else(|| release.unwrap_or_default().to_owned(), |name| name.release.clone()),
        version: name.map(|name| name.version.clone()).unwrap_or_default(),
        host: name.map(|name| name.nodename.clone()).unwrap_or_default(),
        build_id: info.and_then(|info| info.get("BUILD-ID")).map(str::to_owned),
        command_line: subject.symbol("saved_command_line").and_then(|at| subject.text_at(at, LONGEST)),
        hardware: hardware.or_else(|| by_device_tree(subject)),
        firmware,
        memory: dump.memory.map().bytes().total(),
        managed: managed.and_then(|pages| pages.checked_mul(subject.page_size())),
        cpus_online: count("__cpu_online_mask"),
        cpus_present: count("__cpu_present_mask"),
        uptime: uptime(subject),
        crashed_at: info.and_then(|info| info.crash_time()).and_then(|time| i64::try_from(time).ok()),
        taints: mask.map(|mask| taints(mask).collect()),
        hardware_errors: hardware_errors(subject),
        lent: lent
            .iter()
            .flat_map(|ranges| ranges.iter())
            .map(|range| Lent { start: range.start.0, end: range.end.0 })
            .collect(),
    };
}

/// Hardware and firmware as the firmware's tables name them (`dmi_ident`, an array of strings).
fn by_dmi(subject: &Subject<'_>) -> (Option<String>, Option<String>) {
    let Some(table) = subject.symbol("dmi_ident") else { return (None, None) };
    let text = |name: &str| {
        let index = u64::try_from(subject.enumerator(name)?).ok().filter(|&index| index < 64)?;
        let text = subject.text_at(table.wrapping_add(index * subject.word()), 256)?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let joined = |names: &[&str]| {
        let mut parts: Vec<String> = Vec::new();
        for part in names.iter().filter_map(|name| text(name)) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        (!parts.is_empty()).then(|| parts.join(" "))
    };
    (
        joined(&["DMI_SYS_VENDOR", "DMI_PRODUCT_NAME", "DMI_BOARD_NAME"]),
        joined(&["DMI_BIOS_VENDOR", "DMI_BIOS_VERSION", "DMI_BIOS_DATE"]),
    )
}

/// The property `model` of the device tree's root.
fn by_device_tree(subject: &Subject<'_>) -> Option<String> {
    let root = subject.pointer(subject.symbol("of_root")?).filter(|&at| at != 0)?;
    let mut property = subject.pointer_in(root, "device_node.properties")?;
    for _ in 0..MOST_PROPERTIES {
        if property == 0 {
            return None;
        }
        let name = subject.text_at(property.wrapping_add(subject.offset("property.name")?), 32)?;
        if name == "model" {
            return subject.text_at(property.wrapping_add(subject.offset("property.value")?), 256);
        }
        property = subject.pointer_in(property, "property.next")?;
    }
    None
}

/// How long the kernel ran, sleep included: its wall clock, and how far that is ahead.
fn uptime(subject: &Subject<'_>) -> Option<Duration> {
    // Since 6.17 it is the first of several.
    let core = subject.symbol("tk_core").or_else(|| subject.symbol("timekeeper_data"))?;
    // Before 6.13 the struct had no name: a counter, and behind it what its 64-bit members align.
    let keeper = match subject.offset("tk_data.timekeeper") {
        Some(offset) => offset,
        None => subject.size_of("seqcount_raw_spinlock_t").unwrap_or(4).checked_next_multiple_of(8)?,
    };
    let keeper = core.wrapping_add(keeper);
    let seconds = subject.signed_in(keeper, "timekeeper.xtime_sec")?;
    let ahead = subject.signed_in(keeper, "timekeeper.wall_to_monotonic.tv_sec")?;
    let ahead_nanoseconds = subject.signed_in(keeper, "timekeeper.wall_to_monotonic.tv_nsec")?;
    let asleep = subject.signed_in(keeper, "timekeeper.offs_boot").unwrap_or(0);
    let shift = subject.number_in(keeper, "timekeeper.tkr_mono.shift")?;
    let part = subject.number_in(keeper, "timekeeper.tkr_mono.xtime_nsec")?;
    let part = part.checked_shr(u32::try_from(shift).ok()?)?;
    let seconds = i128::from(seconds) + i128::from(ahead);
    let all = seconds * 1_000_000_000 + i128::from(ahead_nanoseconds) + i128::from(part) + i128::from(asleep);
    Some(Duration::from_nanos(u64::try_from(all).ok()?))
}

/// What the kernel counted of errors that it survived (`hwerr_data`).
fn hardware_errors(subject: &Subject<'_>) -> Vec<HardwareErrors> {
    let Some((table, size)) = subject.symbol("hwerr_data").zip(subject.size_of("hwerr_info")) else {
        return Vec::new();
    };
    let sources = subject.types.and_then(|types| types.enumeration("HWERR_RECOV_CPU").ok());
    let mut found = Vec::new();
    for (name, index) in sources.unwrap_or_default().into_iter().take(16) {
        let Some(source) = name.strip_prefix("HWERR_RECOV_").filter(|source| *source != "MAX") else {
            continue;
        };
        let at = table.wrapping_add((index as u64).wrapping_mul(size));
        let Some(count) = subject.number_in(at, "hwerr_info.count").filter(|&count| count > 0) else {
            continue;
        };
        let source = match source {
            "MEMORY" | "OTHERS" => source.to_lowercase(),
            other => other.to_owned(),
        };
        let last = subject.signed_in(at, "hwerr_info.timestamp").filter(|&time| time > 0);
        found.push(HardwareErrors { source, count, last });
    }
    found
}
