//! `hadump status`: whether a dump is waiting, whole or damaged, how much there is to save, and whether the machine is
//! ready to make one.

use crate::cli::{self, InputArgs};
use crate::input::{self, Prefer};
use crate::{Outcome, report, units};
use ::save::state::State;
use anyhow::{Context, Result, bail};
use dumpfile::output::{OutputFile, Sink};
use phyp::custody::{self, Known, Owner};
use phyp::kdms::KernelDump;
use phyp::status::{LastBoot, Mechanism, Readiness};
use phyp::system::{REGISTERED_ON, System};
use serde::Serialize;
use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use vmcore::{
    Dump, DumpLevel, MemoryMap, PageState, Pfn, PhysAddr, PhysicalMemory, RangeSet, ReadError, Reason,
};

/// The report. `docs/json.md` describes the fields.
#[derive(Debug, Serialize)]
struct Report {
    root: String,
    mechanism: &'static str,
    readiness: &'static str,
    last_boot: &'static str,
    evidence: Vec<String>,
    reserved_bytes: Option<u64>,
    sections: Vec<Section>,
    findings: Vec<Finding>,
    dump: Option<Waiting>,
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
struct Finding {
    severity: String,
    text: String,
}

/// The pending dump.
#[derive(Debug, Serialize)]
struct Waiting {
    format: String,
    release: Option<String>,
    page_size: u64,
    cpus: usize,
    whole: bool,
    memory: Pages,
    /// The part that the firmware copied aside.
    boot_memory: Option<Pages>,
}

/// Pages by what the kernel used them for.
#[derive(Debug, Serialize)]
struct Pages {
    total: u64,
    kernel: u64,
    cache: u64,
    user: u64,
    free: u64,
    kernel_bytes: u64,
}

/// Records which machine the kernel is registered on for a dump. Neither firmware nor kernel keeps that, and a partition
/// that moves to another machine loses its registration silently.
fn record_registration(root: &Path, system: &System) -> Result<()> {
    let registered = system.phyp_active.is_some() || system.fadump.as_ref().is_some_and(|f| f.registered);
    if !registered {
        bail!("{}: the kernel is not registered for a dump, so there is nothing to record", root.display());
    }
    let id = system.system_id.as_deref();
    let id = id.with_context(|| format!("{}: the device tree has no system-id", root.display()))?;
    let path = root.join(REGISTERED_ON);
    if let Some(parent) = path.parent() {
        let failed = || format!("{}: cannot be created", parent.display());
        DirBuilder::new().recursive(true).mode(0o755).create(parent).with_context(failed)?;
    }
    let file = OutputFile::create(&path, true)?;
    file.write_at(0, format!("{id}\n").as_bytes())?;
    file.commit()?;
    Ok(())
}

/// What the machine shows, and what hadump released in this boot: where that cannot be read, the rest is still worth a report.
fn look(root: &Path) -> Result<System> {
    let mut system = System::look(root)?;
    match State::find(root).and_then(|state| state.map_or_else(|| Ok(RangeSet::default()), |s| s.released()))
    {
        Ok(released) => system.released = released,
        Err(error) => system.findings.warning(format!("{:#}", anyhow::Error::from(error))),
    }
    Ok(system)
}

/// Looks at the machine and prints what it finds.
pub(crate) fn run(args: &cli::Status) -> Result<Outcome> {
    let mut system = look(&args.root)?;
    if args.record_registration {
        record_registration(&args.root, &system)?;
        system.registered_on = system.system_id.clone();
    }
    let system = system;
    let ram = system.leavings.memory_map.as_ref();
    let image = system.memory.as_ref().and_then(|path| dumpfile::open_image(path, ram).ok());
    let known = Known { probe: custody::probe(&args.root), ..Known::default() };
    let status = phyp::status::status(&system, known, image);
    let waits = !status.custody.is_given_away() && status.custody.owner != Owner::NoDump;
    let mut findings: Vec<Finding> = status
        .findings
        .iter()
        .map(|f| Finding { severity: f.severity.to_string(), text: f.text.clone() })
        .collect();
    let dump = match waits.then(|| describe(args, &system)) {
        Some(Ok(dump)) => Some(dump),
        Some(Err(error)) => {
            findings.push(Finding { severity: "damage".into(), text: format!("{error:#}") });
            None
        }
        None => None,
    };
    let report = Report {
        root: args.root.display().to_string(),
        mechanism: mechanism(status.mechanism),
        readiness: readiness(status.readiness),
        last_boot: last_boot(status.last_boot),
        evidence: status.evidence,
        reserved_bytes: status.reserved,
        sections: status
            .sections
            .into_iter()
            .map(|s| Section {
                kind: s.kind.to_string(),
                requested: s.requested,
                copied: s.copied,
                destination: s.destination.0,
                problems: s.problems,
            })
            .collect(),
        findings,
        dump,
    };
    if args.json {
        report::print_json(&report)?;
    } else {
        report.print()?;
    }
    let damaged = report.findings.iter().any(|f| f.severity == "damage");
    Ok(if damaged { Outcome::Incomplete } else { Outcome::Complete })
}

fn describe(args: &cli::Status, system: &System) -> Result<Waiting> {
    let input = InputArgs::path(&args.root);
    let dump = input::open(&input, Prefer::Vmcore)?;
    let boot = boot_memory(system);
    let memory = count(&input, &dump)?;
    let (release, cpus) =
        (dump.vmcoreinfo.as_ref().and_then(|v| v.release().map(str::to_owned)), dump.cpus());
    let (format, whole, page_size) =
        (dump.source.format.clone(), !dump.source.incomplete, dump.page_size().bytes());
    let boot_memory = match boot {
        Some(boot) => Some(count(&input, &Dump { memory: Box::new(Part::new(dump.memory, &boot)), ..dump })?),
        None => None,
    };
    Ok(Waiting { format, release, page_size, cpus, whole, memory, boot_memory })
}

/// The memory that the firmware copied aside, so that the second boot could use it.
fn boot_memory(system: &System) -> Option<RangeSet<PhysAddr>> {
    let dump = KernelDump::parse(system.leavings.kernel_dump.as_deref()?).ok()?;
    Some(dump.boot_memory()).filter(|ranges| !ranges.is_empty())
}

/// Counts pages by class; the kernel of the dump has to be understood for that.
fn count(args: &InputArgs, dump: &Dump) -> Result<Pages> {
    let kernel = input::kernel(dump, args)?;
    let selection = kernel.select(DumpLevel::ALL, None)?.selection;
    let get = |reason| selection.reasons().get(reason);
    Ok(Pages {
        total: dump.memory.map().frames().total(),
        kernel: selection.kept(),
        cache: get(Reason::Cache) + get(Reason::CachePrivate),
        user: get(Reason::User),
        free: get(Reason::Free) + get(Reason::Offline) + get(Reason::HwPoison),
        kernel_bytes: selection.kept() * dump.page_size().bytes(),
    })
}

/// A part of a memory: the map is smaller, but everything can still be read, as the kernel's structures lie anywhere.
struct Part {
    memory: Box<dyn PhysicalMemory>,
    map: MemoryMap,
}

impl Part {
    fn new(memory: Box<dyn PhysicalMemory>, part: &RangeSet<PhysAddr>) -> Self {
        let map = MemoryMap::new(memory.map().page_size(), memory.map().bytes().intersect(part));
        Self { memory, map }
    }
}

impl PhysicalMemory for Part {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        self.memory.read_page(pfn, page)
    }

    fn read(&self, addr: PhysAddr, bytes: &mut [u8]) -> Result<PageState, ReadError> {
        self.memory.read(addr, bytes)
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
    fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{:>10}  {}", "mechanism", self.mechanism)?;
        writeln!(out, "{:>10}  {}", "next crash", report::words(self.readiness))?;
        writeln!(out, "{:>10}  {}", "last boot", report::words(self.last_boot))?;
        for line in &self.evidence {
            writeln!(out, "{:>10}  {line}", "")?;
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
