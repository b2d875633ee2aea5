//! `hadump status`: whether a dump is waiting, whole or damaged, how much there is to save, whether its memory can be given
//! back, and whether the machine is ready to make the next one.

mod dump;
mod report;

use crate::cli;
use crate::custody::Standing;
use crate::outcome::Outcome;
use crate::show::report as shown;
use anyhow::{Context, Result, bail};
use dumpfile::output::{OutputFile, Sink};
use phyp::system::{REGISTERED_ON, System};
use report::{Finding, Report};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Records which machine the kernel is registered on for a dump. Neither firmware nor kernel keeps that, and a partition
/// that moves to another machine loses its registration silently. A machine without a name cannot be told from another one:
/// there is nothing to record, which is no failure of whoever registered.
fn record_registration(root: &Path, system: &System) -> Result<()> {
    let registered = system.phyp_active.is_some() || system.fadump.as_ref().is_some_and(|f| f.registered);
    if !registered {
        bail!("{}: the kernel is not registered for a dump, so there is nothing to record", root.display());
    }
    let Some(id) = system.system_id.as_deref() else {
        let without =
            "the device tree has no system-id, so a registration lost in a migration cannot be noticed";
        tracing::warn!("{}: {without}", root.display());
        return Ok(());
    };
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

/// Looks at the machine and prints what it finds.
pub(crate) fn run(args: &cli::Status) -> Result<Outcome> {
    let mut standing = Standing::as_far_as_known(&args.root)?;
    if args.record_registration {
        record_registration(&args.root, &standing.system)?;
        standing.system.registered_on = standing.system.system_id.clone();
    }
    let system = &standing.system;
    let ram = system.leavings.memory_map.as_ref();
    let image = system.memory.as_ref().and_then(|path| dumpfile::open_image(path, ram).ok());
    let status = phyp::status::status(system, &standing.custody, image);
    let mut report = Report::new(&args.root, status, &standing);
    // Counting reads all of the dump's struct pages: not for a script that asks for something else.
    let counted = args.only.as_deref().is_none_or(|field| field.split('.').next() == Some("dump"));
    if counted && standing.waits() {
        match dump::describe(&args.root, system) {
            Ok(dump) => report.dump = Some(dump),
            Err(error) => report.findings.push(Finding::damage(format!("{error:#}"))),
        }
    }
    match &args.only {
        Some(field) => print_field(&report, field)?,
        None if args.json => shown::print_json(&report)?,
        None => report.print()?,
    }
    let damaged = report.findings.iter().any(Finding::is_damage);
    Ok(if damaged { Outcome::Incomplete } else { Outcome::Complete })
}

/// Prints one field of the report as plain text: nothing for what is null, a line for each item of a list.
fn print_field(report: &Report, field: &str) -> Result<()> {
    let report = serde_json::to_value(report)?;
    let mut value = &report;
    for name in field.split('.') {
        match value.get(name) {
            Some(found) => value = found,
            // What is null has no fields.
            None if value.is_null() => break,
            None => bail!("--only {field}: the report has no field {name}"),
        }
    }
    let items = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    let mut text = String::new();
    for item in items.iter().filter(|item| !item.is_null()) {
        text += &item.as_str().map_or_else(|| item.to_string(), |text| text.escape_debug().to_string());
        text.push('\n');
    }
    shown::print_text(&text)
}
