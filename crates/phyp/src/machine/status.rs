//! Is there a dump, whole or damaged, and would the next crash make one?
//!
//! The property `ibm,kernel-dump` says that firmware made a dump, not that it can be read, and it stays until it is
//! invalidated; `enabled` says nothing of a waiting dump; `registered` is what the kernel believes, and it does not hear
//! of a migration. So every answer here comes with its evidence.

use crate::assemble::image::Image;
use crate::crashinfo::{self, CrashInfo};
use crate::custody::{Custody, Owner};
use crate::giveback;
use crate::kdms::{Fault, KernelDump, SectionKind, Status as DumpStatus};
use crate::opal::KernelMetadata;
use crate::regsave;
use crate::system::System;
use crate::{Findings, Severity};
use vmcore::{PhysAddr, PhysicalMemory, Range};

/// How dumps are made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The firmware cannot, or there is no such firmware.
    None,
    /// The hypervisor can, and this kernel has no files for it.
    Firmware,
    /// phyp-dump: Linux 2.6.26 to 3.3.
    PhypDump,
    /// fadump on the hypervisor.
    Fadump,
    /// fadump on OPAL.
    Opal,
    /// kdump: a second kernel in memory that was set aside, on any machine.
    Kdump,
}

/// Whether the next crash makes a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It cannot.
    Unsupported,
    /// It could, but the kernel was not told to.
    Supported,
    /// The kernel was told to and is not registered.
    NotRegistered,
    /// The kernel is registered.
    Registered,
    /// The kernel is registered, and relies on memory that a release in this boot gave to others: it may lose the dump.
    RegisteredUnsafe,
    /// The kernel is not registered, and a registration in this boot would not be safe.
    RebootFirst,
    /// The kernel believes that it is registered; the registration stayed on another machine.
    LostByMigration,
    /// A dump is pending: there is no registration before it is released.
    DumpActive,
    /// kdump: the capture kernel is loaded.
    Loaded,
    /// kdump: no capture kernel is loaded.
    NotLoaded,
}

/// What the last boot left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastBoot {
    /// It ended as it should.
    Ordinary,
    /// It crashed, and the dump is pending.
    DumpWaiting,
    /// It crashed, and the dump's memory was given back to the running system.
    GivenBack,
    /// It crashed, and the kernel refused the dump and gave its memory away: what the firmware copied is left.
    Refused,
    /// There is a dump that is not of the last crash, or whose memory was overwritten.
    Stale,
    /// It crashed, and no dump was made.
    Missed,
}

/// One section of the dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionStatus {
    /// What it holds.
    pub kind: SectionKind,
    /// Bytes asked for.
    pub requested: u64,
    /// Bytes copied.
    pub copied: u64,
    /// Where they are.
    pub destination: PhysAddr,
    /// What is wrong with it, one sentence per entry.
    pub problems: Vec<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// How dumps are made here.
    pub mechanism: Mechanism,
    /// Whether the next crash makes one.
    pub readiness: Readiness,
    /// What the last boot left.
    pub last_boot: LastBoot,
    /// Why a registration in this boot is unsafe, or would be.
    pub registration: Option<String>,
    /// Why, one sentence per entry.
    pub evidence: Vec<String>,
    /// The sections of the pending dump.
    pub sections: Vec<SectionStatus>,
    /// Bytes of memory that the kernel keeps free, as far as it says so.
    pub reserved: Option<u64>,
    /// What is unusual or damaged.
    pub findings: Findings,
}

/// A crash record this much older than the boot, in seconds, is of another crash: firmware takes minutes, not hours.
const RECENT: u64 = 3600;

/// Decides from what `system` shows and whose the dump's memory is; `memory`, when it can be read, says whether the save
/// areas still hold what the firmware wrote there.
pub fn status(system: &System, custody: &Custody, memory: Option<Box<dyn PhysicalMemory>>) -> Status {
    let mut findings = system.findings.clone();
    let mechanism = mechanism(system);
    let mut evidence = Vec::new();
    let tree = system.leavings.kernel_dump.as_deref().map(KernelDump::parse);
    let dump = match tree {
        Some(Ok(dump)) => Some(dump),
        Some(Err(error)) => {
            findings.damage(error);
            None
        }
        None => None,
    };
    let sections = dump.as_ref().map(|d| sections(d, system, &mut findings)).unwrap_or_default();
    let image = memory.map(Image::new);
    let last_boot = last_boot(system, custody, dump.as_ref(), image.as_ref(), &mut evidence);
    let registration = custody.is_given_away().then(|| unsafe_registration(system)).flatten();
    let readiness = match (readiness(system, mechanism, last_boot, &mut evidence), &registration) {
        (Readiness::Registered, Some(_)) => Readiness::RegisteredUnsafe,
        (Readiness::NotRegistered, Some(_)) => Readiness::RebootFirst,
        (readiness, _) => readiness,
    };
    let reserved = system.fadump.as_ref().and_then(|f| f.mem_reserved);
    Status { mechanism, readiness, last_boot, registration, evidence, sections, reserved, findings }
}

