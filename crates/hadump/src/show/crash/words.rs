//! The words of a report, for people.

use crate::show::units;
use std::time::Duration;
use triage::cause::{Cause, Kind};
use triage::machine::Machine;

/// What kind of end it was, in a few words.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::NoCrash => "no crash: the dump was made of a running machine",
        Kind::NullPointer => "a null pointer was followed",
        Kind::BadAccess => "an address was used that is not mapped or not allowed",
        Kind::Bug => "the kernel found a bug in itself (BUG)",
        Kind::GeneralProtection => "general protection fault",
        Kind::Trap => "a trap of the processor",
        Kind::MachineCheck => "the hardware reported an error (machine check)",
        Kind::Panic => "panic",
        Kind::HardLockup => "hard lockup: a CPU did not answer interrupts",
        Kind::SoftLockup => "soft lockup: a CPU did not schedule",
        Kind::HungTask => "a task hung",
        Kind::RcuStall => "an RCU grace period did not end",
        Kind::OutOfMemory => "out of memory",
        Kind::Watchdog => "a watchdog or a non-maskable interrupt",
        Kind::SysRq => "asked for by hand (SysRq)",
        Kind::InitDied => "init ended",
        Kind::Boot => "the boot failed: no root file system or no init",
        Kind::Firmware => "the firmware or an adapter failed",
        Kind::StackCorruption => "a kernel stack was overrun",
        Kind::Corruption => "the kernel found its memory corrupted",
        _ => "unknown: nothing in the dump says why",
    }
}

/// The cause in a line.
pub(crate) fn summary(cause: &Cause) -> &str {
    if cause.summary.is_empty() { kind(cause.kind) } else { &cause.summary }
}

/// Seconds since 1970 as a date.
pub(super) fn date(seconds: i64) -> String {
    // A time beyond the calendar is shown as a number.
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| format!("{seconds} s after 1970"), |date| date.to_string())
}

/// How long a machine ran: `3 days 04:05:06`, `04:05:06`, `5.20 s`.
pub(super) fn uptime(span: Duration) -> String {
    let seconds = span.as_secs();
    if seconds < 60 {
        return units::time(span);
    }
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        1 => format!("1 day {clock}"),
        days => format!("{days} days {clock}"),
    }
}

/// What taints the kernel: the letters and what they mean.
pub(super) fn taints(machine: &Machine) -> Option<String> {
    let taints = machine.taints.as_ref()?;
    let words: Vec<String> =
        taints.iter().map(|taint| format!("{} ({})", taint.letter, taint.meaning)).collect();
    Some(if words.is_empty() { "none".to_owned() } else { words.join(", ") })
}

/// The name of a host; `None` for the kernel's `(none)`, which it has until somebody sets one.
pub(super) fn host_of(host: &str) -> Option<&str> {
    (!host.is_empty() && host != "(none)").then_some(host)
}

/// Facts about the machine: label and value, those that are known.
pub(super) fn machine(machine: &Machine) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let mut fact = |label, value: Option<String>| facts.extend(value.map(|value| (label, value)));
    let known = |text: &String| (!text.is_empty()).then(|| text.clone());
    let kernel = format!("{} {}", machine.release, machine.version);
    fact("kernel", known(&kernel.trim().to_owned()));
    fact("build ID", machine.build_id.clone());
    fact(
        "host",
        host_of(&machine.host)
            .map_or_else(|| known(&machine.host).map(|_| "none was set".into()), |h| Some(h.into())),
    );
    fact("machine", known(&machine.arch));
    fact("hardware", machine.hardware.clone());
    fact("firmware", machine.firmware.clone());
    fact("command", machine.command_line.clone());
    let managed = machine.managed.map(|bytes| format!(", {} of it managed", units::bytes(bytes)));
    fact("memory", Some(format!("{}{}", units::bytes(machine.memory), managed.unwrap_or_default())));
    fact(
        "CPUs",
        match (machine.cpus_online, machine.cpus_present) {
            (Some(online), Some(present)) => Some(format!("{online} online, {present} present")),
            (Some(online), None) => Some(format!("{online} online")),
            (None, Some(present)) => Some(format!("{present} present")),
            (None, None) => None,
        },
    );
    fact("crashed", machine.crashed_at.map(date));
    fact("uptime", machine.uptime.map(uptime));
    fact("taint", taints(machine));
    for errors in &machine.hardware_errors {
        let last = errors.last.map_or_else(String::new, |time| format!(", the last at {}", date(time)));
        fact("hardware", Some(format!("{} errors of {}{last}", errors.count, errors.source)));
    }
    for lent in &machine.lent {
        let bytes = units::bytes(lent.end.saturating_sub(lent.start));
        let range = format!("{:#x}..{:#x}", lent.start, lent.end);
        fact("lent", Some(format!("{bytes} at {range} to the capture kernel: not in the dump")));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_dates_are_read_at_a_glance() {
        assert_eq!(uptime(Duration::from_secs(5)), "5.00 s");
        assert_eq!(uptime(Duration::from_secs(3661)), "01:01:01");
        assert_eq!(uptime(Duration::from_secs(86_400 * 3 + 60)), "3 days 00:01:00");
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(i64::MAX), format!("{} s after 1970", i64::MAX));
    }
}
