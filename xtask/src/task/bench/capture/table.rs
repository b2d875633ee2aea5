//! The tables of `cargo xtask bench --capture`, in Markdown.

use super::super::mib;
use super::Boot;
use super::plan::{Seen, Way, Who};
use super::seen::{before_first_page, jobs, mean, middle, reading, runs};
use crate::guest::x86_64::NANOSECONDS;
use crate::task::measure::Taken;

/// Instructions, in millions, that took so many seconds where instructions are counted.
pub(super) fn millions(seconds: f64) -> f64 {
    seconds / NANOSECONDS * 1e3
}

pub(super) fn print(boot: Boot, seen: &[Seen]) {
    match boot {
        Boot::Instructions => {
            reading_table(seen);
            instructions(seen);
        }
        Boot::Wall => wall(seen),
        Boot::Four => four(seen),
    }
    compared(seen);
    if let Some(share) = before_first_page(seen).first() {
        println!("\n`hadump save`: {:.1} % of its time before the first page", share * 100.0);
    }
    let reports = runs(seen, Who::Report, 31, "report");
    if !reports.is_empty() {
        let (seconds, peak) = (mean(&reports, Taken::cpu), peak(&reports));
        let counted =
            (boot == Boot::Instructions).then(|| format!("{:.0} million instructions", millions(seconds)));
        let took = counted.unwrap_or_else(|| format!("{seconds:.2} s of processors"));
        println!("\n`hadump report`: {took}, peak {peak:.0} MiB");
    }
}

fn reading_table(seen: &[Seen]) {
    println!("\n| reading all of /proc/vmcore | instructions a page |\n|---|--:|");
    for (way, seconds) in reading(seen) {
        println!("| {} | {:.0} |", name(way), millions(seconds) * 1e6);
    }
}

/// A way of reading, in words.
fn name(way: Way) -> String {
    let size = |bytes: usize| match bytes >> 10 {
        kib if kib < 1024 => format!("{kib} KiB"),
        kib => format!("{} MiB", kib >> 10),
    };
    match way {
        Way::Hadump => "as hadump does".into(),
        Way::Read(bytes) => format!("`read` of {}", size(bytes)),
        Way::Map(bytes) => format!("`mmap` of {}", size(bytes)),
    }
}

/// Millions of instructions, in the program and in the kernel.
fn instructions(seen: &[Seen]) {
    println!(
        "\n| level | method | hadump system | user | makedumpfile system | user | system ratio | all ratio | peak MiB | its peak |"
    );
    println!("|{}", "--:|".repeat(10));
    for (level, method) in jobs(seen) {
        let (ours, theirs) = (runs(seen, Who::Hadump, level, &method), runs(seen, Who::Peer, level, &method));
        let system = |of: &[&Taken]| millions(mean(of, |taken| taken.system));
        let user = |of: &[&Taken]| millions(mean(of, |taken| taken.user));
        let all = |of: &[&Taken]| system(of) + user(of);
        println!(
            "| {level} | {method} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.0} | {:.0} |",
            system(&ours),
            user(&ours),
            system(&theirs),
            user(&theirs),
            system(&ours) / system(&theirs),
            all(&ours) / all(&theirs),
            peak(&ours),
            peak(&theirs),
        );
    }
}

/// Seconds, and ratios pair by pair.
fn wall(seen: &[Seen]) {
    println!(
        "\n| level | method | hadump s | makedumpfile s | its sync | ratio | lowest | highest | peak MiB | its peak | lowest MiB available | its |"
    );
    println!("|{}", "--:|".repeat(12));
    for (level, method) in jobs(seen) {
        let (ours, theirs) = (runs(seen, Who::Hadump, level, &method), runs(seen, Who::Peer, level, &method));
        let ratios = pairs(&ours, &theirs);
        let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = ratios.iter().copied().fold(0.0, f64::max);
        println!(
            "| {level} | {method} | {:.2} | {:.2} | {:.2} | {:.2} | {lowest:.2} | {highest:.2} | {:.0} | {:.0} | {:.0} | {:.0} |",
            middle(&ours, |taken| taken.wall),
            middle(&theirs, |taken| taken.wall),
            middle(&theirs, |taken| taken.sync),
            super::super::median(ratios.iter().copied()),
            peak(&ours),
            peak(&theirs),
            available(&ours),
            available(&theirs),
        );
    }
}

/// hadump's time over makedumpfile's in each pair of runs.
pub(super) fn pairs(ours: &[&Taken], theirs: &[&Taken]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours.wall / theirs.wall).collect()
}

fn four(seen: &[Seen]) {
    println!(
        "\n| level | method | hadump s | peak MiB | lowest MiB available | busy |\n|{}",
        "--:|".repeat(6)
    );
    for (level, method) in jobs(seen) {
        let ours = runs(seen, Who::Hadump, level, &method);
        let busy: Vec<String> = ours
            .iter()
            .filter_map(|taken| taken.machine.as_ref())
            .flat_map(|machine| machine.busy.iter().map(|part| format!("{:.0} %", part * 100.0)))
            .collect();
        println!(
            "| {level} | {method} | {:.2} | {:.0} | {:.0} | {} |",
            middle(&ours, |taken| taken.wall),
            peak(&ours),
            available(&ours),
            busy.join(" ")
        );
    }
}

fn compared(seen: &[Seen]) {
    let mut equal = Vec::new();
    for one in seen {
        if let Seen::Compared { level, method, both, ours, theirs } = one {
            if (*ours, *theirs) == (0, 0) {
                equal.push(format!("{both} at level {level}"));
            } else {
                println!(
                    "\n-d {level} {method}: {both} pages in both dumps, {ours} in hadump's alone, {theirs} in makedumpfile's alone"
                );
            }
        }
    }
    equal.dedup();
    if !equal.is_empty() {
        println!("\nboth programs kept the same pages: {}", equal.join(", "));
    }
}

/// The highest peak of some runs, in MiB.
pub(super) fn peak(runs: &[&Taken]) -> f64 {
    runs.iter().map(|taken| mib(taken.peak)).fold(0.0, f64::max)
}

/// The lowest memory that was available in any of them, in MiB.
pub(super) fn available(runs: &[&Taken]) -> f64 {
    let lowest = runs.iter().filter_map(|taken| Some(mib(taken.machine.as_ref()?.lowest_available)));
    lowest.fold(f64::INFINITY, f64::min)
}
