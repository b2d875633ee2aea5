//! The checks, made when everything has been counted.

use super::zones::{Unknown, Zones};
use super::{Check, Gate, Guard, Outcome};
use crate::page::{CELL, Census, ORDERS};
use vmcore::DumpLevel;

/// What a selection found out.
pub(crate) struct Found<'a> {
    /// Counts over the dump's memory.
    pub(crate) inside: &'a Census,
    /// Counts over memory that is not in the dump.
    pub(crate) outside: &'a Census,
    /// Frames, and those of them that no array of struct pages is about.
    pub(crate) frames: u64,
    pub(crate) uncovered: u64,
    /// Frames known to be the kernel's, and those of them that would have been left out.
    pub(crate) known: u64,
    pub(crate) known_taken: u64,
    /// Free pages have no mark and were told by the lists themselves.
    pub(crate) by_free_list: bool,
}

/// More of the cells than one in this many may not hold nonsense.
const NONSENSE: u64 = 20;
/// More of the memory than one in this many may not be without struct pages. Firmware and graphics memory that a
/// hypervisor writes into a dump has none.
const UNCOVERED: u64 = 4;
/// More of the kernel's own frames than one in this many may not have a class of something else; fewer fail their regions.
const KNOWN: u64 = 64;
/// What may be odd without meaning anything: CPUs are stopped wherever they are.
const FEW: u64 = 16;
/// Blocks that each CPU may have had in its hands.
const BLOCKS_PER_CPU: u64 = 4;

impl Guard {
    /// Makes the checks that `level` calls for.
    pub(crate) fn judge(&self, level: DumpLevel, found: &Found<'_>) -> Gate {
        let mut sum = found.inside.clone();
        sum.merge(found.outside);
        let mut checks = vec![sense(&sum), coverage(found), own(found), compounds(&sum), odd(&sum)];
        if level.has(DumpLevel::FREE) {
            checks.push(match found.by_free_list {
                true => skipped("free pages", "free pages are told by the lists that the kernel counts"),
                false => self.free(&sum),
            });
        }
        if level.has(DumpLevel::CACHE | DumpLevel::CACHE_PRIVATE) {
            checks.push(self.lru(&sum));
            checks.push(private(&sum));
        }
        let closed = checks.iter().any(|check| check.outcome == Outcome::Failed);
        Gate { checks, closed, ..Gate::default() }
    }

    /// Free blocks are as many as the zones say, or free pages are.
    fn free(&self, sum: &Census) -> Check {
        const NAME: &str = "free pages";
        let zones = match self.zones(NAME) {
            Ok(zones) => zones,
            Err(check) => return check,
        };
        let pages = sum.free_pages();
        let Zones { free, free_pages, slack, .. } = zones;
        let blocks = free.as_ref().map(|counted| {
            let apart: u64 = sum.free.iter().zip(counted).map(|(a, b)| a.abs_diff(*b)).sum();
            let counted = (0..ORDERS).map(|order| counted[order].saturating_mul(1 << order));
            (apart, counted.fold(0, u64::saturating_add))
        });
        let may_differ = FEW + BLOCKS_PER_CPU * self.cpus.max(1) + sum.hidden() / 8;
        let by_blocks = blocks.map(|(apart, _)| apart <= may_differ);
        let by_pages = free_pages.map(|counted| pages.abs_diff(counted) <= slack + (may_differ << 1) + FEW);
        if by_blocks.is_none() && by_pages.is_none() {
            return skipped(NAME, "VMCOREINFO does not tell how the kernel counted them");
        }
        let counted = blocks.map(|(_, pages)| pages).or(*free_pages).unwrap_or(0);
        let text = format!("{pages} pages are in free blocks, {counted} by the kernel's own count");
        decided(NAME, by_blocks == Some(true) || by_pages == Some(true), text)
    }

