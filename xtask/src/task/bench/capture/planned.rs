//! What each boot of `bench --capture` has to do.

use super::super::convert;
use super::super::peer::Peer;
use super::Boot;
use super::plan::{Run, Task, Way, Who};
use crate::guest::x86_64::HADUMP;
use anyhow::{Context, Result};
use std::path::Path;

/// What is compared, in this order.
const METHODS: [&str; 5] = ["none", "elf", "zlib", "lzo", "zstd"];
/// Sizes of reads and of windows.
const READS: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];
const WINDOWS: [usize; 6] = [64 << 10, 256 << 10, 1 << 20, 2 << 20, 4 << 20, 16 << 20];
/// Where dumps are written in the guest.
const VMCORE: &str = "/proc/vmcore";
const OUTPUTS: &str = "/var/tmp";
const SAVES: &str = "/var/crash";

/// The tasks of a boot, in order.
pub(super) fn tasks(
    boot: Boot,
    peer: &Peer,
    levels: &[u32],
    methods: Option<&[String]>,
    runs: usize,
) -> Result<Vec<Task>> {
    let default = METHODS.map(str::to_owned);
    let methods = methods.unwrap_or(&default);
    let mut tasks = Vec::new();
    if boot == Boot::Instructions {
        tasks.push(Task::Read(Way::Hadump));
        tasks.extend(READS.map(Way::Read).map(Task::Read));
        tasks.extend(WINDOWS.map(Way::Map).map(Task::Read));
    }
    for &level in levels {
        for method in methods {
            match boot {
                Boot::Four => tasks.push(Task::Run(ours(level, method, false))),
                Boot::Instructions | Boot::Wall => {
                    for pair in 0..runs {
                        // The files of the last pair are compared, where both are kdump files.
                        let keep = pair + 1 == runs && method != "elf";
                        let mut both = [ours(level, method, keep), theirs(peer, level, method, keep)?];
                        if pair % 2 == 1 {
                            both.reverse();
                        }
                        tasks.extend(both.map(Task::Run));
                    }
                    if method != "elf" {
                        let (ours, theirs) = (output("ours"), output("theirs"));
                        tasks.push(Task::Compare { level, method: method.clone(), ours, theirs });
                    }
                }
            }
        }
    }
    for _ in 0..runs {
        tasks.push(Task::Run(save()));
        tasks.push(Task::Run(report()));
    }
    Ok(tasks)
}

fn output(name: &str) -> String {
    format!("{OUTPUTS}/{name}")
}

fn ours(level: u32, method: &str, keep: bool) -> Run {
    let output = output("ours");
    let program = format!("/{HADUMP}");
    let command = convert(Path::new(&program), Path::new(VMCORE), Path::new(&output), method, level, None);
    Run { who: Who::Hadump, level, method: method.to_owned(), command, output, keep }
}

fn theirs(peer: &Peer, level: u32, method: &str, keep: bool) -> Result<Run> {
    let output = output("theirs");
    let command = peer.command(level, method, None);
    let mut command = command.with_context(|| format!("makedumpfile cannot write {method}"))?;
    command.extend([VMCORE.to_owned(), output.clone()]);
    Ok(Run { who: Who::Peer, level, method: method.to_owned(), command, output, keep })
}

/// What a save does before its first page, unless it is told not to.
fn report() -> Run {
    let command = [&format!("/{HADUMP}"), "report", "--json", VMCORE].map(str::to_owned).into();
    Run { who: Who::Report, level: 31, method: "report".into(), command, output: SAVES.into(), keep: false }
}

/// A save as the machine's owner has it, with what it says of itself, but for the report of why the machine crashed: that is no
/// part of what makedumpfile does.
fn save() -> Run {
    let hadump = format!("/{HADUMP}");
    let command = [&hadump, "save", "--report=never", "--json", "--to", SAVES].map(str::to_owned).into();
    Run { who: Who::Save, level: 31, method: "save".into(), command, output: SAVES.into(), keep: false }
}
