//! The sections of the page, most important first.

use super::Shown;
use super::escape::Text;
use super::picture::{self, Stretch};
use crate::cli::Tasks;
use crate::show::crash::stacks;
use crate::show::crash::text::numbers;
use crate::show::crash::words;
use crate::show::units;
use std::fmt::{Display, Write as _};
use triage::log::Line;
use triage::memory::Memory;
use triage::stack::{Proof, Stack};
use triage::tasks::{Cpu, Task};

/// A part of the page; one without a body is left out.
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    /// Markup.
    pub(super) body: String,
}

/// Tasks that the table has, and names that a stack has.
const TASKS: usize = 4000;
const NAMES: usize = 60;
/// Different stacks that the page has.
const STACKS: usize = 1000;

/// All sections.
pub(super) fn all(shown: &Shown<'_>, stretches: &[Stretch]) -> Vec<Section> {
    let section = |id, name, body| Section { id, name, body };
    vec![
        section("what", "What happened", what_happened(shown)),
        section("machine", "Machine", machine(shown)),
        section("stacks", "Stacks", cpus(&shown.report.cpus)),
        section("tasks", "Tasks", tasks(shown)),
        section("modules", "Modules", modules(shown)),
        section("memory", "Memory", memory(shown.report.memory.as_ref(), stretches)),
        section("log", "Log", log(shown)),
        section("notes", "Device dumps and other notes", notes(shown)),
        section("signature", "Signature", signature(shown)),
        section("debug", "Debug information", debug_information(shown)),
        section("missing", "What is missing, and why", missing(shown)),
    ]
}

/// Labels and values.
fn list(facts: impl IntoIterator<Item = (impl Display, impl Display)>) -> String {
    let mut out = String::new();
    for (label, value) in facts {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", Text(label), Text(value));
    }
    if out.is_empty() { out } else { format!("<dl>\n{out}</dl>\n") }
}

