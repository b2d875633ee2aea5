//! The search: pieces of memory in parallel, what was found in the order of addresses.
//!
//! A match lies in frames side by side whose bytes are known: it crosses the borders of pages and of pieces, and no frame that
//! is excluded, lost or not there. Each thread reads with its piece as much of what follows as a match may reach into, so that
//! a match is found by the thread in whose piece it begins, and by no other. Regular expressions match one behind the other; a
//! match that reaches into the next piece has that piece searched again from its end on.

use crate::area::{Area, Piece};
use crate::matcher::Match;
use crate::{Error, Pattern};
use rayon::prelude::*;
use std::ops::ControlFlow;
use vmcore::{PageSize, PageState, Pfn, PhysAddr, Range};

/// Pieces of a wave for each thread, so that one slow piece does not leave the other threads idle.
const PIECES_PER_THREAD: usize = 4;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Where it begins.
    pub at: PhysAddr,
    /// Its bytes.
    pub len: u64,
}

/// What a search tells while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A match; they come in ascending order of addresses.
    Hit(Hit),
    /// So many frames were searched since the last such event.
    Frames(u64),
}

/// What was searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Frames whose bytes are known.
    pub pages: u64,
    /// Frames that an earlier filter left out.
    pub excluded: u64,
    /// Frames that should be there and could not be read.
    pub lost: u64,
    /// `take` ended the search before the end of memory.
    pub stopped: bool,
}

/// What a thread works with; kept for its next piece.
#[derive(Default)]
struct Scratch {
    bytes: Vec<u8>,
    states: Vec<PageState>,
}

/// What a thread found in a piece.
#[derive(Default)]
struct Seen {
    /// Relative to the first byte of the piece's frames.
    matches: Vec<Match>,
    pages: u64,
    excluded: u64,
    lost: u64,
}

/// Searches `area` on the current rayon pool and passes what is found to `take`, until it breaks.
///
/// # Errors
///
/// When the input is damaged, and those of `take`.
pub fn scan<E: From<Error>>(
    area: &Area<'_>,
    pattern: &Pattern,
    mut take: impl FnMut(Event) -> Result<ControlFlow<()>, E>,
) -> Result<Searched, E> {
    let page = area.memory.map().page_size();
    let mut pieces = area.pieces();
    let mut searched = Searched::default();
    // Where the last match ends, for patterns whose matches depend on it.
    let mut behind = PhysAddr(0);
    let wave = rayon::current_num_threads().max(1) * PIECES_PER_THREAD;
    'waves: loop {
        let mut some = Vec::with_capacity(wave);
        while some.len() < wave
            && let Some(piece) = pieces.next()?
        {
            some.push(piece);
        }
        if some.is_empty() {
            break;
        }
        let look = |scratch: &mut Scratch, piece: &Piece| look(area, pattern, *piece, PhysAddr(0), scratch);
        let seen: Vec<Result<Seen, Error>> = some.par_iter().map_init(Scratch::default, look).collect();
        for (piece, seen) in some.into_iter().zip(seen) {
            let mut seen = seen?;
            let start = page.addr(piece.frames.start).0;
            let first = seen.matches.first().map(|&(at, _)| start + u64::from(at));
            if pattern.matcher.is_chain() && first.is_some_and(|first| first < behind.0) {
                seen.matches = look_again(area, pattern, piece, behind)?;
            }
            for &(at, len) in &seen.matches {
                let hit = Hit { at: PhysAddr(start + u64::from(at)), len: len.into() };
                behind = PhysAddr(hit.at.0 + hit.len);
                if take(Event::Hit(hit))?.is_break() {
                    searched.stopped = true;
                    break 'waves;
                }
            }
            searched.pages += seen.pages;
            searched.excluded += seen.excluded;
            searched.lost += seen.lost;
            if take(Event::Frames(piece.frames.len()))?.is_break() {
                searched.stopped = true;
                break 'waves;
            }
        }
    }
    searched.excluded += pieces.excluded;
    searched.lost += pieces.lost;
    Ok(searched)
}

