//! What `status` answers, for people and as JSON.

use crate::custody::Standing;
use crate::show::{report, units};
use ::save::state::Saved;
use anyhow::Result;
use phyp::giveback::{self, Advice, Forecast, NextCrash};
use phyp::status::{LastBoot, Mechanism, Readiness, SectionStatus, Status};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use vmcore::PhysAddr;

/// The report. `docs/json.md` describes the fields.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    root: String,
    mechanism: &'static str,
    readiness: &'static str,
    /// Why a registration is unsafe, or would be.
    registration: Option<String>,
    last_boot: &'static str,
    /// What hadump saved of the last crash in this boot.
    saved: Option<SavedDump>,
    evidence: Vec<String>,
    reserved_bytes: Option<u64>,
    /// Whether the memory of the dump that waits can be given back.
    release: Option<Possible>,
    /// Whether that will be so after the next crash.
    after_next_crash: Option<Possible>,
    /// What keeps the log of a crash besides a dump.
    log_keepers: Vec<String>,
    sections: Vec<Section>,
    pub(super) findings: Vec<Finding>,
    pub(super) dump: Option<Waiting>,
}

#[derive(Debug, Serialize)]
struct SavedDump {
    files: Vec<String>,
    complete: bool,
    asked_level: u8,
    dump_level: u8,
    /// The file of the kernel through which hadump gave its memory back, if it did.
    given_back: Option<&'static str>,
}

/// Whether memory can be given back without a reboot.
#[derive(Debug, Serialize)]
struct Possible {
    /// `null` where that is not known: then it is kept.
    possible: Option<bool>,
    /// Why not.
    why: Option<String>,
    /// What would make it possible from the next boot on.
    advice: Option<String>,
}

#[derive(Debug, Serialize)]
struct Section {
    kind: String,
    requested: u64,
    copied: u64,
    destination: u64,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    severity: String,
    text: String,
}

impl Finding {
    pub(super) fn damage(text: String) -> Self {
        Self { severity: "damage".into(), text }
    }

    pub(super) fn is_damage(&self) -> bool {
        self.severity == "damage"
    }
}

/// The pending dump.
#[derive(Debug, Serialize)]
pub(super) struct Waiting {
    pub(super) format: String,
    pub(super) release: Option<String>,
    pub(super) page_size: u64,
    pub(super) cpus: usize,
    pub(super) whole: bool,
    pub(super) memory: Pages,
    /// The part that the firmware copied aside.
    pub(super) boot_memory: Option<Pages>,
}

/// Pages by what the kernel used them for.
#[derive(Debug, Serialize)]
pub(super) struct Pages {
    pub(super) total: u64,
    pub(super) kernel: u64,
    pub(super) cache: u64,
    pub(super) user: u64,
    pub(super) free: u64,
    pub(super) kernel_bytes: u64,
}

impl SavedDump {
    fn of(saved: &Saved) -> Self {
        Self {
            files: saved.files.iter().map(|file| file.display().to_string()).collect(),
            complete: saved.complete,
            asked_level: saved.asked.bits(),
            dump_level: saved.level.bits(),
            given_back: saved.given_back.map(|given| given.interface.name()),
        }
    }
}

impl Possible {
    /// For the dump that waits; `None` where nothing can be released.
    fn now(standing: &Standing) -> Option<Self> {
        if !standing.waits() || !standing.system.fadump.as_ref().is_some_and(|files| files.release_mem) {
            return None;
        }
        let (possible, why) = match giveback::release(&standing.system) {
            Ok(release) => (Some(release.is_safe()), release.objection()),
            Err(unknown) => (None, Some(unknown.to_string())),
        };
        Some(Self { possible, why, advice: None })
    }

    /// For the dump of the next crash, with what else there is to say of it.
    fn next(standing: &Standing, findings: &mut Vec<Finding>) -> Option<Self> {
        if standing.waits() {
            return None;
        }
        match giveback::forecast(&standing.system) {
            Ok(Forecast::Refused { boot_memory, advice }) => {
                let boot = units::bytes(boot_memory);
                let why = format!(
                    "crashkernel= leaves {boot} to boot in, too little, so the kernel has switched fadump off"
                );
                Some(Self { possible: Some(false), why: Some(why), advice: Some(advice.to_string()) })
            }
            Ok(Forecast::Next(next)) => {
                warn(&next, findings);
                let advice = (next.advice != Advice::Nothing).then(|| next.advice.to_string());
                let NextCrash { release, .. } = *next;
                Some(Self { possible: Some(release.is_safe()), why: release.objection(), advice })
            }
            // Of interest only where there will be something to give back.
            Err(_) if !standing.system.fadump.as_ref().is_some_and(|files| files.enabled) => None,
            Err(unknown) => Some(Self { possible: None, why: Some(unknown.to_string()), advice: None }),
        }
    }
}

