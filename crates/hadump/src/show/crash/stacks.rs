//! Stacks of many tasks, of which equal ones are shown once.

use crate::cli::Tasks;
use std::collections::HashMap;
use triage::stack::{End, Frame, Proof, Stack};
use triage::tasks::{Cpu, Task};

/// What has the same stack.
pub(super) struct Group<'a, T> {
    /// That stack.
    pub(super) stack: &'a Stack,
    /// Those that have it, in their order.
    pub(super) members: Vec<&'a T>,
}

/// What makes stacks equal: frames as they are printed, and why they end.
type Key<'a> = (Vec<(String, Proof)>, Option<&'a str>);

/// Folds what has equal stacks: the most frequent first, and of equal ones the first.
fn fold<'a, T>(all: impl Iterator<Item = (&'a T, &'a Stack)>) -> Vec<Group<'a, T>> {
    let mut groups: Vec<Group<'a, T>> = Vec::new();
    let mut known: HashMap<Key<'_>, usize> = HashMap::new();
    for (member, stack) in all {
        let frames = stack.frames.iter().map(|frame| (frame.spelled(), frame.proof)).collect();
        let place = *known.entry((frames, broken(stack))).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.members.push(member),
            None => groups.push(Group { stack, members: vec![member] }),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.members.len()));
    groups
}

/// The CPUs that did not crash, by what they were doing.
pub(super) fn other_cpus(cpus: &[Cpu]) -> Vec<Group<'_, Cpu>> {
    fold(cpus.iter().filter(|cpu| !cpu.crashed).filter_map(|cpu| Some((cpu, cpu.stack.as_ref()?))))
}

/// The tasks that were not running, by where they wait: those that `which` names.
pub(super) fn waiting(tasks: &[Task], which: Tasks) -> Vec<Group<'_, Task>> {
    let meant = |task: &&Task| match which {
        Tasks::Blocked => task.state == 'D',
        Tasks::Running => false,
        Tasks::All => true,
    };
    let waiting = tasks.iter().filter(|task| !task.running).filter(meant);
    fold(waiting.filter_map(|task| Some((task, task.stack.as_ref()?))))
}

/// A frame as the kernel prints it, with `?` before it where it is not proved.
pub(super) fn frame(frame: &Frame) -> String {
    let doubt = if frame.proof == Proof::Scanned { "? " } else { "" };
    format!("{doubt}{}", frame.spelled())
}

/// A frame without offset and size, for where there is little room.
pub(super) fn brief(frame: &Frame) -> String {
    let doubt = if frame.proof == Proof::Scanned { "? " } else { "" };
    let module = frame.module.as_ref().map_or_else(String::new, |module| format!(" [{module}]"));
    match &frame.function {
        Some(function) => format!("{doubt}{function}{module}"),
        None => format!("{doubt}{:#x}", frame.pc),
    }
}

/// Why a stack ends before its beginning, if it does.
pub(super) fn broken(stack: &Stack) -> Option<&str> {
    match &stack.end {
        End::Whole => None,
        End::Broken(why) => Some(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(pid: u32, state: char, function: &str, proof: Proof) -> Task {
        let frame = Frame {
            pc: 0x1000,
            sp: u64::from(pid),
            function: Some(function.to_owned()),
            offset: 0x10,
            size: Some(0x20),
            module: None,
            proof,
            interrupted: false,
        };
        let stack = Some(Stack { frames: vec![frame], end: End::Whole });
        Task { pid, state, stack, ..Task::default() }
    }

    #[test]
    fn equal_stacks_are_one_and_a_frame_in_doubt_is_another() {
        let tasks = [
            task(1, 'D', "one", Proof::Unwound),
            task(2, 'D', "two", Proof::Unwound),
            task(3, 'S', "two", Proof::Unwound),
            task(4, 'D', "two", Proof::Unwound),
            task(5, 'D', "two", Proof::Scanned),
        ];
        let pids = |which| -> Vec<Vec<u32>> {
            let members = |group: &Group<'_, Task>| group.members.iter().map(|task| task.pid).collect();
            waiting(&tasks, which).iter().map(members).collect()
        };
        assert_eq!(pids(Tasks::Blocked), [vec![2, 4], vec![1], vec![5]]);
        assert_eq!(pids(Tasks::All), [vec![2, 3, 4], vec![1], vec![5]]);
        assert!(pids(Tasks::Running).is_empty());
    }
}