/// A table without the columns that are empty. One whose head begins with `#` has numbers.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    let full = |column: &usize| rows.iter().any(|row| row.get(*column).is_some_and(|cell| !cell.is_empty()));
    let columns: Vec<(usize, &str)> = head.iter().copied().enumerate().filter(|(n, _)| full(n)).collect();
    let class = |name: &str| if name.starts_with('#') { " class=\"n\"" } else { "" };
    let mut out = String::from("<div class=\"table\"><table>\n<thead><tr>");
    for (_, name) in &columns {
        let _ = write!(out, "<th{}>{}</th>", class(name), Text(name.trim_start_matches('#')));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &rows {
        out.push_str("<tr>");
        for (n, name) in &columns {
            let cell = row.get(*n).map_or("", String::as_str);
            let _ = write!(out, "<td{}>{}</td>", class(name), Text(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

fn what_happened(shown: &Shown<'_>) -> String {
    let cause = &shown.report.cause;
    let summary = words::summary(cause);
    let mut out = format!("<div class=\"what\"><p>{}</p></div>\n", Text(summary));
    let mut facts = vec![("kind", words::kind(cause.kind).to_owned())];
    facts.extend(cause.panic.iter().map(|words| ("panic", words.clone())));
    facts.extend(cause.at.iter().map(|at| ("at", at.clone())));
    facts.extend(cause.address.map(|address| ("address", format!("{address:#x}"))));
    facts.extend(cause.comm.iter().map(|comm| ("task", comm.clone())));
    facts.extend(cause.pid.map(|pid| ("pid", pid.to_string())));
    facts.extend(cause.cpu.map(|cpu| ("CPU", cpu.to_string())));
    out.push_str(&list(facts));
    if !cause.lines.is_empty() {
        let _ = writeln!(out, "<h3>The log says so</h3>\n{}", lines(&cause.lines));
    }
    if !cause.call_trace.is_empty() {
        let _ = writeln!(out, "<h3>The kernel's own call trace</h3>\n{}", lines(&cause.call_trace));
    }
    out
}

/// Preformatted lines.
fn lines(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| Text(line).to_string()).collect();
    format!("<pre>{}</pre>", lines.join("\n"))
}

fn machine(shown: &Shown<'_>) -> String {
    let mut out = list(words::machine(&shown.report.machine));
    if !shown.remarks.is_empty() {
        let _ = writeln!(out, "<h3>Remarks on the dump</h3>\n{}", lines(shown.remarks));
    }
    out
}

/// The frames of a stack.
fn frames(stack: &Stack) -> String {
    let mut out = String::from("<pre class=\"stack\">");
    for frame in &stack.frames {
        let text = Text(stacks::frame(frame)).to_string();
        let class = match frame.proof {
            Proof::Scanned => Some("doubt"),
            Proof::Unwound if frame.interrupted => Some("hit"),
            Proof::Unwound => None,
        };
        let _ = match class {
            Some(class) => write!(out, "<span class=\"{class}\">{text}</span>"),
            None => write!(out, "{text}"),
        };
        out.push_str(if frame.interrupted { "   (interrupted here)\n" } else { "\n" });
    }
    if let Some(why) = stacks::broken(stack) {
        let _ = writeln!(out, "<span class=\"doubt\">... no further: {}</span>", Text(why));
    }
    out.push_str("</pre>\n");
    out
}

/// A stack that folds.
fn folding(open: bool, summary: impl Display, stack: &Stack) -> String {
    let open = if open { " open" } else { "" };
    format!("<details{open}><summary>{}</summary>{}</details>\n", Text(summary), frames(stack))
}

fn cpus(cpus: &[Cpu]) -> String {
    let running = |cpu: &Cpu| {
        let pid = cpu.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
        cpu.comm.as_ref().map_or_else(String::new, |comm| format!(": {comm}{pid}"))
    };
    let mut out = String::new();
    for cpu in cpus.iter().filter(|cpu| cpu.crashed) {
        let name = format!("CPU {}, which crashed{}", cpu.cpu, running(cpu));
        match &cpu.stack {
            Some(stack) => out.push_str(&folding(true, name, stack)),
            None => {
                let _ = writeln!(out, "<p>{}: its stack is not known.</p>", Text(name));
            }
        }
        if !cpu.registers.is_empty() {
            let registers = cpu.registers.iter().map(|(name, value)| format!("{name:>8} {value:#018x}"));
            let registers: Vec<String> = registers.collect();
            let _ = writeln!(
                out,
                "<details><summary>Registers of CPU {}</summary>{}</details>",
                cpu.cpu,
                lines(&registers)
            );
        }
    }
    for group in stacks::other_cpus(cpus).iter().take(STACKS) {
        let numbers = numbers(group.members.iter().map(|cpu| cpu.cpu));
        let (what, task) = match &group.members[..] {
            [one] => ("CPU", running(one)),
            members => ("CPUs", running(members[0])),
        };
        out.push_str(&folding(false, format!("{what} {numbers}{task}"), group.stack));
    }
    out
}

fn tasks(shown: &Shown<'_>) -> String {
    let tasks = &shown.report.tasks;
    if tasks.is_empty() {
        return String::new();
    }
    let blocked = tasks.iter().filter(|task| task.state == 'D').count();
    let mut out = format!("<p>{} tasks, of which {blocked} are blocked.</p>\n", tasks.len());
    let groups = stacks::waiting(tasks, shown.tasks);
    for group in groups.iter().take(STACKS) {
        let named = |task: &&Task| format!("{} ({})", task.comm, task.pid);
        let mut names: Vec<String> = group.members.iter().take(NAMES).map(named).collect();
        if let more @ 1.. = group.members.len().saturating_sub(NAMES) {
            names.push(format!("and {more} more"));
        }
        let count = match group.members.len() {
            1 => String::new(),
            n => format!("{n} tasks: "),
        };
        let open = shown.tasks == Tasks::Blocked && groups.len() <= 4;
        out.push_str(&folding(open, format!("{count}{}", names.join(", ")), group.stack));
    }
    let row = |task: &Task| {
        vec![
            task.pid.to_string(),
            task.comm.clone(),
            task.state.to_string(),
            task.cpu.map_or_else(String::new, |cpu| cpu.to_string()),
            task.waiting.map_or_else(String::new, |ns| format!("{:.1} s", ns as f64 / 1e9)),
            task.rss.map_or_else(String::new, units::bytes),
        ]
    };
    let head = ["#pid", "name", "state", "#CPU", "#waiting", "#memory"];
    let table = table(&head, tasks.iter().take(TASKS).map(row));
    let _ = write!(out, "<details><summary>All tasks</summary>{table}</details>");
    if let more @ 1.. = tasks.len().saturating_sub(TASKS) {
        let _ = writeln!(out, "<p class=\"hint\">{more} more tasks are only in the JSON report.</p>");
    }
    out
}

fn modules(shown: &Shown<'_>) -> String {
    let modules = &shown.report.modules;
    let mut out = String::new();
    if let Some(loaded) = modules.loaded.as_ref().filter(|loaded| !loaded.is_empty()) {
        let rows = loaded.iter().map(|module| {
            vec![
                module.name.clone(),
                units::bytes(module.size),
                format!("{:#x}", module.base),
                module.state.to_owned(),
                module.taints.clone(),
                module.version.clone().unwrap_or_default(),
            ]
        });
        out.push_str(&table(&["name", "#size", "address", "state", "taint", "version"], rows));
    }
    if let Some(name) = &modules.last_unloaded {
        let _ = writeln!(out, "<p>The last one that was unloaded: <code>{}</code>.</p>", Text(name));
    }
    out
}

fn memory(memory: Option<&Memory>, stretches: &[Stretch]) -> String {
    let mut out = String::new();
    if !stretches.is_empty() {
        let _ = writeln!(out, "<h3>By address</h3>\n{}", picture::by_address(stretches));
    }
    let Some(memory) = memory else { return out };
    let mut owners: Vec<(&str, u64)> = memory.owners.iter().map(|o| (o.name, o.bytes)).collect();
    owners.push(("unexplained", memory.unexplained));
    let share = |bytes: u64| vec![units::bytes(bytes), units::percent(bytes, memory.total)];
    let rows = |(name, bytes): &(&str, u64)| [vec![(*name).to_owned()], share(*bytes)].concat();
    let _ = writeln!(
        out,
        "<h3>By owner</h3>\n{}{}",
        picture::by_owner(&owners),
        table(&["owner", "#size", "#share"], owners.iter().map(rows))
    );
    out.push_str("<div class=\"columns\">\n");
    let mut column = |name: &str, any: bool, table: String| {
        if any {
            let _ = writeln!(out, "<div><h3>{name}</h3>{table}</div>");
        }
    };
    let rows = memory.meminfo.iter().map(|(name, bytes)| vec![(*name).to_owned(), units::bytes(*bytes)]);
    column("As /proc/meminfo says it", !memory.meminfo.is_empty(), table(&["line", "#size"], rows));
    let rows = memory.slabs.iter().take(10).map(|slab| {
        vec![slab.name.clone(), format!("{} of {}", slab.active, slab.objects), units::bytes(slab.bytes)]
    });
    column("Largest slab caches", !memory.slabs.is_empty(), table(&["cache", "#objects", "#size"], rows));
    let rows = memory.processes.iter().take(10).map(|process| {
        let swap = if process.swap > 0 { units::bytes(process.swap) } else { String::new() };
        vec![process.pid.to_string(), process.comm.clone(), units::bytes(process.rss()), swap]
    });
    let head = ["#pid", "name", "#memory", "#swapped"];
    column("Largest processes", !memory.processes.is_empty(), table(&head, rows));
    out.push_str("</div>\n");
    out
}

fn log(shown: &Shown<'_>) -> String {
    let log = &shown.report.log;
    let block = |lines: &[Line]| {
        let mut out = String::from("<pre class=\"log\">");
        for line in lines {
            let class = match (line.crash, line.level) {
                (true, _) => " class=\"crash\"",
                (false, Some(..=3)) => " class=\"error\"",
                (false, _) => "",
            };
            let _ = write!(out, "<span{class}>{}</span>", Text(&line.text));
        }
        out.push_str("</pre>\n");
        out
    };
    let mut out = String::new();
    if !log.errors.is_empty() {
        let _ = write!(out, "<h3>Errors before the end</h3>\n{}", block(&log.errors));
    }
    if !log.tail.is_empty() {
        let _ = write!(out, "<h3>The last of {} lines</h3>\n{}", log.total, block(&log.tail));
    }
    if !log.remarks.is_empty() {
        out.push_str(&lines(&log.remarks));
    }
    out
}

fn notes(shown: &Shown<'_>) -> String {
    let notes = &shown.report.notes;
    if notes.is_empty() {
        return String::new();
    }
    let rows = notes.iter().map(|note| {
        let kind = format!("{} type {:#x}", note.name, note.kind);
        vec![note.index.to_string(), note.what.clone(), kind, units::bytes(note.bytes)]
    });
    table(&["#number", "what", "note", "#size"], rows)
}

fn signature(shown: &Shown<'_>) -> String {
    let signature = shown.report.signature.iter();
    let facts = signature.flat_map(|it| [("hash", it.hash.clone()), ("of", it.parts.join(" "))]);
    list(facts)
}

fn debug_information(shown: &Shown<'_>) -> String {
    let known = &shown.report.debug_information;
    let mut facts = Vec::new();
    facts.extend(known.build_id.iter().map(|id| ("build ID", id.clone())));
    facts.extend(known.distribution.map(|name| ("distribution", name.to_owned())));
    if !known.packages.is_empty() {
        facts.push(("packages", known.packages.join(", ")));
    }
    list(facts)
}

fn missing(shown: &Shown<'_>) -> String {
    list(shown.report.missing.iter().map(|missing| (&missing.part, &missing.why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_without_anything_are_left_out() {
        let rows = [["ext4", "", "2"], ["jbd2", "", ""]].map(|row| row.map(str::to_owned).to_vec());
        let table = table(&["name", "taint", "#size"], rows.into_iter());
        assert!(table.contains("<th>name</th><th class=\"n\">size</th></tr>"), "{table}");
        assert!(table.contains("<tr><td>jbd2</td><td class=\"n\"></td></tr>"), "{table}");
    }
}