/// What of the next dump is in danger.
fn warn(next: &NextCrash, findings: &mut Vec<Finding>) {
    let mut warn = |text| findings.push(Finding { severity: "warning".into(), text });
    if next.lost > 0 {
        let lost = units::bytes(next.lost);
        warn(format!(
            "RTAS lies where the firmware will copy boot memory: {lost} of the next dump will be lost"
        ));
    }
    if let Some(range) = next.lent {
        let advice = if next.advice == Advice::Impossible { Advice::Nocma } else { next.advice };
        warn(format!(
            "the kernel lends RTAS's own memory ({range:?}) to programs, because it lies in the dump area: one that uses it \
             takes the machine down, without any crash before; boot with {advice}"
        ));
    }
}

impl Report {
    /// The report without the counts of the dump that waits.
    pub(super) fn new(root: &Path, status: Status, standing: &Standing) -> Self {
        let mut findings: Vec<Finding> = status
            .findings
            .iter()
            .map(|f| Finding { severity: f.severity.to_string(), text: f.text.clone() })
            .collect();
        let after_next_crash = Possible::next(standing, &mut findings);
        if status.last_boot == LastBoot::Refused && standing.saved.is_none() {
            let text = "the kernel refused the dump and uses its memory; hadump save keeps what the firmware copied of it";
            findings.push(Finding::damage(text.into()));
        }
        let waiting = status.last_boot == LastBoot::DumpWaiting;
        Self {
            root: root.display().to_string(),
            mechanism: mechanism(status.mechanism),
            readiness: readiness(status.readiness),
            registration: status.registration,
            last_boot: if waiting && standing.saved.is_some() {
                "saved"
            } else {
                last_boot(status.last_boot)
            },
            saved: standing.saved.as_ref().map(SavedDump::of),
            evidence: status.evidence,
            reserved_bytes: status.reserved,
            release: Possible::now(standing),
            after_next_crash,
            log_keepers: standing.system.log_keepers.clone(),
            sections: status.sections.into_iter().map(Section::of).collect(),
            findings,
            dump: None,
        }
    }
}

impl Section {
    fn of(section: SectionStatus) -> Self {
        let SectionStatus { kind, requested, copied, destination: PhysAddr(destination), problems } = section;
        Self { kind: kind.to_string(), requested, copied, destination, problems }
    }
}

fn mechanism(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::None => "none",
        Mechanism::Firmware => "firmware",
        Mechanism::PhypDump => "phyp-dump",
        Mechanism::Fadump => "fadump",
        Mechanism::Opal => "opal",
        Mechanism::Kdump => "kdump",
    }
}

fn readiness(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Unsupported => "unsupported",
        Readiness::Supported => "supported",
        Readiness::NotRegistered => "not_registered",
        Readiness::Registered => "registered",
        Readiness::RegisteredUnsafe => "registered_unsafe",
        Readiness::RebootFirst => "reboot_first",
        Readiness::LostByMigration => "lost_by_migration",
        Readiness::DumpActive => "dump_active",
        Readiness::Loaded => "loaded",
        Readiness::NotLoaded => "not_loaded",
    }
}

fn last_boot(last: LastBoot) -> &'static str {
    match last {
        LastBoot::Ordinary => "ordinary",
        LastBoot::DumpWaiting => "dump_waiting",
        LastBoot::GivenBack => "given_back",
        LastBoot::Refused => "refused_by_the_kernel",
        LastBoot::Stale => "stale_dump",
        LastBoot::Missed => "missed",
    }
}

