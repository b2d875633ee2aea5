//! CPUs and tasks as a debugger sees them: threads, each with registers.

use crate::cause::Facts;
use crate::report::knowledge;
use crate::stack::registers;
use crate::tasks::{self, Task};
use crate::{Missing, Report, Subject};
use kernel::vmlinux::Vmlinux;
use kernel::{Kernel, KernelMemory};
use std::collections::HashMap;
use vmcore::{Arch, Dump, VirtAddr};

/// A task, or what a CPU was doing where no task is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// The task; `None` where tasks are not known.
    pub task: Option<Task>,
    /// The CPU that it was running on when the machine crashed.
    pub cpu: Option<u32>,
    /// Its CPU is the one that crashed.
    pub crashed: bool,
    /// Its registers in the order of the machine's NT_PRSTATUS note: what its CPU saved, or what it will go on with. Short
    /// or empty where they are not known.
    pub registers: Vec<Option<u64>>,
}

/// All threads of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threads {
    /// CPUs first, the one that crashed before the others; then tasks that did not run, by pid.
    pub threads: Vec<Thread>,
    /// Where the kernel's image begins in its memory (`_text`, or what the architecture has there), if it is known.
    pub text: Option<u64>,
    /// What could not be found, and why.
    pub missing: Vec<Missing>,
}

/// Finds CPUs and tasks. Symbols and types are the dump's own; where it has none they are those of `vmlinux`.
pub fn threads(dump: &Dump, kernel: &Kernel<'_>, vmlinux: Option<&Vmlinux>) -> Threads {
    let mut report = Report::default();
    let (symbols, types) = knowledge(Some(kernel), vmlinux, &mut report);
    let subject = Subject::new(dump, Some(kernel), symbols, types.as_deref());
    let queues = tasks::queues(&subject, &mut report);
    tasks::find(&subject, &queues, &mut report);
    let crashed = Facts::read(kernel, subject.symbol("panic_cpu").map(VirtAddr)).panic_cpu.flatten();
    let mut threads = by_task(&subject, kernel, &mut report);
    for thread in &mut threads {
        thread.crashed = thread.cpu.is_some() && thread.cpu == crashed;
    }
    threads.sort_by_key(|thread| (!thread.crashed, thread.cpu.is_none(), thread.cpu));
    // On RISC-V the code of the boot lies before `_text`.
    let first = if dump.machine.arch == Arch::Riscv64 { "_start" } else { "_text" };
    let text = [first, "_text", "_stext"].into_iter().find_map(|name| subject.symbol(name));
    Threads { threads, text, missing: report.missing }
}

/// Every CPU with its task, then all other tasks.
fn by_task(subject: &Subject<'_>, memory: &dyn KernelMemory, report: &mut Report) -> Vec<Thread> {
    if report.cpus.is_empty() {
        let numbered = (0..).zip(registers::noted(subject));
        let threads = numbered.map(|(cpu, saved)| Thread {
            cpu: Some(cpu),
            registers: saved.registers.general,
            ..Thread::default()
        });
        return threads.collect();
    }
    let online = report.cpus.iter().filter(|cpu| cpu.online != Some(false)).map(|cpu| cpu.cpu);
    let mut saved = registers::saved(subject, memory, online);
    let (running, asleep): (Vec<Task>, Vec<Task>) =
        std::mem::take(&mut report.tasks).into_iter().partition(|task| task.running);
    let mut running: HashMap<_, _> = running.into_iter().map(|task| (task.cpu, task)).collect();
    let mut threads = Vec::new();
    for cpu in &report.cpus {
        let (task, saved) = (running.remove(&Some(cpu.cpu)), saved.remove(&cpu.cpu));
        if task.is_none() && saved.is_none() {
            continue;
        }
        let registers = saved.map_or_else(Vec::new, |saved| saved.registers.general);
        threads.push(Thread { task, cpu: Some(cpu.cpu), registers, ..Thread::default() });
    }
    threads.extend(asleep.into_iter().map(|task| Thread {
        registers: registers::asleep(subject, task.addr),
        task: Some(task),
        ..Thread::default()
    }));
    threads
}
