//! Processes and their memory.

use super::Process;
use crate::Subject;
use crate::tasks::Task;
use std::collections::{HashMap, HashSet};

/// The places of the counters of a `struct mm_struct` (kernel: `include/linux/mm_types_task.h`).
const FILE: u64 = 0;
const ANON: u64 = 1;
const SWAP: u64 = 2;
const SHMEM: u64 = 3;

/// The processes with memory of their own, the largest first. Tasks are told what their process holds.
pub(super) fn find(subject: &Subject<'_>, tasks: &mut [Task]) -> Vec<Process> {
    let cpus = subject.cpus("__cpu_possible_mask").unwrap_or_default();
    let mut held = HashMap::new();
    let mut seen = HashSet::new();
    let owns = |task: &Task| subject.pointer_in(task.addr, "task_struct.mm").filter(|&mm| mm != 0);
    let apart = parts_of_tasks(subject, tasks, owns);
    let mut processes = Vec::new();
    for task in tasks.iter_mut().filter(|task| !task.kernel_thread) {
        let Some(mm) = owns(task) else { continue };
        if seen.insert(mm)
            && let Some(process) =
                process(subject, mm, task, &cpus, apart.get(&mm).copied().unwrap_or_default())
        {
            held.insert(mm, process.rss());
            processes.push(process);
        }
        task.rss = held.get(&mm).copied();
    }
    processes.sort_by(|a, b| b.rss().cmp(&a.rss()).then(a.pid.cmp(&b.pid)));
    processes
}

/// What threads have counted and not added to their process yet, by its memory: until 6.2 they did so.
fn parts_of_tasks(
    subject: &Subject<'_>,
    tasks: &[Task],
    owns: impl Fn(&Task) -> Option<u64>,
) -> HashMap<u64, [i64; 4]> {
    let mut parts: HashMap<u64, [i64; 4]> = HashMap::new();
    let place = subject.offset("task_struct.rss_stat.count").zip(subject.array("task_struct.rss_stat.count"));
    let Some((offset, (_, size))) = place else { return parts };
    for task in tasks.iter().filter(|task| !task.kernel_thread) {
        let Some(mm) = owns(task) else { continue };
        for (index, sum) in (0u64..).zip(parts.entry(mm).or_default()) {
            let at = task.addr.wrapping_add(offset).wrapping_add(index.wrapping_mul(size));
            *sum = sum.saturating_add(subject.signed(at, size).unwrap_or(0));
        }
    }
    parts
}

fn process(subject: &Subject<'_>, mm: u64, task: &Task, cpus: &[u32], apart: [i64; 4]) -> Option<Process> {
    let bytes = |index| {
        let pages = counter(subject, mm, index, cpus)?.saturating_add(apart[index as usize]).max(0) as u64;
        pages.checked_mul(subject.page_size())
    };
    Some(Process {
        pid: task.tgid,
        comm: task.comm.clone(),
        file: bytes(FILE)?,
        anon: bytes(ANON)?,
        swap: bytes(SWAP)?,
        shmem: bytes(SHMEM)?,
        page_tables: subject.pointer_in(mm, "mm_struct.pgtables_bytes").unwrap_or(0),
    })
}

/// A counter of a `struct mm_struct`: one for each CPU and a sum since 6.2, a number before.
fn counter(subject: &Subject<'_>, mm: u64, index: u64, cpus: &[u32]) -> Option<i64> {
    if let Some((_, size)) = subject.array("mm_struct.rss_stat") {
        let at =
            mm.wrapping_add(subject.offset("mm_struct.rss_stat")?).wrapping_add(index.wrapping_mul(size));
        return per_cpu_counter(subject, at, cpus);
    }
    let (_, size) = subject.array("mm_struct.rss_stat.count")?;
    let first = mm.wrapping_add(subject.offset("mm_struct.rss_stat.count")?);
    subject.signed(first.wrapping_add(index.wrapping_mul(size)), size)
}

/// A `struct percpu_counter`: what CPUs have not added yet is part of it.
pub(super) fn per_cpu_counter(subject: &Subject<'_>, at: u64, cpus: &[u32]) -> Option<i64> {
    let mut sum = subject.signed_in(at, "percpu_counter.count")?;
    let Some(parts) = subject.pointer_in(at, "percpu_counter.counters").filter(|&parts| parts != 0) else {
        return Some(sum);
    };
    for part in cpus.iter().filter_map(|&cpu| subject.signed(subject.per_cpu(parts, cpu)?, 4)) {
        sum = sum.saturating_add(part);
    }
    Some(sum)
}
