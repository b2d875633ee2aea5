//! Whose the memory is that the firmware kept over the reset: the dump's, or the running system's by now.
//!
//! After a release almost nothing changes that one would look at: `release_mem` under both its names and the property
//! `ibm,kernel-dump` stay until the next boot (`fadump_init_files` and `release_mem_store`, `arch/powerpc/kernel/fadump.c`),
//! whoever released it, and the same files are there after the kernel itself refused the dump and gave its memory away
//! (`fadump_process`). What does change is gathered here. Each sign that memory was given back is enough on its own,
//! because what is there afterwards is the running system's.

use crate::kdms::{KernelDump, Section, SectionKind, Status};
use crate::system::{RELEASE_MEM, System};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use vmcore::{PhysAddr, Range};

/// Whose the memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody's in particular: neither firmware nor kernel speaks of a dump.
    NoDump,
    /// The dump's, which waits.
    Dump,
    /// The running system's: it was given back, by whomever.
    System,
    /// The running system's: the kernel refused the dump when it booted, and gave the memory away.
    Refused,
    /// There is a dump, and nothing tells whether its memory is still untouched.
    Unknown,
}

/// Whose the memory is, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custody {
    /// The answer.
    pub owner: Owner,
    /// Why, one sentence an entry.
    pub evidence: Vec<String>,
}

impl Custody {
    /// Reports whether the memory above boot memory must not be read as the dump's. The firmware's copy of boot memory is
    /// not part of it: the kernel keeps that reserved for the next dump.
    pub fn is_given_away(&self) -> bool {
        matches!(self.owner, Owner::System | Owner::Refused)
    }
}

/// What is known beside the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What the kernel answered, if it was asked.
    pub probe: Option<Probe>,
    /// `/proc/vmcore` was seen in this boot.
    pub vmcore_seen: bool,
}

/// The kernel's answer to a write of `0` to `release_mem`, which releases nothing (`release_mem_store`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `EINVAL`: a dump is active, or it was released and the firmware refused to forget it.
    Active,
    /// `EPERM`: no dump is active.
    Inactive,
}

/// Asks the running kernel. Only for `/`: below any other root the file is a copy, and a write would change it.
///
/// Any answer but the two that the kernel can give is none.
pub fn probe(root: &Path) -> Option<Probe> {
    if root != Path::new("/") {
        return None;
    }
    let files = RELEASE_MEM.iter().map(|file| root.join(file));
    let mut file = files.filter_map(|file| OpenOptions::new().write(true).open(file).ok()).next()?;
    match file.write(b"0").err()?.raw_os_error()? {
        1 => Some(Probe::Inactive),
        22 => Some(Probe::Active),
        _ => None,
    }
}

/// Decides from what `system` shows and what is `known` beside it.
pub fn custody(system: &System, known: Known) -> Custody {
    let takes = |owner, evidence| Custody { owner, evidence };
    let shown = offered(system);
    if system.vmcore.is_some() {
        let all = shown.into_iter().chain(["/proc/vmcore exists"]);
        return takes(Owner::Dump, all.map(str::to_owned).collect());
    }
    if system.leavings.release_region.is_none() && shown.is_empty() {
        return takes(Owner::NoDump, Vec::new());
    }
    if system.leavings.release_region.is_some() || system.phyp_active.is_some() {
        return match phyp_released(system) {
            Some(why) => takes(Owner::System, vec![why]),
            None => takes(Owner::Dump, vec!["release_region exists".into()]),
        };
    }
    let given_away = given_away(system, known);
    if !given_away.is_empty() {
        let refused = if system.released.is_empty() && !known.vmcore_seen { refusal(system) } else { None };
        let owner = if refused.is_some() { Owner::Refused } else { Owner::System };
        return takes(owner, refused.into_iter().chain(given_away).collect());
    }
    let active = active(system, known);
    let owner = if active.is_empty() { Owner::Unknown } else { Owner::Dump };
    takes(owner, shown.into_iter().map(str::to_owned).chain(active).collect())
}

/// What speaks of a dump, whether it is still there or not.
fn offered(system: &System) -> Vec<&'static str> {
    let fadump = system.fadump.as_ref().is_some_and(|f| f.release_mem);
    [
        (system.leavings.kernel_dump.is_some(), "the device tree has ibm,kernel-dump"),
        (system.mpipl_boot || system.leavings.opal.is_some(), "the device tree has mpipl-boot"),
        (fadump, "release_mem exists"),
    ]
    .into_iter()
    .filter_map(|(there, text)| there.then_some(text))
    .collect()
}

fn phyp_released(system: &System) -> Option<String> {
    if system.phyp_active.is_some() {
        return Some("phyp_dump_active exists: the kernel gave the dump up and registered again".into());
    }
    system.areas_are_gone().then(|| "hadump released the save areas in this boot".into())
}