/// The matches of a piece into which a match of the piece before reaches, up to `behind`.
fn look_again(
    area: &Area<'_>,
    pattern: &Pattern,
    piece: Piece,
    behind: PhysAddr,
) -> Result<Vec<Match>, Error> {
    Ok(look(area, pattern, piece, behind, &mut Scratch::default())?.matches)
}

/// Finds what begins in a piece, at `from` or later.
fn look(
    area: &Area<'_>,
    pattern: &Pattern,
    piece: Piece,
    from: PhysAddr,
    scratch: &mut Scratch,
) -> Result<Seen, Error> {
    let page = area.memory.map().page_size();
    let matcher = &pattern.matcher;
    let own = piece.frames.len() as usize;
    let before = usize::from(piece.goes_on_before && matcher.looks_around());
    let reach = matcher.reach() + usize::from(matcher.looks_around());
    // Aligned words do not cross the borders of pages.
    let over = if matcher.alignment() > 1 { 0 } else { reach - 1 };
    let behind = over.div_ceil(page.len()).min(piece.behind as usize);
    let Scratch { bytes, states } = scratch;
    let frames = before + own + behind;
    bytes.resize(frames * page.len(), 0);
    states.clear();
    states.resize(frames, PageState::Absent);
    let first = Pfn(piece.frames.start.0 - before as u64);
    area.memory.read_run(first, bytes, states)?;

    let mut seen = Seen::default();
    for state in &states[before..before + own] {
        match state {
            PageState::Present | PageState::Zero => seen.pages += 1,
            PageState::Excluded => seen.excluded += 1,
            PageState::Lost => seen.lost += 1,
            PageState::Absent => {}
        }
    }
    // Addresses as places in what was read. A match begins in the piece.
    let base = page.addr(first).0;
    let own = before * page.len()..(before + own) * page.len();
    let place = |addr: u64| (addr.saturating_sub(base)).min(bytes.len() as u64) as usize;
    let from = place(from.0.max(area.within.start.0)).max(own.start);
    let mut found = Vec::new();
    for known in runs(states, PageState::is_known) {
        let at = |frame: usize| PhysAddr(base + (frame * page.len()) as u64);
        let known = Range::new(at(known.start), at(known.end)).intersect(&area.within);
        // Of a frame that is there in part, the rest was made up.
        for stretch in area.memory.map().bytes().within(known) {
            // A range may begin between two words, which are aligned in memory, not in the range.
            let aligned = place(stretch.start.0).next_multiple_of(matcher.alignment());
            let stretch = aligned..place(stretch.end.0).max(aligned);
            let begins = stretch.start.max(from)..stretch.end.min(own.end);
            let mut find = |begins: std::ops::Range<usize>| {
                let inside = begins.start - stretch.start..begins.end - stretch.start;
                let known = found.len();
                matcher.find(&bytes[stretch.clone()], inside, &mut found);
                for (at, _) in &mut found[known..] {
                    // A stretch may begin before the piece, a match does not.
                    *at = *at + stretch.start as u32 - own.start as u32;
                }
            };
            if begins.is_empty() {
            } else if matcher.needs_content() {
                with_content(states, page, over, begins).for_each(&mut find);
            } else {
                find(begins);
            }
        }
    }
    seen.matches = found;
    Ok(seen)
}

/// The parts of `begins` from which `over` bytes more reach into a page that is not all zeros.
fn with_content(
    states: &[PageState],
    page: PageSize,
    over: usize,
    begins: std::ops::Range<usize>,
) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut done = begins.start;
    runs(states, |state| state == PageState::Present).filter_map(move |content| {
        let start = (content.start * page.len()).saturating_sub(over).max(done);
        let end = (content.end * page.len()).min(begins.end);
        done = done.max(end);
        (start < end).then_some(start..end)
    })
}

/// The runs of states that `wanted` holds for.
fn runs(
    states: &[PageState],
    wanted: impl Fn(PageState) -> bool,
) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + states[at..].iter().position(|&state| wanted(state))?;
        at = states[start..].iter().position(|&state| !wanted(state)).map_or(states.len(), |len| start + len);
        Some(start..at)
    })
}

#[cfg(test)]
mod tests;
