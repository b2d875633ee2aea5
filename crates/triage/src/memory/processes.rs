//! Processes and their memory.

use super::Process;
use crate::Subject;
use crate::tasks::Task;
use std::collections::{BTreeSet, HashMap};

/// The places of the counters of a `struct mm_struct` (kernel: `include/linux/mm_types_task.h`).
const FILE: usize = 0;
const ANON: usize = 1;
const SWAP: usize = 2;
const SHMEM: usize = 3;

/// The most bytes that are read of the parts of counters that CPUs keep to themselves. On machines with many CPUs and
/// processes it is the largest processes that are counted to the page.
const MOST_OF_PARTS: u64 = 24 << 20;

/// A process on the way to its counts.
struct Counted {
    process: Process,
    mm: u64,
    /// In pages, by the kernel's numbers.
    pages: [i64; 4],
    /// Where each counter's parts are, as offsets in the areas of CPUs; 0 for none.
    parts: [u64; 4],
}

/// The processes with memory of their own, the largest first, and how many of them are not counted to the page. Tasks are
/// told what their process holds.
pub(super) fn find(subject: &Subject<'_>, tasks: &mut [Task]) -> (Vec<Process>, usize) {
    let users = tasks.iter().filter(|task| !task.kernel_thread);
    let mut places: HashMap<u64, usize> =
        users.clone().filter_map(|task| Some((task.mm?, usize::MAX))).collect();
    let mut found: Vec<Counted> = Vec::with_capacity(places.len());
    for task in users {
        let Some((mm, place)) = task.mm.and_then(|mm| Some((mm, places.get_mut(&mm)?))) else { continue };
        if *place == usize::MAX {
            let Some(counted) = counted(subject, mm, task) else { continue };
            *place = found.len();
            found.push(counted);
        }
        let pages = &mut found[*place].pages;
        for (sum, part) in pages.iter_mut().zip(task.uncounted.as_deref().unwrap_or(&[0; 4])) {
            *sum = sum.saturating_add(*part);
        }
    }
    drop(places);
    let inexact = add_parts(subject, &mut found);
    let bytes = |pages: i64| (pages.max(0) as u64).saturating_mul(subject.page_size());
    for counted in &mut found {
        let pages = &counted.pages;
        counted.process.file = bytes(pages[FILE]);
        counted.process.anon = bytes(pages[ANON]);
        counted.process.swap = bytes(pages[SWAP]);
        counted.process.shmem = bytes(pages[SHMEM]);
    }
    let held: HashMap<u64, u64> = found.iter().map(|counted| (counted.mm, counted.process.rss())).collect();
    for task in tasks.iter_mut().filter(|task| !task.kernel_thread) {
        task.rss = task.mm.and_then(|mm| held.get(&mm).copied());
    }
    let mut processes: Vec<Process> = found.into_iter().map(|counted| counted.process).collect();
    processes.sort_by(|a, b| b.rss().cmp(&a.rss()).then(a.pid.cmp(&b.pid)));
    (processes, inexact)
}

/// What one look at a `struct mm_struct` tells: sums and where their parts are since 6.2, numbers before.
fn counted(subject: &Subject<'_>, mm: u64, task: &Task) -> Option<Counted> {
    let (mut pages, mut parts) = ([0; 4], [0; 4]);
    if let Some((_, size)) = subject.array("mm_struct.rss_stat") {
        let first = mm.wrapping_add(subject.offset("mm_struct.rss_stat")?);
        for index in 0..pages.len() {
            let at = first.wrapping_add(size.wrapping_mul(index as u64));
            pages[index] = subject.signed_in(at, "percpu_counter.count")?;
            parts[index] = subject.pointer_in(at, "percpu_counter.counters").unwrap_or(0);
        }
    } else {
        let (_, size) = subject.array("mm_struct.rss_stat.count")?;
        let first = mm.wrapping_add(subject.offset("mm_struct.rss_stat.count")?);
        for (index, pages) in (0..).zip(&mut pages) {
            *pages = subject.signed(first.wrapping_add(size.wrapping_mul(index)), size)?;
        }
    }
    let process = Process {
        pid: task.tgid,
        comm: task.comm.clone(),
        page_tables: subject.pointer_in(mm, "mm_struct.pgtables_bytes").unwrap_or(0),
        ..Process::default()
    };
    Some(Counted { process, mm, pages, parts })
}

/// Adds what CPUs have counted and not added to the sums, and returns for how many processes that is left out.
///
/// All possible CPUs are asked. The kernel asks those that are online, for one that goes offline adds its parts first; but a
/// crash takes CPUs offline that do not (arm64).
fn add_parts(subject: &Subject<'_>, found: &mut [Counted]) -> usize {
    let cpus = subject.cpus("__cpu_possible_mask").unwrap_or_default();
    let most = MOST_OF_PARTS / subject.page_size() / (cpus.len() as u64).max(1);
    let mut largest: Vec<usize> = (0..found.len()).collect();
    let size = |counted: &Counted| counted.pages.iter().fold(0, |sum: i64, pages| sum.saturating_add(*pages));
    largest.sort_by_key(|&place| std::cmp::Reverse(size(&found[place])));
    let mut pages = BTreeSet::new();
    let all = largest.len();
    largest.retain(|&place| {
        let parts = found[place].parts.iter().map(|at| at / subject.page_size());
        let wanted: Vec<u64> = parts.filter(|page| !pages.contains(page)).collect();
        let fits = (pages.len() + wanted.len()) as u64 <= most;
        pages.extend(wanted.into_iter().filter(|_| fits));
        fits
    });
    let left_out = all - largest.len();
    // CPU by CPU in the order of addresses: each page of an area is read once.
    largest.sort_by_key(|&place| found[place].parts);
    for &cpu in &cpus {
        for &place in &largest {
            let Counted { parts, pages, .. } = &mut found[place];
            for (at, sum) in parts.iter().zip(pages) {
                let part = subject.per_cpu(*at, cpu).filter(|_| *at != 0);
                *sum = sum.saturating_add(part.and_then(|at| subject.signed(at, 4)).unwrap_or(0));
            }
        }
    }
    left_out
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
