//! The checks, made when everything has been counted.

use super::zones::{Unknown, Zones};
use super::{Check, Gate, Guard, Outcome};
use crate::pages::page::{CELL, Census, ORDERS};
use vmcore::DumpLevel;

/// The name of a check, for programs and for people.
struct Name {
    id: &'static str,
    text: &'static str,
}

const STRUCT_PAGES: Name = Name { id: "struct_pages", text: "struct pages" };
const MEM_MAP: Name = Name { id: "mem_map", text: "mem_map" };
const KERNEL_PAGES: Name = Name { id: "kernel_pages", text: "kernel pages" };
const COMPOUND_PAGES: Name = Name { id: "compound_pages", text: "compound pages" };
const PAGE_FLAGS: Name = Name { id: "page_flags", text: "page flags" };
const FREE_PAGES: Name = Name { id: "free_pages", text: "free pages" };
const LRU_LISTS: Name = Name { id: "lru_lists", text: "LRU lists" };
const PRIVATE_DATA: Name = Name { id: "private_data", text: "private data" };

/// What a selection counted.
pub(crate) struct Found<'a> {
    /// Counts over the dump's memory.
    pub(crate) inside: &'a Census,
    /// Counts over memory that is not in the dump.
    pub(crate) outside: &'a Census,
    /// Frames, and those of them without a struct page.
    pub(crate) frames: u64,
    pub(crate) uncovered: u64,
    /// Frames known to be the kernel's, and those of them that would have been left out.
    pub(crate) known: u64,
    pub(crate) known_taken: u64,
    /// Free pages have no mark and were found by the lists themselves.
    pub(crate) by_free_list: bool,
}

/// At most one cell in this many may hold nonsense.
const NONSENSE: u64 = 20;
/// At most one frame in this many may be without a struct page. Firmware and graphics memory that a hypervisor writes into
/// a dump has none.
const UNCOVERED: u64 = 4;
/// At most one of the kernel's own frames in this many may look like something else; such a frame fails its region.
const KNOWN: u64 = 64;
/// How many oddities mean nothing: CPUs are stopped wherever they are.
const FEW: u64 = 16;
/// Free blocks that each CPU may have been working on.
const BLOCKS_PER_CPU: u64 = 4;

