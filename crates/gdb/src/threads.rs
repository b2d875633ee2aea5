//! Threads by the numbers and names that gdb shows.

use crate::host::Host;
use crate::text;
use std::collections::HashMap;
use std::fmt::Write as _;
use triage::threads::Thread;

/// The number of CPU 0 where the thread there has no pid: idle tasks, and CPUs of which no task is known. No pid reaches
/// it (the kernel's `PID_MAX_LIMIT` is 4194304), and it is read as what it is.
const CPUS: u64 = 10_000_000;
/// The first number for tasks whose pid is another's, or none that can be.
const OTHERS: u64 = 20_000_000;

/// All threads, by number.
pub(crate) struct Threads {
    /// In gdb's order, with their numbers.
    listed: Vec<(u64, Thread)>,
    /// The place of a number in the list.
    places: HashMap<u64, usize>,
}

impl Threads {
    pub(crate) fn new(threads: Vec<Thread>) -> Self {
        // gdb is not content with a target that has no thread.
        let threads = if threads.is_empty() { vec![Thread::default()] } else { threads };
        let mut places = HashMap::new();
        let mut other = OTHERS;
        let mut listed = Vec::new();
        for thread in threads {
            let pid = thread.task.as_ref().map(|task| u64::from(task.pid));
            let wanted = match pid {
                Some(pid) if pid != 0 => pid,
                _ => {
                    let idle = thread.task.as_ref().and_then(|task| task.cpu);
                    CPUS + u64::from(thread.cpu.or(idle).unwrap_or(0))
                }
            };
            let fits = |number: u64| number < OTHERS && !places.contains_key(&number);
            let number = if fits(wanted) { wanted } else { other };
            other += u64::from(number == other);
            places.insert(number, listed.len());
            listed.push((number, thread));
        }
        Self { listed, places }
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Thread> {
        self.places.get(&number).map(|&place| &self.listed[place].1)
    }

    /// The number of the thread that is shown first.
    pub(crate) fn first(&self) -> u64 {
        self.listed.first().map_or(CPUS, |(number, _)| *number)
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.listed.iter().map(|(number, _)| *number)
    }

    /// The answer to `qXfer:threads:read`.
    pub(crate) fn xml(&self, host: &dyn Host) -> String {
        let mut xml = String::from("<?xml version=\"1.0\"?>\n<threads>\n");
        for (number, thread) in &self.listed {
            let name = thread.task.as_ref().map_or_else(String::new, |task| {
                format!(" name=\"{}\"", text::xml(&one_line(host, &task.comm)))
            });
            let core = thread.cpu.map_or_else(String::new, |cpu| format!(" core=\"{cpu}\""));
            let _ = writeln!(xml, "<thread id=\"{number:x}\"{core}{name}>{}</thread>", more(thread));
        }
        xml + "</threads>\n"
    }
}

/// A name in a list.
fn one_line(host: &dyn Host, name: &str) -> String {
    host.safe(name).replace(['\n', '\t'], "?")
}

/// What there is to say of a thread besides its name: its task's number and state, and its CPU.
fn more(thread: &Thread) -> String {
    let mut words = Vec::new();
    if let Some(task) = &thread.task {
        words.push(format!("pid {}, {}", task.pid, task.state));
    }
    match (thread.cpu, thread.task.as_ref().and_then(|task| task.cpu)) {
        (Some(cpu), _) if thread.crashed => words.push(format!("on CPU {cpu}, which crashed")),
        (Some(cpu), _) => words.push(format!("on CPU {cpu}")),
        (None, Some(cpu)) => words.push(format!("last on CPU {cpu}")),
        (None, None) => {}
    }
    if words.is_empty() { "nothing is known".into() } else { words.join(", ") }
}

/// As `more`, with the name, for clients that do not read the list in XML.
pub(crate) fn in_words(thread: &Thread, host: &dyn Host) -> String {
    let name = thread.task.as_ref().map(|task| format!("{}: ", one_line(host, &task.comm)));
    name.unwrap_or_default() + &more(thread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::Nobody;
    use triage::tasks::Task;

    fn task(pid: u32, comm: &str, cpu: Option<u32>) -> Option<Task> {
        Some(Task { pid, comm: comm.into(), state: 'S', cpu, ..Task::default() })
    }

    #[test]
    fn every_thread_has_a_number_of_its_own_and_a_task_has_its_pid() {
        let threads = Threads::new(vec![
            Thread { task: task(7, "a<\n\x1b>", Some(1)), cpu: Some(1), crashed: true, ..Thread::default() },
            Thread { task: task(0, "swapper/0", Some(0)), cpu: Some(0), ..Thread::default() },
            Thread { cpu: Some(2), ..Thread::default() },
            Thread { task: task(7, "twin", None), ..Thread::default() },
            Thread { task: task(u32::MAX, "far", None), ..Thread::default() },
            Thread { task: task(0, "swapper/1", Some(1)), ..Thread::default() },
            Thread { task: task(20_000_001, "taken", None), ..Thread::default() },
        ]);
        let numbers: Vec<u64> = threads.numbers().collect();
        assert_eq!(numbers, [7, 10_000_000, 10_000_002, 20_000_000, 20_000_001, 10_000_001, 20_000_002]);
        assert_eq!((threads.first(), threads.get(8)), (7, None));
        assert_eq!(threads.get(10_000_002).unwrap().cpu, Some(2));
        let xml = threads.xml(&Nobody);
        assert!(
            xml.contains("<thread id=\"7\" core=\"1\" name=\"a&lt;?\\x1b&gt;\">pid 7, S, on CPU 1, which crashed</thread>"),
            "{xml}"
        );
        assert_eq!(in_words(threads.get(10_000_001).unwrap(), &Nobody), "swapper/1: pid 0, S, last on CPU 1");
    }

    #[test]
    fn a_dump_without_threads_shows_one() {
        assert_eq!(Threads::new(Vec::new()).numbers().collect::<Vec<_>>(), [CPUS]);
    }
}
