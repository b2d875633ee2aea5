//! The report as text: plain English, most important first, two screens unless more stacks are asked for.
//!
//! What is too much for them is counted and named: `--json` and `--html` have all of it.

use super::stacks::{self, Group};
use super::{Shown, words};
use crate::cli::Tasks;
use crate::show::terminal::Line;
use crate::show::units;
use std::fmt::{self, Display};
use triage::log;
use triage::memory::Memory;
use triage::stack::Stack;
use triage::tasks::{Cpu, Task};

/// Columns of a screen.
const WIDTH: usize = 80;
/// Columns before a value.
const LABEL: usize = 12;
/// Frames of the stack that crashed.
const FRAMES: usize = 14;
/// Other CPUs' stacks, and those of blocked tasks, each equal one once.
const GROUPS: usize = 3;
/// Lines that a stack in brief takes.
const BRIEF_LINES: usize = 2;
/// Lines of the log that say why, errors before the end, and lines at the end.
const CAUSE_LINES: usize = 6;
const ERROR_LINES: usize = 4;
const LAST_LINES: usize = 6;
/// Slab caches and processes.
const LARGEST: usize = 10;
/// What is missing.
const MISSING: usize = 5;

/// The text, each of its lines safe on a terminal.
pub(crate) fn text(shown: &Shown<'_>) -> String {
    let mut page = Page::default();
    page.what_happened(shown);
    page.machine(shown);
    page.cpus(shown);
    page.tasks(shown);
    page.modules(shown);
    if let Some(memory) = &shown.report.memory {
        page.memory(memory);
    }
    page.log(shown);
    page.notes(shown);
    page.signature(shown);
    page.debug_information(shown);
    page.missing(shown);
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// One line, whatever `line` holds.
    fn line(&mut self, line: impl Display) {
        self.text.push_str(Line(line.to_string().trim_end()).to_string().as_str());
        self.text.push('\n');
    }

    fn section(&mut self, name: impl Display) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.line(name);
    }

    /// A labelled value, on as many lines as it takes.
    fn fact(&mut self, label: &str, value: &str) {
        for (n, line) in wrapped(value, WIDTH - LABEL).iter().enumerate() {
            let label = if n == 0 { label } else { "" };
            self.line(format_args!("{label:>10}  {line}"));
        }
    }

    /// Says what was left out for want of room.
    fn more(&mut self, n: usize, what: &str) {
        if n > 0 {
            self.line(format_args!("{:LABEL$}... and {n} {what}", ""));
        }
    }

    fn what_happened(&mut self, shown: &Shown<'_>) {
        let cause = &shown.report.cause;
        self.section("What happened");
        self.paragraph(words::summary(cause));
        self.fact("kind", words::kind(cause.kind));
        cause.panic.iter().for_each(|words| self.fact("panic", words));
        cause.at.iter().for_each(|at| self.fact("at", at));
        cause.address.iter().for_each(|address| self.fact("address", &format!("{address:#x}")));
        let task = match (&cause.comm, cause.pid) {
            (Some(comm), Some(pid)) => Some(format!("{comm}, pid {pid}")),
            (Some(comm), None) => Some(comm.clone()),
            (None, Some(pid)) => Some(format!("pid {pid}")),
            (None, None) => None,
        };
        let cpu = cause.cpu.map(|cpu| format!("CPU {cpu}"));
        let who: Vec<String> = task.into_iter().chain(cpu).collect();
        if !who.is_empty() {
            self.fact("task", &who.join(", on "));
        }
        for line in cause.lines.iter().take(CAUSE_LINES) {
            self.line(format_args!("  | {line}"));
        }
        self.more(cause.lines.len().saturating_sub(CAUSE_LINES), "more lines");
    }

    fn paragraph(&mut self, text: &str) {
        for line in wrapped(text, WIDTH - 2) {
            self.line(format_args!("  {line}"));
        }
    }

    fn machine(&mut self, shown: &Shown<'_>) {
        self.section("Machine");
        // The build ID is where debug information is named.
        let facts = words::machine(&shown.report.machine);
        for (label, value) in facts.into_iter().filter(|(label, _)| *label != "build ID") {
            self.fact(label, &value);
        }
        let incomplete = if shown.complete { "" } else { ", INCOMPLETE: some of its memory is missing" };
        self.fact("dump", &format!("{}: {}{incomplete}", shown.path, shown.format));
        shown.mini.iter().for_each(|mini| self.fact("mini dump", &mini.words()));
    }

    /// The stack of the CPU that crashed, and what the others were doing.
    fn cpus(&mut self, shown: &Shown<'_>) {
        let cpus = &shown.report.cpus;
        let whole = shown.tasks == Tasks::All;
        for cpu in cpus.iter().filter(|cpu| cpu.crashed) {
            self.section(format_args!("Stack of CPU {}, which crashed{}", cpu.cpu, running(cpu)));
            match &cpu.stack {
                Some(stack) => self.stack(stack, if whole { usize::MAX } else { FRAMES }),
                None => self.line("  unknown from the dump's memory"),
            }
        }
        let trace = &shown.report.cause.call_trace;
        let whole_stack = |cpu: &Cpu| cpu.stack.as_ref().is_some_and(|stack| stacks::broken(stack).is_none());
        if !trace.is_empty() && !cpus.iter().any(|cpu| cpu.crashed && whole_stack(cpu)) {
            self.section("Stack of the crash, as the kernel printed it");
            trace.iter().take(FRAMES).for_each(|frame| self.line(format_args!("  {frame}")));
            self.more(trace.len().saturating_sub(FRAMES), "more");
        }
        let groups = stacks::other_cpus(cpus);
        if groups.is_empty() {
            return;
        }
        self.section("Other CPUs");
        let shown_groups = if whole { usize::MAX } else { GROUPS };
        for group in groups.iter().take(shown_groups) {
            let names = numbers(group.members.iter().map(|cpu| cpu.cpu));
            let cpus = if group.members.len() == 1 { "CPU" } else { "CPUs" };
            let task = group.members.first().map_or_else(String::new, |cpu| running(cpu));
            self.fact(cpus, &format!("{names}{task}"));
            self.group(group, whole);
        }
        self.more(groups.len().saturating_sub(shown_groups), "other stacks");
    }

    /// The tasks that were not running, as far as they were asked for.
    fn tasks(&mut self, shown: &Shown<'_>) {
        let tasks = &shown.report.tasks;
        let whole = shown.tasks == Tasks::All;
        if !tasks.is_empty() {
            let states =
                [('R', "running or runnable"), ('D', "blocked"), ('S', "sleeping"), ('Z', "zombies")];
            let counts = states.map(|(state, words)| {
                let count = tasks.iter().filter(|task| task.state == state).count();
                (count > 0).then(|| format!("{count} {words}"))
            });
            let counts: Vec<String> = counts.into_iter().flatten().collect();
            let counts = format!("{}: {}", tasks.len(), counts.join(", "));
            self.section("Tasks");
            self.fact("tasks", &counts);
        }
        let groups = stacks::waiting(tasks, shown.tasks);
        let shown_groups = if whole { usize::MAX } else { GROUPS };
        for group in groups.iter().take(shown_groups) {
            let label = if group.members.len() == 1 { "task" } else { "tasks" };
            let names = if whole { usize::MAX } else { 6 };
            let mut who: Vec<String> = group.members.iter().take(names).map(|task| named(task)).collect();
            if let more @ 1.. = group.members.len().saturating_sub(names) {
                who.push(format!("and {more} more"));
            }
            self.fact(label, &who.join(", "));
            self.group(group, whole);
        }
        self.more(groups.len().saturating_sub(shown_groups), "other stacks of blocked tasks");
    }

    /// The stack of a group, whole or in a few lines.
    fn group<T>(&mut self, group: &Group<'_, T>, whole: bool) {
        if whole {
            return self.stack(group.stack, usize::MAX);
        }
        let frames: Vec<String> = group.stack.frames.iter().map(stacks::brief).collect();
        let mut lines = wrapped(&frames.join(" < "), WIDTH - LABEL - 4);
        if lines.len() > BRIEF_LINES {
            lines.truncate(BRIEF_LINES);
            lines.last_mut().expect("some lines are left").push_str(" ...");
        }
        for line in lines {
            self.line(format_args!("{:LABEL$}{line}", ""));
        }
    }

    /// The frames, innermost first, a line each: at most `most`.
    fn stack(&mut self, stack: &Stack, most: usize) {
        for frame in stack.frames.iter().take(most) {
            let interrupted = if frame.interrupted { "   (interrupted here)" } else { "" };
            self.line(format_args!("  {}{interrupted}", stacks::frame(frame)));
        }
        match (stack.frames.len().saturating_sub(most), stacks::broken(stack)) {
            (0, Some(why)) => self.paragraph(&format!("... no further: {why}")),
            (more @ 1.., _) => self.line(format_args!("  ... and {more} more")),
            (0, None) => {}
        }
    }

    fn modules(&mut self, shown: &Shown<'_>) {
        let modules = &shown.report.modules;
        if modules.loaded.is_none() && modules.last_unloaded.is_none() {
            return;
        }
        self.section("Modules");
        if let Some(loaded) = &modules.loaded {
            let named = loaded.iter().map(|module| match module.taints.as_str() {
                "" => module.name.clone(),
                taints => format!("{}({taints})", module.name),
            });
            let list: Vec<String> = named.collect();
            let mut lines = wrapped(&list.join(" "), WIDTH - LABEL);
            let most = if shown.tasks == Tasks::All { usize::MAX } else { 3 };
            if lines.len() > most {
                lines.truncate(most);
                lines.last_mut().expect("some lines are left").push_str(" ...");
            }
            let bytes = loaded.iter().fold(0_u64, |sum, module| sum.saturating_add(module.size));
            self.fact("loaded", &format!("{}, {}", loaded.len(), units::bytes(bytes)));
            lines.iter().for_each(|line| self.line(format_args!("{:LABEL$}{line}", "")));
        }
        modules.last_unloaded.iter().for_each(|name| self.fact("unloaded", &format!("{name}, the last one")));
    }

    fn memory(&mut self, memory: &Memory) {
        self.section("Memory");
        let essential = memory.meminfo.iter().filter(|(name, _)| ESSENTIAL.contains(name));
        let essential: Vec<String> =
            essential.map(|(name, bytes)| format!("{name:<13}{:>10}", units::bytes(*bytes))).collect();
        for row in essential.chunks(3) {
            self.line(format_args!("  {}", row.join("   ")));
        }
        let left = memory.slabs.iter().take(LARGEST).map(|slab| {
            let name: String = slab.name.chars().take(22).collect();
            format!("{name:<22}{:>10}", units::bytes(slab.bytes))
        });
        let right = memory.processes.iter().take(LARGEST).map(|process| {
            let name: String = process.comm.chars().take(16).collect();
            let swap = if process.swap > 0 { " +swap" } else { "" };
            format!("{:>8} {name:<16}{:>10}{swap}", process.pid, units::bytes(process.rss()))
        });
        let (left, right): (Vec<String>, Vec<String>) = (left.collect(), right.collect());
        if !left.is_empty() || !right.is_empty() {
            self.line(format_args!("  {:<34}{}", "largest slab caches", "   largest processes (RSS)"));
        }
        for n in 0..left.len().max(right.len()) {
            let (left, right) =
                (left.get(n).map_or("", String::as_str), right.get(n).map_or("", String::as_str));
            self.line(format_args!("  {left:<34}{right}"));
        }
        let owned = memory.total.saturating_sub(memory.unexplained);
        self.fact(
            "accounted",
            &format!(
                "{} of {}; {} that no owner explains",
                units::percent(owned, memory.total),
                units::bytes(memory.total),
                units::bytes(memory.unexplained)
            ),
        );
    }

    fn log(&mut self, shown: &Shown<'_>) {
        let log = &shown.report.log;
        if log.errors.is_empty() && log.tail.is_empty() && log.remarks.is_empty() {
            return;
        }
        self.section(format_args!("Log ({} lines; hadump dmesg prints all)", log.total));
        let whole = shown.tasks == Tasks::All;
        let last =
            |lines: &[log::Line], most: usize| if whole { 0 } else { lines.len().saturating_sub(most) };
        let skipped = last(&log.errors, ERROR_LINES);
        if skipped > 0 {
            self.line(format_args!("  ... {skipped} earlier errors"));
        }
        for line in &log.errors[skipped..] {
            self.line(format_args!("  ! {}", line.text));
        }
        for line in &log.tail[last(&log.tail, LAST_LINES)..] {
            self.line(format_args!("  | {}", line.text));
        }
        log.remarks.iter().for_each(|remark| self.fact("remark", remark));
    }

    fn notes(&mut self, shown: &Shown<'_>) {
        const SHOWN: usize = 6;
        let notes = &shown.report.notes;
        if notes.is_empty() {
            return;
        }
        self.section("Device dumps and other notes");
        for note in notes.iter().take(SHOWN) {
            self.fact(
                &format!("note {}", note.index),
                &format!("{}, {}", note.what, units::bytes(note.bytes)),
            );
        }
        self.more(notes.len().saturating_sub(SHOWN), "more notes");
    }

    fn signature(&mut self, shown: &Shown<'_>) {
        if let Some(signature) = &shown.report.signature {
            self.section("Signature");
            self.fact("hash", &signature.hash);
        }
    }

    fn debug_information(&mut self, shown: &Shown<'_>) {
        let known = &shown.report.debug_information;
        if known.build_id.is_none() && known.packages.is_empty() {
            return;
        }
        self.section("Debug information");
        known.build_id.iter().for_each(|id| self.fact("build ID", id));
        if !known.packages.is_empty() {
            let of = known.distribution.map_or_else(String::new, |name| format!(" ({name})"));
            self.fact("package", &format!("{}{of}", known.packages.join(", ")));
        }
    }

    fn missing(&mut self, shown: &Shown<'_>) {
        let missing = &shown.report.missing;
        if missing.is_empty() {
            return;
        }
        self.section("What is missing, and why");
        for missing in missing.iter().take(MISSING) {
            self.paragraph(&format!("{}: {}", missing.part, missing.why));
        }
        self.more(missing.len().saturating_sub(MISSING), "more; --json lists all");
    }
}

