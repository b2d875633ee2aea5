//! The tasks, and what each CPU was doing.

use crate::stack::Stack;
use crate::{Report, Subject};
use std::collections::{HashMap, HashSet};

/// The most tasks believed (the kernel's `PID_MAX_LIMIT`).
const MOST: usize = 4 << 20;
/// The kernel's own task (`PF_KTHREAD`).
const KERNEL_THREAD: u64 = 0x0020_0000;
/// States that `/proc` tells apart, and the one of an idle kernel thread (kernel: `include/linux/sched.h`, since 4.14).
const REPORTED: u64 = 0x7f;
const UNINTERRUPTIBLE: u64 = 0x2;
const NO_LOAD: u64 = 0x400;
const WAITS_FOR_LOCK: u64 = 0x1000;
const FROZEN: u64 = 0x8000;

/// A task (a thread) of the crashed kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Its number; 0 for idle tasks, of which there is one for each CPU.
    pub pid: u32,
    /// The number of its process.
    pub tgid: u32,
    /// Its parent's process.
    pub parent: Option<u32>,
    /// Its name.
    pub comm: String,
    /// Its state as `ps` prints it: R, S, D, T, t, X, Z, P, I.
    pub state: char,
    /// The CPU that it ran on last.
    pub cpu: Option<u32>,
    /// It was running when the machine crashed.
    pub running: bool,
    /// It is the kernel's own.
    pub kernel_thread: bool,
    /// How long it has not been running, in nanoseconds, where that can be told.
    pub waiting: Option<u64>,
    /// Bytes of memory that its process holds (RSS), where it has memory of its own and that can be told.
    pub rss: Option<u64>,
    /// The address of its `task_struct`.
    pub addr: u64,
    /// Its stack; `None` where it was not asked for or cannot be told.
    pub stack: Option<Stack>,
}

/// What a CPU was doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub cpu: u32,
    /// It was online; `None` where that cannot be told.
    pub online: Option<bool>,
    /// It is the one that crashed.
    pub crashed: bool,
    /// The running task's number.
    pub pid: Option<u32>,
    /// The running task's name.
    pub comm: Option<String>,
    /// Its registers by name, in the order in which the kernel prints them; empty when the dump has none.
    pub registers: Vec<(&'static str, u64)>,
    /// Its stack, across interrupts and exceptions; `None` where it cannot be told.
    pub stack: Option<Stack>,
}

/// What the queues of CPUs say.
pub(crate) struct Queues {
    /// The running tasks, and where.
    running: HashMap<u64, u32>,
    /// The idle tasks of CPUs.
    idle: Vec<(u32, u64)>,
    /// The time by the clock that tasks' times are measured by.
    now: Option<u64>,
}

/// Finds all tasks, without stacks.
pub(crate) fn find(subject: &Subject<'_>, queues: &Queues, report: &mut Report) {
    let Queues { running, idle, now } = queues;
    let (mut found, broken) = addresses(subject);
    found.retain(|addr| !idle.iter().any(|(_, task)| task == addr));
    if let Some(why) = broken {
        report.lacks("some tasks", why);
    }
    let mut tasks: Vec<Task> = Vec::new();
    let mut unreadable = 0usize;
    for &(cpu, addr) in idle {
        tasks.extend(task_at(subject, addr, None).map(|task| Task { cpu: Some(cpu), ..task }));
    }
    for addr in found {
        match task_at(subject, addr, *now) {
            Some(task) => tasks.push(task),
            None => unreadable += 1,
        }
    }
    for task in &mut tasks {
        // Its own word for the CPU may be older than the CPU's for the task.
        if let Some(&cpu) = running.get(&task.addr) {
            (task.running, task.cpu) = (true, Some(cpu));
        }
    }
    if unreadable > 0 {
        report.lacks("some tasks", format!("{unreadable} of them cannot be read"));
    }
    tasks.sort_by_key(|task| (task.pid, if task.pid == 0 { task.cpu } else { None }));
    report.tasks = tasks;
}

/// The tasks that ran.
pub(crate) fn running(subject: &Subject<'_>, queues: &Queues) -> Vec<Task> {
    let known = queues.running.iter().filter_map(|(&addr, &cpu)| {
        Some(Task { cpu: Some(cpu), running: true, ..task_at(subject, addr, queues.now)? })
    });
    known.collect()
}

