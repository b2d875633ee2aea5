//! The table of `cargo xtask bench`.

use super::{Job, Report, Side, mib};

pub(super) fn heading(report: &Report, runs: usize) {
    let limits = &report.limits;
    println!("input   {} ({:.1} MiB)", report.input.display(), mib(report.input_bytes));
    println!("hadump  {}", report.hadump);
    println!("peer    {}", report.peer.as_deref().unwrap_or("none"));
    println!("median of {runs} runs each, in turn, {} processors\n", report.processors);
    println!(
        "limits: read {:.3} s on one thread, {:.3} s on all; memcpy {:.3} s; cp --sparse=always {:.3} s, {:.3} s synced\n",
        limits.read_one, limits.read_all, limits.memcpy, limits.cp, limits.cp_synced
    );
    println!(
        "|level|method|hadump s|-j1 s|serial s|its sync s|threads s|limit s|serial/hadump|serial/-j1|\
         threads/hadump|hadump/limit|CPU serial/hadump|size MiB|size/peer|peak MiB|peer|"
    );
    println!("|{}", "--:|".repeat(17));
}

pub(super) fn row(job: &Job) {
    let (all, one) = (job.all.wall(), job.one.wall());
    let serial = job.serial.as_ref().map(Side::wall);
    let threads = job.threads.as_ref().map(Side::wall);
    let cpu = |side: &Side| side.median(|run| run.cpu());
    let peak = |side: &Side| side.median(|run| mib(run.peak));
    let cells = [
        job.level.to_string(),
        job.method.clone(),
        seconds(Some(all)),
        seconds(Some(one)),
        seconds(serial),
        seconds(job.serial.as_ref().map(|side| side.median(|run| run.sync))),
        seconds(threads),
        seconds(job.limit),
        ratio(serial.map(|serial| serial / all)),
        ratio(serial.map(|serial| serial / one)),
        ratio(threads.map(|threads| threads / all)),
        ratio(job.limit.map(|limit| all / limit)),
        ratio(job.serial.as_ref().map(|side| cpu(side) / cpu(&job.all))),
        format!("{:.1}", mib(job.all.size)),
        ratio(job.serial.as_ref().map(|side| job.all.size as f64 / side.size as f64)),
        format!("{:.0}", peak(&job.all)),
        job.serial.as_ref().map_or("-".into(), |side| format!("{:.0}", peak(side))),
    ];
    println!("|{}|", cells.join("|"));
}

fn seconds(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.3}"))
}

fn ratio(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.2}"))
}

pub(super) fn legend() {
    println!(
        "\nhadump's times include its fsync, makedumpfile's do not. limit: the codec alone over the pages with content on all \
         processors; for none and elf a synced `cp --sparse=always` of the output"
    );
}
