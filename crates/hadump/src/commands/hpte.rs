//! `hadump hpte`: the page-table entries that the hypervisor saved for the real-mode area.

use crate::cli;
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use crate::show::report;
use anyhow::Result;
use serde::Serialize;
use std::io::Write;

/// The saved entries. `docs/json.md` describes the fields.
#[derive(Debug, Serialize)]
struct Listing {
    entries: Vec<Entry>,
    /// What is wrong with the area, one sentence each.
    remarks: Vec<String>,
}

/// One entry; 64-bit values are hexadecimal strings.
#[derive(Debug, Serialize)]
struct Entry {
    index: u64,
    dword0: String,
    dword1: String,
    valid: bool,
    secondary: bool,
    large: bool,
    segment_size: u8,
    avpn: String,
    rpn: String,
    protection: u8,
    key: u8,
    referenced: bool,
    changed: bool,
    wimg: u8,
    no_execute: bool,
}

/// Prints the entries. A dump may have none, like that of a radix guest.
pub(crate) fn run(args: &cli::Hpte) -> Result<Outcome> {
    let dump = input::open(&args.input, Prefer::Firmware)?;
    let area = phyp::hptes(&dump.notes)?;
    let findings = area.as_ref().map(|a| a.findings()).unwrap_or_default();
    let remarks: Vec<String> = findings.iter().map(|f| f.text.clone()).collect();
    let entries: Vec<Entry> = area.iter().flat_map(|a| &a.entries).map(Entry::from).collect();
    let outcome = if remarks.is_empty() { Outcome::Complete } else { Outcome::Incomplete };
    if args.json {
        report::print_json(&Listing { entries, remarks })?;
        return Ok(outcome);
    }
    for remark in &remarks {
        tracing::warn!("{}: {remark}", args.input.name());
    }
    if entries.is_empty() {
        tracing::warn!("{}: the hypervisor saved no page-table entries", args.input.name());
        return Ok(outcome);
    }
    let mut out = crate::show::terminal::stdout();
    writeln!(out, "{:>10}  {:16}  {:16}  {:18} {:18} flags", "index", "dword0", "dword1", "avpn", "rpn")?;
    for e in &entries {
        let flags = [
            (e.valid, "valid"),
            (e.secondary, "secondary"),
            (e.large, "large"),
            (e.referenced, "referenced"),
            (e.changed, "changed"),
            (e.no_execute, "no-execute"),
        ];
        let flags: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        writeln!(
            out,
            "{:>10}  {}  {}  {:18} {:18} {} pp={} key={} wimg={:04b}",
            e.index,
            e.dword0,
            e.dword1,
            e.avpn,
            e.rpn,
            flags.join(","),
            e.protection,
            e.key,
            e.wimg
        )?;
    }
    Ok(outcome)
}

impl From<&phyp::hpte::Hpte> for Entry {
    fn from(e: &phyp::hpte::Hpte) -> Self {
        Self {
            index: e.index,
            dword0: format!("{:016x}", e.high),
            dword1: format!("{:016x}", e.low),
            valid: e.is_valid(),
            secondary: e.is_secondary(),
            large: e.is_large(),
            segment_size: e.segment_size(),
            avpn: format!("{:#x}", e.avpn()),
            rpn: format!("{:#x}", e.rpn()),
            protection: e.protection(),
            key: e.key(),
            referenced: e.is_referenced(),
            changed: e.is_changed(),
            wimg: e.wimg(),
            no_execute: e.is_no_execute(),
        }
    }
}
