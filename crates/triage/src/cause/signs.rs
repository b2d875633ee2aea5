//! The lines by which an oops, a watchdog or a check of the kernel begins, in the kernel's own words.
//!
//! Only the beginning of a record is looked at: what a driver prints of others' texts has its own words in front.

use super::Kind;

/// What a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An exception that the kernel may not survive. More lines that say so follow, the last of them with a number, `[#1]`.
    Oops,
    /// The line of an oops with its number (kernel: `die`). It ends the beginning, and may be all of it.
    Die,
    /// The report of a check or watchdog. The kernel goes on unless somebody panics because of it.
    Report,
}

/// A line that begins something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) role: Role,
    pub(super) kind: Kind,
}

/// How a message begins, what else it must contain, and what that is. The first that fits counts.
type Rule = (&'static str, &'static str, Role, Kind);

use Kind::*;
use Role::{Die, Oops, Report};

/// What is printed in front of the words below by some versions of the kernel.
const PREFIXES: [&str; 7] = ["NMI watchdog: ", "watchdog: ", "rcu: ", "traps: ", "mm: ", "slab: ", "Oops: "];

const RULES: &[Rule] = &[
    // x86 (arch/x86/mm/fault.c, arch/x86/kernel/traps.c); ppc64 (arch/powerpc/mm/fault.c) with capitals.
    ("BUG: kernel NULL pointer dereference", "", Oops, NullPointer),
    ("BUG: Kernel NULL pointer dereference", "", Oops, NullPointer),
    ("BUG: unable to handle kernel NULL pointer dereference", "", Oops, NullPointer),
    ("BUG: unable to handle", "", Oops, BadAccess),
    ("BUG: Unable to handle kernel instruction fetch", "NULL", Oops, NullPointer),
    ("BUG: Unable to handle kernel", "", Oops, BadAccess),
    ("Kernel attempted to ", "page", Oops, BadAccess),
    ("kernel tried to execute", "", Oops, BadAccess),
    // A null pointer with an offset, as KASAN reads an address that is none.
    ("KASAN: null-ptr-deref in range", "", Oops, NullPointer),
    ("KASAN: maybe wild-memory-access in range", "", Oops, GeneralProtection),
    ("general protection fault", "", Die, GeneralProtection),
    ("invalid opcode:", "[#", Die, Bug),
    ("kernel BUG at ", "", Oops, Bug),
    ("PANIC: double fault", "", Oops, Trap),
    ("Missing ENDBR:", "", Oops, Trap),
    ("CFI failure at ", "", Oops, Corruption),
    ("BUG: ", "stack guard page was hit", Oops, StackCorruption),
    // arm64, arm, riscv64 (arch/*/mm/fault.c), s390x, mips and loongarch64.
    ("Unable to handle kernel NULL pointer dereference", "", Oops, NullPointer),
    ("Unable to handle kernel", "", Oops, BadAccess),
    ("Insufficient stack space to handle exception", "", Oops, StackCorruption),
    ("SError Interrupt on CPU", "", Oops, MachineCheck),
    ("Bad mode in ", "", Oops, Trap),
    ("Unhandled fault", "external abort", Oops, MachineCheck),
    ("Unhandled fault", "parity", Oops, MachineCheck),
    ("Unhandled fault", "", Oops, BadAccess),
    ("Internal error: Oops - BUG", "", Die, Bug),
    ("Internal error: Oops - Undefined instruction", "", Die, Bug),
    ("Internal error: Oops - undefined instruction", "", Die, Bug),
    ("Internal error: Oops - CFI", "", Die, Corruption),
    ("Internal error: Oops - KASAN", "", Die, Corruption),
    ("Internal error: Oops -", "", Die, Trap),
    ("Internal error: Oops:", "", Die, BadAccess),
    ("Internal error: ", "external abort", Die, MachineCheck),
    ("Internal error: ", "parity", Die, MachineCheck),
    ("Internal error: ", "[#", Die, Trap),
    ("Oops - illegal instruction", "", Die, Bug),
    ("Oops - ", "", Die, Trap),
    ("Kernel BUG [#", "", Die, Bug),
    ("Kernel bug detected[#", "", Die, Bug),
    ("Reserved instruction in kernel code", "", Die, Bug),
    // ppc64 (arch/powerpc/kernel/traps.c).
    ("Exception in kernel mode, sig:", "", Die, Bug),
    ("Machine check, sig:", "", Die, MachineCheck),
    ("System Reset, sig:", "", Die, Watchdog),
    ("Kernel access of bad area, sig:", "", Die, BadAccess),
    ("Bad kernel stack pointer", "", Oops, StackCorruption),
    ("Machine check in kernel mode", "", Oops, MachineCheck),
    ("Kernel stack overflow", "", Oops, StackCorruption),
    // s390x (arch/s390/kernel/traps.c).
    ("illegal operation:", "[#", Die, Bug),
    ("monitor event:", "[#", Die, Bug),
    ("protection exception:", "[#", Die, BadAccess),
    ("addressing exception:", "[#", Die, BadAccess),
    ("Low-address protection:", "[#", Die, NullPointer),
    // Watchdogs.
    ("BUG: soft lockup - CPU#", "", Report, SoftLockup),
    ("Watchdog detected hard LOCKUP on cpu", "", Report, HardLockup),
    ("CPU", "Watchdog detected hard LOCKUP on cpu", Report, HardLockup),
    ("CPU ", "Hard LOCKUP", Report, HardLockup),
    ("CPU ", "detected hard LOCKUP", Report, HardLockup),
    ("INFO: task ", " blocked for more than ", Report, HungTask),
    ("INFO: task ", " blocked in I/O wait for more than ", Report, HungTask),
    ("INFO: rcu_", "stall", Report, RcuStall),
    ("", " invoked oom-killer: ", Report, OutOfMemory),
    // Interrupts that cannot be masked, and broken hardware.
    ("Uhhuh. NMI received for unknown reason", "", Report, Watchdog),
    ("NMI: PCI system error (SERR) for reason", "", Report, Watchdog),
    ("NMI: IOCK error", "", Report, Watchdog),
    ("mce: [Hardware Error]: ", "Machine Check", Report, MachineCheck),
    ("{", "}[Hardware Error]: Hardware error from", Report, MachineCheck),
    ("MCE: CPU", "machine check", Report, MachineCheck),
    // POWER's adapters and firmware.
    ("EEH: ", "Frozen", Report, Firmware),
    ("EEH: ", "failure detected", Report, Firmware),
    ("Fatal Hypervisor Maintenance interrupt", "", Report, Firmware),
    ("Severe Hypervisor Maintenance interrupt", "", Report, Firmware),
    ("opal: Hardware platform error", "", Report, Firmware),
    ("RTAS: event: ", "Fatal", Report, Firmware),
    // The kernel's own checks.
    ("BUG: KASAN: ", "", Report, Corruption),
    ("BUG: KFENCE: ", "", Report, Corruption),
    ("BUG: KMSAN: ", "", Report, Corruption),
    ("BUG: KCSAN: ", "", Report, Corruption),
    ("UBSAN: ", "", Report, Corruption),
    ("list_add ", "corruption", Report, Corruption),
    ("list_del ", "corruption", Report, Corruption),
    ("list_add corruption", "", Report, Corruption),
    ("list_del corruption", "", Report, Corruption),
    ("refcount_t: ", "", Report, Corruption),
    ("usercopy: Kernel memory ", "", Report, Corruption),
    ("", "detected buffer overflow", Report, Corruption),
    ("BUG: Bad page ", "", Report, Corruption),
    ("BUG ", "): ", Report, Corruption),
    ("WARNING: ", "", Report, Panic),
    // Somebody's wish.
    ("sysrq: Trigger a crash", "", Report, SysRq),
    ("SysRq : Trigger a crash", "", Report, SysRq),
];

