//! What a capture is judged by besides its steps: the log, the memory and the processors, and which pages were kept.

use crate::pages::Sets;
use crate::reader::kdump::Kdump;
use crate::task::measure::Taken;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// What has to stay available, in MiB.
const SPARE: u64 = 20;
/// The step with the most work, in which each processor has to be so busy to count as at work.
const WORK: &str = "level1";
const AT_WORK: f64 = 0.1;
/// The first kernel of which makedumpfile 1.7.8 leaves out pages that it should keep: the first tail page of compound pages.
const PEER_ERRS: (u32, u32) = (7, 1);
/// What a report says that is a part of one.
const CUT: &str = "all but the log, the cause, the machine and the CPUs";
/// What the kernel says when memory is short.
const SHORT: &str = "Out of memory";

/// Judges what is in `directory` after a run, and says what was seen.
pub(super) fn judge(directory: &Path) -> Result<Vec<String>> {
    let results = directory.join("results/2");
    let console = String::from_utf8_lossy(&fs::read(directory.join("console.log"))?).into_owned();
    let said = fs::read_to_string(results.join("dmesg")).context("the capture kernel's messages")?;
    ensure!(!said.contains(SHORT), "the capture kernel says {SHORT:?}");
    let log = fs::read_to_string(results.join("log.out"))?;
    let mut seen = vec![compare_logs(&log, &console)?];
    for step in ["save", WORK] {
        seen.push(memory_and_processors(step, &results)?);
    }
    seen.push(reports(&below(&directory.join("crash"))?, &directory.join("left/report.txt"))?);
    for (level, ours) in
        [("31", below(&directory.join("crash"))?), ("1", directory.join("level1/dump/vmcore"))]
    {
        seen.push(page_sets(level, &ours, &directory.join("peer").join(level))?);
    }
    Ok(seen)
}

/// Compares the report beside a dump with the one that was made of the same memory alone.
fn reports(dump: &Path, alone: &Path) -> Result<String> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    let (beside, alone) = (read(&dump.with_file_name("vmcore-report.txt"))?, read(alone)?);
    compare_reports(&beside, &alone)
}

/// Each line of one that was cut is in the other as well, but for the one that names the dump and what follows from the cut.
fn compare_reports(beside: &str, alone: &str) -> Result<String> {
    let lines = |text: &str| {
        text.lines()
            .map(str::to_owned)
            .filter(|line| !line.trim_start().starts_with("dump  "))
            .collect::<Vec<_>>()
    };
    let (ours, all) = (lines(beside), lines(alone));
    if ours == all {
        return Ok(format!("report: {} lines, as of /proc/vmcore alone", ours.len()));
    }
    let happened =
        |lines: &[String]| lines.iter().take_while(|line| !line.is_empty()).cloned().collect::<Vec<_>>();
    ensure!(
        beside.contains(CUT),
        "the report beside the dump is another than that of /proc/vmcore, and was not cut"
    );
    ensure!(
        happened(&ours) == happened(&all),
        "the report beside the dump says that something else happened"
    );
    Ok(format!("report: {} lines of {}, as it was cut", ours.len(), all.len()))
}

/// The dump that was saved below `directory`.
fn below(directory: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    Ok(entries.next().context("nothing was saved")??.path().join("vmcore"))
}

/// Compares the kernel's messages of the first boot in the dump and on the console, which has other lines, too.
fn compare_logs(log: &str, console: &str) -> Result<String> {
    let first = console.split("@@ crash 1").next().unwrap_or_default();
    let crash = &console[first.len()..];
    let next = crash.find("Linux version").map_or(crash, |at| &crash[..at]);
    // The line that says so belongs to the next kernel.
    let shown = first.to_owned() + &next[..next.rfind('\n').map_or(0, |at| at + 1)];
    // A program's line and the kernel's may share one.
    let mut rest = shown.as_str();
    let mut missing = Vec::new();
    let log = as_shown(log);
    for line in &log {
        match rest.find(line) {
            Some(at) => rest = &rest[at + line.len()..],
            None => missing.push(line),
        }
    }
    let messages = log.len();
    ensure!(
        missing.is_empty(),
        "{} of {messages} lines of the dump's log are not on the console, the first {:?}",
        missing.len(),
        missing[0]
    );
    let lost = shown.lines().filter(|line| is_message(line)).map(str::trim_end);
    let lost: Vec<&str> = lost.filter(|line| !log.iter().any(|of| of == line)).collect();
    ensure!(lost.is_empty(), "{} lines of the console are not in the dump's log: {lost:?}", lost.len());
    Ok(format!("log: {messages} lines, as on the console"))
}

/// Whether a console's line is the kernel's: `[    1.234567] …`.
fn is_message(line: &str) -> bool {
    let stamp = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    stamp.is_some_and(|(time, _)| time.contains('.') && time.trim_start().parse::<f64>().is_ok())
}

