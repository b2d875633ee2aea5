//! Why the machine crashed, by the last words of its kernel.
//!
//! The log is a list of events: oopses, reports of checks and watchdogs, at last a panic ([`events`]). Which of them is the
//! cause is decided so:
//!
//! - The words of the first `panic()` either are the cause (`Out of memory: …`), or say that it lies before ([`signs`]).
//! - The cause that lies before is the last oops: a kernel that went on after an oops did not die of it. If it began while
//!   another oops of the same CPU was not over, that one is the cause.
//! - Without a panic, the last oops is the cause, for it led straight to kexec.
//!
//! What the dump itself says comes before what the log says: without a crash there is no cause, and a CPU that did not
//! crash has none. Lines that programs wrote are never a cause ([`crate::log::Entry`] knows them by their facility, where
//! the kernel keeps it: since 3.11), and neither are words in the middle of a line.

mod events;
mod facts;
pub(crate) mod machinery;
mod place;
mod signs;
mod trace;
mod words;

use crate::log::Entries;
use events::{Event, Events};
pub use facts::Facts;
use signs::{Verdict, verdict};
use std::collections::BTreeSet;

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

/// The cause, and the entries of the log that belong to the crash.
#[derive(Debug, Default)]
pub struct Found {
    /// The cause.
    pub cause: Cause,
    /// The places in [`Entries`] of those that belong to the crash.
    pub entries: BTreeSet<usize>,
}

/// The most lines of the log that a cause shows.
const MAX_LINES: usize = 12;

/// Finds why the kernel crashed.
pub fn find(entries: &Entries, facts: &Facts) -> Found {
    let events = Events::of(entries);
    let last = events.before.iter().rposition(Event::is_oops);
    // A kernel that goes on after an oops says that it is over. Not so one that is dumped at once.
    let unended = last.is_some_and(|last| !events.before[last].ended);
    let invalid = facts.panic_cpu == Some(None);
    let crashed = facts.crashed() || !invalid && (events.panic.is_some() || unended);
    if !crashed {
        return survived(entries, last.map(|last| &events.before[last]));
    }
    let (kind, event) = choose(&events, facts);
    let mut cause = Cause { kind, ..Cause::default() };
    let mut found: Vec<usize> = Vec::new();
    let mut all = BTreeSet::new();
    for event in event.into_iter().chain(&events.panic) {
        found.extend(&event.lines);
        all.extend(&event.entries);
    }
    if let Some(event) = event {
        cause.at = event.at.clone();
        cause.address = event.address;
        cause.call_trace = event.trace.frames().to_vec();
    }
    if let Some(panic) = &events.panic {
        let words = panic.words.trim_end();
        cause.panic = Some(words.to_owned());
        if cause.call_trace.is_empty() {
            cause.call_trace = panic.trace.frames().to_vec();
        }
    }
    if cause.at.is_none() {
        cause.at = first_of_interest(&cause.call_trace);
    }
    // Kernels before 4.20 crash on request by writing to a null pointer.
    if cause.at.as_ref().is_some_and(|at| at.starts_with("sysrq_handle_crash+")) {
        cause.kind = Kind::SysRq;
    }
    if cause.kind == Kind::SysRq {
        cause.address = None;
    }
    let whose = who(event, &events, facts);
    (cause.cpu, cause.pid, cause.comm) = (whose.cpu, whose.pid, whose.comm);
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_LINES);
    cause.lines = lines(entries, &found);
    let words = event.or(events.panic.as_ref()).map_or("", |event| event.words.trim_end());
    cause.summary = words::summary(&cause, bare(words));
    Found { cause, entries: all }
}

/// The cause where the log cannot be read.
pub fn without_log(facts: &Facts) -> Cause {
    let (pid, comm) = facts.task.clone().unzip();
    let mut cause = Cause { cpu: facts.panic_cpu.flatten(), pid, comm, ..Cause::default() };
    cause.summary = match (facts.crashed(), facts.panic_cpu) {
        (true, _) => words::unread(&cause),
        (false, Some(None)) => {
            cause.kind = Kind::NoCrash;
            words::summary(&cause, "")
        }
        (false, _) => "Whether the kernel crashed is not known, for its log cannot be read.".into(),
    };
    cause
}

/// Without what stands in front of the words in some kernels.
fn bare(words: &str) -> &str {
    ["NMI watchdog: ", "watchdog: ", "rcu: "]
        .iter()
        .find_map(|prefix| words.strip_prefix(prefix))
        .unwrap_or(words)
}

