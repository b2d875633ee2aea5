//! `hadump pages`: every page of a dump, one line each.

use crate::cli;
use crate::input::walk;
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use anyhow::Result;
use std::io::Write;
use vmcore::{PageState, Pfn};

/// What is printed of one page, or in JSON of several that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    pages: u64,
    state: &'static str,
    crc32: Option<u32>,
}

impl Run {
    /// A page, unless no memory exists at its frame number.
    fn of(pfn: u64, state: PageState, page: &[u8], crc32: bool) -> Option<Self> {
        let state = match state {
            PageState::Present if vmcore::is_zero(page) => "zero",
            PageState::Present => "data",
            PageState::Zero => "zero",
            PageState::Excluded => "excluded",
            PageState::Lost => "lost",
            PageState::Absent => return None,
        };
        let crc32 = (crc32 && matches!(state, "data" | "zero")).then(|| crc32fast::hash(page));
        Some(Self { first: pfn, pages: 1, state, crc32 })
    }

    /// Takes `next` in if it goes on as this one does.
    fn merge(&mut self, next: &Self) -> bool {
        let merged = self.crc32.is_none()
            && next.crc32.is_none()
            && self.state == next.state
            && self.first + self.pages == next.first;
        if merged {
            self.pages += next.pages;
        }
        merged
    }

    fn line(&self, out: &mut impl Write) -> std::io::Result<()> {
        match self.crc32 {
            Some(crc32) => writeln!(out, "page {} {crc32:08x}", self.first),
            None => writeln!(out, "page {} {}", self.first, self.state),
        }
    }

    fn json(&self, out: &mut impl Write, is_first: bool) -> std::io::Result<()> {
        let Self { first, pages, state, crc32 } = self;
        let crc32 = crc32.map(|sum| format!(r#","crc32":"{sum:08x}""#)).unwrap_or_default();
        let comma = if is_first { "" } else { "," };
        write!(out, "{comma}\n{{\"first\":{first},\"pages\":{pages},\"state\":\"{state}\"{crc32}}}")
    }
}

/// Prints the pages.
pub(crate) fn run(args: &cli::Pages, quiet: bool) -> Result<Outcome> {
    let mut dump = input::open(&args.input, Prefer::Vmcore)?;
    input::find_contradictions(&mut dump, &args.input)?;
    let size = dump.page_size().len();
    let look = |first: Pfn, states: &[PageState], bytes: &[u8]| {
        let mut runs: Vec<Run> = Vec::with_capacity(if args.json { 16 } else { states.len() });
        let mut lost = 0;
        for ((pfn, &state), page) in (first.0..).zip(states).zip(bytes.chunks_exact(size)) {
            lost += usize::from(state == PageState::Lost);
            let Some(run) = Run::of(pfn, state, page, args.crc32) else { continue };
            if !args.json || !runs.last_mut().is_some_and(|last| last.merge(&run)) {
                runs.push(run);
            }
        }
        (runs, lost)
    };
    let mut out = std::io::BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
    let (mut lost, mut printed) = (0, 0);
    let mut pending: Option<Run> = None;
    if args.json {
        write!(out, "[")?;
    }
    walk::every(&dump, quiet, look, |(runs, lost_here)| {
        lost += lost_here;
        for run in runs {
            if !args.json {
                run.line(&mut out)?;
                continue;
            }
            if pending.as_mut().is_some_and(|last| last.merge(&run)) {
                continue;
            }
            if let Some(done) = pending.replace(run) {
                done.json(&mut out, printed == 0)?;
                printed += 1;
            }
        }
        Ok(())
    })?;
    if let Some(done) = pending {
        done.json(&mut out, printed == 0)?;
    }
    if args.json {
        writeln!(out, "\n]")?;
    }
    out.flush()?;
    Ok(if lost > 0 || dump.source.incomplete { Outcome::Incomplete } else { Outcome::Complete })
}