/// What a message begins, if it begins something.
pub(super) fn sign(message: &str) -> Option<Sign> {
    let mut text = message;
    // loongarch64 and mips name the CPU first.
    if let Some((_, rest)) = text.strip_prefix("CPU ").and_then(super::place::number)
        && let Some(at) = rest.strip_prefix(' ').filter(|rest| rest.starts_with("Unable to handle kernel"))
    {
        text = at;
    }
    let bare = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    for text in [text, bare] {
        let rule =
            RULES.iter().find(|(begins, contains, ..)| text.starts_with(begins) && text.contains(contains));
        if let Some(&(_, _, role, kind)) = rule {
            return Some(Sign { role, kind });
        }
    }
    // `Oops: 0002 [#1]`, `Oops [#1]`, `Oops[#1]`, and the names of all other traps: `divide error: 0000 [#1]`.
    let role = Role::Die;
    match has_number(message) {
        false => None,
        true if text.starts_with("Oops") && !bare.starts_with(|c: char| c.is_ascii_lowercase())
            || is_code(bare) =>
        {
            Some(Sign { role, kind: BadAccess })
        }
        true => Some(Sign { role, kind: Trap }),
    }
}

/// Something like `0002 [#1]` or `Oops: 0010 ilc:2`: a trap without a name of its own.
fn is_code(text: &str) -> bool {
    text.split(' ').next().is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The number of an oops, `[#1]`, within the first words of a line that begins with a letter.
fn has_number(message: &str) -> bool {
    let Some((before, rest)) = message.split_once("[#") else { return false };
    let number = rest.split(']').next().unwrap_or_default();
    !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && before.len() <= 100
        && message.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// What the words of `panic()` say of its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The cause itself.
    Is(Kind),
    /// It follows from the oops before it.
    Follows,
    /// As [`Verdict::Follows`] if that oops was one of init, else init ended by itself.
    Init,
    /// Some check was told to panic: it is the last one that reported.
    Warned,
    /// None of these.
    Unknown,
}

/// The words of `panic()`: how they begin, or after `*` what they contain.
const PANICS: &[(&str, Verdict)] = &[
    ("sysrq triggered crash", Verdict::Is(SysRq)),
    ("Fatal exception", Verdict::Follows),
    ("Oops: Fatal exception", Verdict::Follows),
    ("Aiee, killing interrupt handler", Verdict::Follows),
    ("Attempted to kill the idle task", Verdict::Follows),
    ("Attempted to kill init", Verdict::Init),
    ("*panic_on_warn set", Verdict::Warned),
    ("Out of memory", Verdict::Is(OutOfMemory)),
    ("System is deadlocked on memory", Verdict::Is(OutOfMemory)),
    ("out of memory", Verdict::Is(OutOfMemory)),
    ("hung_task: ", Verdict::Is(HungTask)),
    ("softlockup: ", Verdict::Is(SoftLockup)),
    ("Hard LOCKUP", Verdict::Is(HardLockup)),
    ("Watchdog detected hard LOCKUP", Verdict::Is(HardLockup)),
    ("RCU Stall", Verdict::Is(RcuStall)),
    ("VFS: Unable to mount root", Verdict::Is(Boot)),
    ("No working init found", Verdict::Is(Boot)),
    ("No init found", Verdict::Is(Boot)),
    ("Requested init ", Verdict::Is(Boot)),
    ("stack-protector: ", Verdict::Is(StackCorruption)),
    ("corrupted stack end", Verdict::Is(StackCorruption)),
    ("kernel stack overflow", Verdict::Is(StackCorruption)),
    ("Kernel stack overflow", Verdict::Is(StackCorruption)),
    ("Corrupt kernel stack", Verdict::Is(StackCorruption)),
    ("Asynchronous SError Interrupt", Verdict::Is(MachineCheck)),
    ("Fatal hardware error", Verdict::Is(MachineCheck)),
    ("Uncorrected hardware", Verdict::Is(MachineCheck)),
    ("*Memory failure", Verdict::Is(MachineCheck)),
    ("*Hypervisor Maintenance", Verdict::Is(Firmware)),
    ("*Hypervisor maintenance", Verdict::Is(Firmware)),
    ("*HMI", Verdict::Is(Firmware)),
    ("*EEH", Verdict::Is(Firmware)),
    ("*checkstop", Verdict::Is(Firmware)),
    ("*Hardware platform error", Verdict::Is(Firmware)),
    ("*achine check", Verdict::Is(MachineCheck)),
    ("*achine Check", Verdict::Is(MachineCheck)),
    ("Timeout: Not all CPUs entered broadcast", Verdict::Is(MachineCheck)),
    ("*NMI", Verdict::Is(Watchdog)),
    ("*nmi", Verdict::Is(Watchdog)),
    ("Non maskable interrupt", Verdict::Is(Watchdog)),
    ("*atchdog", Verdict::Is(Watchdog)),
    ("System Reset", Verdict::Is(Watchdog)),
    ("Unrecoverable System Reset", Verdict::Is(Watchdog)),
    ("*CFI failure", Verdict::Is(Corruption)),
    ("Unrecoverable ", Verdict::Follows),
    ("Unhandled exception", Verdict::Follows),
];

pub(super) fn verdict(panic: &str) -> Verdict {
    let fits = |words: &str| match words.strip_prefix('*') {
        Some(words) => panic.contains(words),
        None => panic.starts_with(words),
    };
    PANICS.iter().find(|(words, _)| fits(words)).map_or(Verdict::Unknown, |&(_, verdict)| verdict)
}
