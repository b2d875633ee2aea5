//! The table of `cargo xtask bench`.

use super::{Job, Report, Side};

pub(super) fn heading(report: &Report, runs: usize) {
    println!("input   {} ({:.1} MiB)", report.input.display(), mib(report.input_bytes));
    println!("hadump  {}", report.hadump);
    println!("peer    {}", report.peer.as_deref().unwrap_or("none"));
    println!("median of {runs} runs each, in turn, {} processors\n", report.processors);
    let columns = ["wall s", "CPU s", "peak MiB", "size MiB"];
    println!("{:5} {:6} {}", "", "", columns.map(|name| format!("│ {name:^25}")).concat());
    let each = format!("│ {:>8} {:>8} {:>7}", "hadump", "peer", "ratio");
    println!("{:>5} {:6} {}", "level", "", each.repeat(columns.len()));
}

pub(super) fn row(job: &Job) {
    let values = |side: &Side| {
        [
            (median(side, |run| run.wall), 3),
            (median(side, |run| run.cpu), 3),
            (median(side, |run| mib(run.peak)), 1),
            (mib(side.size), 2),
        ]
    };
    let theirs = job.peer.as_ref().map(values);
    let cells = values(&job.hadump).into_iter().enumerate().map(|(column, (ours, digits))| {
        match theirs.map(|theirs| theirs[column].0) {
            Some(theirs) => format!("│ {ours:8.digits$} {theirs:8.digits$} {:6.2}x", theirs / ours),
            None => format!("│ {ours:8.digits$} {:>8} {:>7}", "-", "-"),
        }
    });
    println!("{:>5} {:6} {}", job.level, job.method, cells.collect::<String>());
}

pub(super) fn legend() {
    println!("\nratio: the peer's figure over hadump's; above 1, hadump takes less");
}

fn median(side: &Side, figure: impl Fn(&super::Taken) -> f64) -> f64 {
    let mut figures: Vec<f64> = side.runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len().is_multiple_of(2) {
        (figures[middle - 1] + figures[middle]) / 2.0
    } else {
        figures[middle]
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