/// No crash, though there may have been an oops that the kernel survived.
fn survived(entries: &Entries, oops: Option<&Event>) -> Found {
    let mut cause = Cause { kind: Kind::NoCrash, ..Cause::default() };
    cause.summary = words::summary(&cause, "");
    if let Some(oops) = oops {
        cause.summary += " It had survived an oops before.";
        cause.lines = lines(entries, &oops.lines);
    }
    Found { cause, entries: BTreeSet::new() }
}

fn lines(entries: &Entries, wanted: &[usize]) -> Vec<String> {
    wanted.iter().filter_map(|&index| Some(entries.get(index)?.first().to_owned())).collect()
}

/// The kind, and the event that shows where it was.
fn choose<'e>(events: &'e Events, facts: &Facts) -> (Kind, Option<&'e Event>) {
    let of_kind = |kind: Kind| events.before.iter().rfind(|event| event.kind() == kind);
    let Some(panic) = &events.panic else {
        // A CPU that did not crash is not the one to ask.
        let fits = |event: &Event| match (facts.panic_cpu, event.who.cpu) {
            (Some(Some(crashed)), Some(cpu)) => crashed == cpu,
            _ => true,
        };
        let last = events.before.iter().rposition(|event| event.is_oops() && fits(event));
        return match last.map(|last| origin(events, last)) {
            Some(event) => (event.kind(), Some(event)),
            None => match events.before.last() {
                Some(event) if event.kind == Kind::SysRq => (Kind::SysRq, Some(event)),
                _ => (Kind::Unknown, None),
            },
        };
    };
    let oops = events.before.iter().rposition(Event::is_oops).map(|last| origin(events, last));
    match verdict(&panic.words) {
        Verdict::Follows => oops.map_or((Kind::Panic, None), |event| (event.kind(), Some(event))),
        Verdict::Init => match oops.filter(|event| event.who.pid == Some(1)) {
            Some(event) => (event.kind(), Some(event)),
            None => (Kind::InitDied, None),
        },
        Verdict::Warned => match events.before.last() {
            Some(event) => (event.kind(), Some(event)),
            None => (Kind::Panic, None),
        },
        Verdict::Is(kind) => (kind, of_kind(kind)),
        Verdict::Unknown => match oops.filter(|event| !event.ended) {
            Some(event) => (event.kind(), Some(event)),
            None => (Kind::Panic, None),
        },
    }
}

/// The first of the oopses that began one within the other, of which `last` is the last.
fn origin(events: &Events, last: usize) -> &Event {
    let oopses: Vec<&Event> = events.before[..=last].iter().filter(|event| event.is_oops()).collect();
    let first = oopses.iter().rposition(|event| !event.nested).unwrap_or(0);
    oopses[first]
}

/// The CPU that crashed and its task: as the dump knows it, then as the panic says, then as the event does.
fn who(event: Option<&Event>, events: &Events, facts: &Facts) -> place::Who {
    let of_panic = events.panic.as_ref().map(|panic| &panic.who).filter(|who| who.cpu.is_some());
    let of_event = event.map(|event| &event.who);
    let cpu = facts.panic_cpu.flatten();
    let fits = |who: &&place::Who| cpu.is_none() || who.cpu.is_none() || who.cpu == cpu;
    let mut who = of_event.filter(|who| who.cpu.is_some() && who.comm.is_some()).filter(fits);
    // The task that was blocked is not the one that ran.
    if event.is_some_and(|event| event.kind == Kind::HungTask) {
        who = None;
    }
    let mut who = who.or(of_panic.filter(fits)).or(of_event.filter(fits)).cloned().unwrap_or_default();
    who.cpu = cpu.or(who.cpu);
    if let Some((pid, comm)) = &facts.task {
        (who.pid, who.comm) = (Some(*pid), Some(comm.clone()));
    }
    who
}

/// The first frame that says why and not how the kernel crashed.
fn first_of_interest(trace: &[String]) -> Option<String> {
    let certain = trace.iter().filter(|frame| !frame.starts_with("? ") && !frame.starts_with("0x"));
    let mut rest = certain.skip_while(|frame| machinery::is_machinery(&machinery::normalised(frame)));
    rest.next().cloned()
}

#[cfg(test)]
mod tests;