/// The log's lines as a console shows them: without the thread or processor that caused them, which it shows only where the
/// kernel was built to, `[   25.509683] [    T219] …`, and each line of a record with the record's time.
fn as_shown(log: &str) -> Vec<String> {
    let mut stamp = "";
    let mut indented = 0;
    let line = |line| {
        let (of, text) = match split(line) {
            Some(parts) => parts,
            // What follows is under the text of the first line.
            None => (stamp, line.get(indented..).unwrap_or(line.trim_start())),
        };
        (stamp, indented) = (of, line.len() - text.len());
        format!("{stamp}{text}")
    };
    log.lines().map(str::trim_end).map(line).collect()
}

/// The time and the text of a record's first line.
fn split(line: &str) -> Option<(&str, &str)> {
    let end = line.find("] ")? + 2;
    let (stamp, text) = line.split_at(end);
    is_message(line).then(|| {
        let caller = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        (stamp, caller.filter(|(caller, _)| is_caller(caller)).map_or(text, |(_, text)| text))
    })
}

fn is_caller(word: &str) -> bool {
    let number = word.trim_start().strip_prefix(['T', 'C']);
    number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()))
}

fn memory_and_processors(step: &str, results: &Path) -> Result<String> {
    let path = results.join(format!("{step}.out"));
    let taken: Taken =
        serde_json::from_slice(&fs::read(&path)?).with_context(|| path.display().to_string())?;
    let machine = taken.machine.context("the machine was not watched")?;
    let mib = |bytes: u64| bytes >> 20;
    let busy: Vec<String> = machine.busy.iter().map(|part| format!("{:.0} %", part * 100.0)).collect();
    let seen = format!(
        "{step}: peak {} MiB; of {} MiB at least {} stayed available; the processors were busy {}",
        mib(taken.peak),
        mib(machine.available),
        mib(machine.lowest_available),
        busy.join(", ")
    );
    ensure!(mib(machine.lowest_available) >= SPARE, "{seen}; {SPARE} MiB have to stay");
    // A save at level 31 is over before all of them are busy.
    let at_work = step != WORK || machine.busy.iter().all(|part| *part >= AT_WORK);
    ensure!(at_work, "{seen}; not all of them had work");
    Ok(seen)
}

/// Compares the pages that both programs kept.
fn page_sets(level: &str, ours: &Path, theirs: &Path) -> Result<String> {
    let Sets { both, first: more, second: less, missing } = Sets::of(ours, theirs);
    if let Some(pfn) = missing {
        bail!("level {level}: {less} pages are missing that makedumpfile keeps, the first is frame {pfn:#x}");
    }
    let release = &Kdump::open(ours).uts[2];
    let errs = version(release).is_none_or(|version| version >= PEER_ERRS);
    ensure!(more == 0 || errs, "level {level}: {more} pages more than makedumpfile's {both}");
    Ok(match more {
        0 => format!("level {level}: {both} pages, the same as makedumpfile's"),
        _ => format!(
            "level {level}: {both} pages of makedumpfile's, and {more} that it leaves out of {release}"
        ),
    })
}

/// The first two numbers of `6.12.94+deb13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_each_line_of_the_console_and_no_other() {
        let console = "[    0.000000] Linux one\r\n[    0.000000]  more\r\n@@ boot 1\r\n@@ ali[    2.000000] two\r\nve\r\n@@ crash 1\r\n\
                       [    3.100000] panic\r\n[    0.000000] Linux version of the next\r\n";
        let log = "[    0.000000] [      T0] Linux one\n                           more\n[    2.000000] [    T219] two\n\
                   [    3.100000] panic\n";
        assert_eq!(compare_logs(log, console).unwrap(), "log: 4 lines, as on the console");
        let long = log.to_owned() + "[    3.200000] never shown\n";
        assert!(compare_logs(&long, console).unwrap_err().to_string().contains("never shown"));
        let short = log.replace("[    3.100000] panic\n", "");
        assert!(compare_logs(&short, console).unwrap_err().to_string().contains("panic"));
    }

    #[test]
    fn a_report_beside_a_dump_says_what_one_alone_says_or_that_it_was_cut() {
        let alone = "What happened\n  SysRq\n\nMachine\n      dump  /proc/vmcore: ELF\n\nTasks\n";
        assert_eq!(
            compare_reports(&alone.replace("/proc/vmcore", "/"), alone).unwrap(),
            "report: 6 lines, as of /proc/vmcore alone"
        );
        let cut = format!("What happened\n  SysRq\n\nMachine\n\nWhat is missing\n  {CUT}: time\n");
        assert_eq!(compare_reports(&cut, alone).unwrap(), "report: 7 lines of 6, as it was cut");
        assert!(compare_reports(&cut.replace(CUT, "tasks"), alone).is_err());
        assert!(compare_reports(&cut.replace("SysRq", "oops"), alone).is_err());
    }

    #[test]
    fn a_release_begins_with_two_numbers() {
        assert_eq!(version("6.12.94+deb13-amd64"), Some((6, 12)));
        assert_eq!(version("7.3-amd64"), Some((7, 3)));
        assert_eq!(version("unknown"), None);
    }
}
