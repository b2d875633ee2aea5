//! The views of a report that is made by hand.

use super::{Shown, html, json, text};
use crate::cli::Tasks;
use html::{CLASSES, Stretch};
use proptest::prelude::*;
use serde_json::Value;
use triage::Report;
use triage::cause::{Cause, Kind};
use triage::log::{Line, Log};
use triage::memory::{Counter, HugePages, Memory, Owner, Process, SlabCache, Zone};
use triage::modules::{Module, Modules};
use triage::notes::DumpNote;
use triage::signature::Signature;
use triage::stack::{End, Frame, Proof, Stack};
use triage::tasks::{Cpu, Task};
use triage::{Missing, debuginfo, machine};

/// Markup, an attribute's end, terminal sequences, line ends and a change of direction.
const HOSTILE: &str =
    "<script>alert(1)</script>\" onload='x' &lt; \u{1b}]52;c;aGk=\u{7}\u{9b}31m\r\nhadump: saved\u{202e}";

fn frame(function: &str, proof: Proof) -> Frame {
    Frame {
        pc: 0xffff_ffff_8100_0000,
        sp: 0xffff_c900_0000_1000,
        function: Some(function.to_owned()),
        offset: 0x1f,
        size: Some(0x40),
        module: None,
        proof,
        interrupted: false,
    }
}

fn stack(functions: &[&str]) -> Option<Stack> {
    let frames = functions.iter().map(|function| frame(function, Proof::Unwound)).collect();
    Some(Stack { frames, end: End::Whole })
}

/// A report in which `name` is everywhere where a dump can put a text.
fn report(name: &str) -> Report {
    let text = || name.to_owned();
    let mut doubtful = stack(&["sysrq_handle_crash", "write_sysrq_trigger"]);
    if let Some(stack) = &mut doubtful {
        stack.frames.push(Frame { module: Some(text()), ..frame(name, Proof::Scanned) });
        stack.end = End::Broken(text());
    }
    let task = |pid: u32, state| Task {
        pid,
        tgid: pid,
        comm: text(),
        state,
        cpu: Some(0),
        waiting: Some(120_000_000_000),
        stack: stack(&["schedule", "io_schedule", name]),
        ..Task::default()
    };
    let line = |level, crash| Line { text: text(), level, crash };
    Report {
        cause: Cause {
            kind: Kind::SysRq,
            summary: text(),
            panic: Some(text()),
            lines: vec![text()],
            at: Some(text()),
            address: Some(0x10),
            cpu: Some(1),
            pid: Some(7),
            comm: Some(text()),
            call_trace: vec![text()],
        },
        machine: machine::Machine {
            arch: text(),
            release: text(),
            version: text(),
            host: text(),
            build_id: Some(text()),
            command_line: Some(text()),
            hardware: Some(text()),
            firmware: Some(text()),
            memory: 1 << 30,
            managed: Some(1 << 29),
            cpus_online: Some(2),
            cpus_present: Some(4),
            uptime: Some(std::time::Duration::from_secs(100_000)),
            crashed_at: Some(1_700_000_000),
            taints: Some(vec![machine::Taint { letter: 'W', meaning: "a warning was printed" }]),
            hardware_errors: vec![machine::HardwareErrors { source: text(), count: 3, last: Some(1) }],
            lent: vec![machine::Lent { start: 0x1000, end: 0x3000 }],
        },
        cpus: vec![
            Cpu {
                cpu: 0,
                online: Some(true),
                pid: Some(0),
                comm: Some(text()),
                stack: stack(&["idle"]),
                ..Cpu::default()
            },
            Cpu {
                cpu: 1,
                online: Some(true),
                crashed: true,
                pid: Some(7),
                comm: Some(text()),
                registers: vec![("rip", 0xffff_ffff_8100_0000)],
                stack: doubtful,
            },
        ],
        tasks: vec![
            Task { pid: 0, comm: text(), state: 'R', cpu: Some(0), running: true, ..Task::default() },
            Task { running: true, cpu: Some(1), stack: None, ..task(7, 'R') },
            task(8, 'D'),
            task(9, 'D'),
        ],
        modules: Modules {
            loaded: Some(vec![Module {
                name: text(),
                base: 0xffff_ffff_c000_0000,
                size: 0x4000,
                state: "live",
                taints: text(),
                version: Some(text()),
                build_id: Some(text()),
                regions: vec![(0xffff_ffff_c000_0000, 0x4000)],
            }]),
            last_unloaded: Some(text()),
        },
        memory: Some(Memory {
            page_size: 4096,
            total: 1 << 29,
            meminfo: vec![("MemTotal", 1 << 29), ("MemFree", 1 << 28)],
            zone_counters: vec![Counter { name: "NR_FREE_PAGES".into(), value: 65_536 }],
            node_counters: vec![Counter { name: "NR_FILE_PAGES".into(), value: -1 }],
            zones: vec![Zone { name: text(), ..Zone::default() }],
            slabs: vec![SlabCache { name: text(), bytes: 4096, ..SlabCache::default() }],
            processes: vec![Process { pid: 1, comm: text(), anon: 4096, ..Process::default() }],
            huge: vec![HugePages { size: 2 << 20, total: 1, free: 0 }],
            owners: vec![Owner { name: "free memory", bytes: 1 << 28 }],
            unexplained: 1 << 28,
        }),
        log: Log {
            total: 100,
            errors: vec![line(Some(3), false)],
            tail: vec![line(Some(6), false), line(Some(0), true)],
            remarks: vec![text()],
        },
        notes: vec![DumpNote { index: 3, name: text(), kind: 0x700, what: text(), bytes: 12 }],
        signature: Some(Signature { hash: "00ff".into(), parts: vec![text()] }),
        debug_information: debuginfo::DebugInformation {
            release: text(),
            build_id: Some(text()),
            distribution: Some("Debian"),
            packages: vec![text()],
        },
        missing: vec![Missing { part: text(), why: text() }],
    }
}

