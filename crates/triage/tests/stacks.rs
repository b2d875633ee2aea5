//! Stacks of real dumps, against those that drgn finds with full debug information.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use support::{by_itself, one};
use triage::Report;
use triage::stack::{End, Frame, Proof, Stack};

/// A dump, and whether it needs a vmlinux beside it.
const DUMPS: [(&str, bool); 5] = [
    (corpus::X86_64_DEBIAN, false),
    (corpus::X86_64, true),
    (corpus::ARM64, false),
    (corpus::S390X, false),
    (corpus::POWER, true),
];

/// A task: its pid, and for idle tasks the CPU.
type Key = (u64, Option<u64>);

/// How two sets of stacks compare.
#[derive(Debug, Default)]
struct Compared {
    /// Frames that there should be, and how many of them were found.
    wanted: usize,
    equal: usize,
    /// Frames that are said to be proved, and are not there.
    wrong: usize,
    /// What differs, for who has to find out why.
    differences: Vec<String>,
}

/// A frame that counts: its names, its offset, and whether it may be missing.
struct Golden<'g> {
    names: Vec<&'g str>,
    offset: Option<u64>,
    optional: bool,
}

impl Golden<'_> {
    fn is(&self, frame: &Frame) -> bool {
        let name = frame.function.as_deref();
        name.is_some_and(|name| self.names.contains(&name))
            && self.offset.is_none_or(|offset| offset == frame.offset)
    }
}

/// The frames of the golden file: those inlined, of user space and of the walk's end do not count.
fn golden(stack: &Value) -> Vec<Golden<'_>> {
    let frames = stack.as_array().map_or(&[][..], Vec::as_slice);
    let counts =
        |frame: &&Value| frame["inline"] == false && frame["kind"] != "USER" && frame["kind"] != "END";
    let frames = frames.iter().filter(counts).map(|frame| {
        let aliases = frame["aliases"].as_array().map_or(&[][..], Vec::as_slice);
        Golden {
            names: frame["name"]
                .as_str()
                .into_iter()
                .chain(aliases.iter().filter_map(Value::as_str))
                .collect(),
            offset: frame["offset"].as_u64(),
            optional: frame["optional"] == true,
        }
    });
    frames.collect()
}

fn golden_stacks(golden: &Value) -> BTreeMap<Key, &Value> {
    let mut stacks = BTreeMap::new();
    for task in golden["tasks"].as_array().unwrap() {
        stacks.insert((task["pid"].as_u64().unwrap(), None), &task["stack"]);
    }
    for cpu in golden["cpus"].as_array().unwrap() {
        let number = cpu["cpu"].as_u64();
        if cpu["current"]["pid"] == 0 {
            stacks.insert((0, number), &cpu["stack"]);
        }
        if !cpu["idle_task"].is_null() {
            stacks.insert((0, number), &cpu["idle_task"]["stack"]);
        }
    }
    stacks
}

fn found_stacks(report: &Report) -> BTreeMap<Key, &Stack> {
    let stacks = report.tasks.iter().filter_map(|task| {
        let cpu = task.cpu.filter(|_| task.pid == 0).map(u64::from);
        Some(((u64::from(task.pid), cpu), task.stack.as_ref()?))
    });
    stacks.collect()
}

/// Compares one stack: the longest common run of frames, in order.
fn compare(key: Key, golden: &[Golden<'_>], found: &[Frame], compared: &mut Compared) {
    let (rows, columns) = (golden.len(), found.len());
    let mut longest = vec![vec![0usize; columns + 1]; rows + 1];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            longest[i][j] = match golden[i].is(&found[j]) {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut missing = Vec::new();
    let mut wrong = Vec::new();
    while i < rows || j < columns {
        if i < rows && j < columns && golden[i].is(&found[j]) {
            compared.equal += usize::from(!golden[i].optional);
            (i, j) = (i + 1, j + 1);
        } else if j == columns || i < rows && longest[i + 1][j] >= longest[i][j + 1] {
            missing.extend((!golden[i].optional).then_some(&golden[i].names));
            i += 1;
        } else {
            wrong.extend((found[j].proof == Proof::Unwound).then(|| found[j].spelled()));
            j += 1;
        }
    }
    compared.wanted += golden.iter().filter(|frame| !frame.optional).count();
    compared.wrong += wrong.len();
    if !missing.is_empty() || !wrong.is_empty() {
        compared.differences.push(format!("{key:?}: missing {missing:?}, too much {wrong:?}"));
    }
}

#[test]
fn frames_of_all_tasks_are_those_of_drgn_and_none_that_counts_as_proved_is_wrong() {
    for (name, with_vmlinux) in DUMPS {
        one(name, with_vmlinux, |_, report, expected| {
            let found = found_stacks(report);
            let mut compared = Compared::default();
            for (key, stack) in golden_stacks(expected) {
                let frames = found.get(&key).map_or(&[][..], |stack| &stack.frames);
                compare(key, &golden(stack), frames, &mut compared);
            }
            assert!(compared.wanted > 100, "{name}");
            assert!(
                compared.equal * 100 >= compared.wanted * 99,
                "{name}: {compared:#?} {:?}",
                report.missing
            );
            assert_eq!(compared.wrong, 0, "{name}: {compared:#?}");
        });
    }
}

#[test]
fn every_stack_is_followed_to_where_it_began() {
    for (name, with_vmlinux) in DUMPS {
        one(name, with_vmlinux, |_, report, _| {
            for (key, stack) in found_stacks(report) {
                assert_eq!(stack.end, End::Whole, "{name}: {key:?}: {:?}", stack.frames);
            }
        });
    }
}

#[test]
fn the_crashed_tasks_stack_is_the_call_trace_in_the_log() {
    for (name, with_vmlinux) in DUMPS {
        one(name, with_vmlinux, |_, report, _| follows_the_log(name, report));
    }
}

/// Neither tasks nor modules are known then.
#[test]
fn without_types_the_crashed_cpus_stack_is_the_call_trace_in_the_log() {
    for name in [corpus::X86_64, corpus::POWER, corpus::POWER_BE] {
        by_itself(name, |report| {
            assert!(report.tasks.is_empty(), "{name}");
            assert_eq!(
                report.cpus.iter().filter(|cpu| cpu.crashed).count(),
                1,
                "{name}: {:?}",
                report.missing
            );
            assert!(report.cpus.iter().all(|cpu| cpu.stack.is_some()), "{name}: {:?}", report.missing);
            follows_the_log(name, report);
        });
    }
}

fn follows_the_log(name: &str, report: &Report) {
    // The s390x machine did not crash.
    let Some(crashed) = report.cpus.iter().find(|cpu| cpu.crashed) else { return };
    let stack = crashed.stack.as_ref().unwrap();
    let found: Vec<_> = stack.frames.iter().map(Frame::spelled).collect();
    // Also where no table has rules for what saved the registers: a call of that is before the address found. In one dump the
    // code was replaced.
    let proved = stack.frames.iter().all(|frame| frame.proof == Proof::Unwound);
    assert_eq!(proved, name != corpus::X86_64_DEBIAN, "{name}: {found:?}");
    let trace = report.cause.call_trace.iter().filter(|frame| !frame.starts_with('?')).cloned();
    // What printed the trace is not what saved the registers; behind that both are the same.
    let common: Vec<_> = trace.skip_while(|frame| !found.contains(frame)).collect();
    assert!(found.ends_with(&common), "{name}: {found:#?} {common:#?}");
    assert!(
        common.len() > 3 || [corpus::POWER, corpus::POWER_BE].contains(&name),
        "{name}: {:?}",
        report.cause.call_trace
    );
}
