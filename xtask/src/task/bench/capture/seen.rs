//! What was measured, by program, level and method.

use super::super::median;
use super::Boot;
use super::plan::{Seen, Way, Who};
use crate::task::measure::Taken;

/// Everything that the boots brought.
#[derive(Debug, Default)]
pub(super) struct Measured {
    boots: Vec<(Boot, Vec<Seen>)>,
}

impl Measured {
    pub(super) fn add(&mut self, boot: Boot, seen: Vec<Seen>) {
        self.boots.push((boot, seen));
    }

    /// What a boot brought, if it was asked for.
    pub(super) fn of(&self, boot: Boot) -> Option<&[Seen]> {
        self.boots.iter().find(|(of, _)| *of == boot).map(|(_, seen)| &seen[..])
    }
}

/// The levels and methods that were tried, in order.
pub(super) fn jobs(seen: &[Seen]) -> Vec<(u32, String)> {
    let mut jobs: Vec<(u32, String)> = Vec::new();
    for one in seen {
        if let Seen::Ran { who: Who::Hadump, level, method, .. } = one
            && !jobs.contains(&(*level, method.clone()))
        {
            jobs.push((*level, method.clone()));
        }
    }
    jobs
}

/// All runs of a program at a level with a method.
pub(super) fn runs<'a>(seen: &'a [Seen], of: Who, at: u32, with: &str) -> Vec<&'a Taken> {
    let run = |one: &'a Seen| match one {
        Seen::Ran { who, level, method, taken, .. } if (*who, *level, &method[..]) == (of, at, with) => {
            Some(taken)
        }
        _ => None,
    };
    seen.iter().filter_map(run).collect()
}

/// All runs of all programs with what the machine did meanwhile.
pub(super) fn all_runs(seen: &[Seen]) -> impl Iterator<Item = (Who, &Taken)> {
    seen.iter().filter_map(|one| match one {
        Seen::Ran { who, taken, .. } => Some((*who, taken)),
        _ => None,
    })
}

/// The median of a figure; not a number where there is none.
pub(super) fn middle(runs: &[&Taken], figure: impl Fn(&Taken) -> f64) -> f64 {
    median(runs.iter().map(|run| figure(run)))
}

/// The arithmetic mean of a figure: what is counted in ticks comes out right only in the sum.
pub(super) fn mean(runs: &[&Taken], figure: impl Fn(&Taken) -> f64) -> f64 {
    runs.iter().map(|run| figure(run)).sum::<f64>() / runs.len() as f64
}

/// User and system seconds a page of a way of reading.
pub(super) fn reading(seen: &[Seen]) -> Vec<(Way, f64)> {
    let one = |one: &Seen| match one {
        Seen::Read { way, pages, seconds } => Some((*way, seconds / *pages as f64)),
        _ => None,
    };
    seen.iter().filter_map(one).collect()
}

/// The parts of saves that came before their first page: the input was opened and its pages chosen.
pub(super) fn before_first_page(seen: &[Seen]) -> Vec<f64> {
    let share = |one: &Seen| {
        let Seen::Ran { who: Who::Save, said, .. } = one else { return None };
        let report: serde_json::Value = serde_json::from_str(said).ok()?;
        let seconds = |phase: &str| report["seconds"][phase].as_f64();
        let before = seconds("open")? + seconds("classify")?;
        Some(before / (before + seconds("write")?))
    };
    seen.iter().filter_map(share).collect()
}