fn shown(report: &Report, tasks: Tasks) -> Shown<'_> {
    Shown { path: "vmcore", format: "ELF64 core", complete: true, mini: None, remarks: &[], tasks, report }
}

fn page(report: &Report) -> String {
    let parts = vec![[1, 2, 3, 4, 5, 6, 7], [0; CLASSES]];
    let name = report.machine.host.clone();
    let stretch = |name, bytes| Stretch { name, addresses: (0, bytes), bytes, parts: parts.clone() };
    html::page(&shown(report, Tasks::All), &[stretch(name.clone(), 1 << 20), stretch(name, 1 << 40)])
}

/// The tags of a page: what is between `<` and the next `>`.
fn tags(page: &str) -> impl Iterator<Item = &str> {
    page.split('<').skip(1).filter_map(|rest| rest.split('>').next())
}

/// Whether every tag that is opened is closed, in order.
fn is_balanced(page: &str) -> bool {
    let mut open: Vec<&str> = Vec::new();
    for tag in tags(page) {
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        match tag.strip_prefix('/') {
            Some(closed) if open.pop() != Some(closed) => return false,
            Some(_) => {}
            None if tag.ends_with('/') || name == "meta" || name.starts_with('!') => {}
            None => open.push(name),
        }
    }
    open.is_empty()
}

#[test]
fn hostile_names_are_text_in_all_views() {
    let report = report(HOSTILE);
    for tasks in [Tasks::Blocked, Tasks::All] {
        let text = text::text(&shown(&report, tasks));
        assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "{text}");
        assert!(!text.contains('\u{202e}'));
        assert!(!text.lines().any(|line| line.starts_with("hadump:")), "{text}");
    }
    let page = page(&report);
    let style = page.find("</style>").expect("a style sheet");
    let body = &page[style..];
    assert!(!page.contains("<script") && !page.contains('\u{1b}') && !page.contains('\u{202e}'));
    assert!(!body.contains("onload='") && body.contains("onload=&#39;"));
    assert!(body.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let known = ["/", "!", "h", "m", "t", "s", "b", "n", "a", "d", "p", "c", "f", "r", "u", "l"];
    assert!(tags(body).all(|tag| known.iter().any(|start| tag.starts_with(start))));
    assert!(is_balanced(&page));
    let mut printed = Vec::new();
    crate::show::report::write_json(&mut printed, &json::json(&shown(&report, Tasks::All))).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert!(!printed.chars().any(|c| c != '\n' && c.is_control()) && !printed.contains('\u{202e}'));
    let value: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(value["tasks"][2]["comm"], HOSTILE);
    assert_eq!(value["log"]["tail"][1]["text"], HOSTILE);
    assert_eq!(value["modules"]["loaded"][0]["name"], HOSTILE);
}

#[test]
fn stacks_are_strings_innermost_first_and_what_runs_has_that_of_its_cpu() {
    let report = report("name");
    let value = serde_json::to_value(json::json(&shown(&report, Tasks::Blocked))).unwrap();
    let tasks = &value["tasks"];
    assert_eq!(tasks[0]["stack"], serde_json::json!(["idle+0x1f/0x40"]));
    assert_eq!(tasks[1]["pid"], 7);
    assert_eq!(
        tasks[1]["stack"],
        serde_json::json!([
            "sysrq_handle_crash+0x1f/0x40",
            "write_sysrq_trigger+0x1f/0x40",
            "? name+0x1f/0x40 [name]"
        ])
    );
    assert_eq!(tasks[1]["stack_ends"], "name");
    assert_eq!(tasks[2]["stack"][0], "schedule+0x1f/0x40");
    assert_eq!(value["cpus"][1]["registers"][0]["value"], "0xffffffff81000000");
    assert_eq!(value["exit_code"], 0);
}