fn mechanism(system: &System) -> Mechanism {
    let phyp = system.phyp_active.is_some() || system.leavings.release_region.is_some();
    let other =
        if system.kexec.is_some() || system.vmcore.is_some() { Mechanism::Kdump } else { Mechanism::None };
    let firmware = match (system.opal, system.rtas || phyp || system.leavings.kernel_dump.is_some()) {
        (true, _) => Mechanism::Opal,
        (false, false) => return other,
        (false, true) if phyp => return Mechanism::PhypDump,
        (false, true) if system.fadump.is_some() => Mechanism::Fadump,
        (false, true) => Mechanism::Firmware,
    };
    // A kernel that was booted without fadump may use the memory for kdump.
    let enabled = system.fadump.as_ref().is_some_and(|f| f.enabled);
    let kdump = !enabled && system.kexec.is_some_and(|k| k.loaded) && system.leavings.kernel_dump.is_none();
    if kdump { Mechanism::Kdump } else { firmware }
}

fn sections(dump: &KernelDump, system: &System, findings: &mut Findings) -> Vec<SectionStatus> {
    let mut sections: Vec<SectionStatus> = dump
        .sections
        .iter()
        .map(|s| SectionStatus {
            kind: s.kind,
            requested: s.requested,
            copied: s.copied,
            destination: s.destination,
            problems: Vec::new(),
        })
        .collect();
    for fault in dump.faults(system.leavings.memory_map.as_ref()) {
        let (severity, text) = dump.explain(&fault);
        findings.add(severity, &text);
        if let Some(i) = section_of(&fault)
            && severity > Severity::Note
        {
            sections[i].problems.push(text);
        }
    }
    sections
}

fn section_of(fault: &Fault) -> Option<usize> {
    match *fault {
        Fault::NotRequested(i)
        | Fault::NotCopied(i)
        | Fault::CopiedShort(i)
        | Fault::CopiedMore(i)
        | Fault::ErrorFlag(i, _)
        | Fault::SwappedErrorFlag(i, _)
        | Fault::ReservedError(i, _)
        | Fault::UnknownType(i, _)
        | Fault::OutsideMemory(i)
        | Fault::Overlap(i, _)
        | Fault::OverSource(i, _) => Some(i),
        _ => None,
    }
}

fn last_boot(
    system: &System,
    custody: &Custody,
    dump: Option<&KernelDump>,
    image: Option<&Image>,
    evidence: &mut Vec<String>,
) -> LastBoot {
    evidence.extend(custody.evidence.iter().cloned());
    match custody.owner {
        Owner::NoDump => missed(system, evidence),
        Owner::System => LastBoot::GivenBack,
        Owner::Refused => LastBoot::Refused,
        Owner::Dump | Owner::Unknown => {
            let stale = stale(system, dump, image);
            let last = if stale.is_empty() { LastBoot::DumpWaiting } else { LastBoot::Stale };
            evidence.extend(stale);
            last
        }
    }
}

/// Why the dump that the firmware reports is not of the last crash, or cannot be read.
fn stale(system: &System, dump: Option<&KernelDump>, image: Option<&Image>) -> Vec<String> {
    let mut why = Vec::new();
    if let Some(dump) = dump
        && !dump.status.has(DumpStatus::PERFORMED | DumpStatus::TRIGGERED)
    {
        why.push(format!(
            "its status {:#06x} does not say that a dump was performed in the previous boot",
            dump.status.0
        ));
    }
    if let Some(image) = image
        && let Some(text) = overwritten(system, dump, image)
    {
        why.push(text);
    }
    why
}

