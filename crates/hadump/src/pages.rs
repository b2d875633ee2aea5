//! `hadump pages`: every page of a dump, one line each.

use crate::input::{self, Prefer};
use crate::{Outcome, cli, walk};
use anyhow::Result;
use std::fmt::Write as _;
use std::io::Write as _;
use vmcore::{PageState, Pfn};

/// Prints the pages.
pub(crate) fn run(args: &cli::Pages, quiet: bool) -> Result<Outcome> {
    let dump = input::open(&args.input, Prefer::Vmcore)?;
    let size = dump.page_size().len();
    let line = |state: PageState, page: &[u8], text: &mut String, pfn: u64| {
        let written = match state {
            PageState::Present | PageState::Zero if args.crc32 => {
                writeln!(text, "page {pfn} {:08x}", crc32fast::hash(page))
            }
            PageState::Present if vmcore::is_zero(page) => writeln!(text, "page {pfn} zero"),
            PageState::Present => writeln!(text, "page {pfn} data"),
            PageState::Zero => writeln!(text, "page {pfn} zero"),
            PageState::Excluded => writeln!(text, "page {pfn} excluded"),
            PageState::Lost => writeln!(text, "page {pfn} lost"),
            PageState::Absent => Ok(()),
        };
        written.expect("a string takes everything");
    };
    let mut out = std::io::stdout().lock();
    let mut lost = 0;
    let look = |first: Pfn, states: &[PageState], bytes: &[u8]| {
        let mut text = String::with_capacity(states.len() * 24);
        for ((pfn, &state), page) in (first.0..).zip(states).zip(bytes.chunks_exact(size)) {
            line(state, page, &mut text, pfn);
        }
        (text, states.iter().filter(|&&s| s == PageState::Lost).count())
    };
    walk::every(&dump, quiet, look, |(text, lost_here)| {
        lost += lost_here;
        Ok(out.write_all(text.as_bytes())?)
    })?;
    out.flush()?;
    Ok(if lost > 0 || dump.source.incomplete { Outcome::Incomplete } else { Outcome::Complete })
}
