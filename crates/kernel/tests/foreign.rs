//! Dumps whose VMCOREINFO describes another kernel's struct pages: no page that belongs into the dump is left out.

#[path = "support/synth.rs"]
mod synth;

use kernel::Kernel;
use phyp_model::synth::dump::{Dump, Generation};
use rayon::prelude::*;
use vmcore::DumpLevel;

/// Single classes, and all of them. Processes' memory without cache (level 8, with free pages or not) is not among
/// them: between 6.6 and 6.12 only what marks slab differs, which nothing is held against there.
const LEVELS: [u32; 5] = [0, 2, 4, 16, 31];

/// Reports whether a line says how struct pages look, and not where something is.
fn about_pages(line: &str) -> bool {
    let keys =
        ["NUMBER(PG_", "NUMBER(PAGE_", "NUMBER(HUGETLB", "OFFSET(page.", "OFFSET(folio.", "SIZE(page)"];
    keys.iter().any(|key| line.starts_with(key)) || line.starts_with("SYMBOL(free_huge_page)")
}

/// The dump with what the note of `other` says of struct pages.
fn with_pages_of(made: &Dump, other: &Dump) -> Dump {
    let own = made.vmcoreinfo.lines().filter(|line| !about_pages(line));
    let foreign = other.vmcoreinfo.lines().filter(|line| about_pages(line));
    Dump { vmcoreinfo: own.chain(foreign).map(|line| format!("{line}\n")).collect(), ..made.clone() }
}

/// How many frames `level` leaves out although they belong into every dump.
fn lost(made: &Dump, level: u32) -> u64 {
    let dump = synth::open(made);
    let Ok(kernel) = Kernel::open(&dump) else { return 0 };
    let Ok(selected) = kernel.select(DumpLevel::new(level).unwrap(), None) else { return 0 };
    let mut lost = 0;
    for (first, count) in synth::dropped(&selected.selection) {
        let kept = |frame: &u64| made.nature.of(*frame).is_some_and(|run| run.why(31).is_none());
        lost += (first..first + count).filter(kept).count() as u64;
    }
    lost
}

#[test]
fn nothing_is_lost_to_the_note_of_another_release() {
    let of = |generation: &Generation| synth::build(&format!("x86_64-4k-vmemmap-{}", generation.release()));
    let all: Vec<Dump> = Generation::ALL.par_iter().map(of).collect();
    let pairs: Vec<(usize, usize)> =
        (0..all.len()).flat_map(|a| (0..all.len()).map(move |b| (a, b))).filter(|(a, b)| a != b).collect();
    let wrong: Vec<String> = pairs
        .par_iter()
        .flat_map_iter(|&(a, b)| {
            let made = with_pages_of(&all[a], &all[b]);
            let (a, b) = (all[a].spec.generation.release(), all[b].spec.generation.release());
            LEVELS.iter().filter_map(move |level| {
                let lost = lost(&made, *level);
                (lost > 0).then(|| format!("level {level}: {lost} frames of {a} are lost to the note of {b}"))
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} pairs:\n{}", wrong.len(), pairs.len(), wrong.join("\n"));
}