    /// Pages with PG_lru are as many as the zones say are on lists.
    fn lru(&self, sum: &Census) -> Check {
        const NAME: &str = "LRU lists";
        let zones = match self.zones(NAME) {
            Ok(zones) => zones,
            Err(check) => return check,
        };
        // Counters of a kernel that runs are never all zero.
        let Some((counted, shifted)) = zones.lru.filter(|lru| lru.0 > 0) else {
            return skipped(NAME, "the kernel's own counters are not known");
        };
        if !self.sizes {
            // A transparent huge page counts as many there as it has.
            return skipped(NAME, "VMCOREINFO does not tell how many pages a huge page on such a list has");
        }
        if self.cpus == 0 {
            return skipped(NAME, "how far counters lag behind is not known, as the dump names no CPUs");
        }
        let may_differ = zones.spread() + FEW + sum.hidden();
        let agrees = |counted: u64| sum.lru.abs_diff(counted) <= may_differ;
        let passed = agrees(counted) || shifted.is_some_and(agrees);
        let text = format!("{} pages are on LRU lists, {counted} by the kernel's own count", sum.lru);
        decided(NAME, passed, text)
    }

    fn zones(&self, name: &'static str) -> Result<&Zones, Check> {
        self.zones.as_ref().map_err(|unknown| match unknown {
            Unknown::Untold(why) => skipped(name, format!("the kernel's own count cannot be had: {why}")),
            Unknown::Nonsense(why) => {
                decided(name, false, format!("the kernel's own count is not where VMCOREINFO says: {why}"))
            }
        })
    }
}

/// Little of what is said of pages is nonsense.
fn sense(sum: &Census) -> Check {
    let Census { cells, bad_cells, .. } = sum;
    let text = format!("{bad_cells} of {cells} groups of {CELL} struct pages hold what no struct page does");
    decided("struct pages", bad_cells * NONSENSE <= *cells || *bad_cells < 4, text)
}

/// There are struct pages for the memory there is.
fn coverage(found: &Found<'_>) -> Check {
    let Found { frames, uncovered, .. } = found;
    let text = format!("{uncovered} of {frames} frames have no struct page");
    decided("mem_map", uncovered.saturating_mul(UNCOVERED) <= *frames, text)
}

/// The kernel's own pages are not something else.
fn own(found: &Found<'_>) -> Check {
    let Found { known, known_taken, .. } = found;
    let text = format!(
        "{known_taken} of {known} pages of the kernel's text and variables, its page tables and its struct pages \
         are marked as free, cache or a process's"
    );
    decided("the kernel's own pages", known_taken.saturating_mul(KNOWN) <= *known, text)
}

/// Heads have tails and tails have heads.
fn compounds(sum: &Census) -> Check {
    let Census { heads, lone_heads, tails, headless, .. } = sum;
    let text = format!(
        "{lone_heads} of {heads} heads of compound pages have no tail, {headless} of {tails} first tails no head"
    );
    let few = |odd: u64, all: u64| odd <= 4 + all / 16;
    decided("compound pages", few(*lone_heads, *heads) && few(*headless, *tails), text)
}

/// Marks that exclude one another do, and what is rare is.
fn odd(sum: &Census) -> Check {
    let Census { slab, slab_on_lru, broken, offline, cells, .. } = sum;
    let text = format!(
        "{slab_on_lru} of {slab} pages of slab are on an LRU list, {broken} pages are marked as broken, {offline} as \
         offline"
    );
    let passed = *slab_on_lru <= 1 + slab / 64 && *broken <= 4 * FEW + cells * CELL / 1024;
    decided("marks of pages", passed, text)
}

/// Private data is there where the flag says so.
fn private(sum: &Census) -> Check {
    let Census { private, private_missing, private_unmarked, .. } = sum;
    let text = format!(
        "{private} pages of the cache have private data, {private_missing} only the flag for it, {private_unmarked} only \
         the pointer"
    );
    let passed = *private_missing <= 4 + private && *private_unmarked <= 4 + private;
    decided("private data", passed, text)
}

fn decided(name: &'static str, passed: bool, text: String) -> Check {
    Check { name, outcome: if passed { Outcome::Passed } else { Outcome::Failed }, text }
}

fn skipped(name: &'static str, why: impl Into<String>) -> Check {
    Check { name, outcome: Outcome::Skipped, text: why.into() }
}