impl Report {
    /// What the next crash brings, in words.
    fn next_crash(&self) -> String {
        match self.readiness {
            "reboot_first" => "reboot before the next crash can be dumped".into(),
            "registered_unsafe" => {
                "registered, but the dump may be lost: reboot before the next crash".into()
            }
            "dump_active" if self.saved.is_some() => {
                if self.release.as_ref().is_some_and(|release| release.possible == Some(true)) {
                    "not dumped unless the memory is given back, or the machine rebooted, before it".into()
                } else {
                    "reboot before the next crash can be dumped".into()
                }
            }
            other => report::words(other),
        }
    }

    /// What will be possible after it.
    fn afterwards(&self) -> Option<String> {
        let next = self.after_next_crash.as_ref().filter(|next| next.possible != Some(true))?;
        let why = next.why.as_deref().unwrap_or_default();
        if next.possible.is_none() {
            return Some(format!("afterwards memory is kept until a reboot, as not enough is known: {why}"));
        }
        let advice = next.advice.as_ref().map_or(String::new(), |advice| format!("; {advice}"));
        Some(if self.readiness == "supported" {
            format!("{why}{advice}")
        } else {
            format!("afterwards memory cannot be given back without a reboot, because {why}{advice}")
        })
    }

    pub(super) fn print(&self) -> Result<()> {
        let mut out = crate::show::terminal::stdout();
        writeln!(out, "{:>10}  {}", "mechanism", self.mechanism)?;
        writeln!(out, "{:>10}  {}", "next crash", self.next_crash())?;
        for line in self.registration.iter().chain(self.afterwards().iter()) {
            writeln!(out, "{:>10}  {line}", "")?;
        }
        if !self.log_keepers.is_empty() {
            writeln!(out, "{:>10}  its log is kept by {}", "", self.log_keepers.join(" and "))?;
        }
        writeln!(out, "{:>10}  {}", "last boot", report::words(self.last_boot))?;
        if let Some(saved) = &self.saved {
            let part = if saved.complete { "" } else { ", in part" };
            writeln!(out, "{:>10}  saved in this boot as {}{part}", "", saved.files.join(", "))?;
        }
        for line in &self.evidence {
            writeln!(out, "{:>10}  {line}", "")?;
        }
        if let Some(release) = &self.release {
            let text = match release.possible {
                Some(true) => "its memory can be given back".to_owned(),
                Some(false) => {
                    format!("its memory cannot be given back: {}", release.why.as_deref().unwrap_or_default())
                }
                None => format!("its memory is kept: {}", release.why.as_deref().unwrap_or_default()),
            };
            writeln!(out, "{:>10}  {text}", "release")?;
        }
        if let Some(bytes) = self.reserved_bytes {
            writeln!(out, "{:>10}  {}", "reserved", units::bytes(bytes))?;
        }
        for s in &self.sections {
            writeln!(
                out,
                "{:>10}  {}: {} of {} copied to {:#x}",
                "section",
                s.kind,
                units::bytes(s.copied),
                units::bytes(s.requested),
                s.destination
            )?;
            for problem in &s.problems {
                writeln!(out, "{:>10}    {problem}", "")?;
            }
        }
        if let Some(dump) = &self.dump {
            let release = dump.release.as_deref().unwrap_or("of an unknown release");
            let whole = if dump.whole { "whole" } else { "DAMAGED" };
            writeln!(
                out,
                "{:>10}  {whole}, Linux {release}, registers of {} CPUs ({})",
                "dump", dump.cpus, dump.format
            )?;
            print_pages(&mut out, "memory", &dump.memory, dump.page_size)?;
            if let Some(boot) = &dump.boot_memory {
                print_pages(&mut out, "boot", boot, dump.page_size)?;
            }
            writeln!(
                out,
                "{:>10}  saving it writes {} before compression at dump level 31, {} at level 0",
                "",
                units::bytes(dump.memory.kernel_bytes),
                units::bytes(dump.memory.total * dump.page_size)
            )?;
        }
        for finding in &self.findings {
            writeln!(out, "{:>10}  {}", finding.severity, finding.text)?;
        }
        Ok(())
    }
}

fn print_pages(out: &mut impl Write, label: &str, pages: &Pages, page_size: u64) -> std::io::Result<()> {
    writeln!(
        out,
        "{label:>10}  {} pages of {} KiB: {} kernel, {} page cache, {} user, {} free",
        pages.total,
        page_size >> 10,
        pages.kernel,
        pages.cache,
        pages.user,
        pages.free
    )
}
