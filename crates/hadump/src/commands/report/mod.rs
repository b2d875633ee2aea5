//! `hadump report`: why the machine crashed, from the dump alone.

mod stretches;

use crate::cli;
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use crate::output::{self, FORCE, SinkWriter};
use crate::show::crash::{Shown, html, json, text};
use crate::show::report;
use anyhow::{Context, Result};
use kernel::Kernel;
use kernel::knowledge::vmlinux_of;
use std::io::Write;
use triage::Options;
use vmcore::Dump;

/// Finds out and prints.
pub(crate) fn run(args: &cli::Report) -> Result<Outcome> {
    if let Some(path) = &args.html {
        output::refuse_input(&args.input, std::slice::from_ref(path))?;
    }
    let mut dump = input::open_to_show(&args.input, Prefer::Vmcore)?;
    let vmlinux = args.input.vmlinux.as_deref().map(|path| vmlinux_of(&mut dump, path)).transpose()?;
    // Begun before the work: a name that is taken is said at once.
    let page = args.html.as_ref().map(|path| output::create(path, args.force, FORCE)).transpose()?;
    let kernel = Kernel::open(&dump);
    if let Err(error) = &kernel {
        tracing::warn!("{}: the kernel cannot be understood: {error}", args.input.name());
    }
    let kernel = kernel.ok();
    let report = triage::examine(&dump, kernel.as_ref(), vmlinux.as_ref(), &options(args));
    let name = args.input.name();
    let shown = Shown::new(&name, &dump, args.tasks, &report);
    if let Some(file) = page {
        let stretches = kernel.as_ref().map(|kernel| by_address(&dump, kernel, &report)).unwrap_or_default();
        let mut writer = SinkWriter::new(&file);
        let written = writer.write_all(html::page(&shown, &stretches).as_bytes());
        written.with_context(|| format!("{}: cannot be written", file.name().display()))?;
        file.commit()?;
    }
    if args.json {
        report::print_json(&json::json(&shown))?;
    } else {
        report::print_text(&text::text(&shown))?;
    }
    Ok(shown.outcome())
}

/// Memory by address and class; nothing, with a remark, where the kernel does not tell.
fn by_address(dump: &Dump, kernel: &Kernel<'_>, report: &triage::Report) -> Vec<html::Stretch> {
    let zones = report.memory.as_ref().map(|memory| &memory.zones[..]).unwrap_or_default();
    stretches::of(dump, kernel, zones).unwrap_or_else(|error| {
        tracing::warn!("memory is not shown by address: {error:#}");
        Vec::new()
    })
}

/// What is looked for.
fn options(args: &cli::Report) -> Options {
    Options {
        stacks: match args.tasks {
            cli::Tasks::Blocked => triage::Stacks::Blocked,
            cli::Tasks::Running => triage::Stacks::Running,
            cli::Tasks::All => triage::Stacks::All,
        },
    }
}