/// The lines of `/proc/meminfo` that are read first.
const ESSENTIAL: [&str; 15] = [
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "AnonPages",
    "Shmem",
    "Slab",
    "SUnreclaim",
    "KernelStack",
    "PageTables",
    "VmallocUsed",
    "Percpu",
    "Hugetlb",
    "CmaTotal",
];

/// What a CPU was running, to follow its number.
fn running(cpu: &Cpu) -> String {
    match (&cpu.comm, cpu.pid) {
        (Some(comm), Some(pid)) => format!(": {comm}, pid {pid}"),
        (Some(comm), None) => format!(": {comm}"),
        (None, Some(pid)) => format!(": pid {pid}"),
        (None, None) => String::new(),
    }
}

/// A task, and how long it has been waiting.
fn named(task: &Task) -> String {
    let waiting = task.waiting.map(|ns| ns / 1_000_000_000).filter(|seconds| *seconds > 0);
    let waiting = waiting.map_or_else(String::new, |seconds| format!(" for {seconds} s"));
    format!("{} ({}{waiting})", task.comm, task.pid)
}

/// Ascending numbers as ranges: `0-3,8`.
pub(super) fn numbers(numbers: impl Iterator<Item = u32>) -> Numbers {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    Numbers(ranges)
}

/// Ranges of numbers, both ends among them.
pub(super) struct Numbers(Vec<(u32, u32)>);

impl Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// The lines that a text takes, none longer than `width` unless a word is.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ranges_and_long_texts_are_wrapped_between_words() {
        assert_eq!(numbers([0, 1, 2, 5, 7, 8].into_iter()).to_string(), "0-2,5,7-8");
        assert_eq!(numbers([u32::MAX].into_iter()).to_string(), u32::MAX.to_string());
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable a", 4), ["unbreakable", "a"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
