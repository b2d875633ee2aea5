//! What was to be reached in a capture kernel, and whether it was. makedumpfile's figure is 1.

use super::super::median;
use super::Boot;
use super::plan::{Way, Who};
use super::seen::{Measured, all_runs, before_first_page, jobs, mean, reading, runs};
use super::table::{available, pairs, peak};
use crate::task::measure::Taken;

/// Instructions a page of hadump's reading over those of the best window.
const READING: f64 = 1.1;
/// Instructions of the kernel.
const SYSTEM: f64 = 1.0;
/// All instructions, and time on two processors, for each method.
const METHODS: [(&str, f64, f64); 5] =
    [("none", 0.6, 0.7), ("elf", 0.6, 0.7), ("zlib", 0.6, 0.3), ("lzo", 1.0, 0.65), ("zstd", 1.0, 0.6)];
/// Peak memory of one thread and of two, in MiB.
const PEAK: [(Boot, f64); 2] = [(Boot::Instructions, 20.0), (Boot::Wall, 32.0)];
/// With four processors: MiB that stay available, and how busy each processor has to be to count as at work.
const AVAILABLE: f64 = 20.0;
const AT_WORK: f64 = 0.1;
/// The part of a save before its first page.
const BEFORE: f64 = 0.1;

/// Prints each goal with what came of it.
pub(super) fn print(all: &Measured) {
    println!("\n| goal | at most | measured | |\n|---|--:|--:|---|");
    if let Some(seen) = all.of(Boot::Instructions) {
        let ways = reading(seen);
        let ours = ways.iter().find(|(way, _)| *way == Way::Hadump).map_or(f64::NAN, |(_, cost)| *cost);
        let windows = ways.iter().filter(|(way, _)| matches!(way, Way::Map(_)));
        let best = windows.map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min);
        row("reading, instructions a page over the best window's", READING, ours / best);
        for (level, method) in jobs(seen) {
            let of = |who, figure: fn(&Taken) -> f64| mean(&runs(seen, who, level, &method), figure);
            let ratio = |figure| of(Who::Hadump, figure) / of(Who::Peer, figure);
            row(&format!("`-d {level}` {method}, system instructions"), SYSTEM, ratio(|taken| taken.system));
            if let Some((_, goal, _)) = METHODS.iter().find(|(name, ..)| *name == method) {
                row(&format!("`-d {level}` {method}, all instructions"), *goal, ratio(Taken::cpu));
            }
        }
    }
    if let Some(seen) = all.of(Boot::Wall) {
        for (level, method) in jobs(seen) {
            let (ours, theirs) =
                (runs(seen, Who::Hadump, level, &method), runs(seen, Who::Peer, level, &method));
            if let Some((.., goal)) = METHODS.iter().find(|(name, ..)| *name == method) {
                row(
                    &format!("`-d {level}` {method}, time on two processors"),
                    *goal,
                    median(pairs(&ours, &theirs)),
                );
            }
        }
    }
    for (boot, goal) in PEAK {
        if let Some(seen) = all.of(boot) {
            let ours: Vec<&Taken> = all_runs(seen)
                .filter(|(who, _)| matches!(who, Who::Hadump | Who::Save))
                .map(|(_, taken)| taken)
                .collect();
            row(&format!("peak MiB on {} processors", boot.processors()), goal, peak(&ours));
        }
    }
    if let Some(seen) = all.of(Boot::Four) {
        let ours: Vec<&Taken> = all_runs(seen).map(|(_, taken)| taken).collect();
        let left = available(&ours);
        println!(
            "| MiB available on four processors | at least {AVAILABLE:.0} | {left:.0} | {} |",
            if left >= AVAILABLE { "reached" } else { "**not reached**" }
        );
        // The run with the most to do; a short one is over before all have begun.
        let longest = ours.iter().max_by(|a, b| a.cpu().total_cmp(&b.cpu()));
        let machine = longest.and_then(|taken| taken.machine.as_ref());
        let at_work = |part: &&f64| **part >= AT_WORK;
        let least = machine.map_or(0, |machine| machine.busy.iter().filter(at_work).count());
        println!(
            "| processors at work of four | at least 4 | {least} | {} |",
            if least >= 4 { "reached" } else { "**not reached**" }
        );
    }
    for boot in [Boot::Instructions, Boot::Wall] {
        if let Some(seen) = all.of(boot) {
            let shares = before_first_page(seen);
            row(
                &format!("`save` before its first page, {} processors", boot.processors()),
                BEFORE,
                median(shares),
            );
        }
    }
}

fn row(goal: &str, at_most: f64, measured: f64) {
    println!("| {goal} | {at_most} | {measured:.2} | {} |", verdict(at_most, measured));
}

/// Whether a figure is small enough, and by how much it is not.
fn verdict(at_most: f64, measured: f64) -> String {
    if measured.is_nan() {
        return "not measured".into();
    }
    // As it is printed: two digits.
    if (measured * 100.0).round() <= (at_most * 100.0).round() {
        return "reached".into();
    }
    format!("**not reached**: {:.2} times as much", measured / at_most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_that_is_missed_says_by_how_much() {
        assert_eq!(verdict(0.6, 0.6), "reached");
        assert_eq!(verdict(1.0, 1.004), "reached");
        assert_eq!(verdict(0.6, 0.9), "**not reached**: 1.50 times as much");
        assert_eq!(verdict(0.1, f64::NAN), "not measured");
    }
}
