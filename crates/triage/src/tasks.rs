//! The tasks, and what each CPU was doing.

use crate::stack::Stack;
use crate::{Report, Subject};
use std::collections::{HashMap, HashSet};

/// The most tasks believed: a quarter of the kernel's `PID_MAX_LIMIT`, as each takes some 300 bytes of a report.
const MOST: usize = 1 << 20;
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
    /// The address of its memory's `mm_struct`; kernel threads have none.
    pub mm: Option<u64>,
    /// Pages that it has counted and not added to its memory's counters yet: of files, its own, swapped out, shared.
    pub uncounted: Option<Box<[i64; 4]>>,
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
    let known = idle.iter().map(|(_, task)| *task).collect();
    let mut walk =
        Walk { subject, now: *now, seen: known, tasks: Vec::new(), parents: HashMap::new(), unreadable: 0 };
    for &(cpu, addr) in idle {
        if let Some((task, parent)) = task_at(subject, addr, None) {
            walk.tasks.push(Task { cpu: Some(cpu), ..task });
            walk.parents.extend(parent.map(|parent| (addr, parent)));
        }
    }
    if let Some(why) = walk.all() {
        report.lacks("some tasks", why);
    }
    let Walk { mut tasks, parents, unreadable, .. } = walk;
    let ids: HashMap<u64, u32> = tasks.iter().map(|task| (task.addr, task.tgid)).collect();
    for task in &mut tasks {
        // Its own word for the CPU may be older than the CPU's for the task.
        if let Some(&cpu) = running.get(&task.addr) {
            (task.running, task.cpu) = (true, Some(cpu));
        }
        let parent = parents.get(&task.addr);
        // Only what is on no list, as the first task, has to be read for its number.
        task.parent = parent.and_then(|parent| match ids.get(parent) {
            Some(&id) => Some(id),
            None => subject.number_in(*parent, "task_struct.tgid").map(|id| id as u32),
        });
    }
    if unreadable > 0 {
        report.lacks("some tasks", format!("{unreadable} of them cannot be read"));
    }
    tasks.sort_by_key(|task| (task.pid, if task.pid == 0 { task.cpu } else { None }));
    tasks.shrink_to_fit();
    report.tasks = tasks;
}

/// The tasks that ran.
pub(crate) fn running(subject: &Subject<'_>, queues: &Queues) -> Vec<Task> {
    let known = queues.running.iter().filter_map(|(&addr, &cpu)| {
        let (task, _) = task_at(subject, addr, queues.now)?;
        Some(Task { cpu: Some(cpu), running: true, ..task })
    });
    known.collect()
}

/// Finds what CPUs were doing.
pub(crate) fn queues(subject: &Subject<'_>, report: &mut Report) -> Queues {
    let mut possible = subject.cpus("__cpu_possible_mask").unwrap_or_default();
    let count = possible.len();
    // No two CPUs have one area.
    let mut areas = HashSet::new();
    possible.retain(|&cpu| subject.per_cpu(0, cpu).is_some_and(|area| areas.insert(area)));
    if possible.len() < count {
        let why = format!("{} of {count} have no memory of their own", count - possible.len());
        report.lacks("some CPUs", why);
    }
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
        let known = current.and_then(|task| task_at(subject, task, now)).map(|(task, _)| task);
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

/// All tasks, on the way from one to the next: what is wanted of a task is read while its page is at hand.
struct Walk<'a> {
    subject: &'a Subject<'a>,
    now: Option<u64>,
    /// Tasks that need not be read: those that are known, and the idle ones.
    seen: HashSet<u64>,
    tasks: Vec<Task>,
    /// The parents' addresses, by those of their children.
    parents: HashMap<u64, u64>,
    unreadable: usize,
}

impl Walk<'_> {
    /// Goes through all lists, and says why there may be more tasks.
    fn all(&mut self) -> Option<String> {
        let subject = self.subject;
        let Some(init) = subject.symbol("init_task") else {
            return Some("the symbol init_task is not known".to_owned());
        };
        let Some(hook) = subject.offset("task_struct.tasks") else {
            return Some("the layout of struct task_struct is not known".to_owned());
        };
        let head = init.wrapping_add(hook);
        let (mut node, mut leaders, mut whole) = (head, HashSet::new(), true);
        loop {
            // `next` is the first member of struct list_head.
            let next = subject.pointer(node);
            if next == Some(head) {
                break;
            }
            let Some(next) =
                next.filter(|&next| next != 0 && self.tasks.len() < MOST && leaders.insert(next))
            else {
                whole = false;
                break;
            };
            let leader = next.wrapping_sub(hook);
            self.add(leader);
            let (threads, all) = threads(subject, leader, MOST.saturating_sub(self.tasks.len()));
            whole &= all;
            threads.into_iter().for_each(|thread| self.add(thread));
            node = next;
        }
        (!whole).then(|| format!("their list is broken behind {} of them", self.tasks.len()))
    }

    fn add(&mut self, addr: u64) {
        if !self.seen.insert(addr) {
            return;
        }
        match task_at(self.subject, addr, self.now) {
            Some((task, parent)) => {
                self.tasks.push(task);
                self.parents.extend(parent.map(|parent| (addr, parent)));
            }
            None => self.unreadable += 1,
        }
    }
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

/// Reads a task, and where its parent is; `None` where its memory is not in the dump.
fn task_at(subject: &Subject<'_>, addr: u64, now: Option<u64>) -> Option<(Task, Option<u64>)> {
    let number = |path: &str| subject.number_in(addr, path);
    let state = number("task_struct.__state").or_else(|| number("task_struct.state"))?;
    let flags = number("task_struct.flags").unwrap_or(0);
    let cpu = ["task_struct.thread_info.cpu", "task_struct.cpu", "task_struct.wake_cpu"];
    let cpu = cpu.into_iter().find_map(number);
    let parent = subject.pointer_in(addr, "task_struct.real_parent").filter(|&at| at != 0);
    let ran = number("task_struct.se.exec_start").filter(|&ran| ran > 0);
    let task = Task {
        pid: number("task_struct.pid")? as u32,
        tgid: number("task_struct.tgid")? as u32,
        parent: None,
        comm: subject.text_in(addr, "task_struct.comm")?,
        state: letter(state, number("task_struct.exit_state").unwrap_or(0)),
        cpu: cpu.map(|cpu| cpu as u32),
        running: false,
        kernel_thread: flags & KERNEL_THREAD != 0,
        waiting: now.zip(ran).and_then(|(now, ran)| now.checked_sub(ran)),
        rss: None,
        mm: subject.pointer_in(addr, "task_struct.mm").filter(|&mm| mm != 0),
        uncounted: uncounted(subject, addr),
        addr,
        stack: None,
    };
    Some((task, parent))
}

/// What a thread has counted and not added to its process's memory yet: until 6.2 they did so.
fn uncounted(subject: &Subject<'_>, task: u64) -> Option<Box<[i64; 4]>> {
    let offset = subject.offset("task_struct.rss_stat.count")?;
    let (_, size) = subject.array("task_struct.rss_stat.count")?;
    Some(Box::new([0, 1, 2, 3].map(|index: u64| {
        let at = task.wrapping_add(offset).wrapping_add(index.wrapping_mul(size));
        subject.signed(at, size).unwrap_or(0)
    })))
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