/// Finds what CPUs were doing.
pub(crate) fn queues(subject: &Subject<'_>, report: &mut Report) -> Queues {
    let possible = subject.cpus("__cpu_possible_mask").unwrap_or_default();
    let online = subject.cpus("__cpu_online_mask");
    let queued = |member: &str, cpu| {
        let queue = subject.per_cpu_symbol("runqueues", cpu)?;
        subject.pointer_in(queue, member).filter(|&task| task != 0)
    };
    let now = possible
        .iter()
        .filter_map(|&cpu| subject.number_in(subject.per_cpu_symbol("runqueues", cpu)?, "rq.clock"))
        .max();
    let mut running = HashMap::new();
    for &cpu in &possible {
        let current = queued("rq.curr", cpu).or_else(|| current(subject, cpu));
        running.extend(current.map(|task| (task, cpu)));
        let known = current.and_then(|task| task_at(subject, task, now));
        report.cpus.push(Cpu {
            cpu,
            online: online.as_ref().map(|online| online.contains(&cpu)),
            pid: known.as_ref().map(|task| task.pid),
            comm: known.map(|task| task.comm),
            ..Cpu::default()
        });
    }
    let idle = possible.iter().filter_map(|&cpu| Some((cpu, queued("rq.idle", cpu)?))).collect();
    Queues { running, idle, now }
}

/// The task that x86_64 keeps for each CPU.
fn current(subject: &Subject<'_>, cpu: u32) -> Option<u64> {
    let hot = subject.per_cpu_symbol("pcpu_hot", cpu);
    let hot = hot.and_then(|at| subject.pointer_in(at, "pcpu_hot.current_task"));
    let task = hot.or_else(|| subject.pointer(subject.per_cpu_symbol("current_task", cpu)?));
    task.filter(|&task| task != 0)
}

/// Where all tasks are but the idle ones, and why there may be more.
fn addresses(subject: &Subject<'_>) -> (Vec<u64>, Option<String>) {
    let none = |why: &str| (Vec::new(), Some(why.to_owned()));
    let Some(init) = subject.symbol("init_task") else { return none("the symbol init_task is not known") };
    let Some(hook) = subject.offset("task_struct.tasks") else {
        return none("the layout of struct task_struct is not known");
    };
    let (leaders, mut whole) = subject.list(init.wrapping_add(hook), "task_struct.tasks", MOST);
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for leader in leaders {
        if seen.insert(leader) {
            found.push(leader);
        }
        let (threads, all) = threads(subject, leader, MOST.saturating_sub(found.len()));
        whole &= all;
        found.extend(threads.into_iter().filter(|&thread| seen.insert(thread)));
    }
    let why = (!whole).then(|| format!("their list is broken behind {} of them", found.len()));
    (found, why)
}

/// The threads of a process: on a list of its own since 3.14, in a ring before.
fn threads(subject: &Subject<'_>, leader: u64, most: usize) -> (Vec<u64>, bool) {
    let signal = subject.pointer_in(leader, "task_struct.signal").filter(|&at| at != 0);
    let head = subject.offset("signal_struct.thread_head").zip(signal);
    match (head, subject.offset("task_struct.thread_group")) {
        (Some((offset, signal)), _) => {
            subject.list(signal.wrapping_add(offset), "task_struct.thread_node", most)
        }
        (None, Some(offset)) => subject.list(leader.wrapping_add(offset), "task_struct.thread_group", most),
        // One that ended has no signals any more.
        (None, None) => (Vec::new(), true),
    }
}

/// Reads a task; `None` where its memory is not in the dump.
fn task_at(subject: &Subject<'_>, addr: u64, now: Option<u64>) -> Option<Task> {
    let number = |path: &str| subject.number_in(addr, path);
    let state = number("task_struct.__state").or_else(|| number("task_struct.state"))?;
    let flags = number("task_struct.flags").unwrap_or(0);
    let cpu = ["task_struct.thread_info.cpu", "task_struct.cpu", "task_struct.wake_cpu"];
    let cpu = cpu.into_iter().find_map(number);
    let parent = subject.pointer_in(addr, "task_struct.real_parent").filter(|&at| at != 0);
    let parent = parent.and_then(|parent| subject.number_in(parent, "task_struct.tgid"));
    let ran = number("task_struct.se.exec_start").filter(|&ran| ran > 0);
    Some(Task {
        pid: number("task_struct.pid")? as u32,
        tgid: number("task_struct.tgid")? as u32,
        parent: parent.map(|pid| pid as u32),
        comm: subject.text_in(addr, "task_struct.comm")?,
        state: letter(state, number("task_struct.exit_state").unwrap_or(0)),
        cpu: cpu.map(|cpu| cpu as u32),
        running: false,
        kernel_thread: flags & KERNEL_THREAD != 0,
        waiting: now.zip(ran).and_then(|(now, ran)| now.checked_sub(ran)),
        rss: None,
        addr,
        stack: None,
    })
}

/// The letter that `ps` prints for a state.
fn letter(state: u64, exit: u64) -> char {
    if state & (UNINTERRUPTIBLE | NO_LOAD) == UNINTERRUPTIBLE | NO_LOAD {
        return 'I';
    }
    let mut reported = (state | exit) & REPORTED;
    if state & (WAITS_FOR_LOCK | FROZEN) != 0 {
        reported |= UNINTERRUPTIBLE;
    }
    let highest = 64 - reported.leading_zeros();
    ['R', 'S', 'D', 'T', 't', 'X', 'Z', 'P'].get(highest as usize).copied().unwrap_or('?')
}