#[test]
fn a_report_of_a_large_machine_is_two_screens() {
    let mut report = report("a_rather_long_name_of_something");
    let many = |n: usize| (0..n).map(|i| format!("function_number_{i}")).collect::<Vec<_>>();
    for n in 0..300 {
        let functions = many(20 + n);
        let functions: Vec<&str> = functions.iter().map(String::as_str).collect();
        let pid = 100 + n as u32;
        report.cpus.push(Cpu {
            cpu: 2 + n as u32,
            pid: Some(pid),
            stack: stack(&functions),
            ..Cpu::default()
        });
        report.tasks.push(Task {
            pid,
            state: 'D',
            comm: "kworker".into(),
            stack: stack(&functions),
            ..Task::default()
        });
        let line = Line { text: format!("[    1.0] error {n}"), level: Some(3), crash: false };
        report.log.errors.push(line.clone());
        report.log.tail.push(line);
        let memory = report.memory.as_mut().unwrap();
        memory.slabs.push(SlabCache { name: format!("slab-{n}"), bytes: 1, ..SlabCache::default() });
        memory.processes.push(Process { pid, comm: "process".into(), ..Process::default() });
        let modules = report.modules.loaded.as_mut().unwrap();
        modules.push(Module { name: format!("module_{n}"), ..Module::default() });
        report.missing.push(Missing { part: format!("part {n}"), why: "it is not there".into() });
    }
    report.cpus[1].stack = report.cpus.last().unwrap().stack.clone();
    let brief = text::text(&shown(&report, Tasks::Blocked));
    assert!(brief.lines().count() <= 120, "{} lines:\n{brief}", brief.lines().count());
    assert!(brief.lines().all(|line| line.chars().count() <= 100), "{brief}");
    assert!(brief.starts_with("What happened\n"));
    assert!(brief.contains("? a_rather_long_name") || brief.contains("... and"));
    let all = text::text(&shown(&report, Tasks::All));
    assert!(all.contains("function_number_318+0x1f/0x40"), "every frame of every stack");
}

#[test]
fn where_no_whole_stack_is_known_the_kernels_own_trace_is_shown() {
    let mut report = report("name");
    report.cause.call_trace = vec!["traced_by_the_kernel+0x1/0x2".into()];
    // A walk that ended early shows less than the kernel printed.
    assert!(text::text(&shown(&report, Tasks::Blocked)).contains("traced_by_the_kernel"));
    report.cpus[1].stack = stack(&["sysrq_handle_crash"]);
    assert!(!text::text(&shown(&report, Tasks::Blocked)).contains("traced_by_the_kernel"));
    report.cpus[1].stack = None;
    assert!(text::text(&shown(&report, Tasks::Blocked)).contains("traced_by_the_kernel"));
}

#[test]
fn a_page_of_a_machine_that_did_not_crash_does_not_call_it_a_crash() {
    let mut report = report("name");
    assert!(html::page(&shown(&report, Tasks::Blocked), &[]).contains("<h1>Crash of name, Linux name</h1>"));
    report.cause.kind = Kind::NoCrash;
    let page = html::page(&shown(&report, Tasks::Blocked), &[]);
    assert!(page.contains("<h1>Report of name, Linux name</h1>") && !page.contains("Crash of"), "{page}");
}

#[test]
fn a_report_of_which_nothing_is_known_says_so_in_every_view() {
    let report = Report::default();
    let shown = Shown { complete: false, ..shown(&report, Tasks::Blocked) };
    let text = text::text(&shown);
    assert!(text.contains("unknown: nothing in the dump says why") && text.contains("INCOMPLETE"), "{text}");
    let page = html::page(&shown, &[]);
    assert!(page.contains("This dump is incomplete") && is_balanced(&page));
    let value = serde_json::to_value(json::json(&shown)).unwrap();
    assert_eq!((&value["exit_code"], &value["memory"]), (&Value::from(4), &Value::Null));
}

#[test]
fn widths_of_stretches_are_logarithmic_only_where_one_would_be_invisible() {
    let page = page(&report("name"));
    assert!(page.contains("logarithmic scale"));
    let report = report("name");
    let stretch = Stretch { bytes: 1 << 20, parts: vec![[1; CLASSES]], ..Stretch::default() };
    let page = html::page(&shown(&report, Tasks::Blocked), &[stretch.clone(), stretch]);
    assert!(!page.contains("logarithmic scale"));
}

proptest! {
    #[test]
    fn no_name_changes_what_a_page_is_made_of(name in any::<String>()) {
        let plain = |page: &str| tags(page).map(|tag| tag.split([' ', '/']).next().unwrap_or_default().to_owned()).collect::<Vec<_>>();
        let name = format!("x{name}");
        let page = page(&report(&name));
        prop_assert!(is_balanced(&page));
        prop_assert_eq!(plain(&page), plain(&self::page(&report("x"))));
    }
}
