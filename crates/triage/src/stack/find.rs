//! Unwinding the stacks of CPUs and tasks.

use super::{End, Frame, Proof, Stack, registers};
use crate::{Options, Report, Stacks, Subject};
use kernel::KernelMemory;
use kernel::unwind::{self, Ground, Orc, Registers, Walk};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use vmcore::{Arch, VirtAddr};

/// The most bytes of a stack believed: kernels that check their memory use (KASAN) have 64 KiB.
const LARGEST: u64 = 1 << 18;
/// The most modules whose tables are looked up.
const MOST_MODULES: usize = 1 << 13;

/// The most frames of sleeping tasks in a report.
const MOST_FRAMES: usize = 1 << 20;

/// Unwinds the stacks of CPUs, and of those tasks that the options name.
pub(crate) fn find(subject: &Subject<'_>, options: &Options, report: &mut Report) {
    let Some(memory) = subject.kernel else { return };
    let machine = subject.machine().arch;
    let orc = match (machine == Arch::X86_64).then(|| Orc::open(memory, &subject.symbols)).transpose() {
        Ok(found) => found.flatten().map(|orc| with_modules(orc, subject)),
        Err(error) => {
            report.lacks("unwinding by tables", error.to_string());
            None
        }
    };
    let tables = if machine == Arch::LoongArch64 { super::places::tables(subject) } else { Vec::new() };
    let unwinder = Unwinder { subject, memory, orc, tables, size: stack_size(subject) };
    unwinder.cpus(report);
    unwinder.tasks(options, report);
}

/// Adds the tables of modules.
fn with_modules<'m>(mut orc: Orc<'m>, subject: &Subject<'_>) -> Orc<'m> {
    let Some(head) = subject.symbol("modules") else { return orc };
    let (modules, _) = subject.list(head, "module.list", MOST_MODULES);
    for at in modules {
        let pointer = |path: &str| subject.pointer_in(at, path).map(VirtAddr);
        let ips = pointer("module.arch.orc_unwind_ip");
        let entries = pointer("module.arch.orc_unwind");
        let count = subject.number_in(at, "module.arch.num_orcs");
        if let (Some(ips), Some(entries), Some(count)) = (ips, entries, count) {
            orc.add(ips, entries, count);
        }
    }
    orc
}

/// Bytes of a task's stack (`THREAD_SIZE`), which is aligned to that.
pub fn stack_size(subject: &Subject<'_>) -> u64 {
    let between = |(start, end)| subject.symbol(end)?.checked_sub(subject.symbol(start)?);
    // The first task's stack is marked in the kernel's image.
    let marked = [("__start_init_stack", "__end_init_stack"), ("__start_init_task", "__end_init_task")];
    let mut known = subject.size_of("thread_union").into_iter().chain(marked.into_iter().filter_map(between));
    let usual = if subject.machine().arch == Arch::Ppc64 { 32 << 10 } else { 16 << 10 };
    known.find(|size| size.is_power_of_two() && (4096..=LARGEST).contains(size)).unwrap_or(usual)
}

/// The stacks that a CPU has for interrupts and exceptions; those of tasks have `size` bytes.
pub(crate) fn of_cpu(subject: &Subject<'_>, cpu: u32, size: u64) -> Vec<Range<u64>> {
    match subject.machine().arch {
        Arch::X86_64 => super::x86_64::stacks(subject, cpu, size),
        _ => super::places::stacks(subject, cpu, size),
    }
}

struct Unwinder<'a> {
    subject: &'a Subject<'a>,
    memory: &'a dyn KernelMemory,
    /// The tables of x86_64.
    orc: Option<Orc<'a>>,
    /// Those of LoongArch.
    tables: Vec<unwind::loongarch64::Table>,
    /// Bytes of a task's stack.
    size: u64,
}