/// The signs that the kernel gave the memory to its allocator.
fn given_away(system: &System, known: Known) -> Vec<String> {
    let mut why = Vec::new();
    if !system.released.is_empty() {
        why.push("hadump released it in this boot".into());
    }
    if known.probe == Some(Probe::Inactive) {
        why.push("the kernel says that no dump is active".into());
    }
    if known.vmcore_seen {
        why.push("/proc/vmcore was there earlier in this boot and is gone".into());
    }
    if let Some((total, boot)) = system.memory_total.zip(boot_memory(system))
        && total > boot
    {
        why.push(format!(
            "the kernel uses {total:#x} bytes of memory, more than the {boot:#x} that it booted in"
        ));
    }
    let Some(files) = &system.fadump else { return why };
    if files.registered {
        why.push("the kernel is registered again, which it cannot be while a dump waits".into());
    }
    if files.region.as_deref().is_some_and(nothing_dumped) {
        why.push("fadump_region shows no dump any more".into());
    }
    if !files.enabled {
        why.push("the kernel was booted without fadump, so it never set the memory aside".into());
    } else if !files.release_mem {
        why.push("the kernel has no release_mem: it did not take the dump".into());
    }
    why
}

/// The signs that the kernel keeps the memory for the dump.
fn active(system: &System, known: Known) -> Vec<String> {
    let mut why = Vec::new();
    if known.probe == Some(Probe::Active) {
        why.push("the kernel says that the dump is active".into());
    }
    let region = system.fadump.as_ref().and_then(|f| f.region.as_deref());
    if region.is_some_and(|text| text.contains("Memory above ")) {
        why.push("fadump_region says that memory is reserved for the dump".into());
    }
    if let Some((total, boot)) = system.memory_total.zip(boot_memory(system))
        && total <= boot
    {
        why.push(format!("the kernel uses {total:#x} bytes of memory, no more than it booted in"));
    }
    why
}

/// `fadump_region` of a kernel without a dump shows what would be registered: all sections with `Dumped: 0x0`, and no line
/// about reserved memory (`rtas_fadump_region_show`).
fn nothing_dumped(text: &str) -> bool {
    let dumped = |line: &str| line.split_once("Dumped: ").map(|(_, n)| n.split(' ').next() == Some("0x0"));
    let mut sections = text.lines().filter_map(dumped).peekable();
    sections.peek().is_some() && sections.all(|zero| zero) && !text.contains("Memory above ")
}

/// Bytes that the second kernel booted in: all below the end of what the firmware copied aside, holes left out.
fn boot_memory(system: &System) -> Option<u64> {
    let top = system.boot_memory().end()?;
    let below = [Range::new(PhysAddr(0), top)].into_iter().collect();
    let there = system.leavings.memory_map.as_ref().map(|map| map.intersect(&below).total());
    Some(there.filter(|&bytes| bytes > 0).unwrap_or(top.0))
}

/// Lines of the kernel's log by which it refuses a dump (`is_fadump_header_compatible`, `fadump_process`,
/// `rtas_fadump_process` and `rtas_fadump_build_cpu_notes`, and what they were called before 6.10).
const REFUSALS: [&str; 9] = [
    "Unable to read register save area",
    "Unable to read CPU state data",
    "Old magic number, can't process the dump",
    "Endianness mismatch between the crashed and fadump kernels",
    "Fadump header is corrupted",
    "Fadump header size mismatch",
    "Crash info header is ",
    "Dump taken by platform is not valid",
    "Dump taken by platform is incomplete",
];

/// Why the kernel refused the dump, if it did.
fn refusal(system: &System) -> Option<String> {
    let said = system.kernel_log.iter().find(|line| REFUSALS.iter().any(|text| line.contains(text)));
    if let Some(line) = said {
        return Some(format!("the kernel refused the dump: \"{}\"", line.trim()));
    }
    let dump = KernelDump::parse(system.leavings.kernel_dump.as_deref()?).ok()?;
    // By equality, as the kernels before 6.10 test it.
    if dump.status == Status(Status::ERROR) {
        return Some("the firmware says that the dump failed, and the kernel refuses such a dump".into());
    }
    let bad = |s: &&Section| {
        s.kind == SectionKind::RealMode && s.is_requested() && (s.copied != s.requested || s.errors != 0)
    };
    dump.sections.iter().find(bad).map(|s| {
        format!(
            "the firmware copied {:#x} of {:#x} bytes of the {} (error flags {:#x}), and the kernel refuses such a dump",
            s.copied, s.requested, s.kind, s.errors
        )
    })
}

#[cfg(test)]
#[path = "custody_tests.rs"]
mod tests;