/// Whether neither the save area nor the crash-info header holds what firmware and kernel wrote there.
fn overwritten(system: &System, dump: Option<&KernelDump>, image: &Image) -> Option<String> {
    let magic = |at: PhysAddr| {
        let range = Range::new(at, PhysAddr(at.0.saturating_add(8)));
        image.copy("a magic number", range).ok().map(|b| u64::from_be_bytes(b.try_into().unwrap_or_default()))
    };
    let header = |at: PhysAddr| {
        let bytes = image.copy("the crash-info header", image.prefix(at, crashinfo::MAX_LEN as u64)).ok()?;
        CrashInfo::parse(&bytes, at, &[]).ok()
    };
    let (area, header_at) = match dump {
        Some(dump) => {
            let area = dump.find(SectionKind::CpuState).filter(|s| s.copied > 0)?;
            let boot = dump.find(SectionKind::RealMode);
            let all = dump.sections.iter().filter(|s| s.kind == SectionKind::RealMode && s.is_requested());
            let total = all.fold(0u64, |sum, s| sum.saturating_add(s.requested));
            (Some(area.destination), boot.map(|b| PhysAddr(b.destination.0.saturating_add(total))))
        }
        None => {
            let answers = system.leavings.opal.as_ref()?;
            (None, Some(KernelMetadata::parse(&answers.kernel).ok()?.crash_info))
        }
    };
    let gone = area.is_none_or(|at| magic(at).is_some_and(|m| m != regsave::MAGIC));
    let headless = header_at.is_none_or(|at| header(at).is_none());
    (gone && headless).then(|| "the save area and the crash-info header were overwritten".into())
}

fn missed(system: &System, evidence: &mut Vec<String>) -> LastBoot {
    let recent = |time: Option<u64>| match (time, system.boot_time) {
        (Some(time), Some(boot)) => time.saturating_add(RECENT) >= boot,
        _ => true,
    };
    let crash = |title: &str| title.starts_with("Panic") || title.starts_with("Oops");
    for record in system.crash_records.iter().filter(|r| crash(&r.title)) {
        let text = format!("{} holds the log of a crash ({})", record.path.display(), record.title);
        if recent(record.time) {
            evidence.push(text);
            evidence.push("no dump was made of it: the kernel was not registered when it crashed".into());
            if moved(system) {
                evidence.push(moved_text(system));
            }
            return LastBoot::Missed;
        }
        evidence.push(format!("{text}, which is older than this boot's predecessor"));
    }
    evidence.push("neither firmware nor kernel speaks of a dump".into());
    LastBoot::Ordinary
}

fn moved(system: &System) -> bool {
    let (now, then) = (system.system_id.as_deref(), system.registered_on.as_deref());
    now.is_some() && then.is_some() && now != then
}

fn moved_text(system: &System) -> String {
    format!(
        "the registration was made on {}, and this is {}: it was lost by a migration",
        system.registered_on.as_deref().unwrap_or_default(),
        system.system_id.as_deref().unwrap_or_default()
    )
}

fn readiness(
    system: &System,
    mechanism: Mechanism,
    last_boot: LastBoot,
    evidence: &mut Vec<String>,
) -> Readiness {
    match mechanism {
        Mechanism::None => {
            evidence.push(
                "neither the firmware (ibm,configure-kernel-dump, ibm,opal/dump) nor the kernel (kexec_crash_loaded) can make \
                 a dump"
                    .into(),
            );
            return Readiness::Unsupported;
        }
        Mechanism::Kdump => return kdump_readiness(system, evidence),
        _ => (),
    }
    let registered = system.phyp_active.is_some() || system.fadump.as_ref().is_some_and(|f| f.registered);
    if registered && moved(system) {
        evidence.push(moved_text(system));
        return Readiness::LostByMigration;
    }
    if registered {
        return Readiness::Registered;
    }
    if last_boot == LastBoot::DumpWaiting {
        return Readiness::DumpActive;
    }
    match &system.fadump {
        Some(files) if files.enabled => Readiness::NotRegistered,
        _ => Readiness::Supported,
    }
}

/// Why a registration that is made after the release in this boot cannot be trusted. What the rules say is compared with
/// what this kernel did: one that is mended still has the pages reserved.
fn unsafe_registration(system: &System) -> Option<String> {
    if !system.fadump.as_ref().is_some_and(|files| files.enabled) {
        return None;
    }
    let mut release = match giveback::release(system) {
        Ok(release) => release,
        Err(unknown) => return Some(format!("what the release in this boot freed is not known: {unknown}")),
    };
    if let Some((path, page)) = system.page_flags.as_ref().zip(system.boot.page_size)
        && let Ok(mut flags) = std::fs::File::open(path)
    {
        let mut kept = |range| giveback::still_reserved(&mut flags, range, page).unwrap_or(false);
        release.hazards.retain(|hazard| !kept(hazard.range()));
    }
    release.registration_objection()
}

fn kdump_readiness(system: &System, evidence: &mut Vec<String>) -> Readiness {
    let Some(kexec) = system.kexec else {
        evidence.push(
            "the kernel has no kexec_crash_loaded: this is a capture kernel, or one without kdump".into(),
        );
        return Readiness::NotLoaded;
    };
    if kexec.size == Some(0) {
        evidence.push("no memory is set aside for a capture kernel: boot with crashkernel=".into());
    }
    if kexec.loaded { Readiness::Loaded } else { Readiness::NotLoaded }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
