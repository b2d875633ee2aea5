//! One sentence in plain English for a cause.

use super::{Cause, Kind};

/// What happened, where and to whom.
pub(super) fn summary(cause: &Cause, words: &str) -> String {
    let address = cause.address.map_or_else(String::new, |address| format!(" {address:#x}"));
    let what = match cause.kind {
        Kind::NoCrash => return "Nothing says that the kernel crashed: it was dumped while it ran.".into(),
        Kind::Unknown => "The kernel crashed, and no line of its log says why".into(),
        Kind::NullPointer => match cause.address {
            Some(_) => format!("The kernel followed a null pointer (address{address})"),
            None => "The kernel followed a null pointer".into(),
        },
        Kind::BadAccess => match cause.address {
            Some(_) => format!("The kernel used the bad address{address}"),
            None => "The kernel used a bad address".into(),
        },
        Kind::Bug => match words.strip_prefix("kernel BUG at ") {
            Some(place) => format!("The kernel found a bug in itself at {}", place.trim_end_matches('!')),
            None => "The kernel ran into a bug check or an invalid instruction".into(),
        },
        Kind::GeneralProtection => match cause.address {
            Some(_) => format!("The kernel used{address}, which cannot be an address"),
            None => "The kernel used what cannot be an address or a segment".into(),
        },
        Kind::Trap => format!("The processor raised an exception in the kernel ({words})"),
        Kind::MachineCheck => "The hardware reported an error".into(),
        Kind::Panic => match &cause.panic {
            Some(panic) => format!("The kernel panicked: {panic}"),
            None => format!("The kernel panicked ({words})"),
        },
        Kind::HardLockup => "A CPU no longer answered interrupts".into(),
        Kind::SoftLockup => "A CPU was stuck in the kernel and did not schedule".into(),
        Kind::HungTask => {
            match words.strip_prefix("INFO: task ").and_then(|rest| rest.rsplit_once(" blocked ")) {
                // The task that ran is the one that found it, and says nothing.
                Some((task, _)) => match &cause.at {
                    Some(at) => return format!("The task {task} was blocked for too long, in {at}."),
                    None => return format!("The task {task} was blocked for too long."),
                },
                None => "A task was blocked for too long".into(),
            }
        }
        Kind::RcuStall => "RCU waited too long for a CPU or task".into(),
        Kind::OutOfMemory => "Memory ran out".into(),
        Kind::Watchdog => "A watchdog or a non-maskable interrupt stopped the kernel".into(),
        Kind::SysRq => "Somebody asked for the crash with SysRq-c".into(),
        Kind::InitDied => "Init ended".into(),
        Kind::Boot => "The kernel could not begin user space".into(),
        Kind::Firmware => "The firmware or an adapter reported a fatal error".into(),
        Kind::StackCorruption => "A kernel stack was overrun or overwritten".into(),
        Kind::Corruption => format!("A check of the kernel found damage ({words})"),
    };
    placed(&what, cause)
}

/// That the kernel crashed, where its log, which would say why, was not read.
pub(super) fn unread(cause: &Cause) -> String {
    placed("The kernel crashed, and its log cannot be read", cause)
}

/// What happened, with where and to whom behind.
fn placed(what: &str, cause: &Cause) -> String {
    let at = cause.at.as_ref().map_or_else(String::new, |at| format!(", in {at}"));
    let who = match (&cause.comm, cause.pid) {
        (Some(comm), Some(pid)) => format!(", task {comm} (pid {pid})"),
        (None, Some(pid)) => format!(", task {pid}"),
        _ => String::new(),
    };
    let cpu = cause.cpu.map_or_else(String::new, |cpu| format!(", on CPU {cpu}"));
    format!("{what}{at}{who}{cpu}.")
}