impl Guard {
    /// Makes the checks that `level` calls for.
    pub(crate) fn judge(&self, level: DumpLevel, found: &Found<'_>) -> Gate {
        let mut sum = found.inside.clone();
        sum.merge(found.outside);
        let mut checks = vec![sense(&sum), self.coverage(found), own(found), compounds(&sum), odd(&sum)];
        if level.has(DumpLevel::FREE) {
            checks.push(match found.by_free_list {
                true => skipped(FREE_PAGES, "free pages are found by the lists that the kernel counts"),
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
        let zones = match self.zones(FREE_PAGES) {
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
            return skipped(FREE_PAGES, "VMCOREINFO does not say where the kernel counted them");
        }
        let counted = blocks.map(|(_, pages)| pages).or(*free_pages).unwrap_or(0);
        let text = format!("{pages} pages are in free blocks, {counted} by the kernel's own count");
        decided(FREE_PAGES, by_blocks == Some(true) || by_pages == Some(true), text)
    }

    /// Pages with PG_lru are as many as the zones say are on lists.
    fn lru(&self, sum: &Census) -> Check {
        let zones = match self.zones(LRU_LISTS) {
            Ok(zones) => zones,
            Err(check) => return check,
        };
        // Counters of a kernel that runs are never all zero.
        let Some((counted, shifted)) = zones.lru.filter(|lru| lru.0 > 0) else {
            return skipped(LRU_LISTS, "the kernel's own counters are not known");
        };
        if !self.sizes {
            // A transparent huge page counts as many there as it has.
            return skipped(
                LRU_LISTS,
                "VMCOREINFO does not say how many pages a huge page on such a list has",
            );
        }
        if self.cpus == 0 {
            return skipped(LRU_LISTS, "how far the counters lag is not known, as the dump names no CPUs");
        }
        let may_differ = zones.spread() + FEW + sum.hidden();
        let agrees = |counted: u64| sum.lru.abs_diff(counted) <= may_differ;
        let passed = agrees(counted) || shifted.is_some_and(agrees);
        // Which of the counters are those of the lists shows by which of them agree.
        let counted = match shifted {
            Some(shifted) if sum.lru.abs_diff(shifted) < sum.lru.abs_diff(counted) => shifted,
            _ => counted,
        };
        let text = format!("{} pages are on LRU lists, {counted} by the kernel's own count", sum.lru);
        decided(LRU_LISTS, passed, text)
    }

    /// Memory has struct pages. Where holes cannot be told from memory, the kernel's own pages have.
    fn coverage(&self, found: &Found<'_>) -> Check {
        let Found { frames, uncovered, .. } = found;
        let text = format!("{uncovered} of {frames} frames have no struct page");
        match self.known_uncovered {
            None => decided(MEM_MAP, uncovered.saturating_mul(UNCOVERED) <= *frames, text),
            Some((without, known)) => {
                let text = format!(
                    "{text}, which may be holes between memory; {without} of {known} of the kernel's own have none"
                );
                decided(MEM_MAP, known > 0 && without.saturating_mul(UNCOVERED) <= known, text)
            }
        }
    }

    fn zones(&self, name: Name) -> Result<&Zones, Check> {
        self.zones.as_ref().map_err(|unknown| match unknown {
            Unknown::Untold(why) => skipped(name, format!("the kernel's own count is not available: {why}")),
            Unknown::Nonsense(why) => {
                decided(name, false, format!("the kernel's own count is not where VMCOREINFO says: {why}"))
            }
        })
    }
}

/// Few struct pages are nonsense.
fn sense(sum: &Census) -> Check {
    let Census { cells, bad_cells, .. } = sum;
    let text = format!("{bad_cells} of {cells} groups of {CELL} struct pages hold what no struct page does");
    decided(STRUCT_PAGES, bad_cells * NONSENSE <= *cells || *bad_cells < 4, text)
}

/// The kernel's own pages are not marked as something else.
fn own(found: &Found<'_>) -> Check {
    let Found { known, known_taken, .. } = found;
    let text = format!(
        "{known_taken} of {known} pages of the kernel's text and variables, its page tables and its struct pages \
         are marked as free, cache or a process's"
    );
    decided(KERNEL_PAGES, known_taken.saturating_mul(KNOWN) <= *known, text)
}

/// Heads have tails and tails have heads.
fn compounds(sum: &Census) -> Check {
    let Census { heads, lone_heads, tails, headless, .. } = sum;
    let text = format!(
        "{lone_heads} of {heads} heads of compound pages have no tail, {headless} of {tails} first tails no head"
    );
    let few = |odd: u64, all: u64| odd <= 4 + all / 16;
    decided(COMPOUND_PAGES, few(*lone_heads, *heads) && few(*headless, *tails), text)
}

/// Flags that exclude each other do not meet, and rare ones are rare.
fn odd(sum: &Census) -> Check {
    let Census { slab, slab_on_lru, broken, offline, cells, .. } = sum;
    let text = format!(
        "{slab_on_lru} of {slab} slab pages are on an LRU list, {broken} pages are marked as broken, {offline} as \
         offline"
    );
    let passed = *slab_on_lru <= 1 + slab / 64 && *broken <= 4 * FEW + cells * CELL / 1024;
    decided(PAGE_FLAGS, passed, text)
}

/// Private data is there where the flag says so.
fn private(sum: &Census) -> Check {
    let Census { private, private_missing, private_unmarked, .. } = sum;
    let text = format!(
        "{private} pages of the cache have private data, {private_missing} only the flag for it, {private_unmarked} only \
         the pointer"
    );
    let passed = *private_missing <= 4 + private && *private_unmarked <= 4 + private;
    decided(PRIVATE_DATA, passed, text)
}

fn decided(name: Name, passed: bool, text: String) -> Check {
    check(name, if passed { Outcome::Passed } else { Outcome::Failed }, text)
}

fn skipped(name: Name, why: impl Into<String>) -> Check {
    check(name, Outcome::Skipped, why.into())
}

fn check(Name { id, text: name }: Name, outcome: Outcome, text: String) -> Check {
    Check { id, name, outcome, text }
}