impl Unwinder<'_> {
    /// Fills the registers and stacks of CPUs, and with these the stacks of the tasks that ran there.
    fn cpus(&self, report: &mut Report) {
        let online = report.cpus.iter().filter(|cpu| cpu.online != Some(false)).map(|cpu| cpu.cpu);
        let mut saved = registers::saved(self.subject, self.memory, online);
        let mut without = 0usize;
        // Idle tasks have one number, and a CPU each.
        let key = |pid: u32, cpu: Option<u32>| (pid, cpu.filter(|_| pid == 0));
        let running = report.tasks.iter().enumerate().filter(|(_, task)| task.running);
        let running: HashMap<_, _> = running.map(|(n, task)| (key(task.pid, task.cpu), n)).collect();
        for cpu in &mut report.cpus {
            let Some(prstatus) = saved.remove(&cpu.cpu) else {
                without += 1;
                continue;
            };
            let task = cpu.pid.and_then(|pid| running.get(&key(pid, Some(cpu.cpu))));
            let task = task.and_then(|&n| report.tasks.get_mut(n));
            let mut stacks: Vec<_> =
                task.as_ref().and_then(|task| self.task_stack(task.addr)).into_iter().collect();
            let aligned = stacks.is_empty().then_some(self.size);
            stacks.extend(of_cpu(self.subject, cpu.cpu, self.size));
            let stack = self.stack(&prstatus.registers, stacks, aligned, true);
            if let Some(task) = task {
                task.stack.clone_from(&stack);
            }
            cpu.registers = prstatus.named;
            cpu.stack = stack;
        }
        if without > 0 && !report.cpus.is_empty() {
            report.lacks("registers of some CPUs", format!("{without} of them saved none"));
        }
    }

    /// Fills the stacks of tasks that slept.
    fn tasks(&self, options: &Options, report: &mut Report) {
        let (mut failed, mut left_out, mut frames) = (0usize, 0usize, 0usize);
        // No two tasks have the same stack.
        let mut seen = HashSet::new();
        for task in &mut report.tasks {
            let wanted = match options.stacks {
                Stacks::Running => false,
                Stacks::Blocked => task.state == 'D',
                Stacks::All => true,
            };
            // One that ended has no stack any more.
            if task.running || !wanted || matches!(task.state, 'X' | 'Z') {
                continue;
            }
            if frames >= MOST_FRAMES {
                left_out += 1;
                continue;
            }
            task.stack =
                self.task_stack(task.addr).filter(|stack| seen.insert(stack.start)).and_then(|stack| {
                    let registers = self.sleeping(task.addr)?;
                    self.stack(&registers, vec![stack], None, false)
                });
            failed += usize::from(task.stack.is_none());
            frames += task.stack.as_ref().map_or(0, |stack| stack.frames.len());
        }
        if left_out > 0 {
            let why = format!(
                "those of {left_out} of them are more than the {MOST_FRAMES} frames that a report has"
            );
            report.lacks("stacks of some tasks", why);
        }
        if failed > 0 {
            report.lacks("stacks of some tasks", format!("those of {failed} of them cannot be read"));
        }
    }

    /// Where a task's stack is.
    fn task_stack(&self, task: u64) -> Option<Range<u64>> {
        let start = self.subject.pointer_in(task, "task_struct.stack").filter(|&at| at != 0)?;
        Some(start..start.checked_add(self.size)?)
    }

    /// The registers with which a task sleeps.
    fn sleeping(&self, task: u64) -> Option<Registers> {
        match self.subject.machine().arch {
            Arch::X86_64 => super::x86_64::sleeping(self.subject, task),
            _ => super::places::sleeping(self.subject, task),
        }
    }

    fn stack(
        &self,
        registers: &Registers,
        stacks: Vec<Range<u64>>,
        aligned: Option<u64>,
        running: bool,
    ) -> Option<Stack> {
        let symbols = &self.subject.symbols;
        let function = |pc: u64| {
            let text = symbols.is_text(VirtAddr(pc));
            text.then(|| symbols.at(VirtAddr(pc)).map_or(pc, |found| pc.wrapping_sub(found.offset)))
        };
        let ground = Ground { memory: self.memory, stacks, aligned, function: &function };
        let walk = match self.subject.machine().arch {
            Arch::X86_64 => unwind::x86_64::walk(&ground, self.orc.as_ref(), registers, running),
            Arch::Aarch64 => unwind::arm64::walk(&ground, registers, running),
            Arch::Ppc64 => unwind::ppc64::walk(&ground, registers, running),
            Arch::S390x => unwind::s390x::walk(&ground, registers, running),
            Arch::Riscv64 => unwind::riscv64::walk(&ground, registers, running),
            Arch::LoongArch64 => unwind::loongarch64::walk(&ground, &self.tables, registers, running),
            _ => return None,
        };
        Some(self.named(walk))
    }

    fn named(&self, walk: Walk) -> Stack {
        let frames = walk.frames.into_iter().map(|frame| {
            // A call may be the last instruction of its function, so that the address to return to is that of another.
            let at = if frame.interrupted { frame.pc.0 } else { frame.pc.0.wrapping_sub(1) };
            let found = self.subject.symbols.at(VirtAddr(at));
            Frame {
                pc: frame.pc.0,
                sp: frame.sp.0,
                function: found.map(|found| readable(found.name)),
                offset: found.map_or(0, |found| found.offset.wrapping_add(frame.pc.0.wrapping_sub(at))),
                size: found.and_then(|found| found.size),
                module: found.and_then(|found| found.module).map(str::to_owned),
                proof: if frame.certain { Proof::Unwound } else { Proof::Scanned },
                interrupted: frame.interrupted,
            }
        });
        Stack {
            frames: frames.collect(),
            end: match walk.end {
                unwind::End::Whole => End::Whole,
                unwind::End::Broken(why) => End::Broken(why),
            },
        }
    }
}

/// A function's name; one of Rust as it is written there, without its hash.
fn readable(name: &str) -> String {
    rustc_demangle::try_demangle(name).map_or_else(|_| name.to_owned(), |known| format!("{known:#}"))
}
