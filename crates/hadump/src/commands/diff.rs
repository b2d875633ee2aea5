//! `hadump diff`: two dumps, page by page, whatever their formats.

use crate::cli;
use crate::cli::InputArgs;
use crate::input::walk::{self, Frames, View};
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use crate::show::frameset::Frameset;
use crate::show::{progress, report};
use anyhow::{Result, bail};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use vmcore::{Dump, PageState, Pfn, Range};

/// What was found. `docs/json.md` describes the fields.
#[derive(Debug, Serialize)]
struct Difference {
    a: String,
    b: String,
    page_size: u64,
    only_in_a: Frameset,
    only_in_b: Frameset,
    different: Frameset,
    same: u64,
}

/// What holds for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Neither,
    OnlyInA,
    OnlyInB,
    Different,
    Same,
}

/// Compares and reports. An error means that the two could not be compared.
pub(crate) fn run(args: &cli::Diff, quiet: bool) -> Result<Outcome> {
    let open = |path: &Path| {
        let input =
            InputArgs { identity: args.identity.clone(), page_size: args.page_size, ..InputArgs::path(path) };
        input::open(&input, Prefer::Vmcore)
    };
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let name = |dump: &Dump| format!("{} with pages of {}", dump.machine, dump.page_size());
    if a.page_size() != b.page_size() && args.page_size.is_none() && a.machine.name() == b.machine.name() {
        bail!(
            "{} is of {}, {} of {}; --page-size says which of the two it is",
            args.a.display(),
            name(&a),
            args.b.display(),
            name(&b)
        );
    }
    // By name: a kdump header has nothing else, and two of ELF's numbers are called alike (ARC).
    if a.page_size() != b.page_size() || a.machine.name() != b.machine.name() {
        bail!(
            "{} is of {}, {} of {}: there is nothing to compare",
            args.a.display(),
            name(&a),
            args.b.display(),
            name(&b)
        );
    }
    let found = compare(args, &a, &b, quiet)?;
    let same = [&found.only_in_a, &found.only_in_b, &found.different].iter().all(|set| set.pages == 0);
    if args.json {
        report::print_json(&found)?;
    } else if !quiet {
        let mut out = crate::show::terminal::stdout();
        writeln!(out, "{:>10}  {}", "only in A", found.only_in_a.text())?;
        writeln!(out, "{:>10}  {}", "only in B", found.only_in_b.text())?;
        writeln!(out, "{:>10}  {}", "different", found.different.text())?;
        writeln!(out, "{:>10}  {} pages", "same", found.same)?;
    }
    Ok(if same { Outcome::Complete } else { Outcome::Different })
}

fn compare(args: &cli::Diff, a: &Dump, b: &Dump, quiet: bool) -> Result<Difference> {
    let memories = [&*a.memory, &*b.memory];
    let size = a.page_size();
    let mut found = Difference {
        a: args.a.display().to_string(),
        b: args.b.display().to_string(),
        page_size: size.bytes(),
        only_in_a: Frameset::default(),
        only_in_b: Frameset::default(),
        different: Frameset::default(),
        same: 0,
    };
    let pages = walk::count(&memories, Frames::Unfiltered)?;
    progress::watch(pages, size.bytes(), quiet, |progress| {
        walk::pages(
            &memories,
            Frames::Unfiltered,
            progress,
            |view| verdicts(view, size.len(), args.common),
            |runs| {
                for (verdict, frames) in runs {
                    match verdict {
                        Verdict::Neither => {}
                        Verdict::OnlyInA => found.only_in_a.push(frames),
                        Verdict::OnlyInB => found.only_in_b.push(frames),
                        Verdict::Different => found.different.push(frames),
                        Verdict::Same => found.same += frames.len(),
                    }
                }
                Ok(())
            },
        )
    })?;
    Ok(found)
}

/// What holds for runs of frames. A stored page of zeros and an implied one are the same; a page that is excluded,
/// lost or absent is not in a dump. Of `common` pages alone, only lost ones are missed.
fn verdicts(view: &View<'_>, size: usize, common: bool) -> Vec<(Verdict, Range<Pfn>)> {
    let [(a_states, a_bytes), (b_states, b_bytes)] = view.sides[..] else { return Vec::new() };
    let mut runs: Vec<(Verdict, Range<Pfn>)> = Vec::new();
    let pages = a_bytes.chunks_exact(size).zip(b_bytes.chunks_exact(size));
    for (i, ((a, b), (a_page, b_page))) in a_states.iter().zip(b_states).zip(pages).enumerate() {
        let verdict = match (a.is_known(), b.is_known()) {
            (false, false) => Verdict::Neither,
            (true, false) if common && *b != PageState::Lost => Verdict::Neither,
            (false, true) if common && *a != PageState::Lost => Verdict::Neither,
            (true, false) => Verdict::OnlyInA,
            (false, true) => Verdict::OnlyInB,
            // A page of zeros is delivered as cleared bytes.
            (true, true) if a_page == b_page => Verdict::Same,
            (true, true) => Verdict::Different,
        };
        let pfn = Pfn(view.first.0 + i as u64);
        match runs.last_mut() {
            Some((last, frames)) if *last == verdict => frames.end.0 += 1,
            _ => runs.push((verdict, Range::new(pfn, Pfn(pfn.0 + 1)))),
        }
    }
    runs
}
