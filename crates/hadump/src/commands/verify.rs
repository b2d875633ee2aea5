//! `hadump verify`: reads every page of a dump once, and all of its file by the checksums that it carries.

use crate::cli;
use crate::input::walk;
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use crate::show::frameset::Frameset;
use crate::show::report;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use vmcore::{Arch, Dump, PageState, Pfn, Range};

/// What was found. `docs/json.md` describes the fields.
#[derive(Debug, Serialize)]
struct Verdict {
    path: String,
    format: String,
    /// Frames that exist in the dump.
    frames: u64,
    data: u64,
    zero: u64,
    excluded: u64,
    lost: Frameset,
    /// Pages with content by how they are stored, and of a split set those of all files; empty where the format has one way only.
    stored: BTreeMap<&'static str, u64>,
    /// What is wrong with the dump, one sentence each.
    problems: Vec<String>,
    /// Anomalies that were corrected while reading, one sentence each.
    remarks: Vec<String>,
    sound: bool,
    /// Every byte of the file fits the checksums that it carries.
    proved: bool,
}

/// What a run of frames contains.
#[derive(Default)]
struct Seen {
    data: u64,
    zero: u64,
    excluded: u64,
    lost: Vec<Range<Pfn>>,
}

/// Reads and reports.
pub(crate) fn run(args: &cli::Verify, quiet: bool) -> Result<Outcome> {
    // What readers find without the note is no problem.
    let dump = input::open_to_show(&args.input, Prefer::Vmcore)?;
    let verdict = verify(args, &dump, quiet)?;
    if args.json {
        report::print_json(&verdict)?;
    } else {
        verdict.print(quiet)?;
    }
    Ok(if verdict.sound { Outcome::Complete } else { Outcome::Incomplete })
}

fn verify(args: &cli::Verify, dump: &Dump, quiet: bool) -> Result<Verdict> {
    let size = dump.page_size().len();
    let mut all = Seen::default();
    let mut lost = Frameset::default();
    let look = |first: Pfn, states: &[PageState], bytes: &[u8]| look(first, states, bytes, size);
    walk::every(dump, quiet, look, |seen| {
        all.data += seen.data;
        all.zero += seen.zero;
        all.excluded += seen.excluded;
        seen.lost.into_iter().for_each(|frames| lost.push(frames));
        Ok(())
    })?;
    let mut problems = notes(dump);
    if lost.pages > 0 {
        problems.push(format!("lost: {}", lost.text()));
    }
    problems.extend(dump.source.problems.iter().cloned());
    let check = dump.memory.check()?;
    problems.extend(check.problems);
    let damage = dump.memory.damage();
    if damage.pages > damage.first.len() as u64 {
        problems.push(format!("{} pages are damaged, of which the first are:", damage.pages));
    }
    problems.extend(damage.first);
    if dump.source.incomplete && dump.source.problems.is_empty() {
        problems.push("the file is marked incomplete, or ends early".into());
    }
    Ok(Verdict {
        path: args.input.name(),
        format: dump.source.format.clone(),
        frames: dump.memory.map().frames().total(),
        data: all.data,
        zero: all.zero,
        excluded: all.excluded,
        lost,
        sound: problems.is_empty(),
        proved: check.proved && problems.is_empty(),
        stored: check.stored,
        problems,
        // Last, as reading pages can find more.
        remarks: dump.source.remarks.clone(),
    })
}

fn look(first: Pfn, states: &[PageState], bytes: &[u8], size: usize) -> Seen {
    let mut seen = Seen::default();
    for ((pfn, state), page) in (first.0..).zip(states).zip(bytes.chunks_exact(size)) {
        match state {
            PageState::Present if vmcore::is_zero(page) => seen.zero += 1,
            PageState::Present => seen.data += 1,
            PageState::Zero => seen.zero += 1,
            PageState::Excluded => seen.excluded += 1,
            PageState::Absent => {}
            PageState::Lost => match seen.lost.last_mut() {
                Some(last) if last.end.0 == pfn => last.end.0 += 1,
                _ => seen.lost.push(Range::new(Pfn(pfn), Pfn(pfn + 1))),
            },
        }
    }
    seen
}

/// What readers would not find in the notes.
fn notes(dump: &Dump) -> Vec<String> {
    let mut problems = Vec::new();
    if dump.cpus() == 0 {
        problems.push("no NT_PRSTATUS note holds the registers of a CPU".into());
    }
    let mut sizes: Vec<usize> = dump.notes.prstatus().map(|note| note.desc.len()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.len() > 1 {
        problems.push(format!("the NT_PRSTATUS notes differ in length: {sizes:?} bytes"));
    }
    match &dump.vmcoreinfo {
        None => problems.push(
            "there is no VMCOREINFO, neither as a note nor in memory, so readers do not know the kernel"
                .into(),
        ),
        Some(info) if info.release().is_none() => {
            problems.push("VMCOREINFO lacks the kernel's release (OSRELEASE)".into());
        }
        // Of other machines no kernel is.
        Some(_) if matches!(dump.machine.arch, Arch::Other(_)) => {}
        Some(_) => {
            if let Err(error) = kernel::Kernel::open(dump) {
                problems.push(format!("the kernel cannot be understood: {error}"));
            }
        }
    }
    problems
}

impl Verdict {
    fn print(&self, quiet: bool) -> Result<()> {
        let mut out = crate::show::terminal::stdout();
        let mut line = |label: &str, value: &str| writeln!(out, "{label:>10}  {value}");
        for problem in &self.problems {
            line("PROBLEM", problem)?;
        }
        if quiet {
            return Ok(());
        }
        line("file", &format!("{}: {}", self.path, self.format))?;
        let Self { frames, data, zero, excluded, .. } = self;
        line(
            "pages",
            &format!(
                "{frames}: {data} with data, {zero} zero, {excluded} excluded, {} lost",
                self.lost.pages
            ),
        )?;
        if self.stored.len() > 1 {
            let ways: Vec<String> = self.stored.iter().map(|(way, count)| format!("{count} {way}")).collect();
            line("stored", &ways.join(", "))?;
        }
        let verdict = match (self.proved, self.sound) {
            (true, _) => "sound: every bit of it is as it was written, by its own checksums",
            (_, true) => "plausible: every page could be read, and what must fit does; it has no checksums",
            _ => "NOT SOUND",
        };
        line("verdict", verdict)?;
        Ok(())
    }
}
